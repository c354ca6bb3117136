"""May this CA issue for this name? CAA records (RFC 8659) with account and method binding (RFC 8657), as values.

The CA decides, when it validates; this is the same decision beforehand, so that a refusal costs no order and no failed
authorization.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

from ci_acme.dataclass import dataclass, replace

CRITICAL: Final = 128
KNOWN_TAGS: Final = frozenset({"issue", "issuewild", "iodef", "issuemail"})
"""What the large CAs know. The contact properties are not among them: Let's Encrypt refuses critical ones."""
NEW_ACCOUNT: Final = ""
"""The account URL of an account that is yet to be registered: no record can name it already."""

_WSP: Final = " \t"
_TAG: Final = re.compile(r"[A-Za-z0-9](-*[A-Za-z0-9])*\Z")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9](-*[A-Za-z0-9])*(\.[A-Za-z0-9](-*[A-Za-z0-9])*)*\Z")
_VALUE: Final = re.compile(r"[\x21-\x3a\x3c-\x7e]*\Z")
_METHOD: Final = re.compile(r"[A-Za-z0-9-]+\Z")


@dataclass(frozen=True, slots=True)
class CaaRecord:
    """One CAA record; `tag` in lower case (any case matches), `value` with a character for each octet."""

    flags: int
    tag: str
    value: str

    @property
    def critical(self) -> bool:
        """Whether a CA that does not know the tag must not issue."""
        return bool(self.flags & CRITICAL)

    def __str__(self) -> str:
        """As in a zone file: `0 issue "ca.example"`."""
        return f'{self.flags} {self.tag} "{"".join(map(_printable, self.value))}"'


@dataclass(frozen=True, slots=True)
class IssueValue:
    """The value of an issue or issuewild property; `issuer` is empty where nobody may issue, tags are in lower case."""

    issuer: str
    parameters: tuple[tuple[str, str], ...] = ()

    def all(self, tag: str) -> list[str]:
        """The values of every parameter with this tag."""
        return [value for name, value in self.parameters if name == tag]


class Ruling(Enum):
    """What the records mean for the CA. `UNKNOWN`: there are records, and not all that decides is known here."""

    PERMITTED = "permitted"
    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ruling and why; `record` is the one that decided, None if none did. `fix` is for who owns the zone."""

    ruling: Ruling
    reason: str
    record: CaaRecord | None = None
    fix: str = ""


# --- reading -----------------------------------------------------------------------------------------------------


def parse_rdata(data: bytes) -> CaaRecord:
    """CAA rdata (RFC 8659 section 4.1). Raises `ValueError` for octets that are not."""
    if len(data) < 2 or not data[1] or len(data) < 2 + data[1]:
        raise ValueError("CAA rdata is too short")
    tag, value = data[2 : 2 + data[1]], data[2 + data[1] :]
    if not (tag.isascii() and tag.isalnum()):
        raise ValueError("a CAA tag has other characters than letters and digits")
    return CaaRecord(data[0], tag.decode().lower(), value.decode("latin-1"))


def parse_issue_value(text: str) -> IssueValue | None:
    """The value of an issue or issuewild property by the grammar of RFC 8659 section 4.2, None if it breaks it."""
    domain, *rest = (part.strip(_WSP) for part in text.split(";"))
    if domain and not _DOMAIN.match(domain):
        return None
    if rest == [""]:
        rest = []
    parameters: list[tuple[str, str]] = []
    for part in rest:
        name, equals, value = part.partition("=")
        name, value = name.rstrip(_WSP), value.lstrip(_WSP)
        if not equals or not _TAG.match(name) or not _VALUE.match(value):
            return None
        parameters.append((name.lower(), value))
    return IssueValue(domain, tuple(parameters))


# --- judging -----------------------------------------------------------------------------------------------------


def judge(
    records: Sequence[CaaRecord],
    *,
    owner: str,
    wildcard: bool,
    ca_identities: Sequence[str],
    account_url: str | None,
    method: str | None,
) -> Verdict:
    """Whether the CA may issue under the relevant record set (RFC 8659 section 4, RFC 8657).

    Args:
        records: the relevant record set, empty if there is none.
        owner: the name that holds it, for words.
        wildcard: whether the identifier is a wildcard: then issuewild properties replace the issue ones.
        ca_identities: issuer domain names that the CA looks for (`meta.caaIdentities`), compared octet by octet.
        account_url: the account's URL, `NEW_ACCOUNT` if it is yet to be made, None if it is not known here.
        method: the validation method, `dns-01`; None if it is one of the CA's own whose name is not known here.
    """
    for record in records:
        if record.critical and record.tag not in KNOWN_TAGS:
            return _critical(record, owner, ca_identities)
    tag = "issuewild" if wildcard and any(record.tag == "issuewild" for record in records) else "issue"
    relevant = [record for record in records if record.tag == tag]
    if not records:
        return Verdict(Ruling.PERMITTED, "no CAA record restricts who may issue")
    if not relevant:
        return Verdict(Ruling.PERMITTED, f"the CAA records of {owner} do not restrict who may issue this")
    if not ca_identities:
        text = (
            f"{quote(owner, relevant[0])} restricts who may issue, and the CA does not say by which name it goes there"
        )
        return Verdict(Ruling.UNKNOWN, text, relevant[0])
    refused: list[tuple[_Refusal, CaaRecord]] = []
    for record in relevant:
        refusal = _refusal(record, ca_identities, account_url, method)
        if refusal is None:
            return Verdict(Ruling.PERMITTED, f"{quote(owner, record)} permits it", record)
        refused.append((refusal, record))
    refusal, record = max(refused, key=lambda pair: pair[0].rank)
    fix = f"publish at {owner}: CAA {record_to_publish(tag, ca_identities[0], account_url, method)}"
    return Verdict(refusal.ruling, f"{quote(owner, record)} {refusal.why}", record, fix)


def quote(owner: str, record: CaaRecord) -> str:
    """`example.com CAA 0 issue "ca.example"`."""
    return f"{owner} CAA {record}"


def record_to_publish(tag: str, identity: str, account_url: str | None, method: str | None) -> str:
    """The narrowest record that lets the CA issue: for this account and method only, where the account is known."""
    account = f"; accounturi={account_url}" if account_url else ""
    methods = f"; validationmethods={method}" if method else ""
    return f'0 {tag} "{identity}{account}{methods}"'


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a record does not permit; the higher `rank` is nearer to permitting, and the better explanation."""

    rank: int
    why: str
    ruling: Ruling = Ruling.FORBIDDEN


