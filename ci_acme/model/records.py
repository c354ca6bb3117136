"""What a store keeps beside a certificate, and what a run keeps while it is under way. Both survive as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

from ci_acme.dataclass import asdict, dataclass, replace
from ci_acme.model.material import CertificateFacts, KeyType
from ci_acme.model.secret import Secret

METADATA_SCHEMA: Final = "ci-acme/metadata/1"


def format_time(value: datetime) -> str:
    """RFC 3339, UTC, whole seconds: the one form in every document of ours."""
    return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """An RFC 3339 time as an aware UTC datetime. Raises `ValueError`."""
    value = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace("z", "+00:00"))
    if value.tzinfo is None:
        raise ValueError("the time has no zone")
    return value.astimezone(timezone.utc)


@dataclass(frozen=True, slots=True)
class RenewalMemory:
    """What RFC 9773 wants a client to remember about one certificate between runs.

    `chosen` is the time drawn once from the window `start`..`end`; it is kept while the window stands.
    No request is made before `retry_after`. `failures` counts temporary errors in a row.
    """

    url: str
    start: datetime | None = None
    end: datetime | None = None
    chosen: datetime | None = None
    retry_after: datetime | None = None
    explanation_url: str | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Metadata:
    """The public record beside a certificate: enough to keep, renew or deliver it without reading the key.

    `authority` is the directory URL; `spec_digest` is `CertificateSpec.digest()` of what was asked for; `revoked` is
    when we had it revoked or learnt of it.
    """

    name: str
    spec_digest: str
    names: tuple[str, ...]
    authority: str
    profile: str | None
    key: str
    owner: str | None
    serial: str
    sha256: str
    spki_sha256: str
    issuer: str
    not_before: datetime
    not_after: datetime
    renew_after: datetime
    order: str | None
    run: str
    renewal: RenewalMemory | None = None
    revoked: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; times are RFC 3339 UTC."""
        document = {"schema": METADATA_SCHEMA, **_plain(asdict(self))}
        return {key: value for key, value in document.items() if value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Metadata:
        """The inverse of `to_json`. Raises `ValueError` for anything else."""
        if document.get("schema") != METADATA_SCHEMA:
            raise ValueError("not a ci-acme/metadata/1 document")
        try:
            renewal = document.get("renewal")
            return cls(
                name=_text(document["name"]),
                spec_digest=_text(document["spec_digest"]),
                names=tuple(_text(name) for name in document["names"]),
                authority=_text(document["authority"]),
                profile=_optional_text(document.get("profile")),
                key=_text(document["key"]),
                owner=_optional_text(document.get("owner")),
                serial=_text(document["serial"]),
                sha256=_text(document["sha256"]),
                spki_sha256=_text(document["spki_sha256"]),
                issuer=_text(document["issuer"]),
                not_before=parse_time(_text(document["not_before"])),
                not_after=parse_time(_text(document["not_after"])),
                renew_after=parse_time(_text(document["renew_after"])),
                order=_optional_text(document.get("order")),
                run=_text(document["run"]),
                renewal=_renewal_from_json(renewal) if renewal else None,
                revoked=_optional_time(document.get("revoked")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"metadata lacks or garbles {error}") from None

    def facts(self) -> CertificateFacts:
        """What it says of the certificate, without parsing that. The ARI identifier is not kept here."""
        try:
            key_type = KeyType(self.key)
        except ValueError:
            key_type = None
        return CertificateFacts(
            names=self.names,
            serial=self.serial,
            sha256=self.sha256,
            spki_sha256=self.spki_sha256,
            issuer=self.issuer,
            not_before=self.not_before,
            not_after=self.not_after,
            key_type=key_type,
            ari_id=None,
        )

    def with_renewal(self, renewal: RenewalMemory | None, renew_after: datetime) -> Metadata:
        """The same certificate with a newer view of when to renew it."""
        return replace(self, renewal=renewal, renew_after=renew_after)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _optional_time(value: Any) -> datetime | None:
    return None if value is None else parse_time(_text(value))


def _renewal_from_json(document: Mapping[str, Any]) -> RenewalMemory:
    failures = document.get("failures", 0)
    return RenewalMemory(
        url=_text(document["url"]),
        start=_optional_time(document.get("start")),
        end=_optional_time(document.get("end")),
        chosen=_optional_time(document.get("chosen")),
        retry_after=_optional_time(document.get("retry_after")),
        explanation_url=_optional_text(document.get("explanation_url")),
        failures=failures if isinstance(failures, int) else 0,
    )


@dataclass(frozen=True, slots=True)
class PendingOrder:
    """An order under way, kept in the first store from before finalize until the certificate is published there.

    A run that finds one with its own `spec_digest` goes on with it instead of ordering again. `certificate` (the full
    chain, PEM) is set once it was downloaded.
    """

    spec_digest: str
    authority: str
    account: str
    order: str
    key: Secret
    certificate: bytes | None = None
