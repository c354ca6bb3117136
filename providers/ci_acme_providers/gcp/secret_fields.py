"""What stands in a secret's own fields: whose it is, what is known of it, and which version that is of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from ci_acme.model.records import Metadata, format_time, parse_time
from ci_acme.model.tags import MANAGED, foreign, from_tags, stale, to_tags
from ci_acme_providers.gcp.config import SecretManagerSettings

VERSION: Final = "ci-acme-version"
"""The annotation that says which version the others are of."""
_LENGTH: Final = 3000
_MOST: Final = 7
"""Annotations of ours and their characters at most: 16 KiB is the limit of all, of which users keep some."""

Document = Mapping[str, Any]


def told(secret: Document | None) -> tuple[Metadata | None, str]:
    """The metadata and the version that they are of; no metadata without a version."""
    annotations = (secret or {}).get("annotations") or {}
    number = str(annotations.get(VERSION) or "")
    return (from_tags(annotations), number) if number.isdigit() else (None, "")


def is_ours(secret: Document) -> bool:
    """Whether ci-acme made the secret, or wrote to it."""
    return MANAGED in (secret.get("annotations") or {})


def new(settings: SecretManagerSettings, certificate: str) -> dict[str, Any]:
    """A new secret: it says whose it is from the first moment, and names no version yet."""
    body: dict[str, Any] = {"annotations": {MANAGED: certificate}, "labels": dict(settings.labels)}
    if settings.location is None:
        places = [{"location": place} for place in settings.replicas or ()]
        body["replication"] = {"userManaged": {"replicas": places}} if places else {"automatic": {}}
    return body


def change(secret: Document, number: str, metadata: Metadata, settings: SecretManagerSettings) -> dict[str, Any]:
    """The fields that differ from what they shall be; what users put beside ours stays.

    Raises `ValueError` if the metadata do not fit.
    """
    before: dict[str, str] = dict(secret.get("annotations") or {})
    ours = to_tags(metadata, length=_LENGTH, most=_MOST) | {VERSION: number}
    gone = set(stale(before, ours))
    fields: dict[str, Any] = {
        "annotations": {key: value for key, value in before.items() if key not in gone} | ours,
        "labels": {**(secret.get("labels") or {}), **settings.labels},
    }
    if settings.alias is not None:
        fields["versionAliases"] = {**(secret.get("versionAliases") or {}), settings.alias: number}
    if settings.version_destroy_ttl is not None:
        fields["versionDestroyTtl"] = f"{settings.version_destroy_ttl}s"
    if settings.expire_after is not None:
        fields["expireTime"] = format_time(metadata.not_after + timedelta(seconds=settings.expire_after))
    return {key: value for key, value in fields.items() if not _same(key, secret.get(key), value)}


def emptied(secret: Document, settings: SecretManagerSettings) -> dict[str, Any]:
    """The fields of a secret that is kept without a certificate: nothing of ours is left in it."""
    body: dict[str, Any] = {"annotations": foreign(secret.get("annotations") or {})}
    aliases: dict[str, str] = dict(secret.get("versionAliases") or {})
    if aliases.pop(settings.alias or "", None) is not None:
        body["versionAliases"] = aliases
    return body


def _same(key: str, found: Any, wanted: Any) -> bool:
    if key == "expireTime" and isinstance(found, str):
        try:
            return parse_time(found) == parse_time(wanted)
        except ValueError:
            return False
    return bool((found or type(wanted)()) == wanted)
