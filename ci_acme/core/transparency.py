"""Certificates of Certificate Transparency logs against those that we know. Pure.

The join is the hash of the TBSCertificate without its SCTs (RFC 6962 section 3.2), which a precertificate shares with
its certificate; then the certificate's hash, then the key. An index without hashes is joined by serial number and
issuer: whoever controls a CA chooses both, so that this finds mistakes rather than attacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from ci_acme.core.alerts import Alert
from ci_acme.core.inventory import Row
from ci_acme.core.watch import LedgerEvent
from ci_acme.dataclass import dataclass, field
from ci_acme.model.names import base_name, is_wildcard
from ci_acme.model.records import format_time

_COMMON_NAME: Final = re.compile(r"(?:^|[,+/])\s*CN\s*=\s*(\"(?:[^\"\\]|\\.)*\"|(?:[^,+\"\\]|\\.)+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Issuance:
    """A certificate, or its precertificate, as an index of CT logs tells it. Hashes and serial are lower-case hex."""

    id: str
    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime
    tbs_sha256: str | None = None
    spki_sha256: str | None = None
    sha256: str | None = None
    serial: str | None = None

    @property
    def identity(self) -> str:
        """The same for a precertificate and its certificate."""
        return self.tbs_sha256 or (f"{self.serial} {common_name(self.issuer)}" if self.serial else self.id)


@dataclass(slots=True)
class Known:
    """What is known of our certificates: hashes, keys (with the TBS hashes that they belong to), serial numbers."""

    hashes: set[str] = field(default_factory=set[str])
    keys: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    serials: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def add(
        self, *, tbs: str | None, sha256: str | None, spki: str | None, serial: str | None, issuer: str | None
    ) -> None:
        """A certificate of ours; what is not known of it is None."""
        self.hashes.update(one for one in (tbs, sha256) if one)
        if spki:
            self.keys.setdefault(spki, set()).add(tbs or "")
        if serial:
            self.serials.setdefault(plain_serial(serial), set()).add(common_name(issuer or ""))

    def judge(self, issuance: Issuance) -> str | None:
        """None for one of ours; else the code of the alert."""
        if {issuance.tbs_sha256, issuance.sha256} & self.hashes:
            return None
        if issuance.spki_sha256 is not None:
            hashes = self.keys.get(issuance.spki_sha256)
            if hashes is None:
                return "issuance.unknown"
            # A certificate from before TBS hashes were recorded is known by its key alone.
            return "issuance.same_key" if issuance.tbs_sha256 and "" not in hashes else None
        issuers = self.serials.get(plain_serial(issuance.serial or ""), set())
        said = common_name(issuance.issuer)
        return None if issuers and (said in issuers or not said or "" in issuers) else "issuance.unknown"


def plain_serial(text: str) -> str:
    """A serial number in hex without case, colons and leading zeros."""
    return text.replace(":", "").lower().lstrip("0")


def common_name(issuer: str) -> str:
    """The common name in a distinguished name, however it is ordered and quoted; empty if it has none."""
    found = _COMMON_NAME.search(issuer)
    if found is None:
        return ""
    return re.sub(r"\\(.)", r"\1", found[1].strip().removeprefix('"').removesuffix('"')).strip().casefold()


def known_certificates(rows: Iterable[Row], events: Iterable[LedgerEvent], keys: Iterable[str], more: str) -> Known:
    """Ours: what stores hold, what the records tell, keys of certificates in stores, and what the config calls known.

    `more` is hex of any kind, separated by white space.
    """
    known = Known()
    for row in rows:
        known.add(tbs=None, sha256=row.sha256, spki=None, serial=row.serial, issuer=row.issuer)
    for event in events:
        if event.what in {"certificate", "renewal"}:
            said = {name: event.facts.get(name) for name in ("tbs_sha256", "sha256", "spki_sha256", "serial", "issuer")}
            texts = {name: value if isinstance(value, str) else None for name, value in said.items()}
            known.add(
                tbs=texts["tbs_sha256"],
                sha256=texts["sha256"],
                spki=texts["spki_sha256"],
                serial=texts["serial"],
                issuer=texts["issuer"],
            )
    for key in keys:
        known.keys.setdefault(key, {""})
    for one in more.split():
        known.add(tbs=one, sha256=None, spki=None, serial=one, issuer=None)
        known.keys.setdefault(one, set()).add("")
    return known


def concerns(issuance: Issuance, names: Iterable[str], domains: Sequence[str]) -> bool:
    """Whether a certificate can stand for one of our names, or for anything at or below one of the domains."""
    if domains:
        bases = [base_name(name) for name in issuance.names]
        return any(base == one or base.endswith(f".{one}") for base in bases for one in domains)
    return any(_meet(theirs, ours) for theirs in issuance.names for ours in names)


def concerns_name(host: str, identifier: str) -> bool:
    """Whether an identifier of a certificate covers a host name."""
    return _meet(host, identifier) if not is_wildcard(host) else host == identifier


def _meet(one: str, other: str) -> bool:
    """Whether some host name is covered by both identifiers."""
    if one == other:
        return True
    if is_wildcard(one) == is_wildcard(other):
        return False
    wildcard, plain = (one, other) if is_wildcard(one) else (other, one)
    return plain.partition(".")[2] == base_name(wildcard)


def unknown(
    issuances: Iterable[Issuance], known: Known, names: Sequence[str], domains: Sequence[str], since: datetime
) -> Iterator[Alert]:
    """An alert for each certificate of `names`, or below `domains`, that began after `since` and is not ours."""
    told: set[str] = set()
    for issuance in issuances:
        if issuance.not_before < since or issuance.identity in told or not concerns(issuance, names, domains):
            continue
        told.add(issuance.identity)
        code = known.judge(issuance)
        if code is not None:
            yield _alert(code, issuance)


def _alert(code: str, found: Issuance) -> Alert:
    shown = ", ".join(found.names[:3]) + (f" and {len(found.names) - 3} more" if len(found.names) > 3 else "")
    facts = {
        "tbs_sha256": found.tbs_sha256,
        "spki_sha256": found.spki_sha256,
        "serial": found.serial,
        "issuer": found.issuer,
        "names": list(found.names),
        "not_before": format_time(found.not_before),
        "not_after": format_time(found.not_after),
        "id": found.id,
    }
    details = {name: value for name, value in facts.items() if value}
    mark = found.tbs_sha256 or found.spki_sha256 or found.sha256 or found.serial or found.id
    until = f"issued by {found.issuer}, valid from {format_time(found.not_before)} until {format_time(found.not_after)}"
    if code == "issuance.same_key":
        text = f"{shown}: another certificate for a key of ours is in the CT logs, {until}"
        fix = (
            "if nobody of yours asked for it with this key, others have the key: `ci-acme revoke --reason "
            f"keyCompromise`, then issue; if it is in order, add {mark} to monitor.ct.known"
        )
        return Alert(code, "warning", mark, text, fix, None, None, found.not_before, details)
    text = f"{shown}: a certificate that no run of ci-acme asked for is in the CT logs, {until}"
    fix = (
        f"find out who ordered it; if it is in order, add {mark} to monitor.ct.known; else ask its CA to revoke it, "
        "and publish the CAA records of `ci-acme permissions`"
    )
    return Alert(code, "critical", mark, text, fix, None, None, found.not_before, details)
