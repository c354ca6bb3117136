"""Settings of the `file` store."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import OneOrMany, SecretReference, StoreSettings, at

Format = Literal["pem", "pkcs12"]
_MODE: Final = re.compile(r"0?[67][0-7]0\Z")


def _check_mode(text: str) -> str:
    if not _MODE.match(text):
        raise ValueError("must be octal digits, in quotes, that let nobody else read the key: 0600 or 0640")
    return text


class FileSettings(StoreSettings):
    """A directory; the certificate's files are in a folder of its name."""

    TARGET: ClassVar[str] = "directory"

    provider: str = "file"
    directory: str = Field(min_length=1, description="The certificate's folder is made in here.")
    formats: OneOrMany[Format] = Field(("pem",), description="`pem` is always written; `pkcs12` adds bundle.p12.")
    pkcs12_password: SecretReference | None = Field(None, description="A reference to the password of bundle.p12.")
    mode: Annotated[str, AfterValidator(_check_mode)] = Field(
        "0600", description="Permissions of the files that hold a key, octal, in quotes."
    )

    @model_validator(mode="after")
    def _password_has_use(self) -> FileSettings:
        if self.pkcs12_password is not None and "pkcs12" not in self.formats:
            raise at({("pkcs12_password",): "is of no use: formats does not hold pkcs12"})
        return self

    @property
    def key_mode(self) -> int:
        """`mode` as a number, as `os.open` takes it."""
        return int(self.mode, 8)
