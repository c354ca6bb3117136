"""What a new order asks of a CA (RFC 8555 section 7.4, RFC 9773 section 5, profiles), and what it does without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from ci_acme.ca.messages import Directory
from ci_acme.ca.transport import Reply
from ci_acme.dataclass import dataclass
from ci_acme.errors import CaError, CaUnreachable, ConfigError, OrderRefused, RateLimited
from ci_acme.model.records import format_time

Send: TypeAlias = Callable[[Mapping[str, Any], Callable[[Reply], bool]], Reply]
"""Sends a newOrder request with a payload; the second argument says which failures are not waited for."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An order for exactly `names`; `replaces` is the CertID of a predecessor."""

    names: tuple[str, ...]
    profile: str | None = None
    replaces: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None

    def payload(self) -> dict[str, Any]:
        """The request without `replaces`."""
        payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in self.names]}
        if self.profile is not None:
            payload["profile"] = self.profile
        if self.not_before is not None:
            payload["notBefore"] = format_time(self.not_before)
        if self.not_after is not None:
            payload["notAfter"] = format_time(self.not_after)
        return payload


def place(send: Send, wish: Wish, directory: Directory, host: str, warn: Callable[[str], None]) -> Reply:
    """Make the order; `replaces` goes along where the CA has renewal information.

    A predecessor that the CA does not accept must not fail a deployment: then the order is made without it. CAs refuse
    it as 404, 409, malformed and unauthorized; some as an internal error, which is not waited for. Raises
    `OrderRefused` for a profile that is not offered.
    """
    if wish.profile is not None:
        check_profile(wish.profile, directory, host)
    payload = wish.payload()
    if wish.replaces is None or directory.renewal_info is None:
        return send(payload, _nothing_is_final)
    try:
        return send({**payload, "replaces": wish.replaces}, _an_internal_error_is_final)
    except RateLimited:
        raise
    except (CaError, ConfigError) as error:
        if isinstance(error, CaUnreachable) and "problem" not in error.details:
            raise
        refusal = error
    reply = send(payload, _nothing_is_final)
    warn(f"ordered without naming the certificate that is replaced: {refusal.message}")
    return reply


def _nothing_is_final(reply: Reply) -> bool:
    return False


def _an_internal_error_is_final(reply: Reply) -> bool:
    return reply.status == 500


def check_profile(profile: str, directory: Directory, host: str) -> None:
    """Raises `OrderRefused` for a profile that the directory does not offer."""
    if profile in directory.profiles:
        return
    offered = "; ".join(f"{name} ({text})" if text else name for name, text in sorted(directory.profiles.items()))
    raise OrderRefused(
        f"{host} does not offer the profile {profile!r}",
        fix=f"choose one of: {offered}" if offered else "remove profile: this CA has none",
        details={"profiles": dict(directory.profiles)},
    )
