"""The misfortunes that later tests plan."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509

from ci_acme.sandbox import Sandbox, SandboxCa, SandboxDns
from ci_acme.sandbox.faults import Faults, Flaw
from tests.sandbox.raw_client import RawClient, eab, ec_key, make_csr

Connect = Callable[..., RawClient]
CUT = (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)


@pytest.mark.parametrize("percent", [0, 5, 50, 100])
def test_bad_nonces_come_as_often_as_wanted_and_repeatably(percent: int) -> None:
    def draw(seed: int) -> list[bool]:
        faults = Faults(seed=seed)
        faults.bad_nonce_percent = percent
        return [faults.spoils_nonce() for _ in range(2000)]

    assert draw(1) == draw(1)
    assert percent in (0, 100) or draw(1) != draw(2)
    assert abs(sum(draw(1)) - 20 * percent) <= 100


def test_a_bad_nonce_comes_with_a_good_one(ca: SandboxCa, client: RawClient) -> None:
    ca.faults.bad_nonce_percent = 100
    assert client.post(client.kid).problem == "badNonce"
    ca.faults.bad_nonce_percent = 0
    assert client.post(client.kid).status == 200


def test_rate_limit_on_one_kind_of_path(ca: SandboxCa, client: RawClient) -> None:
    ca.faults.rate_limit("newOrder", times=2, retry_after=7)
    assert client.post(client.kid).status == 200
    for _ in range(2):
        reply = client.new_order("demo.test")
        assert (reply.status, reply.problem, reply.headers["Retry-After"]) == (429, "rateLimited", "7")
    assert client.new_order("demo.test").status == 201
    assert ca.log.counts([429]) == {"newOrder": 2}


def test_unavailable_is_html_without_a_nonce(ca: SandboxCa, client: RawClient) -> None:
    ca.faults.unavailable(times=1, retry_after="Wed, 21 Oct 2037 07:28:00 GMT")
    nonce = client.fresh_nonce()
    reply = client.post(client.kid, nonce=nonce)
    assert (reply.status, reply.headers["Replay-Nonce"], reply.headers["Content-Type"]) == (503, None, "text/html")
    assert reply.headers["Retry-After"].startswith("Wed")
    assert client.post(client.kid, nonce=nonce).status == 200, "the nonce was not used up"


def test_cut_before_and_after(ca: SandboxCa, client: RawClient) -> None:
    ca.faults.cut_before("newOrder")
    with pytest.raises(CUT):
        client.new_order("demo.test")
    assert client.post(f"{client.kid}/orders").json["orders"] == []
    ca.faults.cut_after("newOrder")
    with pytest.raises(CUT):
        client.new_order("demo.test")
    assert len(client.post(f"{client.kid}/orders").json["orders"]) == 1
    assert [entry.status for entry in ca.log.entries if entry.kind == "newOrder"] == [0, 0]


def test_slow_answers_combine_with_others(ca: SandboxCa, client: RawClient) -> None:
    ca.faults.slow("account", seconds=0.2)
    ca.faults.rate_limit("account")
    ca.faults.unavailable("account")
    for status in (429, 503, 200):
        started = time.monotonic()
        assert client.post(client.kid).status == status
        assert time.monotonic() - started >= 0.2
    ca.faults.clear()
    assert client.post(client.kid).status == 200


def test_hang_ends_with_the_ca(make_ca: Callable[..., SandboxCa], dns: SandboxDns, tmp_path: object) -> None:
    ca = make_ca()
    client = RawClient(ca.directory_url, ca.ca_bundle)
    ca.faults.hang("newNonce")
    outcome: list[object] = []

    def ask() -> None:
        try:
            outcome.append(client.fresh_nonce())
        except CUT as error:
            outcome.append(type(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(timeout=0.2)
    assert thread.is_alive()
    assert not outcome
    ca.__exit__(None, None, None)
    thread.join(timeout=5)
    assert outcome
    assert isinstance(outcome[0], type)
    client.close()


def test_processing_order(ca: SandboxCa, dns: SandboxDns, client: RawClient) -> None:
    ca.faults.processing_seconds = 0.3
    order = client.new_order("demo.test")
    client.solve(dns, order)
    reply = client.post(order.json["finalize"], {"csr": make_csr(ec_key(), ["demo.test"])})
    assert (reply.json["status"], reply.headers["Retry-After"]) == ("processing", "1")
    assert "certificate" not in reply.json
    done = client.poll(order.headers["Location"], until=("valid",))
    assert client.post(done.json["certificate"]).status == 200


def test_retry_after_while_polling(ca: SandboxCa, client: RawClient) -> None:
    ca.faults.polling_retry_after = 4
    order = client.new_order("demo.test")
    replies = [order, client.post(order.headers["Location"]), client.post(order.json["authorizations"][0])]
    assert [reply.headers["Retry-After"] for reply in replies] == ["4"] * 3


def test_orders_born_ready(ca: SandboxCa, dns: SandboxDns, client: RawClient) -> None:
    ca.faults.authorizations_valid = True
    order = client.new_order("demo.test", "*.demo.test")
    assert order.json["status"] == "ready"
    done = client.post(order.json["finalize"], {"csr": make_csr(ec_key(), ["demo.test", "*.demo.test"])})
    assert done.json["status"] == "valid"
    assert not dns.queries


def test_challenge_stays_pending_with_an_error_until_it_is_answered_again(
    ca: SandboxCa, dns: SandboxDns, client: RawClient
) -> None:
    ca.faults.pending_errors = 1
    order = client.new_order("demo.test")
    ((_, challenge),) = client.challenges(order)
    dns.add("_acme-challenge.demo.test", "TXT", client.txt_value(challenge["token"]))
    client.post(challenge["url"], {})
    state = client.poll(challenge["url"], until=("pending", "valid", "invalid")).json
    assert (state["status"], state["error"]["type"].rpartition(":")[2]) == ("pending", "dns")
    assert client.post(order.headers["Location"]).json["status"] == "pending"
    client.post(challenge["url"], {})
    assert client.poll(order.headers["Location"]).json["status"] == "ready"
    assert "error" not in client.post(challenge["url"]).json


def test_validation_can_take_its_time(ca: SandboxCa, dns: SandboxDns, client: RawClient) -> None:
    ca.faults.validation_seconds = 0.3
    order = client.new_order("demo.test")
    ((_, challenge),) = client.challenges(order)
    for _ in range(3):
        assert client.post(challenge["url"], {}).json["status"] == "processing"
    assert not dns.queries
    dns.add("_acme-challenge.demo.test", "TXT", client.txt_value(challenge["token"]))
    assert client.poll(order.headers["Location"]).json["status"] == "ready"
    ca.__exit__(None, None, None)  # waits for the validations under way
    assert len(dns.queries) == 1, "however often it was answered"


def issue_flawed(sandbox_ca: SandboxCa, dns: SandboxDns, client: RawClient, flaw: Flaw | None) -> tuple[object, bytes]:
    sandbox_ca.faults.flaw = flaw
    key = ec_key()
    _, reply = client.issue(dns, "demo.test", key=key)
    return key.public_key(), reply.body


def test_flawed_certificates_have_their_one_flaw(ca: SandboxCa, dns: SandboxDns, client: RawClient) -> None:
    for flaw in (None, *Flaw):
        key, body = issue_flawed(ca, dns, client, flaw)
        first, *rest = body.decode().split("-----END CERTIFICATE-----\n")
        leaf = x509.load_pem_x509_certificate(first.encode() + b"-----END CERTIFICATE-----\n")
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert (leaf.public_key() != key) == (flaw is Flaw.OTHER_KEY)
        assert (names.get_values_for_type(x509.DNSName) != ["demo.test"]) == (flaw is Flaw.OTHER_NAMES)
        assert (leaf.not_valid_after_utc < datetime.now(timezone.utc)) == (flaw is Flaw.EXPIRED)
        assert ("BEGIN EC PARAMETERS" in body.decode()) == (flaw is Flaw.EXTRA_BLOCK)
        second = (rest[0] + "-----END CERTIFICATE-----\n").encode()
        if flaw is Flaw.GARBAGE_CHAIN:
            with pytest.raises(ValueError, match=r"ASN\.1|parsing"):
                x509.load_pem_x509_certificate(second)
        else:
            signed = leaf.issuer == x509.load_pem_x509_certificate(second).subject
            assert signed == (flaw is not Flaw.FOREIGN_CHAIN)


def test_refused_profile_and_changed_terms(ca: SandboxCa, client: RawClient) -> None:
    ca.faults.refuse_profiles = True
    assert client.new_order("demo.test", profile="classic").problem == "invalidProfile"
    assert client.new_order("demo.test").status == 201
    ca.faults.terms_changed = True
    reply = client.new_order("demo.test")
    assert (reply.status, reply.problem) == (403, "userActionRequired")
    assert reply.links("terms-of-service") == [client.directory["meta"]["termsOfService"]] == [reply.json["instance"]]


def test_renewal_info_overrides(ca: SandboxCa, dns: SandboxDns, client: RawClient) -> None:
    from tests.sandbox.test_certificates import ari_id, chain_of

    url = f"{client.directory['renewalInfo']}/{ari_id(chain_of(client.issue(dns, 'demo.test')[1])[0])}"
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)
    ca.faults.renewal_window = (now, now + timedelta(hours=1))
    ca.faults.renewal_explanation = "https://example.com/why"
    ca.faults.renewal_retry_after = None
    reply = client.request("GET", url)
    assert reply.json == {
        "suggestedWindow": {"start": "2030-01-01T00:00:00Z", "end": "2030-01-01T01:00:00Z"},
        "explanationURL": "https://example.com/why",
    }
    assert reply.headers["Retry-After"] is None


def test_a_fault_on_no_kind_of_path_is_a_mistake_of_the_test() -> None:
    with pytest.raises(ValueError, match="newOrder"):
        Faults().cut_before("new-order")


def test_log_has_every_request_in_order(sandbox: Sandbox, connect: Connect) -> None:
    client = connect(sandbox.ca)
    client.new_order("demo.test")
    log = sandbox.ca.log
    assert [(entry.method, entry.kind, entry.status) for entry in log.entries] == [
        ("GET", "directory", 200),
        ("HEAD", "newNonce", 200),
        ("POST", "newAccount", 201),
        ("POST", "newOrder", 201),
    ]
    log.clear()
    assert not log.counts()


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_key_change_that_is_advertised_and_not_there(ca: SandboxCa, client: RawClient, status: int) -> None:
    ca.faults.key_change_status = status
    assert "keyChange" in client.directory
    assert client.post(client.directory["keyChange"], {}).status == status
    assert client.post(client.kid).status == 200


def test_a_directory_without_a_member(ca: SandboxCa, connect: Connect) -> None:
    ca.faults.hidden = frozenset({"keyChange", "revokeCert"})
    directory = connect(ca).directory
    assert {"keyChange", "revokeCert"}.isdisjoint(directory)
    assert {"newOrder", "meta"} <= set(directory)


def test_a_binding_for_one_account(make_ca: Callable[..., SandboxCa], connect: Connect) -> None:
    key = b"0123456789abcdef0123456789abcdef"
    ca = make_ca(external_accounts={"kid-1": key}, external_account_required=True)
    ca.faults.bindings_once = True

    def bind(client: RawClient) -> int:
        binding = eab("kid-1", key, client.directory["newAccount"], client.key)
        return client.register(externalAccountBinding=binding).status

    first, second = connect(ca, register=False), connect(ca, register=False)
    assert bind(first) == 201
    assert bind(second) == 403
    assert bind(first) == 200  # the account that it has
