"""What is known of CAs that people use, as data: each of them differs from RFC 8555 in something.

A fact that is None or absent is unknown, and then the CA is asked. Nothing here is ever a reason to believe that a CA
will do something; it is a reason to say beforehand that it will not. `docs/authorities.md` is made of this table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from ci_acme.dataclass import dataclass, field

CHROME_ENDS_CLIENT_AUTH: Final = date(2027, 3, 15)
"""From then on no publicly trusted TLS certificate may be for client authentication (Chrome's root program)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A certificate profile of a CA: how many names fit, and how long it lasts from which day on, oldest first."""

    names: int
    lifetimes: tuple[tuple[date, timedelta], ...]

    def lifetime(self, day: date) -> timedelta:
        """How long a certificate that is issued on `day` lasts."""
        return [life for since, life in self.lifetimes if since <= day][-1]


@dataclass(frozen=True, slots=True)
class Ca:
    """A CA. Well-known ones have a `url`, those that everybody runs for himself a `form` of their directory's URL.

    One with a directory for each region has both.

    `staging`: trusted by nobody. `binding`: accounts need `external_account` (RFC 8555 section 7.3.4).
    `client_auth_until`: the day from which on no certificate is for client authentication. `validity`: whether it takes
    notBefore and notAfter; `longest` is the longest that it then gives. `rollover`, `renewal_info`: does it have them.
    `preauthorized`: names are validated in its console and not by challenges; `by_challenge`: they never are.
    `per_second`, `burst`: what it takes of requests; `limits` names its rate limits in `ci_acme.core.budget`.
    `default_profile` is what an order without a profile gets. `keys` are the keys of certificates that it takes, empty
    if that is not known; `contact`: it issues nothing to an account without one. `caution` is (what a good directory's
    URL contains, what is wrong with others).
    """

    title: str
    url: str = ""
    form: str = ""
    staging: bool = False
    binding: bool = False
    client_auth_until: date | None = None
    validity: bool | None = None
    longest: timedelta | None = None
    rollover: bool | None = None
    renewal_info: bool | None = None
    preauthorized: bool = False
    by_challenge: bool = False
    per_second: float | None = None
    burst: int = 0
    limits: str = "none"
    profiles: Mapping[str, Profile] = field(default_factory=dict[str, Profile])
    default_profile: str | None = None
    keys: tuple[str, ...] = ()
    contact: bool = False
    caution: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()

    def profile(self, name: str | None) -> Profile | None:
        """What is known of a profile, or of the default one."""
        return self.profiles.get(name or self.default_profile or "")


_START: Final = date(2000, 1, 1)
_LETSENCRYPT_PROFILES: Final = {
    "classic": Profile(
        100,
        (
            (_START, timedelta(days=90)),
            (date(2027, 2, 10), timedelta(days=64)),
            (date(2028, 2, 16), timedelta(days=45)),
        ),
    ),
    "tlsserver": Profile(25, ((_START, timedelta(days=90)), (date(2026, 5, 13), timedelta(days=45)))),
    "shortlived": Profile(25, ((_START, timedelta(hours=160)),)),
}


def _letsencrypt(url: str, *, staging: bool, per_second: float, burst: int) -> Ca:
    return Ca(
        "Let's Encrypt (staging)" if staging else "Let's Encrypt",
        url,
        staging=staging,
        client_auth_until=date(2026, 7, 8),
        validity=False,
        rollover=True,
        renewal_info=True,
        per_second=per_second,
        burst=burst,
        limits="letsencrypt-staging" if staging else "letsencrypt",
        profiles=_LETSENCRYPT_PROFILES,
        default_profile="classic",
        notes=("a failed challenge is final: it takes a new order",),
    )


def _google(url: str, *, staging: bool) -> Ca:
    return Ca(
        "Google Trust Services (test)" if staging else "Google Trust Services",
        url,
        staging=staging,
        binding=True,
        client_auth_until=date(2026, 4, 13),
        validity=True,
        longest=timedelta(days=90),
        rollover=True,
        renewal_info=True,
        by_challenge=True,
        notes=("the external account's key serves once and for seven days",),
    )


def _sslcom(kind: str) -> Ca:
    return Ca(
        f"SSL.com ({kind.upper()})",
        f"https://acme.ssl.com/sslcom-dv-{kind}",
        binding=True,
        client_auth_until=date(2025, 9, 15),
        rollover=False,
        by_challenge=True,
        contact=True,
        notes=(
            "wants a contact; without one, finalize is refused as badCSR",
            "charges for a year if the account has funds; only one name with its www. is free",
        ),
    )


def _sectigo(kind: str) -> Ca:
    return Ca(
        f"Sectigo ({kind})",
        f"https://acme.sectigo.com/v2/{kind}",
        binding=True,
        client_auth_until=date(2027, 2, 10),
        preauthorized=True,
        notes=("names are validated in Sectigo Certificate Manager",),
    )


WELL_KNOWN: Final[dict[str, Ca]] = {
    "letsencrypt": _letsencrypt(
        "https://acme-v02.api.letsencrypt.org/directory", staging=False, per_second=200, burst=100
    ),
    "letsencrypt-staging": _letsencrypt(
        "https://acme-staging-v02.api.letsencrypt.org/directory", staging=True, per_second=18, burst=18
    ),
    "google": _google("https://dv.acme-v02.api.pki.goog/directory", staging=False),
    "google-test": _google("https://dv.acme-v02.test-api.pki.goog/directory", staging=True),
    "zerossl": Ca(
        "ZeroSSL",
        "https://acme.zerossl.com/v2/DV90",
        binding=True,
        client_auth_until=date(2025, 10, 15),
        rollover=False,
        renewal_info=False,
        by_challenge=True,
        notes=("a failed challenge can be answered again",),
    ),
    "sslcom-rsa": _sslcom("rsa"),
    "sslcom-ecc": _sslcom("ecc"),
    "sectigo-dv": _sectigo("DV"),
    "sectigo-ov": _sectigo("OV"),
    "sectigo-ev": _sectigo("EV"),
    "digicert": Ca(
        "DigiCert",
        "https://one.digicert.com/mpki/api/v1/acme/v2/directory",
        form=r"https://one\.(?:(?:us|nl|ch)\.digicert\.com|digicert\.(?:com|co\.jp))/mpki/api/v1/acme/v2/directory(?:\?.*)?",
        binding=True,
        client_auth_until=date(2027, 3, 1),
        notes=("each region has a directory of its own", "domains that are validated already get no challenges"),
    ),
    "globalsign": Ca(
        "GlobalSign",
        "https://emea.acme.atlas.globalsign.com/directory",
        binding=True,
        client_auth_until=CHROME_ENDS_CLIENT_AUTH,
    ),
    "actalis": Ca(
        "Actalis",
        "https://acme-api.actalis.com/acme/directory",
        binding=True,
        client_auth_until=CHROME_ENDS_CLIENT_AUTH,
        renewal_info=True,
        notes=("a failed challenge stays `processing`: the run ends with its --timeout",),
    ),
}

BY_URL: Final = (
    Ca(
        "AWS Certificate Manager",
        form=r"https://acm-acme-enroll\.[a-z0-9-]+\.api\.aws/[^/]+/directory",
        binding=True,
        client_auth_until=CHROME_ENDS_CLIENT_AUTH,
        preauthorized=True,
        keys=("rsa-2048", "ec-p256", "ec-p384"),
        notes=("names are validated beforehand (CreateAcmeDomainValidation)", "RSA 2048, EC P-256 and P-384 only"),
    ),
    Ca(
        "HARICA",
        form=r"https://[^/]+\.harica\.gr/acme/[^/]+/directory",
        binding=True,
        client_auth_until=CHROME_ENDS_CLIENT_AUTH,
        notes=(
            "each account of its console has a directory of its own",
            "domains that are validated in the console get no challenges",
        ),
    ),
    Ca(
        "LiteSSL",
        form=r"https://acme\.litessl\.com/acme/v2/directory",
        binding=True,
        client_auth_until=CHROME_ENDS_CLIENT_AUTH,
    ),
    Ca(
        "step-ca, Smallstep",
        form=r"https://[^/]+/acme/[^/]+/directory",
        validity=True,
        rollover=False,
        renewal_info=False,
        notes=("advertises keyChange and does not have it", "a failed challenge stays `pending` and is answered again"),
    ),
    Ca(
        "HashiCorp Vault, OpenBao",
        form=r"https://[^/]+/v1/[^?]*/acme/directory",
        rollover=False,
        renewal_info=False,
        caution=("/roles/", "without /roles/ROLE/ in its directory's URL it signs whatever is asked for"),
        notes=(
            "use a directory with /roles/ROLE/: without a role it signs whatever is asked for",
            "client authentication only where the role says allow_role_ext_key_usage=true",
        ),
    ),
    Ca("EJBCA", form=r"https://[^/]+/ejbca/acme/(?:[^/]+/)?directory"),
)
"""CAs that are known by the form of their directory's URL, the most particular first."""

UNKNOWN: Final = Ca("a CA that is not in the table")


def known_ca(directory: str) -> Ca:
    """What is known of the CA with this directory URL; `UNKNOWN` if nothing is."""
    for ca in WELL_KNOWN.values():
        if ca.url == directory:
            return ca
    named = (ca for ca in (*WELL_KNOWN.values(), *BY_URL) if ca.form)
    return next((ca for ca in named if re.fullmatch(ca.form, directory)), UNKNOWN)
