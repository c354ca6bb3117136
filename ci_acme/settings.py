"""The pydantic bases of provider settings, and the field types that they share.

This is the only module beside `ci_acme.config` that imports pydantic; a provider's `config.py` derives from it and
imports no SDK.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

SECRET_SCHEMES: Final = ("env", "file", "aws-secrets-manager", "gcp-secret-manager", "azure-key-vault", "vault")
_SECRET: Final = re.compile(rf"({'|'.join(SECRET_SCHEMES)}):(\S.*)\Z", re.DOTALL)


def _check_secret(text: str) -> str:
    match = _SECRET.match(text)
    if match is None or "\n" in text:
        raise ValueError(
            "must be a reference to a secret, not the secret itself: env:NAME, file:PATH, aws-secrets-manager:NAME, "
            "gcp-secret-manager:NAME, azure-key-vault:VAULT/NAME or vault:PATH#FIELD"
        )
    return text


SecretReference = Annotated[
    str,
    AfterValidator(_check_secret),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(SECRET_SCHEMES)}):.+", "x-secret": True}),
]
"""A reference to a secret (`env:NAME`, `file:PATH`, …). A literal is an error, and is never echoed."""


class Settings(BaseModel):
    """Base of every section: unknown keys are errors, and no error ever shows what was found."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True, str_strip_whitespace=True)


class DnsSettings(Settings):
    """Base of the settings of a DNS provider; `zone` selects it for challenge names under that suffix."""

    zone: str = Field(description="Names under this suffix are served by this entry; the longest suffix wins.")
    provider: str
    zone_id: str | None = Field(None, description="The provider's handle of the zone: skips discovery.")
    propagation_timeout: float = Field(
        180.0, gt=0, le=3600, description="Seconds to wait until every authoritative server has the record."
    )
    ttl: int = Field(60, ge=1, le=86400, description="TTL in seconds of a challenge record that we create.")


class StoreSettings(Settings):
    """Base of the settings of a store.

    An adapter is made once for each certificate and store: it gets the certificate's name beside the settings.
    """

    provider: str
