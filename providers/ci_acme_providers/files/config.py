"""Settings of the `file` store."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ci_acme.settings import OneOrMany, SecretReference, StoreSettings, at

Format = Literal["pem", "pkcs12"]


class FileSettings(StoreSettings):
    """A directory; the certificate's files are in a folder of its name."""

    TARGET: ClassVar[str] = "directory"

    provider: str = "file"
    directory: str = Field(min_length=1, description="The certificate's folder is made in here.")
    formats: OneOrMany[Format] = Field(("pem",), description="`pem` is always written; `pkcs12` adds bundle.p12.")
    pkcs12_password: SecretReference | None = Field(None, description="A reference to the password of bundle.p12.")

    @model_validator(mode="after")
    def _password_has_use(self) -> FileSettings:
        if self.pkcs12_password is not None and "pkcs12" not in self.formats:
            raise at({("pkcs12_password",): "is of no use: formats does not hold pkcs12"})
        return self
