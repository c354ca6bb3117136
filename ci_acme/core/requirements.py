"""What a CA is known not to give, said before anything is ordered. Pure: the caller passes the CA's data and `now`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Final

from ci_acme.core.quirks import Ca
from ci_acme.errors import OrderRefused
from ci_acme.model.names import is_wildcard
from ci_acme.model.spec import CertificateSpec, Expectation

CLIENT_AUTH: Final = frozenset({"clientAuth", "1.3.6.1.5.5.7.3.2"})
PRIVATE_CA: Final = (
    "use a private CA for clients (step-ca, Vault or OpenBao, EJBCA: an authority with its directory's URL), or remove "
    "clientAuth from expect.eku"
)
TOLERANCE: Final = timedelta(minutes=1)
"""A certificate of ninety days lasts a second less: both ends of its validity count (RFC 5280 section 4.1.2.5)."""


class KnownRefusal(OrderRefused):
    """Refused by us for the CA: nothing was asked for."""


def refusal(spec: CertificateSpec, ca: Ca, now: datetime) -> KnownRefusal | None:
    """Why this CA cannot serve this certificate, None if nothing is known against it."""
    found = next(_refusals(spec, ca, now), None)
    if found is None:
        return None
    message, fix = found
    return KnownRefusal(message, fix=fix, details={"authority": spec.authority, "directory": spec.directory})


def _refusals(spec: CertificateSpec, ca: Ca, now: datetime) -> Iterator[tuple[str, str]]:
    yield from _names(spec, ca)
    if ca.keys and spec.key.value not in ca.keys:
        yield f"{ca.title} takes no key of the type {spec.key.value}", f"set key to one of: {', '.join(ca.keys)}"
    yield from _client_auth(spec, ca, now)
    yield from _asked_lifetime(spec, ca)
    if spec.backdate is not None and ca.validity is False:
        said = f"{ca.title} takes no not_before: it decides by itself when a certificate begins"
        yield said, "remove not_before, or use a CA that takes it"
    yield from _expected_lifetime(spec, ca, now)


def _names(spec: CertificateSpec, ca: Ca) -> Iterator[tuple[str, str]]:
    profile = ca.profile(spec.profile)
    if profile is None or len(spec.names) <= profile.names:
        return
    roomy = [name for name, other in ca.profiles.items() if len(spec.names) <= other.names]
    wildcards = "" if any(map(is_wildcard, spec.names)) else ", or use a wildcard for those below one domain"
    other = f"use the profile {' or '.join(roomy)}, or divide" if roomy else "divide"
    used = spec.profile or ca.default_profile
    said = f"{spec.name} has {len(spec.names)} names; {ca.title} takes {profile.names} at most with the profile {used}"
    yield said, f"{other} the names over several certificates{wildcards}"


def _client_auth(spec: CertificateSpec, ca: Ca, now: datetime) -> Iterator[tuple[str, str]]:
    until = ca.client_auth_until
    if until is None or now.astimezone(timezone.utc).date() < until or not CLIENT_AUTH & set(spec.expect.eku):
        return
    said = f"{ca.title} issues no certificate for client authentication (clientAuth) since {until}"
    yield f"{said}: no CA that browsers trust may, by their root programs", PRIVATE_CA


def _asked_lifetime(spec: CertificateSpec, ca: Ca) -> Iterator[tuple[str, str]]:
    if spec.lifetime is None:
        return
    if ca.validity is False:
        short = f"choose a profile ({', '.join(ca.profiles)}) in place of lifetime" if ca.profiles else ""
        yield (
            f"{ca.title} takes no lifetime: it decides by itself how long a certificate lasts",
            short or "remove lifetime, or use a CA that takes it",
        )
    elif ca.longest is not None and spec.lifetime > ca.longest:
        yield (
            f"{ca.title} gives {_days(ca.longest)} at most, and lifetime is {_days(spec.lifetime)}",
            f"set lifetime to {_days(ca.longest)} or less",
        )


def _expected_lifetime(spec: CertificateSpec, ca: Ca, now: datetime) -> Iterator[tuple[str, str]]:
    profile = ca.profile(spec.profile)
    if profile is None or spec.lifetime is not None:
        return
    life = profile.lifetime(now.astimezone(timezone.utc).date())
    said = lifetime_problem(spec.expect, life)
    if said is not None:
        yield (
            f"with the profile {spec.profile or ca.default_profile}, a certificate of {ca.title} {said}",
            "choose another profile or CA, or change expect",
        )


def lifetime_problem(expect: Expectation, life: timedelta) -> str | None:
    """What is wrong with a life of this length, as what follows "the certificate"; None for nothing."""
    if expect.max_lifetime is not None and life > expect.max_lifetime + TOLERANCE:
        return f"lasts {_days(life)}, and expect.max_lifetime is {_days(expect.max_lifetime)}"
    if expect.min_lifetime is not None and life < expect.min_lifetime - TOLERANCE:
        return f"lasts {_days(life)}, and expect.min_lifetime is {_days(expect.min_lifetime)}"
    return None


def _days(life: timedelta) -> str:
    """`47 days`, `6 days 16 h`, `90 min`: the way people say it."""
    minutes = round(life.total_seconds() / 60)
    days, hours = divmod(round(minutes / 60), 24)
    if days:
        return f"{days} day{'s' if days > 1 else ''}" + (f" {hours} h" if hours else "")
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
