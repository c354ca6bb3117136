"""Standing TXT records for dns-persist-01 (draft-ietf-acme-dns-persist-01): read, judged and told, never published.

A record permits whoever has the account to get certificates for a name for as long as it stands. What the CA says of
the account is therefore never copied into a record: the record that is printed names the account URL that we use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Final

from ci_acme.dataclass import dataclass
from ci_acme.model.records import format_time

_VALUE: Final = re.compile(r"[\x21-\x3a\x3c-\x7e]*\Z")
_MAX_UNTIL: Final = 253402300799
"""The last second of the year 9999."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A record in RFC 8659's issue-value syntax. `until` is aware UTC, None for no end."""

    issuer: str
    account: str
    wildcard: bool = False
    until: datetime | None = None


def record(issuer: str, account: str, *, wildcard: bool) -> str:
    """The TXT value to publish."""
    return f"{issuer}; accounturi={account}" + ("; policy=wildcard" if wildcard else "")


def parse(value: str) -> Standing:
    """Raises `ValueError` with what is wrong, for people."""
    issuer, *parts = [part.strip(" \t") for part in value.split(";")]
    parameters: dict[str, str] = {}
    for part in parts:
        tag, equals, content = part.partition("=")
        tag, content = tag.rstrip(" \t").lower(), content.lstrip(" \t")
        if not equals or not tag:
            raise ValueError(f"has a parameter that is not TAG=VALUE: {part!r}")
        if tag in parameters:
            raise ValueError(f"has {tag} twice")
        if not _VALUE.match(content):
            raise ValueError(f"has a character in {tag} that is not allowed")
        parameters[tag] = content
    if not parameters.get("accounturi"):
        raise ValueError("has no accounturi")
    return Standing(
        issuer=issuer.lower(),
        account=parameters["accounturi"],
        wildcard=parameters.get("policy", "").lower() == "wildcard",
        until=_time(parameters["persistuntil"]) if "persistuntil" in parameters else None,
    )


def _time(text: str) -> datetime:
    if not re.match(r"\d{1,12}\Z", text) or int(text) > _MAX_UNTIL:
        raise ValueError("has a persistUntil that is not a time in seconds")
    return datetime.fromtimestamp(int(text), timezone.utc)


def judge(
    values: Iterable[bytes], *, issuers: Sequence[str], account: str, wildcard: bool, now: datetime
) -> tuple[Standing | None, str]:
    """The record that permits us, else None and why none does. Records of other CAs are nobody's business here."""
    reasons: list[str] = []
    for raw in values:
        value = raw.decode("utf-8", errors="replace")
        if value.partition(";")[0].strip(" \t").lower() not in issuers:
            continue
        try:
            found = parse(value)
        except ValueError as error:
            reasons.append(f"the record {value!r} {error}")
            continue
        said = _against(found, account=account, wildcard=wildcard, now=now)
        if said is None:
            return found, ""
        reasons.append(f"the record {value!r} {said}")
    return None, "; ".join(reasons) or f"there is no record for {' or '.join(issuers)}"


def _against(found: Standing, *, account: str, wildcard: bool, now: datetime) -> str | None:
    if found.account != account:
        return f"is for another account than {account}"
    if wildcard and not found.wildcard:
        return "does not cover the wildcard: it lacks policy=wildcard"
    if found.until is not None and found.until <= now:
        return f"ended at {format_time(found.until)}"
    return None
