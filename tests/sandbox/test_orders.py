"""Orders, challenges and finalize, with the CA looking at real DNS records."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ci_acme.sandbox import SandboxCa, SandboxDns
from tests.sandbox.raw_client import RawClient, ec_key, make_csr

Connect = Callable[..., RawClient]


def first_challenge(client: RawClient, order: Any) -> dict[str, Any]:
    return client.challenges(order)[0][1]


def test_new_order_shows_what_was_asked(client: RawClient) -> None:
    order = client.new_order("Demo.test", "*.demo.test", profile="shortlived")
    assert order.status == 201
    assert order.headers["Location"]
    document = order.json
    assert document["status"] == "pending"
    assert document["profile"] == "shortlived"
    assert [identifier["value"] for identifier in document["identifiers"]] == ["demo.test", "*.demo.test"]
    authorizations = [client.post(url).json for url in document["authorizations"]]
    assert [(a["identifier"]["value"], a.get("wildcard", False), a["status"]) for a in authorizations] == [
        ("demo.test", False, "pending"),
        ("demo.test", True, "pending"),
    ]
    assert {c["type"] for a in authorizations for c in a["challenges"]} == {"dns-01", "dns-account-01"}
    assert client.post(f"{client.kid}/orders").json["orders"] == [order.headers["Location"]]


@pytest.mark.parametrize(
    ("problem", "members"),
    [
        ("malformed", {"identifiers": []}),
        ("malformed", {"identifiers": [{"type": "dns", "value": f"n{n}.demo.test"} for n in range(101)]}),
        ("malformed", {"identifiers": [{"type": "dns", "value": "demo.test."}]}),
        ("malformed", {"identifiers": [{"type": "dns", "value": "bücher.test"}]}),
        ("malformed", {"identifiers": ["demo.test"]}),
        ("unsupportedIdentifier", {"identifiers": [{"type": "ip", "value": "127.0.0.1"}]}),
        ("rejectedIdentifier", {"identifiers": [{"type": "dns", "value": "127.0.0.1"}]}),
        ("rejectedIdentifier", {"identifiers": [{"type": "dns", "value": "a.*.demo.test"}]}),
        ("rejectedIdentifier", {"identifiers": [{"type": "dns", "value": "localhost"}]}),
        ("invalidProfile", {"profile": "unheard-of"}),
        ("malformed", {"notAfter": "tomorrow"}),
        ("malformed", {"notAfter": "2001-01-01T00:00:00Z"}),
        ("malformed", {"replaces": "no-dot"}),
        ("malformed", {"replaces": "AAAA.AAAA"}),
    ],
)
def test_orders_that_are_refused(client: RawClient, problem: str, members: dict[str, Any]) -> None:
    document = {"identifiers": [{"type": "dns", "value": "demo.test"}], **members}
    assert client.post(client.directory["newOrder"], document).problem == problem


def test_apex_and_wildcard_are_validated_with_two_values_at_one_name(dns: SandboxDns, client: RawClient) -> None:
    done, certificate = client.issue(dns, "demo.test", "*.demo.test")
    assert done.json["status"] == "valid"
    assert certificate.headers["Content-Type"] == "application/pem-certificate-chain"
    leaf = x509.load_pem_x509_certificates(certificate.body)[0]
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["demo.test", "*.demo.test"]
    asked = [query for query in dns.queries if query.type == "TXT"]
    assert {query.name for query in asked} == {"_acme-challenge.demo.test"}
    assert {query.transport for query in asked} == {"udp"}


def test_validation_follows_cnames_to_servers_that_do_not(dns: SandboxDns, client: RawClient) -> None:
    dns.cross_zone = False
    order = client.new_order("www.demo.test")
    challenge = first_challenge(client, order)
    dns.add("_acme-challenge.www.demo.test", "CNAME", "a.other.test.")
    dns.add("a.other.test", "CNAME", "b.other.test.")
    dns.add("b.other.test", "TXT", client.txt_value(challenge["token"]))
    client.post(challenge["url"], {})
    assert client.poll(order.headers["Location"]).json["status"] == "ready"


def test_validation_uses_tcp_for_many_values(dns: SandboxDns, client: RawClient) -> None:
    order = client.new_order("demo.test")
    challenge = first_challenge(client, order)
    others = [f"{number:043}" for number in range(40)]
    dns.add("_acme-challenge.demo.test", "TXT", *others, client.txt_value(challenge["token"]))
    client.post(challenge["url"], {})
    assert client.poll(order.headers["Location"]).json["status"] == "ready"
    assert {query.transport for query in dns.queries} == {"udp", "tcp"}


@pytest.mark.parametrize(
    ("problem", "records", "detail"),
    [
        ("dns", {}, "NXDOMAIN"),
        ("unauthorized", {"A": "192.0.2.1"}, "no TXT record"),
        ("unauthorized", {"TXT": "stale"}, "stale"),
        ("dns", {"CNAME": "_acme-challenge.demo.test."}, "itself"),
        ("dns", {"CNAME": "example.com."}, "REFUSED"),
    ],
)
def test_failed_validation_is_final(
    dns: SandboxDns, client: RawClient, problem: str, records: dict[str, str], detail: str
) -> None:
    for rdtype, text in records.items():
        dns.add("_acme-challenge.demo.test", rdtype, text)
    order = client.new_order("demo.test", "www.demo.test")
    challenge = first_challenge(client, order)
    reply = client.post(challenge["url"], {})
    assert reply.links("up") == [order.json["authorizations"][0]]
    failed = client.poll(order.headers["Location"]).json
    assert failed["status"] == "invalid"
    assert failed["error"]["type"].endswith(f":{problem}")
    assert detail in failed["error"]["detail"]
    assert client.post(order.json["authorizations"][0]).json["status"] == "invalid"
    assert client.post(challenge["url"], {}).json["status"] == "invalid", "no second try"
    assert client.post(order.json["finalize"], {"csr": make_csr(ec_key(), ["demo.test"])}).problem == "orderNotReady"


def test_dead_name_server_is_a_dns_error(dns: SandboxDns, client: RawClient) -> None:
    dns.servfail = True
    order = client.new_order("demo.test")
    client.post(first_challenge(client, order)["url"], {})
    assert "SERVFAIL" in client.poll(order.headers["Location"]).json["error"]["detail"]


def test_dns_account_01(dns: SandboxDns, client: RawClient) -> None:
    order = client.new_order("demo.test")
    ((_, challenge),) = client.challenges(order, "dns-account-01")
    label = base64.b32encode(hashlib.sha256(client.kid.encode()).digest()[:10]).decode().lower()
    dns.add(f"_{label}._acme-challenge.demo.test", "TXT", client.txt_value(challenge["token"]))
    client.post(challenge["url"], {})
    assert client.poll(order.headers["Location"]).json["status"] == "ready"


def test_authorization_can_be_deactivated(client: RawClient) -> None:
    order = client.new_order("demo.test")
    (url,) = order.json["authorizations"]
    assert client.post(url, {"status": "valid"}).problem == "malformed"
    assert client.post(url, {"status": "deactivated"}).json["status"] == "deactivated"
    assert client.post(order.headers["Location"]).json["status"] == "invalid"


def test_other_accounts_see_nothing(ca: SandboxCa, client: RawClient, connect: Connect) -> None:
    order = client.new_order("demo.test")
    other = connect(ca)
    (authorization,) = order.json["authorizations"]
    urls = [order.headers["Location"], authorization, first_challenge(client, order)["url"]]
    assert [other.post(url).problem for url in urls] == ["unauthorized"] * 3
    assert other.post(order.json["finalize"], {"csr": "AAAA"}).problem == "unauthorized"


def test_finalize_wants_a_ready_order_and_an_exact_csr(dns: SandboxDns, client: RawClient) -> None:
    order = client.new_order("demo.test", "www.demo.test")
    names = ["demo.test", "www.demo.test"]
    assert client.post(order.json["finalize"], {"csr": make_csr(ec_key(), names)}).problem == "orderNotReady"
    assert client.solve(dns, order).json["status"] == "ready"
    broken = [
        make_csr(ec_key(), ["demo.test"]),
        make_csr(ec_key(), [*names, "more.demo.test"]),
        make_csr(ec_key(), names, common_name="evil.test"),
        make_csr(ec_key(), []),
        make_csr(client.key, names),
        make_csr(ec_key(ec.SECP521R1()), names),
        make_csr(rsa.generate_private_key(65537, 1024), names),
        "AAAA",
        _ed25519_csr(names),
        _tampered(make_csr(ec_key(), names)),
    ]
    assert [client.post(order.json["finalize"], {"csr": csr}).problem for csr in broken] == ["badCSR"] * len(broken)
    assert client.post(order.json["finalize"], {"csr": "+/="}).problem == "malformed"
    good = client.post(order.json["finalize"], {"csr": make_csr(ec_key(), names[::-1], common_name="demo.test")})
    assert (good.status, good.json["status"]) == (200, "valid")
    assert client.post(order.json["finalize"], {"csr": make_csr(ec_key(), names)}).problem == "orderNotReady"


def _ed25519_csr(names: list[str]) -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(san, critical=False)
    csr = builder.sign(key, None)
    return base64.urlsafe_b64encode(csr.public_bytes(Encoding.DER)).rstrip(b"=").decode()


def _tampered(csr: str) -> str:
    der = bytearray(base64.urlsafe_b64decode(csr + "=="))
    der[-1] ^= 1
    return base64.urlsafe_b64encode(bytes(der)).rstrip(b"=").decode()


def test_not_before_and_not_after(dns: SandboxDns, client: RawClient) -> None:
    start = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(hours=1)
    end = start + timedelta(days=3)
    wanted = {"notBefore": start.isoformat(), "notAfter": end.isoformat()}
    _, certificate = client.issue(dns, "demo.test", **wanted)
    leaf = x509.load_pem_x509_certificate(certificate.body)
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (start, end)


def test_many_clients_at_once(ca: SandboxCa, dns: SandboxDns, connect: Connect) -> None:
    failures: list[BaseException] = []
    clients = [connect(ca) for _ in range(4)]

    def work(client: RawClient, number: int) -> None:
        try:
            names = [f"n{number}-{name}.demo.test" for name in range(5)]
            done, certificate = client.issue(dns, *names)
            assert done.json["status"] == "valid"
            assert certificate.status == 200
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(client, number)) for number, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_time_is_a_parameter(make_ca: Callable[..., SandboxCa], dns: SandboxDns, connect: Connect) -> None:
    now = datetime(2031, 5, 1, tzinfo=timezone.utc)
    ca = make_ca(now=lambda: now)
    client = connect(ca)
    _, certificate = client.issue(dns, "demo.test")
    assert x509.load_pem_x509_certificate(certificate.body).not_valid_before_utc == now
    pending, ready = client.new_order("demo.test"), client.new_order("www.demo.test")
    assert client.solve(dns, ready).json["status"] == "ready"
    now += timedelta(days=8)
    assert [client.post(order.headers["Location"]).json["status"] for order in (pending, ready)] == ["invalid"] * 2
    states = [client.post(order.json["authorizations"][0]).json["status"] for order in (pending, ready)]
    assert states == ["invalid", "expired"]
    (_, challenge), *_ = client.challenges(pending)
    assert client.post(challenge["url"], {}).json["status"] == "pending", "an expired authorization is not validated"
