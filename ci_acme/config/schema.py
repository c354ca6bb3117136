"""The pydantic models of the config file. What needs the whole document is in `checks.py`.

Provider entries are judged by the settings class of the provider that they name, loaded when a config names it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

from ci_acme.config import fields
from ci_acme.config.directories import default_limits, resolve_directory
from ci_acme.core.budget import OWN_FAILURES, PROFILES, Limit, Limits, Rate
from ci_acme.model.material import KeyType
from ci_acme.model.spec import CertificateSpec, Expectation, RenewPolicy, Source
from ci_acme.settings import (
    Count,
    DnsSettings,
    Flag,
    ListOrOne,
    OneOrMany,
    SecretReference,
    Settings,
    StoreSettings,
    at,
)
from ci_acme.spec import Kind

RATES: Final = tuple(limit.value for limit in Limit)
PUBLIC_DOH: Final = ("https://cloudflare-dns.com/dns-query", "https://dns.google/dns-query")
KeyName = Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"]
LimitsName = Literal["letsencrypt", "letsencrypt-staging", "none"]


class ExternalAccount(Settings):
    """External account binding (RFC 8555 section 7.3.4): the pair from the CA, or a program that mints one."""

    key_id: str | None = Field(
        None, min_length=1, description="The key identifier from the CA, or a reference to it (env:NAME)."
    )
    hmac_key: SecretReference | None = Field(None, description="A reference to the MAC key from the CA, base64url.")
    command: Annotated[tuple[fields.Argument, ...], ListOrOne()] = Field(
        (),
        description="A program and its arguments, run without a shell when an account is registered; it prints a JSON "
        "object with key_id and hmac_key.",
    )
    alg: Literal["HS256", "HS384", "HS512"] = Field("HS256", description="The MAC algorithm that the CA wants.")

    @model_validator(mode="after")
    def _check(self) -> ExternalAccount:
        if self.command and (self.key_id or self.hmac_key):
            raise at({("command",): "stands in place of key_id and hmac_key"})
        missing = [name for name in ("key_id", "hmac_key") if getattr(self, name) is None]
        if missing and not self.command:
            raise at({(name,): PydanticCustomError("missing", "is required") for name in missing})
        return self


class RateLimits(Settings):
    """The CA's rate limits, each `COUNT/PERIOD` (`50/7d`); what is not said is as in `profile`.

    Failed validations are the exception: where a table does not say otherwise, 2 an hour and name.
    """

    profile: LimitsName = Field("none", description="The well-known limits to start from.")
    certificates_per_domain: fields.Rate | None = Field(None, description="New certificates a registered domain.")
    certificates_per_name_set: fields.Rate | None = Field(None, description="Certificates of exactly the same names.")
    orders_per_account: fields.Rate | None = Field(None, description="New orders an account.")
    failures_per_name: fields.Rate | None = Field(
        None, description="Failed validations a name, after which ci-acme stops by itself (default: 2/1h)."
    )
    accounts_per_address: fields.Rate | None = Field(None, description="New accounts an IP address.")
    reserve: Count = Field(
        0, ge=0, le=100_000, description="Certificates a registered domain that new names leave over for renewals."
    )

    @model_validator(mode="after")
    def _check_reserve(self) -> RateLimits:
        rate = self.limits.certificates_per_domain
        if self.reserve and rate is None:
            raise at({("reserve",): "needs certificates_per_domain, or a profile that has it"})
        if rate is not None and self.reserve >= rate.count:
            raise at({("reserve",): f"leaves nothing of certificates_per_domain ({rate.count}) for new names"})
        return self

    @property
    def limits(self) -> Limits:
        """As the core names them."""
        said = {name: getattr(self, name) for name in RATES}
        rates = {name: Rate(*fields.parse_rate(text)) for name, text in said.items() if text is not None}
        base = PROFILES[self.profile]
        if rates and not base:
            rates.setdefault(Limit.FAILURES_PER_NAME.value, OWN_FAILURES)
        return base.altered(rates, self.reserve)


class Authority(Settings):
    """A CA and our account there."""

    directory: fields.DirectoryName = Field(
        description="A well-known CA (letsencrypt, google, zerossl, …) or the https URL of its directory."
    )
    contact: Annotated[tuple[fields.Email, ...], ListOrOne()] = Field(
        (), description="E-mail addresses that the CA may write to."
    )
    agree_terms: Flag = Field(
        default=False, description="Whether you agree to the CA's terms of service; without it no account is made."
    )
    account_key: fields.AccountKey = Field(
        "file:.ci-acme/account.pem",
        description="Where the account key is: a secret reference, or a signer (aws-kms:, gcp-kms:, azure-key:, "
        "vault-transit:). With several authorities the default is file:.ci-acme/account-NAME.pem.",
    )
    profile: str | None = Field(None, min_length=1, description="The CA's certificate profile: shortlived, tlsserver.")
    external_account: ExternalAccount | None = Field(None, description="External account binding, if the CA wants it.")
    ca_bundle: str | None = Field(None, min_length=1, description="A PEM file of the roots to trust for a private CA.")
    preferred_chain: str | None = Field(
        None, min_length=1, description="The common name of the root that the chain should end in."
    )
    challenge: Literal["dns-01", "dns-account-01", "dns-persist-01"] = Field(
        "dns-01",
        description="How names are proven: dns-01; dns-account-01, with a label for each account, where the CA has it; "
        "dns-persist-01, a standing record that somebody else publishes (needs experimental.dns_persist).",
    )
    preauthorized: Flag | None = Field(
        None,
        description="Whether names are validated in the CA's console, so that orders come without challenges; default: "
        "what is known of the CA.",
    )
    rate_limits: Annotated[RateLimits, fields.NamedOrTable()] | None = Field(
        None, description="A well-known profile or a table; default: the profile that fits the directory."
    )

    @property
    def directory_url(self) -> str:
        """The URL of the directory."""
        return resolve_directory(self.directory)

    @property
    def limits(self) -> Limits:
        """The rate limits that are said, else those that fit the directory."""
        return default_limits(self.directory_url) if self.rate_limits is None else self.rate_limits.limits


class Resolver(Settings):
    """How zones and propagation are looked up."""

    nameservers: OneOrMany[fields.Nameserver] | None = Field(
        None,
        description="Servers to ask instead of the system's resolver: HOST[:PORT], [V6]:PORT or https://…/dns-query.",
    )
    doh: Annotated[tuple[fields.DohUrl, ...], ListOrOne()] = Field(
        PUBLIC_DOH,
        description="DNS-over-HTTPS resolvers that are asked where port 53 is closed and nameservers says nothing; "
        "[] for none.",
    )
    ca_bundle: str | None = Field(
        None, min_length=1, description="A PEM file of the roots to trust for DNS-over-HTTPS resolvers of your own."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Resolver:
        if self.nameservers is None and "doh" not in self.model_fields_set:
            raise at({("nameservers",): PydanticCustomError("missing", "is required")})
        return self

    @property
    def fallback(self) -> tuple[str, ...]:
        """The resolvers for where port 53 is closed: none beside name servers that the config names."""
        return () if self.nameservers else self.doh


def _dns_entry(value: Any, _: Any) -> Any:
    return fields.provider_entry(Kind.DNS, value)


def _store_entry(value: Any, _: Any) -> Any:
    return fields.provider_entry(Kind.STORE, value)


class MonitorSettings(Settings):
    """Stands for `ci_acme.config.monitoring.Monitor`, which is imported when a config has the section."""


def _monitor_section(value: Any, _: Any) -> Any:
    from ci_acme.config.monitoring import Monitor

    return value if isinstance(value, Monitor) else Monitor.model_validate(value)


DnsEntry = Annotated[DnsSettings, WrapValidator(_dns_entry), PlainSerializer(fields.dump)]
StoreEntry = Annotated[StoreSettings, WrapValidator(_store_entry), PlainSerializer(fields.dump)]
MonitorSection = Annotated[MonitorSettings, WrapValidator(_monitor_section), PlainSerializer(fields.dump)]


class Expect(Settings):
    """What an issued certificate must be like to be stored; what a CA is known not to give is refused beforehand."""

    eku: Annotated[tuple[fields.KeyUsage, ...], ListOrOne()] = Field(
        (), description="Extended key usages that it must have at least: serverAuth, clientAuth, or an OID."
    )
    chain: str | None = Field(
        None, min_length=1, description="A certificate that the chain must hold: its common name or its SHA-256, hex."
    )
    max_lifetime: fields.Lifetime | None = Field(None, description="How long it may last at most: 47d, 160h.")
    min_lifetime: fields.Lifetime | None = Field(None, description="How long it must last at least.")

    @model_validator(mode="after")
    def _check(self) -> Expect:
        low, high = self.min_lifetime, self.max_lifetime
        if low and high and fields.parse_duration(low) > fields.parse_duration(high):
            raise at({("min_lifetime",): "is longer than max_lifetime"})
        return self

    @property
    def expectation(self) -> Expectation:
        """As the core names it."""
        return Expectation(
            eku=tuple(sorted(set(self.eku))),
            chain=self.chain,
            max_lifetime=fields.parse_duration(self.max_lifetime) if self.max_lifetime else None,
            min_lifetime=fields.parse_duration(self.min_lifetime) if self.min_lifetime else None,
        )


class Certificate(Settings):
    """A certificate that shall be valid in all of its stores."""

    names: Annotated[tuple[fields.Name, ...], Field(min_length=1, max_length=100), ListOrOne()] = Field(
        description="DNS names; `*.` for a wildcard, U-labels as they are."
    )
    authority: OneOrMany[str] = Field(
        (), description="The authority, or several in the order to try; default: the only one.", validate_default=False
    )
    key: KeyName = Field("ec-p256", description="The type of the certificate's key.")
    owner: str | None = Field(None, min_length=1, description="The team that is asked about this certificate.")
    renew: fields.Renew = Field(
        "auto",
        description="When to renew: auto (ARI, else a third of the life left, half under ten days), "
        "a time before the end (30d, 12h, 90m, 2w), or a fraction of the life left (0.33).",
    )
    profile: str | None = Field(None, min_length=1, description="The CA's profile, in place of the authority's.")
    lifetime: fields.Lifetime | None = Field(
        None, description="How long it shall last (7d, 24h), at CAs that let one choose; default: what the CA decides."
    )
    not_before: fields.Backdate | None = Field(
        None,
        description="How long before the order it shall begin (-1h, -30m; 48 h at most), for clients whose clocks are "
        "behind, at CAs that let one choose; default: what the CA decides.",
    )
    expect: Expect | None = Field(None, description="What it must be like to be stored.")
    stores: tuple[StoreEntry, ...] = Field(min_length=1, description="Where the certificate and its key belong.")

    @model_validator(mode="after")
    def _check_lifetime(self) -> Certificate:
        if self.lifetime and self.expect:
            said, expect = fields.parse_duration(self.lifetime), self.expect.expectation
            if expect.max_lifetime and said > expect.max_lifetime:
                raise at({("lifetime",): "is longer than expect.max_lifetime"})
            if expect.min_lifetime and said < expect.min_lifetime:
                raise at({("lifetime",): "is shorter than expect.min_lifetime"})
        if self.lifetime and self.not_before and fields.parse_duration(self.lifetime) < 4 * self.backdate:
            raise at({("not_before",): "is more than a quarter of lifetime: it would soon be due for renewal"})
        return self

    @property
    def backdate(self) -> timedelta:
        """How long before an order the certificate shall begin; nothing without `not_before`."""
        return fields.parse_duration(self.not_before[1:]) if self.not_before else timedelta()

    @property
    def key_type(self) -> KeyType:
        """`key` as the core names it."""
        return KeyType(self.key)

    @property
    def renewal(self) -> RenewPolicy:
        """`renew` as the core names it."""
        return fields.parse_renew(self.renew)


class Experimental(Settings):
    """What may change or go: it is not part of the interface that version numbers speak of."""

    dns_persist: Flag = Field(
        default=False, description="Allow challenge: dns-persist-01 (draft-ietf-acme-dns-persist-01)."
    )


class Config(Settings):
    """The whole configuration."""

    version: Annotated[Literal[1], BeforeValidator(fields.check_version)] = Field(description="Always 1.")
    state: Annotated[str, AfterValidator(fields.check_state)] = Field(
        "sqlite:.ci-acme/state.db",
        description="What runs remember and share: sqlite:PATH on one machine, postgresql://USER@HOST/DATABASE for "
        "many runners (password by PGPASSWORD or PGPASSFILE); later s3://…, gs://… and az://….",
    )
    state_key: SecretReference | None = Field(
        None,
        description="A reference to 32 random bytes or more: seals certificate keys in the state before they are "
        "issued, where no store of a certificate can hold them.",
    )
    authorities: dict[fields.Label, Authority] = Field(min_length=1, description="The CAs, by a name of your choice.")
    dns: tuple[DnsEntry, ...] = Field(
        (), description="Who serves which zone; the longest zone that is a suffix of the challenge name does."
    )
    resolver: Resolver | None = Field(None, description="Default: authoritative servers, by the system's resolver.")
    certificates: dict[fields.Label, Certificate] = Field(
        min_length=1, description="The certificates, by a name of your choice."
    )
    policy: str | None = Field(None, min_length=1, description="The policy file.")
    monitor: MonitorSection | None = Field(None, description="When `ci-acme monitor` alerts, and what else it asks.")
    experimental: Experimental | None = Field(None, description="What may change or go in any version.")

    def spec(self, name: str, authority: str | None = None) -> CertificateSpec:
        """What is asked for as certificate `name`, of `authority` alone (default: the first of the certificate's, with
        the others as fallbacks).

        Raises `KeyError` for a name that is not configured.
        """
        certificate = self.certificates[name]
        first, *rest = [
            self._source(certificate, item) for item in ([authority] if authority else certificate.authority)
        ]
        return CertificateSpec(
            name=name,
            names=tuple(sorted(certificate.names)),
            authority=first.authority,
            directory=first.directory,
            profile=first.profile,
            key=certificate.key_type,
            owner=certificate.owner,
            renew=certificate.renewal,
            lifetime=fields.parse_duration(certificate.lifetime) if certificate.lifetime else None,
            backdate=certificate.backdate or None,
            expect=certificate.expect.expectation if certificate.expect else Expectation(),
            fallbacks=tuple(rest),
        )

    def _source(self, certificate: Certificate, authority: str) -> Source:
        ca = self.authorities[authority]
        return Source(authority, ca.directory_url, certificate.profile or ca.profile)
