"""Whatever comes over the wire, the sandbox answers or stays silent; it never falls over."""

from __future__ import annotations

import io
from typing import Any

import pytest
from dns import message as dns_message
from dns import name as dns_name
from dns import rcode as dns_rcode
from dns import tsig as dns_tsig
from dns import update as dns_update
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.sandbox.dns import SandboxDns
from ci_acme.sandbox.http import BadRequestError, read_request
from ci_acme.sandbox.jose import Jwk, Jws, b64url, unb64url
from ci_acme.sandbox.loopback import host_port, split_host_port
from ci_acme.sandbox.problems import Problem
from tests.sandbox.conftest import TSIG_SECRET, ZONE

KEY = dns_tsig.Key("ci-acme", TSIG_SECRET.decode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def server() -> SandboxDns:
    return SandboxDns([ZONE], {"ci-acme": TSIG_SECRET})  # its answers need no socket


def seeds() -> list[bytes]:
    update = dns_update.UpdateMessage(ZONE, keyring=KEY)
    update.present("a", "TXT")
    update.add("a", 60, "TXT", "x")
    update.delete("b")
    queries = [dns_message.make_query(f"a.{ZONE}", rdtype, use_edns=0) for rdtype in ("TXT", "ANY", "AXFR")]
    return [message.to_wire() for message in (update, *queries)]


@given(
    st.sampled_from(seeds()),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(0, 40),
)
def test_mutated_dns_messages(seed: bytes, edits: list[tuple[int, int]], cut: int) -> None:
    wire = bytearray(seed)
    for index, value in edits:
        wire[index % len(wire)] = value
    reply = server().handle(bytes(wire[: len(wire) - cut]), "udp")
    if reply is not None:
        assert reply[:2] == wire[:2]
        assert reply[2] & 0x80, "it says that it is a reply"


@given(st.binary(max_size=200))
def test_random_dns_messages(wire: bytes) -> None:
    server().handle(wire, "tcp")


Change = tuple[str, str, str]
changes = st.tuples(st.sampled_from(["add", "delete", "delete-set"]), st.sampled_from("ab"), st.sampled_from("xyz"))


@given(st.lists(st.lists(changes, min_size=1, max_size=4), max_size=6))
def test_updates_are_set_operations_in_order(messages: list[list[Change]]) -> None:
    running, model = server(), {"a": set[str](), "b": set[str]()}
    for message in messages:
        update = dns_update.UpdateMessage(ZONE, keyring=KEY)
        for verb, owner, value in message:
            _apply(update, model, verb, owner, value)
        reply = running.handle(update.to_wire(), "tcp")
        assert reply is not None
        assert dns_message.from_wire(reply, keyring=KEY, request_mac=update.mac).rcode() == dns_rcode.NOERROR
    assert {owner: set(running.values(f"{owner}.{ZONE}")) for owner in model} == model


def _apply(update: dns_update.UpdateMessage, model: dict[str, set[str]], verb: str, owner: str, value: str) -> None:
    # Absolute names: dnspython's update message would otherwise merge what belongs to one owner.
    name = dns_name.from_text(f"{owner}.{ZONE}")
    if verb == "add":
        update.add(name, 60, "TXT", value)
        model[owner].add(value)
    elif verb == "delete":
        update.delete(name, "TXT", value)
        model[owner].discard(value)
    else:
        update.delete(name, "TXT")
        model[owner].clear()


@given(st.binary())
def test_base64url_round_trip(data: bytes) -> None:
    assert unb64url(b64url(data)) == data


@given(st.text())
def test_base64url_is_strict(text: str) -> None:
    try:
        unb64url(text)
    except Problem:
        return
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(JSON)
def test_no_json_makes_a_key_or_a_jws_of_nonsense(document: Any) -> None:
    for parse in (Jwk.parse, Jws.parse):
        if isinstance(document, (dict, bytes)) or parse is Jwk.parse:
            with pytest.raises(Problem):
                parse(document)


def test_a_request_that_breaks_off_is_none() -> None:
    whole = b"POST /new-order HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
    parsed = read_request(io.BufferedReader(io.BytesIO(whole)))
    assert parsed is not None
    assert (parsed[0].path, parsed[0].body) == ("/new-order", b"body")
    assert read_request(io.BufferedReader(io.BytesIO(whole[:-1]))) is None


@given(st.binary(max_size=300))
def test_random_http(data: bytes) -> None:
    try:
        parsed = read_request(io.BufferedReader(io.BytesIO(data)))
    except BadRequestError:
        return
    assert parsed is None or parsed[0].method


@given(st.sampled_from(["127.0.0.1", "::1", "192.0.2.7", "2001:db8::1"]), st.integers(1, 65535))
def test_addresses_round_trip(host: str, port: int) -> None:
    assert split_host_port(host_port(host, port), default_port=53) == (host, port)
    assert split_host_port(host, default_port=53) == (host, 53)
    assert split_host_port(f"[::1]:{port}", default_port=53) == ("::1", port)
