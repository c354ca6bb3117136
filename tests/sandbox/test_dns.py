from __future__ import annotations

import socket
import threading
import time

import pytest
from dns import exception as dns_exception
from dns import message as dns_message
from dns import name as dns_name
from dns import query as dns_query
from dns import rcode as dns_rcodes
from dns import tsig as dns_tsig
from dns import update as dns_update

from ci_acme.model.secret import Secret
from ci_acme.sandbox.dns import SandboxDns
from ci_acme.sandbox.tsig import TsigKey
from tests.sandbox.conftest import TSIG_SECRET

AA, TC = 0x0400, 0x0200
NAME = "_acme-challenge.www.demo.test"


def ask(
    server: SandboxDns, name: str, rdtype: str = "TXT", *, tcp: bool = False, **options: object
) -> dns_message.Message:
    query = dns_message.make_query(name, rdtype, **options)
    send = dns_query.tcp if tcp else dns_query.udp
    return send(query, server.host, port=server.port, timeout=5)


def texts(reply: dns_message.Message) -> list[str]:
    return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)


def change(
    zone: str = "demo.test", *, name: str = "ci-acme", secret: bytes = TSIG_SECRET, algorithm: str = "hmac-sha256"
) -> dns_update.UpdateMessage:
    key = dns_tsig.Key(name, secret.decode(), algorithm)
    return dns_update.UpdateMessage(zone, keyring=key)


def send(server: SandboxDns, message: dns_update.UpdateMessage, *, tcp: bool = False) -> str:
    post = dns_query.tcp if tcp else dns_query.udp
    return dns_rcodes.to_text(post(message, server.host, port=server.port, timeout=5).rcode())


def test_apex_has_soa_and_ns_and_the_server_an_address(dns: SandboxDns) -> None:
    soa = ask(dns, "demo.test", "SOA")
    assert soa.flags & AA
    assert soa.answer[0].rdtype.name == "SOA"
    (server,) = texts(ask(dns, "demo.test", "NS"))
    assert texts(ask(dns, server, "A")) == ["127.0.0.1"]


@pytest.mark.parametrize("tcp", [False, True])
def test_answers_with_the_owner_s_records_over_udp_and_tcp(dns: SandboxDns, *, tcp: bool) -> None:
    dns.add(NAME, "TXT", "one", "two")
    reply = ask(dns, NAME.upper(), tcp=tcp)
    assert texts(reply) == ['"one"', '"two"']
    assert reply.flags & AA
    assert dns.values(NAME) == ["one", "two"]


def test_nxdomain_nodata_and_empty_non_terminal_carry_the_soa(dns: SandboxDns) -> None:
    dns.add("a.b.demo.test", "A", "127.0.0.1")
    for name, rcode in (("no.demo.test", "NXDOMAIN"), ("a.b.demo.test", "NOERROR"), ("b.demo.test", "NOERROR")):
        reply = ask(dns, name)
        assert dns_rcode(reply) == rcode
        assert not reply.answer
        assert [rrset.rdtype.name for rrset in reply.authority] == ["SOA"]
        assert reply.flags & AA


def dns_rcode(reply: dns_message.Message) -> str:
    return dns_rcodes.to_text(reply.rcode())


def test_foreign_zone_is_refused_without_authority(dns: SandboxDns) -> None:
    reply = ask(dns, "example.com", "A")
    assert dns_rcode(reply) == "REFUSED"
    assert not reply.flags & AA


def test_cname_is_followed_within_and_across_own_zones(dns: SandboxDns) -> None:
    dns.add(NAME, "CNAME", "x.demo.test.")
    dns.add("x.demo.test", "CNAME", "y.other.test.")
    dns.add("y.other.test", "TXT", "there")
    assert [rrset.rdtype.name for rrset in ask(dns, NAME).answer] == ["CNAME", "CNAME", "TXT"]
    assert [rrset.rdtype.name for rrset in ask(dns, NAME, "CNAME").answer] == ["CNAME"]
    dns.cross_zone = False
    assert [rrset.rdtype.name for rrset in ask(dns, NAME).answer] == ["CNAME", "CNAME"]


def test_cname_to_elsewhere_and_loops_end(dns: SandboxDns) -> None:
    dns.add("out.demo.test", "CNAME", "example.com.")
    dns.add("loop.demo.test", "CNAME", "loop.demo.test.")
    dns.add("gone.demo.test", "CNAME", "nothing.demo.test.")
    assert [len(ask(dns, name).answer) for name in ("out.demo.test", "loop.demo.test", "gone.demo.test")] == [1, 1, 1]
    assert dns_rcode(ask(dns, "out.demo.test")) == "NOERROR"
    assert dns_rcode(ask(dns, "gone.demo.test")) == "NXDOMAIN"


def test_delegation_is_a_referral() -> None:
    with SandboxDns({"demo.test": "sub NS ns.elsewhere.test.\nwww 300 A 192.0.2.1"}) as server:
        reply = ask(server, "a.sub.demo.test")
        assert not reply.flags & AA
        assert [rrset.to_text() for rrset in reply.authority] == ["sub.demo.test. 1 IN NS ns.elsewhere.test."]
        assert ask(server, "www.demo.test", "A").answer[0].ttl == 300


