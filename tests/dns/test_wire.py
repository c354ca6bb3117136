"""The wire format against an independent implementation, and against noise."""

from __future__ import annotations

import base64
import contextlib
import time

import dns.message
import dns.name
import dns.rrset
import dns.tsig
import dns.update
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci_acme import dnswire
from ci_acme.dnswire import WireError
from ci_acme.model.secret import Secret
from ci_acme_providers.rfc2136 import tsig
from ci_acme_providers.rfc2136.update import MAX_MESSAGE, Change, messages

LABEL = st.binary(min_size=1, max_size=63)
NAME = st.lists(LABEL, max_size=5).filter(lambda labels: sum(len(label) + 1 for label in labels) < 255)
RECORDS = [
    'a.example. 300 IN TXT "one" "two"',
    "a.example. 300 IN CNAME b.example.",
    "example. 3600 IN SOA ns1.example. hostmaster.example. 42 3600 600 86400 60",
    "example. 3600 IN NS ns1.example.",
    "ns1.example. 60 IN A 192.0.2.1",
    "ns1.example. 60 IN AAAA 2001:db8::1",
    "example. 60 IN MX 10 mail.example.",
]


@given(st.binary(max_size=300))
@example(b"\0" * 12)
@example(bytes.fromhex("000080000001000000000000c00c00100001"))
def test_noise_is_an_error_and_nothing_else(wire: bytes) -> None:
    with contextlib.suppress(WireError):
        dnswire.parse(wire)


@given(st.data())
def test_a_damaged_message_is_parsed_or_an_error(data: st.DataObject) -> None:
    wire = bytearray(_reply())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    del wire[data.draw(st.integers(0, len(wire))) :]
    with contextlib.suppress(WireError):
        dnswire.parse(bytes(wire))


@given(NAME)
def test_names_round_trip(labels: list[bytes]) -> None:
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    name, end = dnswire.read_name(wire, 0)
    assert end == len(wire)
    assert dnswire.encode_name(name) == wire.lower()
    assert len(dnswire.labels_of(name)) == len(labels)


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_an_error(text: str) -> None:
    with contextlib.suppress(WireError):
        dnswire.encode_name(text)


def test_pointers_that_circle_or_point_ahead_are_errors() -> None:
    head = bytes.fromhex("000080000001000000000000")
    for name in (b"\xc0\x0c", b"\x01a\xc0\x0c", b"\xc0\x20", b"\xc0"):
        with pytest.raises(WireError):
            dnswire.parse(head + name + b"\0\x10\0\1")


def _reply() -> bytes:
    reply = dns.message.make_response(dns.message.make_query("A.Example", "TXT", use_edns=0, payload=1232))
    reply.flags |= 0x0400
    reply.answer = [dns.rrset.from_text(*record.split(None, 4)) for record in RECORDS[:2]]
    reply.authority = [dns.rrset.from_text(*record.split(None, 4)) for record in RECORDS[2:4]]
    reply.additional = [dns.rrset.from_text(*record.split(None, 4)) for record in RECORDS[4:]]
    return reply.to_wire()


def test_records_are_read_as_an_independent_implementation_writes_them() -> None:
    message = dnswire.parse(_reply())
    assert message.is_reply
    assert message.aa
    assert message.question == ("a.example", dnswire.TXT)
    assert [record.data for record in message.answers] == [b"onetwo", "b.example"]
    assert message.authority[0].data == dnswire.Soa("ns1.example", 42, 60)
    assert message.authority[1].data == "ns1.example"
    assert [record.data for record in message.additional[:2]] == ["192.0.2.1", "2001:db8::1"]
    assert {record.ttl for record in message.answers} == {300}


def test_extended_codes() -> None:
    reply = dns.message.make_response(dns.message.make_query("a.example", "TXT", use_edns=0))
    reply.set_rcode(dns.rcode.BADVERS)
    assert dnswire.parse(reply.to_wire()).rcode == dnswire.BADVERS
    assert dnswire.rcode_name(23) == "RCODE23"


def test_queries_are_read_by_an_independent_implementation() -> None:
    query = dns.message.from_wire(bytes(dnswire.query("_acme-challenge.a.example", dnswire.TXT, recurse=False)))
    assert query.question[0].name == dns.name.from_text("_acme-challenge.a.example")
    assert not query.flags & dns.flags.RD
    assert (query.edns, query.payload, query.ednsflags) == (0, 1232, 0)
    plain = dns.message.from_wire(bytes(dnswire.query("a.example", dnswire.NS, recurse=True, edns=False)))
    assert plain.flags & dns.flags.RD
    assert plain.edns == -1


