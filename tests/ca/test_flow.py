"""What the engine makes of replies that a real CA gives rarely or never."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.http import Headers, HttpResponse
from ci_acme.ca.keys import LocalSigner, generate_key
from ci_acme.ca.order import Issued, OrderRequest, obtain, resume
from ci_acme.ca.problems import PREFIX
from ci_acme.ca.trouble import StaleConnection, TlsFailure
from ci_acme.errors import (
    AccountError,
    CaError,
    CaProtocolError,
    CaTimeout,
    CaUnreachable,
    CertificateRejected,
    ChallengeFailed,
    CiAcmeError,
    ConfigError,
    Interrupted,
    OrderRefused,
    RateLimited,
)
from ci_acme.model.events import Waiting
from ci_acme.ports import Challenge, Deadline
from tests.ca.support import BASE, Fake, FakeCa, FakeClock, Issuer, NoDns, fake, problem, response

NAMES = ("a.example.com", "b.example.com", "*.b.example.com")
KEY = generate_key()
LOST = CaUnreachable("connection reset")


def issue(world: Fake, *names: str, seconds: float = 300, solver: NoDns | None = None, **more: Any) -> Issued:
    request = OrderRequest(names or NAMES, KEY, **more)
    solver = solver or NoDns()
    try:
        return obtain(world.client, request, solver, scope=world.scope(seconds), on_order=lambda url: None)
    finally:
        assert len(solver.cleanups) == 1


def lose(reply: HttpResponse) -> HttpResponse:
    """The CA did what was asked, and the reply never came."""
    raise CaUnreachable("connection reset")


def test_the_least_requests() -> None:
    world = fake()
    issued = issue(world)
    assert sorted(issued.facts.names) == sorted(NAMES)
    kinds = world.ca.kinds()
    assert kinds[:3] == ["dir", "nonce", "order"]
    assert kinds.count("authz") == kinds.count("chall") == 3
    assert kinds[-4:] == ["poll", "finalize", "poll", "cert"]
    assert sum(issued.requests.values()) == len(kinds)


def test_a_finalize_reply_that_is_valid_already_is_used() -> None:
    world = fake(valid_authorizations=True)

    def done(reply: HttpResponse) -> HttpResponse:
        world.ca.status = "valid"
        return response(200, world.ca._order_document())

    world.ca.script["finalize"] = [done]
    issue(world)
    assert world.ca.kinds() == ["dir", "nonce", "order", "finalize", "cert"]


# lost replies: what was asked has happened, and is asked again


@pytest.mark.parametrize("kind", ["dir", "nonce", "order", "authz", "chall", "poll", "finalize", "cert"])
@pytest.mark.parametrize("trouble", ["lost", "stale", "503", "502-html"])
def test_every_request_survives_trouble(kind: str, trouble: str) -> None:
    world = fake()
    troubles: dict[str, Any] = {
        "lost": lose,
        "stale": StaleConnection("closed"),
        "503": response(503, Retry_After="1"),
        "502-html": HttpResponse(502, Headers([("Content-Type", "text/html")]), b"<html>bad gateway"),
    }
    world.ca.script[kind] = [troubles[trouble]] * 2
    issued = issue(world)
    assert len(issued.facts.names) == 3
    assert world.ca.kinds().count(kind) >= 3


def test_a_lost_reply_of_finalize_is_looked_into_not_failed() -> None:
    world = fake(valid_authorizations=True)
    world.ca.script["finalize"] = [lose]
    issue(world)
    # The second finalize is refused as orderNotReady, and the order tells what is going on.
    assert world.ca.kinds().count("finalize") == 2
    assert world.ca.orders == 1


def test_a_lost_reply_of_a_challenge_costs_one_look() -> None:
    world = fake()
    world.ca.script["chall"] = [lose]
    issue(world)
    assert world.ca.kinds().count("chall") == 4
    assert world.ca.kinds().count("authz") == 4


def test_a_refused_answer_is_an_error() -> None:
    world = fake()
    world.ca.script["chall"] = [problem("malformed", 400, "odd key authorization")]
    with pytest.raises(OrderRefused, match="odd key authorization"):
        issue(world)


def test_backoff_grows_and_ends() -> None:
    world = fake()
    world.ca.script["order"] = [LOST] * 99
    with pytest.raises(CaUnreachable, match="reset"):
        issue(world)
    assert world.ca.kinds().count("order") == 6
    assert 7.75 <= sum(world.clock.sleeps) <= 7.75 * 1.5
    assert len(world.warnings()) == 5


def test_a_tls_failure_is_not_repeated() -> None:
    world = fake()
    world.ca.script["dir"] = [TlsFailure("not trusted")]
    with pytest.raises(TlsFailure):
        issue(world)
    assert world.ca.kinds() == ["dir"]


def test_the_deadline_bounds_everything() -> None:
    world = fake(validation_polls=10**6)
    with pytest.raises(CaTimeout, match="validation"):
        issue(world, seconds=40)
    assert sum(world.clock.sleeps) == pytest.approx(40, abs=5)
    waits = [event for event in world.events if isinstance(event, Waiting)]
    assert [wait.seconds for wait in waits] == sorted(wait.seconds for wait in waits)
    assert len(waits) > 5
    assert {(wait.where, wait.what) for wait in waits} == {("ca.example", "the validation of the names")}


def test_polls_start_at_once_and_slow_down() -> None:
    world = fake(validation_polls=20)
    issue(world)
    polls = world.clock.sleeps[:20]
    assert max(polls) == 3.0
    assert polls[0] < 0.05
    assert all(later <= 1.41 * earlier for earlier, later in pairwise(polls))


def test_retry_after_of_a_processing_order_wins() -> None:
    world = fake(valid_authorizations=True, processing_polls=2)

    def later(reply: HttpResponse) -> HttpResponse:
        return HttpResponse(reply.status, Headers([("Retry-After", "4")]), reply.body)

    world.ca.script["finalize"] = [later]
    issue(world)
    assert world.clock.sleeps[0] == 4.0
    assert world.clock.sleeps[1] < 0.1


def test_a_retry_after_of_a_day_is_cut() -> None:
    world = fake(valid_authorizations=True)
    world.ca.script["finalize"] = [
        lambda reply: HttpResponse(reply.status, Headers([("Retry-After", "86400")]), reply.body)
    ]
    issue(world)
    assert sum(world.clock.sleeps) <= 60


# nonces


def test_the_nonce_of_the_rejecting_reply_is_the_next_one() -> None:
    world = fake()
    world.ca.script["order"] = [problem("badNonce", 400)] * 30
    issue(world)
    assert world.ca.kinds().count("nonce") <= 4  # no more for a rejection
    assert world.ca.kinds().count("order") == 31


def test_a_ca_that_rejects_every_nonce_is_given_up() -> None:
    world = fake()
    world.ca.script["order"] = [problem("badNonce", 400)] * 99
    with pytest.raises(CaProtocolError, match="nonces in a row"):
        issue(world)


@pytest.mark.parametrize("garbage", ["", "with space", "pad==", "ünï", "x" * 5000])
def test_an_invalid_replay_nonce_is_ignored(garbage: str) -> None:
    world = fake(valid_authorizations=True)
    world.ca.script["order"] = [
        lambda reply: HttpResponse(
            reply.status,
            Headers([("Location", f"{BASE}/order/1"), ("Replay-Nonce", garbage)]),
            reply.body,
        )
    ]
    issue(world)
    assert world.ca.kinds().count("nonce") == 2


def test_no_nonce_at_all_is_a_protocol_error() -> None:
    world = fake()
    world.ca.script["nonce"] = [response(200, Replay_Nonce="not a nonce")]
    with pytest.raises(CaProtocolError, match="no valid nonce"):
        issue(world)


# rate limits


def test_a_rate_limit_has_the_time_at_which_it_ends() -> None:
    world = fake()
    world.ca.script["order"] = [problem("rateLimited", 429, "too many", {"Retry-After": "3600"})]
    with pytest.raises(RateLimited, match="too many") as raised:
        issue(world)
    at = dt.datetime.fromisoformat(raised.value.details["retry_at"].replace("Z", "+00:00"))
    assert (at - world.clock.now()).total_seconds() == pytest.approx(3600, abs=2)
    assert raised.value.details["retry_at"] in raised.value.fix
    assert world.clock.sleeps == []


def test_a_rate_limit_without_problem_and_time() -> None:
    world = fake()
    world.ca.script["order"] = [HttpResponse(429, Headers(), b"slow down")]
    with pytest.raises(RateLimited) as raised:
        issue(world)
    assert "retry_at" not in raised.value.details
    assert world.ca.kinds().count("order") == 1


def test_the_time_in_the_text_of_lets_encrypt() -> None:
    world = fake()
    text = "too many certificates (5) already issued, retry after 2027-02-03 04:05:06 UTC: see the docs"
    world.ca.script["order"] = [problem("rateLimited", 429, text)]
    with pytest.raises(RateLimited) as raised:
        issue(world)
    assert raised.value.details["retry_at"] == "2027-02-03T04:05:06Z"


def test_a_short_retry_after_is_sat_out() -> None:
    world = fake()
    world.ca.script["order"] = [problem("rateLimited", 429, "busy", {"Retry-After": "20"})]
    issue(world)
    assert sum(world.clock.sleeps[:4]) == pytest.approx(20)
    assert "trying again in 20.0 s" in world.warnings()[0]


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    world = fake()
    world.ca.script["order"] = [response(503, Retry_After="50")]
    with pytest.raises(CaUnreachable) as raised:
        issue(world, seconds=30)
    assert world.clock.sleeps == []
    assert "run again after" in raised.value.fix


def test_the_limit_on_nonce_requests_is_honoured() -> None:
    world = fake()
    world.ca.script["nonce"] = [response(503, Retry_After="7")]
    issue(world)
    assert 7.0 in [pytest.approx(sum(world.clock.sleeps[:2]))]


# refusals


@pytest.mark.parametrize(
    ("kind", "expected", "hint"),
    [
        ("externalAccountRequired", AccountError, "external_account"),
        ("caa", OrderRefused, "CAA record"),
        ("rejectedIdentifier", OrderRefused, "another CA"),
        ("unsupportedIdentifier", OrderRefused, "another CA"),
        ("invalidProfile", OrderRefused, "profile"),
        ("malformed", OrderRefused, "reason"),
        ("unauthorized", OrderRefused, "account"),
        ("badPublicKey", AccountError, "account key"),
        ("compound", CaError, "reason"),
    ],
)
def test_problems_become_errors(kind: str, expected: type[CiAcmeError], hint: str) -> None:
    world = fake()
    sub = {"type": PREFIX + kind, "detail": "this one", "identifier": {"type": "dns", "value": "b.example.com"}}
    world.ca.script["order"] = [problem(kind, 403, "will not", subproblems=[sub], instance="https://ca.example/why")]
    with pytest.raises(
        expected, match=r"ca\.example refused to make the order: will not \(b\.example\.com: this one\)"
    ) as raised:
        issue(world)
    assert hint in raised.value.fix
    assert raised.value.details["problem"]["subproblems"][0]["identifier"] == "b.example.com"
    assert raised.value.details["problem"]["instance"] == "https://ca.example/why"


def test_an_action_of_a_person_names_the_page() -> None:
    world = fake()
    page = "https://ca.example/terms/2"
    world.ca.script["order"] = [problem("userActionRequired", 403, "new terms", instance=page)]
    with pytest.raises(AccountError) as raised:
        issue(world)
    assert page in raised.value.fix


def test_a_page_of_a_proxy_is_no_riddle() -> None:
    world = fake()
    world.ca.script["order"] = [HttpResponse(403, Headers([("Content-Type", "text/html")]), b"<h1>blocked</h1>")]
    with pytest.raises(CaError, match="HTTP status 403"):
        issue(world)


def test_text_of_the_ca_cannot_command_a_terminal_or_ci_log() -> None:
    world = fake()
    world.ca.script["order"] = [problem("caa", 403, "no\n::set-env name=X::y\x1b[2J\u2028z" + "x" * 9999)]
    with pytest.raises(OrderRefused) as raised:
        issue(world)
    shown = raised.value.message + json.dumps(raised.value.details, ensure_ascii=False)
    assert not any(ord(character) < 32 or character in "\x7f\u2028" for character in shown)
    assert len(raised.value.message) < 1200


# accounts


def test_a_forgotten_account_is_found_again_once_for_all_threads() -> None:
    world = fake()
    world.client.use_account(f"{BASE}/acct/old")
    gone = problem("accountDoesNotExist", 400)
    world.ca.script["order"] = [gone]
    issue(world)
    assert world.client.account == f"{BASE}/acct/1"
    world.ca.script["order"] = [gone]
    world.ca.account_known = False
    with pytest.raises(AccountError, match="has no account"):
        issue(world)


def test_a_deactivated_account() -> None:
    world = fake()
    world.ca.script["account"] = [response(200, {"status": "deactivated"}, Location=f"{BASE}/acct/1")]
    with pytest.raises(AccountError, match="deactivated"):
        world.client.find_account(world.scope())
    world.ca.script["account"] = [problem("unauthorized", 403, "account is deactivated")]
    with pytest.raises(AccountError, match="deactivated"):
        world.client.register(world.scope())


@pytest.mark.parametrize("contact", ["a@example.com,b@example.com", "mailto:a@example.com?subject=x"])
def test_a_contact_is_one_address(contact: str) -> None:
    world = fake()
    with pytest.raises(AccountError, match="not one e-mail address"):
        world.client.register(world.scope(), contact=[contact])


def test_http_is_refused_before_anything_is_sent() -> None:
    clock = FakeClock()
    with pytest.raises(ConfigError, match="https only"):
        AcmeClient("http://ca.example/dir", LocalSigner(KEY), http=fake().ca, clock=clock)


def test_a_directory_must_not_lead_to_http() -> None:
    world = fake()
    world.ca.script["dir"] = [
        response(200, {"newNonce": "http://ca.example/n", "newAccount": f"{BASE}/a", "newOrder": f"{BASE}/o"})
    ]
    with pytest.raises(CaProtocolError, match="https only"):
        issue(world)


# authorizations


class Failing(NoDns):
    """Sets what the CA finds when it looks."""

    def __init__(self, ca: FakeCa, **states: str) -> None:
        super().__init__()
        self.ca = ca
        self.states = {name.replace("_", ".") + ".example.com": state for name, state in states.items()}

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        super().solve(challenges, ready, deadline=deadline)
        self.ca.authorizations.update(self.states)


def test_a_failed_validation_is_explained_for_each_name() -> None:
    world = fake()
    with pytest.raises(ChallengeFailed) as raised:
        issue(world, solver=Failing(world.ca, a="invalid", b="invalid"))
    assert "a.example.com: wrong TXT for a.example.com" in raised.value.message
    assert "b.example.com: wrong TXT for b.example.com" in raised.value.message
    assert {item["identifier"] for item in raised.value.details["challenges"]} == {"a.example.com", "b.example.com"}
    assert world.ca.kinds().count("authz") == 6


@pytest.mark.parametrize("state", ["expired", "deactivated", "revoked"])
def test_an_authorization_that_ended_is_said(state: str) -> None:
    world = fake()
    with pytest.raises(ChallengeFailed, match=f"a.example.com: its authorization is {state}"):
        issue(world, solver=Failing(world.ca, a=state))


def test_caa_is_the_cas_refusal_not_a_dns_failure() -> None:
    world = fake()

    def caa(reply: HttpResponse) -> HttpResponse:
        document = json.loads(reply.body)
        if document["status"] == "invalid":
            document["challenges"][1]["error"] = {"type": PREFIX + "caa", "detail": "CAA forbids"}
        return response(200, document)

    world.ca.script["authz"] = [None, None, None, caa, caa, caa]
    with pytest.raises(OrderRefused, match="CAA forbids") as raised:
        issue(world, solver=Failing(world.ca, a="invalid"))
    assert "CAA record" in raised.value.fix


def test_a_ca_without_dns01_is_named_with_what_it_offers() -> None:
    world = fake()

    def http_only(reply: HttpResponse) -> HttpResponse:
        document = json.loads(reply.body)
        del document["challenges"][1]
        return response(200, document)

    world.ca.script["authz"] = [http_only] * 3
    with pytest.raises(ChallengeFailed, match=r"no dns-01 challenge .*\(offered: http-01\)"):
        issue(world)


def test_a_challenge_left_pending_with_an_error_is_answered_again_but_not_for_ever() -> None:
    world = fake()

    class Sluggish(NoDns):
        def solve(
            self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
        ) -> None:
            super().solve(challenges, ready, deadline=deadline)
            world.ca.authorizations["a.example.com"] = "pending"

    def with_error(reply: HttpResponse) -> HttpResponse:
        document = json.loads(reply.body)
        if document["status"] == "pending":
            document["challenges"][1]["error"] = {"type": PREFIX + "dns", "detail": "SERVFAIL"}
        return response(200, document)

    world.ca.script["authz"] = [None] * 3 + [with_error] * 99
    world.ca.script["chall"] = [None] * 3
    issue(world, solver=Sluggish())
    assert world.ca.kinds().count("chall") == 4
    assert "SERVFAIL" in world.warnings()[0]

    stuck = fake()
    stuck.ca.script["authz"] = [None] * 3 + [with_error] * 99
    stuck.ca.script["chall"] = [response(200, {})] * 99
    with pytest.raises(ChallengeFailed, match="SERVFAIL") as raised:
        issue(stuck)
    assert stuck.ca.kinds().count("chall") == 9
    assert "resolvable" in raised.value.fix


def test_an_order_that_turns_invalid_without_reason() -> None:
    world = fake(valid_authorizations=True)
    world.ca.script["finalize"] = [lambda reply: response(200, {**json.loads(reply.body), "status": "invalid"})]
    with pytest.raises(OrderRefused, match="the order is invalid"):
        issue(world)


def test_an_order_that_fails_while_it_is_processed_says_why() -> None:
    world = fake(valid_authorizations=True)
    error = {"type": PREFIX + "serverInternal", "detail": "HSM on fire", "status": 500}
    world.ca.script["finalize"] = [
        lambda reply: response(200, {**json.loads(reply.body), "status": "invalid", "error": error})
    ]
    with pytest.raises(CaError, match="HSM on fire"):
        issue(world)


@pytest.mark.parametrize("status", ["invalid", "expired", "revoked"])
def test_an_authorization_that_cannot_be_proven_is_not_tried(status: str) -> None:
    world = fake()
    world.ca.script["authz"] = [lambda reply: response(200, {**json.loads(reply.body), "status": status})]
    solver = NoDns()
    with pytest.raises(ChallengeFailed, match=f"its authorization is {status}"):
        issue(world, solver=solver)
    assert solver.solved == []


def test_a_pending_order_whose_names_are_all_proven_needs_no_dns() -> None:
    world = fake()
    valid = [lambda reply: response(200, {**json.loads(reply.body), "status": "valid"})] * 3

    def proven(reply: HttpResponse) -> HttpResponse:
        world.ca.authorizations = dict.fromkeys(world.ca.names, "valid")
        return reply

    world.ca.script["authz"] = list(valid)
    world.ca.script["order"] = [proven]
    solver = NoDns()
    issue(world, solver=solver)
    assert solver.solved == []


def test_what_was_made_has_a_location() -> None:
    world = fake()
    world.ca.script["order"] = [lambda reply: HttpResponse(reply.status, Headers(), reply.body)]
    with pytest.raises(CaProtocolError, match="without a Location"):
        issue(world)
    world.ca.script["account"] = [response(200, {"status": "valid"})]
    with pytest.raises(CaProtocolError, match="no account URL"):
        world.client.find_account(world.scope())


@pytest.mark.parametrize("place", ["https://[::1/order/1", "http://ca.example/order/1", "https://u:pw@ca.example/1"])
def test_a_location_that_is_no_url_of_a_ca(place: str) -> None:
    world = fake()
    world.ca.script["account"] = [response(200, {"status": "valid"}, Location=place)]
    with pytest.raises(CaProtocolError) as raised:
        world.client.find_account(world.scope())
    assert "pw" not in raised.value.message


def test_an_order_has_few_authorizations() -> None:
    world = fake()
    many = [f"{BASE}/authz/{number}" for number in range(1001)]
    world.ca.script["order"] = [
        lambda reply: response(201, {**json.loads(reply.body), "authorizations": many}, Location=f"{BASE}/order/1")
    ]
    with pytest.raises(CaProtocolError, match="authorizations"):
        issue(world)
    assert "authz" not in world.ca.kinds()


def test_a_valid_order_has_a_certificate() -> None:
    world = fake(valid_authorizations=True)
    world.ca.script["finalize"] = [lambda reply: response(200, {**json.loads(reply.body), "status": "valid"})]
    with pytest.raises(CaProtocolError, match="has no certificate"):
        issue(world)


def test_changed_authorizations_end_an_order() -> None:
    world = fake()
    moved = [f"{BASE}/authz/7"]
    world.ca.script["poll"] = [lambda reply: response(200, {**json.loads(reply.body), "authorizations": moved})]
    with pytest.raises(CaProtocolError, match="have changed"):
        issue(world)


@pytest.mark.parametrize("identifiers", [["a.example.com"], ["a.example.com", "evil.example.com"]])
def test_an_order_for_other_names_is_refused(identifiers: list[str]) -> None:
    world = fake()
    swapped = [{"type": "dns", "value": name} for name in identifiers]
    world.ca.script["order"] = [
        lambda reply: response(201, {**json.loads(reply.body), "identifiers": swapped}, Location=f"{BASE}/order/1")
    ]
    with pytest.raises(CaProtocolError, match="other names than asked for"):
        issue(world)


def test_a_proof_for_a_foreign_name_is_never_published() -> None:
    world = fake()
    foreign = {"type": "dns", "value": "bank.example.net"}
    world.ca.script["authz"] = [lambda reply: response(200, {**json.loads(reply.body), "identifier": foreign})]
    solver = NoDns()
    with pytest.raises(CaProtocolError, match="not asked for"):
        issue(world, solver=solver)
    assert solver.solved == []


def test_a_token_that_is_no_token_is_never_published() -> None:
    world = fake()

    def evil(reply: HttpResponse) -> HttpResponse:
        document = json.loads(reply.body)
        document["challenges"][1]["token"] = 'x" IN A 6.6.6.6'
        return response(200, document)

    world.ca.script["authz"] = [evil]
    with pytest.raises(CaProtocolError, match="not base64url"):
        issue(world)


# replaces


@pytest.mark.parametrize(
    "refusal",
    [
        problem("alreadyReplaced", 409),
        problem("malformed", 404),
        problem("malformed", 400),
        problem("unauthorized", 403),
        problem("serverInternal", 500),
    ],
)
def test_a_refused_predecessor_is_left_out(refusal: HttpResponse) -> None:
    world = fake()
    world.ca.script["order"] = [refusal]
    issue(world, replaces="aki.serial")
    payloads = [payload for kind, payload in world.ca.log if kind == "order"]
    assert [payload.get("replaces") for payload in payloads] == ["aki.serial", None]
    assert world.clock.sleeps[0] < 0.1
    assert len(world.warnings()) == 1


def test_a_refusal_that_is_not_about_the_predecessor_stays() -> None:
    world = fake()
    world.ca.script["order"] = [problem("caa", 403, "first"), problem("caa", 403, "second")]
    with pytest.raises(OrderRefused, match="second"):
        issue(world, replaces="aki.serial")


def test_a_rate_limit_is_not_tried_without_the_predecessor() -> None:
    world = fake()
    world.ca.script["order"] = [problem("rateLimited", 429)]
    with pytest.raises(RateLimited):
        issue(world, replaces="aki.serial")
    assert world.ca.kinds().count("order") == 1


# the certificate


def reject(world: Fake, make: Callable[[FakeCa, Any, list[str]], bytes], match: str) -> None:
    world.ca.valid_authorizations = True
    world.ca.bundle = make
    with pytest.raises(CertificateRejected, match=match) as raised:
        issue(world)
    assert raised.value.details["certificate"] == f"{BASE}/cert/0"


def test_certificates_that_are_not_the_ordered_one() -> None:
    other = generate_key().public_key()
    day = dt.timedelta(days=1)
    reject(fake(), lambda ca, key, names: ca.root.leaf(other, names), "another key")
    reject(
        fake(), lambda ca, key, names: ca.root.leaf(key, names[:1]), r"missing: \*\.b\.example\.com, b\.example\.com"
    )
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, [*names, "x.test"]), r"extra: x\.test")
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, []), "no subject alternative name")
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, names, starts=day), "valid from .* clock")
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, names, starts=-2 * day, lasts=day), "expired at")
    reject(fake(), _authority, "it is a CA certificate")
    reject(fake(), _by_a_leaf, "is not a CA certificate")
    reject(fake(), lambda ca, key, names: b"", "not a PEM certificate")
    reject(fake(), lambda ca, key, names: b"\x00\xff" * 99, "not a PEM certificate")
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, names).replace(b"MII", b"MIX"), "was not stored")
    stranger = Issuer("Stranger", fake().clock.now())
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, names) + stranger.pem, "not signed by the next")
    key_block = b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, names) + key_block, "EC PRIVATE KEY")
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, names) + ca.root.pem * 12, "more than 10")


def _authority(ca: FakeCa, key: Any, names: list[str]) -> bytes:
    made = ca.root._certificate(ca.root.name, key, names, ca.root, authority=True)
    return made.public_bytes(Encoding.PEM)


def _by_a_leaf(ca: FakeCa, key: Any, names: list[str]) -> bytes:
    """Signed by the key of an ordinary certificate, as anybody could who has one."""
    middle = Issuer("Ordinary", ca.clock.now())
    ordinary = ca.root._certificate(middle.name, middle.key.public_key(), ["x.test"], ca.root, authority=False)
    return middle.leaf(key, names) + ordinary.public_bytes(Encoding.PEM)


def test_an_issuer_of_the_same_name_with_another_key_is_no_issuer() -> None:
    twin = Issuer("Fake Root", fake().clock.now())
    reject(fake(), lambda ca, key, names: ca.root.leaf(key, names) + twin.pem, "not signed by the next")


def test_a_preferred_chain_is_found_by_a_name_in_it() -> None:
    world = fake(valid_authorizations=True)
    cross = Issuer("Old Root", world.clock.now())

    def chains(ca: FakeCa, key: Any, names: list[str]) -> bytes:
        leaf = ca.root.leaf(key, names)
        crossed = cross._certificate(ca.root.name, ca.root.key.public_key(), [], cross, authority=True)
        ca.alternates = [leaf + crossed.public_bytes(Encoding.PEM)]
        return leaf + ca.root.pem

    world.ca.bundle = chains
    assert b"CERTIFICATE" in issue(world, preferred_chain="old root").chain_pem
    assert world.ca.kinds().count("cert") == 2
    world.ca.log.clear()
    issue(world, preferred_chain="Fake Root")
    assert world.ca.kinds().count("cert") == 1


# interrupts


@pytest.mark.parametrize("where", ["order", "authz", "chall", "poll", "finalize", "cert"])
def test_cleanup_runs_whenever_the_run_is_stopped(where: str) -> None:
    world = fake()

    def stop(reply: HttpResponse) -> HttpResponse:
        world.clock.stopped = True
        return reply

    world.ca.script[where] = [stop]
    solver = NoDns()
    if where == "cert":
        issue(world, solver=solver)  # nothing is left to ask for
    else:
        with pytest.raises(Interrupted):
            issue(world, solver=solver)
    assert len(solver.cleanups) == 1


def test_a_long_wait_hears_the_stop() -> None:
    world = fake(validation_polls=10**6)
    world.clock.stop_after = 2.0
    with pytest.raises(Interrupted):
        issue(world)


def test_an_order_is_announced_before_it_is_finalized() -> None:
    world = fake()
    seen: list[list[str]] = []
    request = OrderRequest(NAMES, KEY)
    obtain(
        world.client, request, NoDns(), scope=world.scope(), on_order=lambda url: seen.append(world.ca.kinds().copy())
    )
    assert len(seen) == 1
    assert "finalize" not in seen[0]


def test_resume_waits_for_a_processing_order() -> None:
    world = fake(valid_authorizations=True, processing_polls=3)
    client, scope = world.client, world.scope()
    order = client.new_order(scope, NAMES)
    world.ca.script["poll"] = [LOST]
    issued = resume(client, order.url, OrderRequest(NAMES, KEY), scope=scope)
    assert issued is not None
    assert world.ca.orders == 1


@pytest.mark.parametrize(
    "answer", [problem("malformed", 404), problem("unauthorized", 403), response(200, {}), response(404)]
)
def test_resume_gives_up_on_an_order_that_is_gone(answer: HttpResponse) -> None:
    world = fake()
    world.ca.script["poll"] = [answer]
    assert resume(world.client, f"{BASE}/order/9", OrderRequest(NAMES, KEY), scope=world.scope()) is None


def test_resume_does_not_mistake_an_outage_for_a_lost_order() -> None:
    world = fake()
    world.ca.script["poll"] = [response(503)] * 9
    with pytest.raises(CaUnreachable):
        resume(world.client, f"{BASE}/order/9", OrderRequest(NAMES, KEY), scope=world.scope())


# garbage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = [
    "status", "identifiers", "authorizations", "finalize", "certificate", "error", "identifier", "challenges", "meta",
    "newNonce", "newOrder", "newAccount", "renewalInfo", "wildcard", "type", "detail", "subproblems",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["dir", "order", "authz", "chall", "poll", "finalize", "cert"]),
    status=st.sampled_from([200, 201, 204, 301, 400, 403, 404, 409, 429, 500]),
    member=st.sampled_from(MEMBERS),
    value=JSON,
    raw=st.none() | st.binary(max_size=40),
)
def test_garbage_is_a_typed_error(kind: str, status: int, member: str, value: Any, raw: bytes | None) -> None:
    world = fake()

    def garble(reply: HttpResponse) -> HttpResponse:
        try:
            document = json.loads(reply.body)
        except ValueError:
            document = {}
        body = raw if raw is not None else json.dumps({**document, member: value}).encode()
        return HttpResponse(status, reply.headers, body)

    world.ca.script[kind] = [garble] * 12
    try:
        issue(world)
    except CiAcmeError as error:
        assert error.code != "internal"  # noqa: PT017  # any of many classes
        json.dumps(error.as_dict())


# a challenge that failed for good


def failing(world: Fake, *kinds: str) -> None:
    """The first order's authorizations turn invalid, each with a problem of this kind."""

    def fail(reply: HttpResponse) -> HttpResponse:
        document = json.loads(reply.body)
        place = int(document["challenges"][1]["url"].rpartition("/")[2])
        document["status"] = document["challenges"][1]["status"] = "invalid"
        document["challenges"][1]["error"] = {"type": PREFIX + kinds[place % len(kinds)], "detail": "it failed"}
        return response(200, document)

    def invalid(reply: HttpResponse) -> HttpResponse:
        return response(200, {**json.loads(reply.body), "status": "invalid"})

    world.ca.script["poll"] = [invalid]
    world.ca.script["authz"] = [None] * 3 + [fail] * 3


