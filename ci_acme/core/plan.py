"""Keep, deliver, renew or issue: what a run does about one certificate, from what its stores hold.

Pure: the caller reads the stores, describes the certificates, asks ARI, and passes `now`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum

from ci_acme.dataclass import dataclass
from ci_acme.model.material import CertificateFacts
from ci_acme.model.records import Metadata, format_time
from ci_acme.model.spec import CertificateSpec


class Action(Enum):
    """What is to be done."""

    KEEP = "keep"
    DELIVER = "deliver"
    RENEW = "renew"
    ISSUE = "issue"


@dataclass(frozen=True, slots=True)
class StoreView:
    """What one store holds, as far as it matters for a decision.

    `problem` says why there is nothing to judge (`no certificate`, `privkey.pem is missing`); then `facts` is None.
    `lacks` says what is missing beside a certificate that is right (`bundle.p12 missing`): it is delivered again.
    """

    label: str
    facts: CertificateFacts | None = None
    metadata: Metadata | None = None
    problem: str | None = None
    version: str | None = None
    lacks: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What the stores have to offer for a spec.

    `best` is the index of the store whose certificate is right and lives longest, None if none is right. `missing` are
    the stores that do not hold that certificate. `reason` says why the first store's content is not right.
    `predecessor` is the index of a certificate of the same CA that the new one replaces.
    """

    best: int | None
    missing: tuple[int, ...]
    reason: str
    predecessor: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The action, the reason in words, and the indices of stores to deliver to (for `DELIVER`)."""

    action: Action
    reason: str
    missing: tuple[int, ...] = ()


def mismatch(
    spec: CertificateSpec, view: StoreView, now: datetime, revoked: Mapping[str, datetime] | None = None
) -> str | None:
    """Why a store's content is not the certificate that is asked for; None if it is.

    A certificate of a fallback CA is as good as one of the first CA until it is due. `revoked` has the time of
    revocation by SHA-256, for those that another store knows to be revoked.
    """
    if view.facts is None:
        return f"{view.problem or 'no certificate'} in {view.label}"
    found = problems(spec, view, now, revoked)
    return f"the certificate in {view.label} {found[0][1]}" if found else None


def problems(
    spec: CertificateSpec, view: StoreView, now: datetime, revoked: Mapping[str, datetime] | None = None
) -> list[tuple[str, str]]:
    """Everything that makes a store's certificate another one than is asked for: a word, and what it does or has.

    The words are names, expired, revoked, foreign, authority, profile and key. See `mismatch`; the view has facts.
    """
    facts, metadata = view.facts, view.metadata
    assert facts is not None
    authority = metadata.authority if metadata else spec.directory
    profile = metadata.profile if metadata else spec.profile
    wanted = spec.source_of(authority)
    found = facts.key_type.value if facts.key_type else "of another kind"
    revoked_at = (metadata.revoked if metadata else None) or (revoked or {}).get(facts.sha256)
    known = (
        ("names", set(facts.names) != set(spec.names), f"has other names: {_difference(spec.names, facts.names)}"),
        ("expired", now >= facts.not_after, f"expired at {format_time(facts.not_after)}"),
        ("revoked", revoked_at is not None, f"was revoked at {format_time(revoked_at or now)}"),
        ("foreign", metadata is None, "was not put there by ci-acme (no metadata that belongs to it)"),
        ("authority", authority != wanted.directory, f"is from another CA, {authority}"),
        ("profile", profile != wanted.profile, f"has {_named(profile)}, and {_named(wanted.profile)} is asked for"),
        ("key", facts.key_type != spec.key, f"has a key that is {found}, not {spec.key.value}"),
    )
    return [(word, problem) for word, wrong, problem in known if wrong]


def _named(profile: str | None) -> str:
    return "no profile" if profile is None else f"the profile {profile}"


def select(spec: CertificateSpec, views: Sequence[StoreView], now: datetime) -> Selection:
    """Judge every store's content."""
    revoked = {v.metadata.sha256: v.metadata.revoked for v in views if v.metadata and v.metadata.revoked}
    reasons = [mismatch(spec, view, now, revoked) for view in views]
    good = [index for index, reason in enumerate(reasons) if reason is None]
    best = max(good, key=lambda index: _expiry(views[index]), default=None)
    if best is None:
        reason = next((reason for reason in reasons if reason), "no certificate")
        return Selection(None, tuple(range(len(views))), reason, predecessor(spec, views))
    missing = tuple(i for i, view in enumerate(views) if reasons[i] or view.lacks or not _same(view, views[best]))
    lacking = (f"{view.lacks} in {view.label}" for view in views if view.lacks)
    reason = next((reason for reason in (*reasons, *lacking) if reason), "")
    return Selection(best, missing, reason, predecessor(spec, views))


def predecessor(spec: CertificateSpec, views: Sequence[StoreView]) -> int | None:
    """The index of the certificate that a new one of the spec's own CA replaces: the one that lives longest."""
    known = [index for index, view in enumerate(views) if _is_predecessor(spec, view)]
    return max(known, key=lambda index: _expiry(views[index]), default=None)


def decide(selection: Selection, renew_after: datetime | None, now: datetime, *, force: bool) -> Decision:
    """The decision, given when the best certificate is due (None if there is no best one)."""
    if selection.best is None or renew_after is None:
        action = Action.ISSUE if selection.predecessor is None else Action.RENEW
        return Decision(action, selection.reason)
    if force:
        return Decision(Action.RENEW, "--force was given")
    if now >= renew_after:
        return Decision(Action.RENEW, f"due since {format_time(renew_after)}")
    if selection.missing:
        return Decision(Action.DELIVER, selection.reason or "a store holds an older certificate", selection.missing)
    return Decision(Action.KEEP, f"valid; next renewal after {format_time(renew_after)}")


def _expiry(view: StoreView) -> datetime:
    assert view.facts is not None
    return view.facts.not_after


def _same(view: StoreView, other: StoreView) -> bool:
    return view.facts is not None and other.facts is not None and view.facts.sha256 == other.facts.sha256


def _is_predecessor(spec: CertificateSpec, view: StoreView) -> bool:
    """RFC 9773 section 5: a predecessor is of the same CA and shares a name."""
    if view.facts is None or view.metadata is None or view.metadata.authority != spec.directory:
        return False
    return bool(set(view.facts.names) & set(spec.names))


def _difference(wanted: Sequence[str], found: Sequence[str]) -> str:
    lacking = sorted(set(wanted) - set(found))
    extra = sorted(set(found) - set(wanted))
    parts = []
    if lacking:
        parts.append("lacks " + _some(lacking))
    if extra:
        parts.append("has " + _some(extra) + " besides")
    return "; ".join(parts)


def _some(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