@given(st.binary(max_size=1000))
def test_character_strings_round_trip(value: bytes) -> None:
    assert dnswire.join_strings(dnswire.split_strings(value)) == value


# --- TSIG and UPDATE

KEY = tsig.Key("ci-acme", Secret(b"0123456789abcdef0123456789abcdef"), "hmac-sha256")
RING = {
    dns.name.from_text("ci-acme"): dns.tsig.Key(
        "ci-acme", base64.b64encode(KEY.secret.reveal()).decode(), "hmac-sha256"
    )
}


def _update(now: int) -> tuple[bytes, bytes]:
    changes = [Change("_acme-challenge.a.ci.test", b"v" * 300, 60), Change("_acme-challenge.b.ci.test", b"w", None)]
    (message,) = messages("ci.test", changes)
    return tsig.sign(b"\x12\x34" + message[2:], KEY, now)


@pytest.mark.parametrize("algorithm", sorted(tsig.ALGORITHMS))
def test_an_independent_implementation_verifies_what_we_sign(algorithm: str) -> None:
    key = tsig.Key("ci-acme", KEY.secret, algorithm)
    (message,) = messages("ci.test", [Change("a.ci.test", b"value", 60)])
    wire, _ = tsig.sign(b"\x12\x34" + message[2:], key, int(time.time()))
    ring = {
        dns.name.from_text("ci-acme"): dns.tsig.Key(
            "ci-acme", base64.b64encode(KEY.secret.reveal()).decode(), algorithm
        )
    }
    parsed = dns.message.from_wire(wire, keyring=ring)
    assert parsed.had_tsig
    assert isinstance(parsed, dns.update.UpdateMessage)
    assert 'a.ci.test. 60 IN TXT "value"' in parsed.to_text()


def test_deletions_name_one_record() -> None:
    parsed = dns.message.from_wire(_update(int(time.time()))[0], keyring=RING)
    text = parsed.to_text()
    assert "_acme-challenge.b.ci.test. 0 NONE TXT" in text
    assert text.count("v" * 255) == 1


def _signed_reply(now: int, request: bytes) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(request, keyring=RING))
    return reply.to_wire()


def test_we_verify_what_an_independent_implementation_signs() -> None:
    now = int(time.time())
    request, mac = _update(now)
    reply = _signed_reply(now, request)
    start = dnswire.parse(reply).tsig
    tsig.verify(reply, start, KEY, mac, now)
    with pytest.raises(tsig.TsigError):
        tsig.verify(reply, start, KEY, b"x" * len(mac), now)
    with pytest.raises(tsig.TsigError):
        tsig.verify(reply, start, tsig.Key("ci-acme", Secret(b"other"), "hmac-sha256"), mac, now)
    with pytest.raises(tsig.TsigError) as caught:
        tsig.verify(reply, start, KEY, mac, now + 3600)
    assert caught.value.kind == tsig.BADTIME
    with pytest.raises(tsig.Unsigned):
        tsig.verify(reply[:start], None, KEY, mac, now)


@given(st.data())
def test_no_damaged_reply_verifies(data: st.DataObject) -> None:
    now = int(time.time())
    request, mac = _update(now)
    reply = bytearray(_signed_reply(now, request))
    at = data.draw(st.integers(2, (dnswire.parse(bytes(reply)).tsig or 0) - 1))  # the id is not covered by the MAC
    flip = data.draw(st.integers(1, 255))
    reply[at] ^= flip
    try:
        message = dnswire.parse(bytes(reply))
    except WireError:
        return
    with pytest.raises(tsig.TsigError):
        tsig.verify(bytes(reply), message.tsig, KEY, mac, now)


def test_long_changes_are_split_below_the_limit() -> None:
    changes = [Change(f"_acme-challenge.h{number}.ci.test", b"v" * 43, 60) for number in range(2000)]
    parts = list(messages("ci.test", changes))
    assert len(parts) == 3
    assert all(len(part) <= MAX_MESSAGE + 100 for part in parts)
    assert sum(len(dns.message.from_wire(part).sections[2]) for part in parts) == 2000
    assert list(messages("ci.test", [])) == []
