"""The config section of the `file` store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ci_acme.settings import SecretReference, StoreSettings


class FileSettings(StoreSettings):
    """Settings of a `file` store: the bundle of certificate NAME is in `directory/NAME/`."""

    directory: str = Field(min_length=1, description="Each certificate has a directory of its own below this one.")
    formats: list[Literal["pem", "pkcs12"]] = Field(
        ["pem"], description="`pkcs12` adds bundle.p12; the PEM files are always there."
    )
    pkcs12_password: SecretReference | None = Field(
        None, description="Password of bundle.p12. Without one it is empty, which OpenSSL and Java read."
    )
    accept: str | None = Field(None, description="Which authorities' certificates this store takes.")
