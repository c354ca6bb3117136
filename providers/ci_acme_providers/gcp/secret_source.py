"""The secret source `gcp-secret-manager:`, with the identity of the environment.

    gcp-secret-manager:NAME
    gcp-secret-manager:NAME/versions/3
    gcp-secret-manager:projects/PROJECT/secrets/NAME
    gcp-secret-manager:projects/PROJECT/locations/LOCATION/secrets/NAME/versions/current

Without a version it is `latest`. The identity is Google's application default credentials, or workload identity
federation where CI_ACME_GCP_WORKLOAD_IDENTITY_PROVIDER (and CI_ACME_GCP_SERVICE_ACCOUNT) name it.
"""

from __future__ import annotations

import re
from typing import Final

from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.storing import told
from ci_acme_providers.gcp import needs
from ci_acme_providers.gcp.config import GoogleAccess
from ci_acme_providers.gcp.faults import explained
from ci_acme_providers.gcp.secrets_api import Secrets
from ci_acme_providers.gcp.session import GoogleSession

_REFERENCE: Final = re.compile(
    r"(?:projects/(?P<project>[^/\s]+)/(?:locations/(?P<location>[a-z0-9-]+)/)?secrets/)?"
    r"(?P<name>[A-Za-z0-9_-]{1,255})(?:/versions/(?P<version>[A-Za-z0-9_-]+))?\Z"
)


def read(rest: str, context: ProviderContext, *, deadline: Deadline) -> Secret:
    """The payload of a version, without one trailing line break. Raises `SecretError`."""
    reference = f"gcp-secret-manager:{rest}"
    match = _REFERENCE.match(rest)
    if match is None:
        raise SecretError(
            f"{reference} does not name a secret", fix="write NAME, or projects/PROJECT/secrets/NAME/versions/VERSION"
        )
    session = GoogleSession(GoogleAccess.model_validate({"project": match["project"]}), context)
    api = Secrets(session, match["location"])
    on = f"the secret {match['name']}"
    with told(SecretError, f"read {reference}", lambda error: explained(error, needs.SECRET_ACCESS, on)):
        name = f"{api.parent()}/secrets/{match['name']}"
        version = api.access(name, match["version"] or "latest", deadline)
    if version is None or version.payload is None:
        raise SecretError(
            f"{reference} cannot be read: there is no such secret, or no version of it that is enabled",
            fix="correct the reference, or add a version to the secret",
        )
    data = version.payload.reveal()
    value = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    if not value.strip():
        raise SecretError(f"{reference} is empty", fix="add a version that holds the secret")
    return Secret(value)
