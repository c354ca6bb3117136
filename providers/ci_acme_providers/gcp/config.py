"""Settings of the Google Cloud providers."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import Count, DnsSettings, OneOrMany, SecretReference, Settings, ShapedSettings, StoreSettings, at

_ZONE_PATH: Final = re.compile(r"projects/([^/\s]+)/managedZones/([^/\s]+)\Z")
_VALID_ID: Final = r"^[A-Za-z0-9_-]{1,255}$"
_CERTIFICATE: Final = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_LOCATION: Final = r"^[a-z][a-z0-9-]{0,62}$"
_DAY: Final = 86_400

LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
LabelValue = Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]
Labels = dict[LabelName, LabelValue]
"""Google's labels: lower case."""


def _unreserved(labels: Labels) -> Labels:
    for name in labels:
        if name == "ci-acme" or name.startswith("ci-acme-"):
            raise ValueError(f"{name}: labels that begin with ci-acme are written by ci-acme itself")
    return labels


OwnLabels = Annotated[Labels, AfterValidator(_unreserved)]


class GoogleAccess(Settings):
    """Where and as whom Google Cloud is asked; every field may stay away where the environment says it."""

    project: str | None = Field(
        None,
        pattern=r"^([a-z0-9.-]+:)?[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$",
        description="The Google Cloud project (its ID); GOOGLE_CLOUD_PROJECT or that of the credentials otherwise.",
    )
    workload_identity_provider: str | None = Field(
        None,
        pattern=r"^projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]{1,64}/providers/[a-z0-9-]{1,64}$",
        description="The provider of a workload identity pool that takes the CI system's identity token "
        "(projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER).",
    )
    audience: str | None = Field(
        None,
        min_length=1,
        description="The audience of the identity token, if the provider wants another than its own URL.",
    )
    service_account: str | None = Field(
        None,
        pattern=r"^[^@\s/]+@[^@\s/]+$",
        description="The service account to impersonate (its e-mail address).",
    )
    credentials: SecretReference | None = Field(
        None, description="A reference to a credentials file's JSON (a service account key), where no identity serves."
    )
    endpoint: str | None = Field(
        None, min_length=1, description="Another URL for the service: Private Service Connect, a test server."
    )

    @model_validator(mode="after")
    def _one_identity(self) -> GoogleAccess:
        if self.credentials is not None and self.workload_identity_provider is not None:
            raise at({("credentials",): "stands in place of workload_identity_provider"})
        if self.audience is not None and self.workload_identity_provider is None:
            raise at({("workload_identity_provider",): "is required: audience says nothing without it"})
        return self


class GoogleCloudDnsSettings(DnsSettings, GoogleAccess):
    """Google Cloud DNS."""

    provider: str = "google-cloud-dns"

    @model_validator(mode="after")
    def _zone_id_fits(self) -> GoogleCloudDnsSettings:
        if self.zone_id is not None and "/" in self.zone_id and not _ZONE_PATH.match(self.zone_id):
            raise at({("zone_id",): "must be the zone's name, its number, or projects/PROJECT/managedZones/NAME"})
        return self

    @property
    def zone_place(self) -> tuple[str | None, str | None]:
        """The project and the managed zone that `zone_id` names; None for what it does not say."""
        match = _ZONE_PATH.match(self.zone_id or "")
        return (match[1], match[2]) if match else (None, self.zone_id)


class SecretManagerSettings(ShapedSettings, GoogleAccess):
    """One secret of Google Secret Manager; each certificate is a version of it."""

    provider: str = "gcp-secret-manager"
    name: str = Field(pattern=_VALID_ID, description="The secret's ID.", examples=["preview-tls"])
    location: str | None = Field(
        None, pattern=_LOCATION, description="The location of a regional secret; a global one otherwise."
    )
    replicas: OneOrMany[str] | None = Field(
        None, description="Locations that a new secret is kept in; Google chooses otherwise. Cannot be changed later."
    )
    labels: OwnLabels = Field(
        default_factory=dict, max_length=60, description="Labels that the secret shall have, beside those it has."
    )
    alias: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
        description="A version alias that is moved to the new version after that was read back, for readers of "
        "versions/ALIAS in place of versions/latest.",
    )
    keep_versions: Count | None = Field(
        None, ge=0, le=1000, description="How many older versions stay; those before are destroyed. All, if not said."
    )
    version_destroy_ttl: Count | None = Field(
        None,
        ge=_DAY,
        le=1000 * _DAY,
        description="Seconds that Google keeps a destroyed version, disabled, before its data are gone.",
    )
    expire_after: Count | None = Field(
        None,
        ge=0,
        le=3650 * _DAY,
        description="Seconds after the certificate's end at which Google deletes the secret by itself.",
    )
    keep_secret: bool = Field(
        default=False,
        description="`retire` destroys the versions and leaves the empty secret, with its access policy and labels.",
    )
    hold_orders: bool = Field(
        default=False,
        description="Keep the key of an order under way in a second secret, NAME-ci-acme-pending, until it is done.",
    )

    @model_validator(mode="after")
    def _fits(self) -> SecretManagerSettings:
        if self.location is not None and self.replicas is not None:
            raise at({("replicas",): "is of no use: a regional secret is kept in its location"})
        if self.alias in {"latest", "NEW"}:
            raise at({("alias",): "is a name that Google keeps for itself"})
        if self.hold_orders and len(self.name) > 255 - len(PENDING_SUFFIX):
            raise at({("name",): f"is too long for hold_orders: at most {255 - len(PENDING_SUFFIX)} characters"})
        return self


PENDING_SUFFIX: Final = "-ci-acme-pending"

Scope = Literal["DEFAULT", "EDGE_CACHE", "ALL_REGIONS", "CLIENT_AUTH"]


class CertificateManagerSettings(StoreSettings, GoogleAccess):
    """A self-managed certificate of Google Certificate Manager, updated in place."""

    TARGET: ClassVar[str] = "name"

    provider: str = "gcp-certificate-manager"
    name: str = Field(pattern=_CERTIFICATE, description="The certificate's ID.", examples=["preview"])
    location: str = Field("global", pattern=_LOCATION, description="`global`, or a region. Cannot be changed later.")
    scope: Scope = Field("DEFAULT", description="What it can be attached to. Cannot be changed later.")
    labels: OwnLabels = Field(
        default_factory=dict, max_length=20, description="Labels that the certificate shall have, beside those it has."
    )
