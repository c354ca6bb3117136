"""The models of the config's section `monitor`: when `ci-acme monitor` alerts, and which sources it asks."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from ci_acme.config import fields
from ci_acme.config.schema import MonitorSettings
from ci_acme.core.alerts import CODES, KINDS
from ci_acme.core.spikes import Quiet, SpikeRules
from ci_acme.core.watch import Rules
from ci_acme.model.names import normalize_host, split_host_port
from ci_acme.model.records import parse_time
from ci_acme.rest import api_url
from ci_acme.settings import Count, Flag, ListOrOne, SecretReference, Settings, at

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_HEX: Final = re.compile(r"[0-9a-f]{8,64}\Z")
_CRT_SH: Final = "crt.sh"


def _check_share(text: str) -> str:
    policy = fields.parse_renew(text)
    if policy.auto:
        raise ValueError("must be a fraction of the life (0.1) or a time before the end (7d)")
    return text


def _check_moment(text: str) -> str:
    parse_moment(text)
    return text


def parse_moment(text: str) -> datetime:
    """`2026-11-25` (its begin in UTC) or an RFC 3339 time. Raises `ValueError`."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc) if _DATE.match(text) else parse_time(text)
    except ValueError:
        raise ValueError("is neither a date (2026-11-25) nor an RFC 3339 time (2026-11-25T08:00:00Z)") from None


def _check_identity(text: str) -> str:
    plain = text.replace(":", "").lower()
    if not _HEX.match(plain):
        raise ValueError("is no hash or serial number in hex (8 to 64 digits)")
    return plain


def _check_ignored(text: str) -> str:
    if text not in KINDS and text not in CODES:
        raise fields.choice([*KINDS, *CODES], text)
    return text


def _check_address(text: str) -> str:
    split_host_port(text, 443)
    return text


Share = Annotated[
    str,
    BeforeValidator(fields.number_as_text),
    AfterValidator(_check_share),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}]}),
]
Moment = Annotated[str, AfterValidator(_check_moment)]
Identity = Annotated[str, AfterValidator(_check_identity)]
Ignored = Annotated[str, AfterValidator(_check_ignored)]


class QuietTime(Settings):
    """A time in which many new certificates are expected: a release, a move."""

    begin: Moment = Field(description="A date or an RFC 3339 time, UTC.")
    end: Moment = Field(description="A date (its begin) or an RFC 3339 time, UTC.")
    reason: str | None = Field(default=None, min_length=1, description="For people.")

    @model_validator(mode="after")
    def _check(self) -> QuietTime:
        if parse_moment(self.end) <= parse_moment(self.begin):
            raise at({("end",): "is not after begin"})
        return self


class Spike(Settings):
    """When orders are too many."""

    repeats: Count = Field(
        default=3, ge=2, le=1000, description="Certificates of exactly the same names in 24 hours that are an alert."
    )
    failures: Count = Field(
        default=3, ge=2, le=1000, description="Failed orders of a name in an hour that are an alert."
    )
    unusual: Flag = Field(
        default=True,
        description="Whether new certificates of a registered domain, or of a repository, are compared with the last "
        "28 days; needs 14 days of records.",
    )
    quiet: tuple[QuietTime, ...] = Field(default=(), description="Times in which nothing is unusual.")

    @property
    def rules(self) -> SpikeRules:
        """As the core names them."""
        quiet = tuple(Quiet(parse_moment(one.begin), parse_moment(one.end)) for one in self.quiet)
        return SpikeRules(self.repeats, self.failures, self.unusual, quiet)


class Transparency(Settings):
    """The search API of Certificate Transparency logs that is asked for certificates of our names."""

    api: Annotated[str, AfterValidator(api_url)] = Field(
        description="The base URL: https://api.certspotter.com, https://crt.sh, or one that speaks as they do."
    )
    form: Literal["certspotter", "crt.sh"] | None = Field(
        default=None,
        description="As which of the two the API speaks; default: crt.sh at the host crt.sh, else certspotter.",
    )
    token: SecretReference | None = Field(
        default=None, description="A reference to the API's token, sent as a bearer token."
    )
    domains: Annotated[tuple[Annotated[str, AfterValidator(normalize_host)], ...], ListOrOne()] = Field(
        default=(),
        description="Domains to watch with all names below them; default: the names of the config's certificates.",
    )
    since: Moment | None = Field(
        default=None,
        description="Certificates from before this time are left out; default: since when there are records in state.",
    )
    known: Annotated[tuple[Identity, ...], ListOrOne()] = Field(
        default=(),
        description="Certificates of others that are in order: SHA-256 of the TBSCertificate, of the key (SPKI) or of "
        "the certificate, or a serial number, hex.",
    )
    ca_bundle: str | None = Field(
        default=None, min_length=1, description="A PEM file of the roots to trust for the API."
    )

    @property
    def speaks(self) -> Literal["certspotter", "crt.sh"]:
        """The form that is said, else the one that fits the host."""
        return self.form or ("crt.sh" if urlsplit(self.api).hostname == _CRT_SH else "certspotter")


class Endpoint(Settings):
    """A TLS server that shall serve a certificate of the config."""

    address: Annotated[str, AfterValidator(_check_address)] = Field(description="HOST[:PORT] or [V6]:PORT.")
    name: Annotated[str, AfterValidator(normalize_host)] | None = Field(
        default=None, description="The name that is asked for by SNI; default: the host of the address."
    )

    @property
    def host_port(self) -> tuple[str, int]:
        """Where to connect to."""
        return split_host_port(self.address, 443)

    @property
    def server_name(self) -> str:
        """The name that the certificate has to be for."""
        return self.name or self.host_port[0].lower()


def _as_endpoint(value: object) -> object:
    return {"address": value} if isinstance(value, str) else value


class Monitor(MonitorSettings):
    """When `ci-acme monitor` alerts."""

    overdue: fields.Lifetime = Field(
        default="48h",
        description="How long a certificate may wait for its renewal once it is due; at most a quarter of the time "
        "that is left then.",
    )
    expiry: Share = Field(
        default="0.1",
        description="Life left that is critical: a fraction of the whole, or a time (7d); at most half of the time "
        "that is left when it is due.",
    )
    failures: Count = Field(
        default=2, ge=1, le=100, description="Failed orders in a row that are an alert; fewer are a notice."
    )
    key_age: fields.Lifetime | None = Field(
        default=None, description="How old a key may be (400d); default: as old as its certificate."
    )
    others: Flag = Field(
        default=False,
        description="Whether certificates are watched, too, that only the records in state know: of other configs and "
        "environments that share it.",
    )
    ignore: Annotated[tuple[Ignored, ...], ListOrOne()] = Field(
        default=(), description="Alerts that are not wanted, by kind (spike) or code (drift.profile)."
    )
    spike: Spike = Field(default=Spike(), description="When orders are too many.")
    ct: Transparency | None = Field(default=None, description="Certificate Transparency; without it no log is asked.")
    endpoints: tuple[Annotated[Endpoint, BeforeValidator(_as_endpoint)], ...] = Field(
        default=(), max_length=200, description="TLS servers to look at: HOST[:PORT], or a table with address and name."
    )

    @property
    def rules(self) -> Rules:
        """As the core names them."""
        share = fields.parse_renew(self.expiry)
        return Rules(
            overdue=fields.parse_duration(self.overdue),
            expiry=share.before,
            expiry_fraction=share.fraction,
            failures=self.failures,
            key_age=fields.parse_duration(self.key_age) if self.key_age else None,
        )