def _refusal(
    record: CaaRecord, identities: Sequence[str], account_url: str | None, method: str | None
) -> _Refusal | None:
    """Why this issue or issuewild record does not permit, None if it does."""
    value = parse_issue_value(record.value)
    us = " or ".join(identities)
    if value is None:
        return _Refusal(1, "is not written as RFC 8659 section 4.2 has it, so it permits nobody")
    if not value.issuer:
        return _Refusal(0, f"permits nobody, and so not {us}")
    if value.issuer not in identities:
        case = " in this spelling" if value.issuer.lower() in {one.lower() for one in identities} else ""
        return _Refusal(2, f"does not permit {us}{case}")
    return _account_refusal(value, account_url) or _method_refusal(value, method)


def _account_refusal(value: IssueValue, account_url: str | None) -> _Refusal | None:
    """By RFC 8657 section 3."""
    wanted = value.all("accounturi")
    if not wanted:
        return None
    if len(wanted) > 1:
        return _Refusal(3, "has more than one accounturi, which no account fulfils (RFC 8657 section 3)")
    if account_url is None:
        why = f"binds the CA to the account {wanted[0]}, and the account of this run is not known yet"
        return _Refusal(5, why, Ruling.UNKNOWN)
    if account_url == NEW_ACCOUNT:
        return _Refusal(4, f"binds the CA to the account {wanted[0]}, and this run would register a new one")
    if wanted[0] != account_url:
        return _Refusal(4, f"binds the CA to the account {wanted[0]}, and this run uses {account_url}")
    return None


def _method_refusal(value: IssueValue, method: str | None) -> _Refusal | None:
    """By RFC 8657 section 4."""
    wanted = value.all("validationmethods")
    if not wanted:
        return None
    methods = [item.strip(_WSP) for item in wanted[0].split(",")]
    if len(wanted) > 1 or not all(_METHOD.match(item) for item in methods):
        return _Refusal(3, "has validationmethods that no validation fulfils (RFC 8657 section 4)")
    if method is None:
        why = f"permits the validation methods {', '.join(methods)} only, and the CA has its own, of unknown name"
        return _Refusal(5, why, Ruling.UNKNOWN)
    if method not in methods:
        return _Refusal(4, f"permits the validation methods {', '.join(methods)} only, and this run uses {method}")
    return None


def _critical(record: CaaRecord, owner: str, identities: Sequence[str]) -> Verdict:
    why = f"{quote(owner, record)} is critical, and a CA that does not know {record.tag!r} must not issue"
    harmless = replace(record, flags=record.flags & ~CRITICAL)
    fix = f"remove it from {owner}, or clear its critical flag: CAA {harmless}"
    return Verdict(Ruling.FORBIDDEN if identities else Ruling.UNKNOWN, why, record, fix)


def _printable(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if " " <= char <= "~" else f"\\{ord(char):03d}"
