"""The whole flow against a real CA."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

import pytest
from cryptography import x509

from ci_acme.ca.account import ExternalAccount
from ci_acme.ca.http import RequestRecord
from ci_acme.ca.inspect import describe, key_matches, split_pem
from ci_acme.ca.keys import LocalSigner, generate_key, key_to_pem, parse_hmac_key
from ci_acme.ca.order import Issued, OrderRequest, obtain, resume
from ci_acme.errors import AccountError, ChallengeFailed, Interrupted, OrderRefused
from ci_acme.model.material import KeyType
from ci_acme.model.names import challenge_name
from ci_acme.model.secret import Secret
from tests.ca.conftest import EAB_KEY
from tests.ca.support import NoDns, Session
from tests.servers.pebble import Pebble
from tests.servers.ports import free_port

pytestmark = pytest.mark.servers

Open = Callable[..., Session]
Start = Callable[..., Pebble]


def issue(session: Session, *names: str, **more: object) -> tuple[Issued, NoDns, OrderRequest]:
    request = OrderRequest(names, more.pop("key", None) or generate_key(), profile="default")  # type: ignore[arg-type]
    solver = NoDns()
    orders: list[str] = []
    issued = obtain(session.client, request, solver, scope=session.scope(), on_order=orders.append)
    assert orders == [issued.order_url]
    assert len(solver.cleanups) == 1
    return issued, solver, request


def name_set(count: int, stem: str) -> tuple[str, ...]:
    return tuple(f"n{number}.{stem}.example.com" for number in range(count))


@pytest.mark.parametrize("reject", [0, 5, 50])
@pytest.mark.parametrize("count", [1, 2, 10, 100])
def test_issues_for_any_number_of_names_whatever_nonces_are_rejected(
    count: int, reject: int, rejecting: dict[int, Pebble], open_session: Open
) -> None:
    session = open_session(rejecting[reject])
    names = ("*.two.example.com", "two.example.com") if count == 2 else name_set(count, f"r{reject}")
    issued, solver, request = issue(session, *names)
    leaf = x509.load_pem_x509_certificate(issued.certificate_pem)
    assert key_matches(key_to_pem(request.key), issued.certificate_pem)
    assert issued.facts.names == tuple(sorted(names))
    assert issued.facts == describe(issued.certificate_pem)
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(split_pem(issued.chain_pem)[0]))
    assert solver.prepared == sorted({challenge_name(name) for name in names})
    assert {challenge.identifier for challenge in solver.solved} == set(names)
    assert sum(issued.requests.values()) >= len(session.records)
    if reject == 0:
        extra_nonces = issued.requests.get("nonce", 0)
        assert len(session.records) - extra_nonces <= 2 * count + 7
        assert extra_nonces <= 8
    assert session.warnings() == []


def test_fifty_runs_with_half_of_the_nonces_rejected_make_fifty_orders(
    rejecting: dict[int, Pebble], open_session: Open
) -> None:
    session = open_session(rejecting[50])
    issued = [issue(session, f"n{number}.fifty.example.com")[0] for number in range(50)]
    assert len({one.facts.serial for one in issued}) == 50
    answers = [record.status for record in session.records if record.url.endswith("/order-plz")]
    assert answers.count(201) == 50
    assert answers.count(400) > 5
    assert set(answers) == {201, 400}
    finalized = [record.status for record in session.records if "/finalize-order/" in record.url]
    assert finalized.count(200) == 50
    assert session.warnings() == []


def test_wildcard_and_apex_share_a_challenge_name(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    _, solver, _ = issue(session, "*.w.example.com", "w.example.com")
    assert [challenge.name for challenge in solver.solved] == ["_acme-challenge.w.example.com"] * 2
    assert len({challenge.value for challenge in solver.solved}) == 2


def test_a_ready_order_takes_six_requests_and_no_dns(reusing_pebble: Pebble, open_session: Open) -> None:
    signer = LocalSigner(generate_key())
    first = open_session(reusing_pebble, signer)
    names = name_set(10, "ready")
    issue(first, *names)
    second = open_session(reusing_pebble, signer, register=False)
    assert first.client.account is not None
    second.client.use_account(first.client.account)
    issued, solver, _ = issue(second, *names)
    assert [record.method for record in second.records] == ["GET", "HEAD", "POST", "POST", "POST", "POST"]
    assert issued.requests == {"directory": 1, "nonce": 1, "order": 2, "finalize": 1, "certificate": 1}
    assert solver.solved == []
    assert len(solver.cleanups) == 1


def test_authorizations_that_are_valid_already_are_skipped(reusing_pebble: Pebble, open_session: Open) -> None:
    session = open_session(reusing_pebble)
    issue(session, "one.skip.example.com")
    _, solver, _ = issue(session, "one.skip.example.com", "two.skip.example.com")
    assert [challenge.identifier for challenge in solver.solved] == ["two.skip.example.com"]


@pytest.mark.parametrize("key_type", list(KeyType))
def test_every_key_type(key_type: KeyType, pebble: Pebble, open_session: Open) -> None:
    issued, _, _ = issue(open_session(pebble), "key.example.com", key=generate_key(key_type))
    assert issued.facts.key_type is key_type


@pytest.mark.parametrize("key_type", [KeyType.EC_P384, KeyType.RSA_2048])
def test_account_keys_of_other_types(key_type: KeyType, pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble, LocalSigner(generate_key(key_type)))
    issue(session, "account-key.example.com")


def test_the_account_key_is_no_certificate_key(pebble: Pebble, open_session: Open) -> None:
    key = generate_key()
    session = open_session(pebble, LocalSigner(key))
    with pytest.raises(AccountError, match="must not be the key of a certificate"):
        issue(session, "same-key.example.com", key=key)
    assert session.records == []


# accounts


def test_account_lookup(pebble: Pebble, open_session: Open) -> None:
    signer = LocalSigner(generate_key())
    session = open_session(pebble, signer, register=False)
    assert session.client.find_account(session.scope()) is None
    url = session.client.register(session.scope(), contact=["ops@example.com"], terms_agreed=True)
    assert session.client.account == url
    again = open_session(pebble, signer, register=False)
    assert again.client.find_account(again.scope()) == url
    assert again.client.register(again.scope(), terms_agreed=True) == url


def test_a_wrong_remembered_account_is_looked_up_once(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    right = session.client.account
    assert right is not None
    session.client.use_account(f"{right}0")
    issued, _, _ = issue(session, *name_set(10, "wrong-account"))
    assert session.client.account == right
    assert issued.requests["account"] == 1


def test_a_key_without_account_is_an_account_error(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble, register=False)
    with pytest.raises(AccountError, match="has no account at") as raised:
        issue(session, "nobody.example.com")
    assert "--allow-new-account" in raised.value.fix


def test_terms_are_never_agreed_to_by_default(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble, register=False)
    with pytest.raises(AccountError, match="terms of service") as raised:
        session.client.register(session.scope())
    assert "agree_terms" in raised.value.fix
    assert [record.method for record in session.records] == ["GET"]


def test_external_account_binding(start_pebble: Start, open_session: Open) -> None:
    pebble = start_pebble(eab={"kid-1": EAB_KEY})
    session = open_session(pebble, register=False)
    client = session.client
    with pytest.raises(AccountError, match="wants an external account"):
        client.register(session.scope(), terms_agreed=True)
    wrong = ExternalAccount("kid-1", parse_hmac_key(Secret(b"A" * 64), "env:X"))
    with pytest.raises(AccountError) as raised:
        client.register(session.scope(), terms_agreed=True, external=wrong)
    assert "external_account" in raised.value.fix
    # As it may be pasted: the other alphabet, padded, with white space.
    pasted = EAB_KEY.replace("-", "+").replace("_", "/") + "==\n"
    right = ExternalAccount("kid-1", parse_hmac_key(Secret(pasted.encode()), "env:X"))
    assert "zWND" not in repr(right)
    client.register(session.scope(), terms_agreed=True, external=right)
    issue(session, "eab.example.com")


# orders


def test_profiles(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    request = OrderRequest(("profile.example.com",), generate_key(), profile="shortlived")
    issued = obtain(session.client, request, NoDns(), scope=session.scope(), on_order=lambda url: None)
    assert issued.facts.not_after - issued.facts.not_before < dt.timedelta(days=7)
    made = len(session.records)
    unknown = OrderRequest(("profile.example.com",), generate_key(), profile="forever")
    with pytest.raises(OrderRefused, match="does not offer the profile 'forever'") as raised:
        obtain(session.client, unknown, NoDns(), scope=session.scope(), on_order=lambda url: None)
    assert "shortlived (six days)" in raised.value.fix
    assert len(session.records) == made


def test_a_validity_that_was_asked_for(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    start = session.clock.now().replace(microsecond=0)
    end = start + dt.timedelta(days=3)
    request = OrderRequest(("dates.example.com",), generate_key(), not_before=start, not_after=end)
    issued = obtain(session.client, request, NoDns(), scope=session.scope(), on_order=lambda url: None)
    assert (issued.facts.not_before, issued.facts.not_after) == (start, end)


def test_a_refused_name_is_said(pebble: Pebble, open_session: Open) -> None:
    with pytest.raises(OrderRefused, match="blocked-domain") as raised:
        issue(open_session(pebble), "www.blocked-domain.example")
    assert raised.value.details["problem"]["type"].endswith("rejectedIdentifier")


def test_replaces(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    names = ("replaces.example.com",)
    first, _, _ = issue(session, *names)
    while pebble.misses_certid(int(first.facts.serial, 16)):
        first, _, _ = issue(session, *names)
    renewal = OrderRequest(names, generate_key(), replaces=first.facts.ari_id)
    obtain(session.client, renewal, NoDns(), scope=session.scope(), on_order=lambda url: None)
    assert session.warnings() == []
    # The CA knows now that it was replaced, and one warning is all that a second replacement costs.
    again = OrderRequest(names, generate_key(), replaces=first.facts.ari_id)
    obtain(session.client, again, NoDns(), scope=session.scope(), on_order=lambda url: None)
    assert len(session.warnings()) == 1
    assert "already has a replacement" in session.warnings()[0]


def test_an_unknown_predecessor_fails_nothing(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    request = OrderRequest(("unknown.example.com",), generate_key(), replaces="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
    obtain(session.client, request, NoDns(), scope=session.scope(), on_order=lambda url: None)
    assert len(session.warnings()) == 1


def test_preferred_chain(reusing_pebble: Pebble, open_session: Open) -> None:
    session = open_session(reusing_pebble)
    default, _, _ = issue(session, "chain.example.com")
    url = session.client.order(session.scope(), default.order_url).certificate
    assert url is not None
    alternates = session.client.certificate(session.scope(), url).alternates
    assert len(alternates) == 2
    other = session.client.certificate(session.scope(), alternates[1])
    wanted = x509.load_pem_x509_certificate(split_pem(other.pem)[-1]).issuer
    common_name = wanted.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)[0].value
    request = OrderRequest(("chain.example.com",), generate_key(), preferred_chain=str(common_name))
    issued = obtain(session.client, request, NoDns(), scope=session.scope(), on_order=lambda url: None)
    top = x509.load_pem_x509_certificate(split_pem(issued.chain_pem)[-1])
    assert top.issuer == wanted
    assert issued.requests["certificate"] == 3
    missing = OrderRequest(("chain.example.com",), generate_key(), preferred_chain="No Such Root")
    obtain(session.client, missing, NoDns(), scope=session.scope(), on_order=lambda url: None)
    assert "No Such Root" in session.warnings()[0]


def test_renewal_information(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    issued, _, _ = issue(session, "ari.example.com")
    assert issued.facts.ari_id is not None
    answer = session.client.renewal_info(session.scope(), issued.facts.ari_id)
    assert answer is not None
    url, reply = answer
    assert url.endswith(issued.facts.ari_id)
    assert issued.facts.not_before < reply.start < reply.end < issued.facts.not_after
    assert reply.retry_after_seconds == 6 * 3600


# interrupted runs


def test_resume_of_a_ready_and_of_a_valid_order(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    request = OrderRequest(("*.resume.example.com", "resume.example.com"), generate_key(), profile="default")
    orders: list[str] = []

    class Crash(Exception):
        pass

    def crash(url: str) -> None:
        orders.append(url)
        raise Crash

    solver = NoDns()
    with pytest.raises(Crash):
        obtain(session.client, request, solver, scope=session.scope(), on_order=crash)
    assert len(solver.cleanups) == 1
    issued = resume(session.client, orders[0], request, scope=session.scope())
    assert issued is not None
    assert issued.facts.names == ("*.resume.example.com", "resume.example.com")
    again = resume(session.client, orders[0], request, scope=session.scope())
    assert again is not None
    assert again.certificate_pem == issued.certificate_pem


def test_resume_of_what_cannot_be_used(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    issued, _, request = issue(session, "mine.example.com")
    stranger = open_session(pebble)
    assert resume(stranger.client, issued.order_url, request, scope=stranger.scope()) is None
    assert resume(session.client, f"{issued.order_url}x", request, scope=session.scope()) is None
    other_key = OrderRequest(request.names, generate_key())
    assert resume(session.client, issued.order_url, other_key, scope=session.scope()) is None
    other_names = OrderRequest(("other.example.com",), request.key)
    assert resume(session.client, issued.order_url, other_names, scope=session.scope()) is None
    pending = session.client.new_order(session.scope(), ["pending.example.com"])
    unproven = OrderRequest(("pending.example.com",), generate_key())
    assert resume(session.client, pending.url, unproven, scope=session.scope()) is None


def test_a_failed_validation_says_what_the_ca_saw(start_pebble: Start, open_session: Open) -> None:
    session = open_session(start_pebble(dns_server=f"127.0.0.1:{free_port()}"))
    with pytest.raises(ChallengeFailed, match=r"f\d\.example\.com: ") as raised:
        issue(session, "f1.example.com", "f2.example.com")
    failed = raised.value.details["challenges"]
    assert {item["identifier"] for item in failed} <= {"f1.example.com", "f2.example.com"}
    assert all(item["problem"]["detail"] in raised.value.message for item in failed)


@pytest.mark.parametrize("after", ["order-plz", "authZ", "chalZ", "my-order"])
def test_a_stopped_run_ends_at_once_and_cleans_up(after: str, pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    clock = session.clock

    def stop(record: RequestRecord) -> None:
        if after in record.url:
            clock.stop()
            session.pool.abort()

    session.pool._observe = stop
    solver = NoDns()
    request = OrderRequest(name_set(20, "stopped"), generate_key())
    with pytest.raises(Interrupted):
        obtain(session.client, request, solver, scope=session.scope(), on_order=lambda url: None)
    assert len(solver.cleanups) == 1


def test_many_certificates_side_by_side_share_one_client(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    issued: dict[int, Issued] = {}

    def work(number: int) -> None:
        issued[number] = issue(session, f"n{number}.side.example.com")[0]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(issued) == list(range(20))
    assert sum(sum(one.requests.values()) for one in issued.values()) == len(session.records)
    assert sum(record.method == "HEAD" for record in session.records) <= 8