def test_child_zone_on_the_same_server_answers_for_itself() -> None:
    with SandboxDns(["demo.test", "sub.demo.test"]) as server:
        assert ask(server, "x.sub.demo.test").authority[0].name == dns_name.from_text("sub.demo.test")


def test_large_answer_is_truncated_over_udp_and_whole_over_tcp(dns: SandboxDns) -> None:
    dns.add(NAME, "TXT", *(f'"{number:03}{"x" * 60}"' for number in range(40)))
    reply = ask(dns, NAME)
    assert reply.flags & TC
    assert not reply.answer
    assert len(texts(ask(dns, NAME, tcp=True))) == 40
    dns.add(NAME, "TXT", *(f'"{number:03}{"x" * 60}"' for number in range(9)))
    assert ask(dns, NAME).flags & TC, "more than 512 octets need EDNS"
    assert len(texts(ask(dns, NAME, use_edns=0, payload=1232))) == 9


def test_garbage_is_not_answered_and_does_no_harm(dns: SandboxDns) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for wire in (b"", b"\0", b"\xff" * 40, b"\0" * 12):
            client.sendto(wire, (dns.host, dns.port))
    with socket.create_connection((dns.host, dns.port)) as stream:
        stream.sendall(b"\0\x05hello")
    assert dns_rcode(ask(dns, "demo.test", "SOA")) == "NOERROR"


@pytest.mark.parametrize("tcp", [False, True])
def test_update_adds_single_values_and_bumps_the_serial(dns: SandboxDns, *, tcp: bool) -> None:
    before = dns.serial("demo.test")
    for value in ("one", "two"):
        message = change()
        message.add(NAME + ".", 60, "TXT", value)
        assert send(dns, message, tcp=tcp) == "NOERROR"
    assert dns.values(NAME) == ["one", "two"]
    assert dns.serial("demo.test") == before + 2
    assert [update.changes for update in dns.updates] == [(f'add {NAME} TXT "{value}"',) for value in ("one", "two")]
    assert {(update.key, update.zone, update.rcode) for update in dns.updates} == {("ci-acme", "demo.test", "NOERROR")}


def test_update_deletes_a_value_a_set_or_a_name(dns: SandboxDns) -> None:
    dns.add(NAME, "TXT", "one", "two")
    message = change()
    message.delete(NAME + ".", "TXT", "one")
    assert send(dns, message) == "NOERROR"
    assert dns.values(NAME) == ["two"]
    message = change()
    message.delete(NAME + ".", "TXT", "never there")
    before = dns.serial("demo.test")
    assert send(dns, message) == "NOERROR"
    assert dns.serial("demo.test") == before, "nothing changed"
    dns.add(NAME, "A", "192.0.2.1")
    message = change()
    message.delete(NAME + ".", "TXT")
    assert send(dns, message) == "NOERROR"
    assert (dns.values(NAME), dns.values(NAME, "A")) == ([], ["192.0.2.1"])
    message = change()
    message.delete(NAME + ".")
    assert send(dns, message) == "NOERROR"
    assert dns_rcode(ask(dns, NAME)) == "NXDOMAIN"


def test_soa_and_last_ns_cannot_be_deleted(dns: SandboxDns) -> None:
    message = change()
    message.delete("demo.test.")
    message.delete("demo.test.", "NS", "ns.demo.test.")
    assert send(dns, message) == "NOERROR"
    assert texts(ask(dns, "demo.test", "NS"))
    assert texts(ask(dns, "demo.test", "SOA"))


def test_a_cname_stays_alone(dns: SandboxDns) -> None:
    dns.add("alias.demo.test", "CNAME", "x.demo.test.")
    dns.add("host.demo.test", "A", "192.0.2.1")
    message = change()
    message.add("alias.demo.test.", 60, "TXT", "ignored")
    message.add("host.demo.test.", 60, "CNAME", "ignored.demo.test.")
    assert send(dns, message) == "NOERROR"
    assert dns.values("alias.demo.test") == []
    assert dns.values("host.demo.test", "CNAME") == []


def test_prerequisites(dns: SandboxDns) -> None:
    dns.add(NAME, "TXT", "one", "two")
    owner = NAME + "."
    cases = [
        ("NXDOMAIN", lambda m: m.present("no.demo.test.")),
        ("NXRRSET", lambda m: m.present(owner, "A")),
        ("NXRRSET", lambda m: m.present(owner, "TXT", "one")),
        ("YXDOMAIN", lambda m: m.absent(owner)),
        ("YXRRSET", lambda m: m.absent(owner, "TXT")),
        ("NOERROR", lambda m: (m.present(owner, "TXT", "one"), m.present(owner, "TXT", "two"))),
        (
            "NOERROR",
            lambda m: (m.present(owner), m.present(owner, "TXT"), m.absent(owner, "A"), m.absent("no.demo.test.")),
        ),
    ]
    for number, (rcode, require) in enumerate(cases):
        message = change()
        require(message)
        message.add(f"n{number}.demo.test.", 60, "TXT", "done")
        assert send(dns, message) == rcode, number
        assert dns.values(f"n{number}.demo.test") == (["done"] if rcode == "NOERROR" else []), number


