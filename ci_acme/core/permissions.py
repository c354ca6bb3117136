"""What the command `permissions` prints, and the CAA records that bind issuance to our account. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.ports import PolicyDocument

PERMISSIONS_SCHEMA: Final = "ci-acme/permissions/1"
UNKNOWN_ACCOUNT: Final = "ACCOUNT-URL"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one provider needs. `subject` is the zone of a DNS entry or the target of a store; `uses` says for what."""

    kind: str
    provider: str
    subject: str
    uses: tuple[str, ...]
    documents: tuple[PolicyDocument, ...]

    def as_dict(self) -> dict[str, Any]:
        """The entry of `grants`."""
        return {
            "kind": self.kind,
            "provider": self.provider,
            "subject": self.subject,
            "uses": list(self.uses),
            "documents": [{"title": one.title, "syntax": one.syntax, "text": one.text} for one in self.documents],
        }


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA as CAA records name it. `account` is None if no account is known yet; `method` None where the CA decides."""

    identity: str
    account: str | None
    method: str | None

    @property
    def value(self) -> str:
        """RFC 8659's issue-value with the parameters of RFC 8657."""
        parts = [self.identity, f"accounturi={self.account or UNKNOWN_ACCOUNT}"]
        return "; ".join([*parts, f"validationmethods={self.method}"] if self.method else parts)


def caa_records(zone: str, plain: Sequence[Issuer], wild: Sequence[Issuer]) -> list[str]:
    """The CAA records for a zone whose names get certificates from `plain`, and wildcards from `wild`.

    Whoever is not named may not issue: `issuewild ";"` where no wildcard is wanted, and for `issue` likewise.
    """
    return [*_lines(zone, "issue", plain), *_lines(zone, "issuewild", wild)]


def _lines(zone: str, tag: str, issuers: Iterable[Issuer]) -> list[str]:
    values = list(dict.fromkeys(issuer.value for issuer in issuers)) or [";"]
    return [f'{zone}. CAA 0 {tag} "{value}"' for value in values]


def document(grants: Sequence[Grant], caa: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The JSON document."""
    return {
        "schema": PERMISSIONS_SCHEMA,
        "grants": [grant.as_dict() for grant in grants],
        "caa": [{"zone": zone, "records": list(records)} for zone, records in caa.items()],
    }


def as_text(grants: Sequence[Grant], caa: Mapping[str, Sequence[str]]) -> str:
    """For people: a heading for each provider, and what to paste below it."""
    lines: list[str] = []
    for grant in grants:
        lines += [f"# {grant.kind} {grant.provider} {grant.subject}", *(f"#   for {use}" for use in grant.uses)]
        for one in grant.documents:
            lines += [f"## {one.title}", one.text.rstrip(), ""]
    for zone, records in caa.items():
        lines += [f"# CAA records of {zone}: only our account may issue (RFC 8659, RFC 8657)"]
        lines += ["#   keep those of other CAs that issue for names in it", *records, ""]
    return "\n".join(lines).rstrip()
