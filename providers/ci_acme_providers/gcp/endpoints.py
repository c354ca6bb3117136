"""Where Google's services are, and what the environment says of the project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ci_acme.ports import ProviderContext
from ci_acme.rest import require_https
from ci_acme_providers.gcp.config import GoogleAccess

_OVERRIDE: Final = "CLOUDSDK_API_ENDPOINT_OVERRIDES_{}"
"""gcloud's own variables for other endpoints, one a service."""
_PROJECTS: Final = (
    "GOOGLE_CLOUD_PROJECT",
    "GCLOUD_PROJECT",
    "CLOUDSDK_CORE_PROJECT",
    "CLOUDSDK_PROJECT",
    "GCP_PROJECT",
)
_OF_ACCOUNT: Final = re.compile(r"[^@]+@([a-z][a-z0-9-]+)\.iam\.gserviceaccount\.com\Z")

PROVIDER_VARIABLE: Final = "CI_ACME_GCP_WORKLOAD_IDENTITY_PROVIDER"
ACCOUNT_VARIABLE: Final = "CI_ACME_GCP_SERVICE_ACCOUNT"


def endpoint(service: str, environ: Mapping[str, str], given: str | None = None, location: str | None = None) -> str:
    """The base URL of a service, without a trailing slash: what is `given`, else gcloud's variable, else Google's.

    Raises `ConfigError` for a URL to which a token would go in the clear.
    """
    url = given or environ.get(_OVERRIDE.format(service.upper()))
    if url is None:
        host = f"{service}.{location}.rep" if location is not None else service
        return f"https://{host}.googleapis.com"
    url = url.rstrip("/").removesuffix("/dns/v1").removesuffix("/v1")
    require_https(url)
    return url


def known_project(access: GoogleAccess, environ: Mapping[str, str]) -> str | None:
    """The project, as far as settings and environment say it."""
    said = (access.project, *(environ.get(name) for name in _PROJECTS))
    found = next((project for project in said if project), None)
    if found is not None:
        return found
    match = _OF_ACCOUNT.match(access.service_account or "")
    return match[1] if match else None


def completed(access: GoogleAccess, context: ProviderContext) -> GoogleAccess:
    """The settings with the identity that the environment names for all Google entries."""
    if access.workload_identity_provider is not None or access.credentials is not None:
        return access
    provider = context.environ.get(PROVIDER_VARIABLE)
    if not provider:
        return access
    account = access.service_account or context.environ.get(ACCOUNT_VARIABLE) or None
    return access.model_copy(update={"workload_identity_provider": provider, "service_account": account})