@pytest.mark.parametrize("kinds", [("dns",), ("connection",), ("dns", "serverInternal")])
def test_a_challenge_that_failed_for_a_passing_reason_costs_one_new_order(kinds: tuple[str, ...]) -> None:
    world = fake()
    failing(world, *kinds)
    solver = NoDns()
    orders: list[str] = []
    request = OrderRequest(NAMES, KEY)
    issued = obtain(world.client, request, solver, scope=world.scope(), on_order=orders.append)
    assert orders == [f"{BASE}/order/1", f"{BASE}/order/2"]
    assert issued.order_url == orders[1]
    assert len(solver.cleanups) == 2
    assert "once more" in "".join(world.warnings())


@pytest.mark.parametrize("kinds", [("unauthorized",), ("incorrectResponse",), ("caa",), ("dns", "unauthorized")])
def test_a_challenge_that_failed_for_what_the_ca_saw_is_not_tried_again(kinds: tuple[str, ...]) -> None:
    world = fake()
    failing(world, *kinds)
    with pytest.raises((ChallengeFailed, OrderRefused), match="it failed"):
        issue(world)
    assert world.ca.orders == 1


def test_a_second_order_that_rate_limits_forbid_is_not_made() -> None:
    world = fake()
    failing(world, "dns")
    entered: list[int] = []

    @contextmanager
    def around() -> Iterator[None]:
        entered.append(world.ca.orders)
        if len(entered) > 1:
            raise RateLimited("not now", fix="later")
        yield

    request = OrderRequest(NAMES, KEY)
    with pytest.raises(ChallengeFailed, match="it failed"):
        obtain(world.client, request, NoDns(), scope=world.scope(), on_order=lambda url: None, around=around)
    assert entered == [0, 1]
    assert world.ca.orders == 1


