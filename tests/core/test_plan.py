"""Keep, deliver, renew or issue."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.plan import Action, StoreView, decide, mismatch, predecessor, select
from ci_acme.model.material import CertificateFacts, KeyType
from ci_acme.model.records import Metadata
from ci_acme.model.spec import CertificateSpec, RenewPolicy, Source

NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)
SPEC = CertificateSpec(
    name="web",
    names=("*.example.com", "example.com"),
    authority="ca",
    directory="https://ca.test/dir",
    profile=None,
    key=KeyType.EC_P256,
    owner=None,
    renew=RenewPolicy(),
)
FACTS = CertificateFacts(
    names=("*.example.com", "example.com"),
    serial="01",
    sha256="aa",
    spki_sha256="bb",
    issuer="CN=ca",
    not_before=NOW - timedelta(days=10),
    not_after=NOW + timedelta(days=80),
    key_type=KeyType.EC_P256,
    ari_id=None,
)
METADATA = Metadata(
    name="web",
    spec_digest=SPEC.digest(),
    names=FACTS.names,
    authority=SPEC.directory,
    profile=None,
    key="ec-p256",
    owner=None,
    serial="01",
    sha256="aa",
    spki_sha256="bb",
    issuer="CN=ca",
    not_before=FACTS.not_before,
    not_after=FACTS.not_after,
    renew_after=NOW + timedelta(days=50),
    order=None,
    run="r",
)
GOOD = StoreView("file:a", FACTS, METADATA)
EMPTY = StoreView("file:b")
DUE_LATER = NOW + timedelta(days=50)


def test_a_good_certificate_is_kept() -> None:
    decision = decide(select(SPEC, [GOOD, GOOD], NOW), DUE_LATER, NOW, force=False)
    assert decision.action is Action.KEEP
    assert "2027-01-14" in decision.reason


def test_due_and_force_renew() -> None:
    selection = select(SPEC, [GOOD], NOW)
    assert decide(selection, NOW, NOW, force=False).action is Action.RENEW
    assert decide(selection, DUE_LATER, NOW, force=True).action is Action.RENEW
    assert selection.predecessor == 0


def test_an_empty_store_beside_a_good_one_is_delivered_to() -> None:
    decision = decide(select(SPEC, [EMPTY, GOOD], NOW), DUE_LATER, NOW, force=False)
    assert (decision.action, decision.missing) == (Action.DELIVER, (0,))
    assert "file:b" in decision.reason


def test_an_older_certificate_in_one_store_is_brought_into_line() -> None:
    older = StoreView("file:b", replace(FACTS, sha256="cc", not_after=NOW + timedelta(days=70)), METADATA)
    decision = decide(select(SPEC, [older, GOOD], NOW), DUE_LATER, NOW, force=False)
    assert (decision.action, decision.missing) == (Action.DELIVER, (0,))
    assert decision.reason


def test_what_is_missing_beside_a_right_certificate_is_delivered() -> None:
    lacking = replace(GOOD, lacks="bundle.p12 missing")
    decision = decide(select(SPEC, [lacking], NOW), DUE_LATER, NOW, force=False)
    assert (decision.action, decision.missing) == (Action.DELIVER, (0,))
    assert decision.reason == "bundle.p12 missing in file:a"


def test_nothing_anywhere_is_issued() -> None:
    decision = decide(select(SPEC, [EMPTY], NOW), None, NOW, force=False)
    assert decision.action is Action.ISSUE
    assert decision.reason == "no certificate in file:b"


@pytest.mark.parametrize(
    ("view", "word", "action"),
    [
        (StoreView("s", replace(FACTS, names=("example.com",)), METADATA), "lacks *.example.com", Action.RENEW),
        (StoreView("s", replace(FACTS, not_after=NOW), METADATA), "expired", Action.RENEW),
        (StoreView("s", FACTS, None), "not put there by ci-acme", Action.ISSUE),
        (StoreView("s", FACTS, replace(METADATA, authority="https://staging.test/dir")), "another CA", Action.ISSUE),
        (StoreView("s", FACTS, replace(METADATA, profile="short")), "short, and no profile is", Action.RENEW),
        (StoreView("s", replace(FACTS, key_type=KeyType.RSA_2048), METADATA), "rsa-2048", Action.RENEW),
        (StoreView("s", problem="nothing usable (privkey.pem is missing)"), "privkey.pem", Action.ISSUE),
    ],
)
def test_every_mismatch_has_its_reason(view: StoreView, word: str, action: Action) -> None:
    reason = mismatch(SPEC, view, NOW)
    assert reason is not None
    assert word in reason
    decision = decide(select(SPEC, [view], NOW), None, NOW, force=False)
    assert decision.action is action
    assert decision.reason == reason


@given(
    st.lists(st.sampled_from([GOOD, EMPTY, StoreView("s", FACTS, None)]), min_size=1, max_size=5),
    st.booleans(),
    st.integers(-60, 60),
)
def test_what_is_decided_can_be_done(views: list[StoreView], force: bool, days: int) -> None:
    selection = select(SPEC, views, NOW)
    renew_after = NOW + timedelta(days=days) if selection.best is not None else None
    decision = decide(selection, renew_after, NOW, force=force)
    if decision.action is Action.KEEP:
        assert all(view is GOOD for view in views)
    if decision.action is Action.DELIVER:
        assert GOOD in views
        assert all(views[index] is not GOOD for index in decision.missing)
        assert decision.missing
    if GOOD not in views:
        assert decision.action is Action.ISSUE
    assert decision.reason


# fallbacks

OTHER = Source("other", "https://other.test/dir", "short")
WITH_FALLBACK = replace(SPEC, fallbacks=(OTHER,))
OF_OTHER = replace(METADATA, authority=OTHER.directory, profile="short")


def test_a_certificate_of_a_fallback_is_kept_until_it_is_due() -> None:
    view = StoreView("s", FACTS, OF_OTHER)
    selection = select(WITH_FALLBACK, [view], NOW)
    assert decide(selection, DUE_LATER, NOW, force=False).action is Action.KEEP
    assert decide(selection, NOW, NOW, force=False).action is Action.RENEW
    assert "another CA" in (mismatch(SPEC, view, NOW) or "")


def test_the_profile_must_be_the_one_asked_of_the_ca_that_issued() -> None:
    assert "profile" in (mismatch(WITH_FALLBACK, StoreView("s", FACTS, replace(OF_OTHER, profile=None)), NOW) or "")
    assert "profile" in (mismatch(WITH_FALLBACK, StoreView("s", FACTS, replace(METADATA, profile="short")), NOW) or "")
    assert mismatch(WITH_FALLBACK, StoreView("s", FACTS, METADATA), NOW) is None


def test_only_a_certificate_of_the_same_ca_is_replaced() -> None:
    views = [StoreView("a", FACTS, OF_OTHER), StoreView("b", FACTS, METADATA)]
    assert predecessor(WITH_FALLBACK, views) == 1
    assert predecessor(WITH_FALLBACK.of(OTHER), views) == 0
    assert predecessor(SPEC, views[:1]) is None


def test_a_revoked_certificate_is_replaced() -> None:
    when = NOW - timedelta(hours=3)
    revoked = StoreView("file:a", FACTS, replace(METADATA, revoked=when))
    decision = decide(select(SPEC, [revoked], NOW), DUE_LATER, NOW, force=False)
    assert decision.action is Action.RENEW
    assert decision.reason == "the certificate in file:a was revoked at 2026-11-24T21:00:00Z"


def test_one_store_that_knows_of_a_revocation_speaks_for_all() -> None:
    """The others could not be told, or have lost their metadata: the revoked certificate is not delivered from them."""
    revoked = StoreView("file:a", FACTS, replace(METADATA, revoked=NOW))
    for views in ([revoked, GOOD], [GOOD, revoked], [EMPTY, GOOD, revoked]):
        selection = select(SPEC, views, NOW)
        assert selection.best is None
        assert decide(selection, None, NOW, force=False).action is Action.RENEW
    fresh = StoreView("file:b", replace(FACTS, sha256="cc"), replace(METADATA, sha256="cc"))
    decision = decide(select(SPEC, [revoked, fresh], NOW), DUE_LATER, NOW, force=False)
    assert (decision.action, decision.missing) == (Action.DELIVER, (0,))