def test_a_message_is_applied_as_a_whole_or_not_at_all(dns: SandboxDns) -> None:
    message = change()
    message.add(NAME + ".", 60, "TXT", "first")
    message.add("elsewhere.test.", 60, "TXT", "not in the zone")
    assert send(dns, message) == "NOTZONE"
    assert dns.values(NAME) == []


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "hmac-sha384", "hmac-sha512"])
def test_tsig_algorithms(algorithm: str) -> None:
    with SandboxDns(["demo.test"], {"k": TsigKey(Secret(TSIG_SECRET), algorithm)}) as server:
        message = change(name="k", algorithm=algorithm)
        message.add(NAME + ".", 60, "TXT", "x")
        assert send(server, message) == "NOERROR"
        assert server.values(NAME) == ["x"]


def test_wrong_signatures_change_nothing(dns: SandboxDns) -> None:
    cases = [
        (change(secret=b"d3Jvbmc="), dns_tsig.PeerBadSignature),
        (change(name="stranger"), dns_tsig.PeerBadKey),
        (change(algorithm="hmac-sha512"), dns_tsig.PeerBadKey),
    ]
    for message, expected in cases:
        message.add(NAME + ".", 60, "TXT", "x")
        with pytest.raises(expected):
            send(dns, message)
    assert dns.values(NAME) == []
    assert [(update.key, update.rcode) for update in dns.updates] == [("", "NOTAUTH")] * 3


def test_an_old_signature_is_badtime(dns: SandboxDns, monkeypatch: pytest.MonkeyPatch) -> None:
    message = change()
    message.add(NAME + ".", 60, "TXT", "x")
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() - 3600)
        wire = message.to_wire()
    reply = dns.handle(wire, "tcp")
    assert reply is not None
    with pytest.raises(dns_tsig.PeerBadTime):
        dns_message.from_wire(reply, keyring=message.keyring, request_mac=message.mac)
    assert dns.values(NAME) == []


def test_unsigned_ungranted_and_foreign_updates_are_refused() -> None:
    key = TsigKey(Secret(TSIG_SECRET), zones=("other.test",))
    with SandboxDns(["demo.test", "other.test"], {"ci-acme": key}) as server:
        unsigned = dns_update.UpdateMessage("demo.test")
        unsigned.add(NAME + ".", 60, "TXT", "x")
        assert send(server, unsigned) == "REFUSED"
        ungranted = change()
        ungranted.add(NAME + ".", 60, "TXT", "x")
        assert send(server, ungranted) == "REFUSED"
        foreign = change("www.demo.test")
        foreign.add(NAME + ".", 60, "TXT", "x")
        assert send(server, foreign) == "NOTAUTH"
        assert server.values(NAME) == []


def test_lag_hides_an_update_for_a_while(dns: SandboxDns) -> None:
    dns.lag = 0.3
    message = change()
    message.add(NAME + ".", 60, "TXT", "late")
    assert send(dns, message) == "NOERROR"
    assert dns.values(NAME) == ["late"], "the newest state"
    assert not ask(dns, NAME).answer
    for _ in range(200):
        if ask(dns, NAME).answer:
            break
        time.sleep(0.02)
    assert texts(ask(dns, NAME)) == ['"late"']


def test_drop_and_servfail(dns: SandboxDns) -> None:
    dns.servfail = True
    assert dns_rcode(ask(dns, "demo.test", "SOA")) == "SERVFAIL"
    message = change()
    message.add(NAME + ".", 60, "TXT", "x")
    assert send(dns, message) == "SERVFAIL"
    dns.servfail, dns.drop = False, True
    with pytest.raises(dns_exception.Timeout):
        dns_query.udp(dns_message.make_query(NAME, "TXT"), dns.host, port=dns.port, timeout=0.1)
    assert dns.values(NAME) == []
    assert [query.rcode for query in dns.queries] == ["SERVFAIL", ""]


def test_many_writers_lose_nothing(dns: SandboxDns) -> None:
    def write(number: int) -> None:
        for step in range(10):
            message = change()
            message.add(NAME + ".", 60, "TXT", f"{number}-{step}")
            assert send(dns, message, tcp=bool(number % 2)) == "NOERROR"

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(dns.values(NAME)) == 40


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
def test_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        SandboxDns(["demo.test"], host=host)


def test_owner_can_take_a_set_away(dns: SandboxDns) -> None:
    dns.add(NAME, "TXT", "one")
    dns.add(NAME, "A", "192.0.2.1")
    dns.remove(NAME, "TXT")
    assert (dns.values(NAME), dns.values(NAME, "A")) == ([], ["192.0.2.1"])
    dns.remove(NAME, "A")
    dns.remove(NAME, "A")
    assert dns_rcode(ask(dns, NAME)) == "NXDOMAIN"
    with pytest.raises(ValueError, match="no zone"):
        dns.add("example.com", "A", "192.0.2.1")