def test_a_second_failure_is_the_end() -> None:
    world = fake()
    failing(world, "dns")
    again = fake()
    failing(again, "dns")
    world.ca.script["poll"] += again.ca.script["poll"]
    world.ca.script["authz"] += again.ca.script["authz"]
    solver = NoDns()
    with pytest.raises(ChallengeFailed, match="it failed"):
        obtain(world.client, OrderRequest(NAMES, KEY), solver, scope=world.scope(), on_order=lambda url: None)
    assert world.ca.orders == 2


def test_there_is_no_second_order_without_the_time_for_it() -> None:
    world = fake()
    failing(world, "dns")
    with pytest.raises(ChallengeFailed):
        issue(world, seconds=8)
    assert world.ca.orders == 1


@pytest.mark.parametrize("kind", ["order", "finalize"])
@pytest.mark.parametrize("reply", [problem("serverInternal", 500), problem("malformed", 400)], ids=["500", "400"])
@pytest.mark.parametrize(
    ("asked", "named"), [({}, set()), ({"not_after": 90}, {"lifetime"}), ({"not_before": -1}, {"not_before"})]
)
def test_a_lifetime_that_may_be_the_reason_is_named(
    kind: str, reply: HttpResponse, asked: dict[str, int], named: set[str]
) -> None:
    """smallstep says no more than "internal error" of a lifetime that is too long."""
    world = fake()
    world.ca.script[kind] = [reply] * 9
    with pytest.raises(CaError) as raised:
        issue(world, **{key: world.clock.now() + dt.timedelta(days=days) for key, days in asked.items()})
    assert {word for word in ("lifetime", "not_before") if word in raised.value.fix} == named
