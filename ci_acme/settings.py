"""The pydantic bases of provider settings, and the field types that they share.

This is the only module beside `ci_acme.config` that imports pydantic; a provider's `config.py` derives from it and
imports no SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidationInfo,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, ValidationError, core_schema

from ci_acme.model.names import normalize_zone
from ci_acme.shapes import BINARY, SHAPES, Part, Shape, ShapeName

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


class ListOrOne:
    """Annotates a list that may be written as a single string: `names: a.example` means `names: [a.example]`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        array = handler(schema)
        return {"anyOf": [array.get("items", {}), array]}

    @staticmethod
    def _as_list(value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "must be a number")
    return value


Item = TypeVar("Item")
OneOrMany = Annotated[tuple[Item, ...], Field(min_length=1), ListOrOne()]
"""A list of at least one that may be written as a single string."""
Count = Annotated[int, BeforeValidator(_no_bool)]
"""A whole number; `true` is none."""
Seconds = Annotated[float, BeforeValidator(_no_bool)]
"""A number of seconds; `true` is none."""


def _flag(value: Any) -> Any:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise PydanticCustomError("bool_type", "must be true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]
"""`true` or `false`, also as text (from an expansion); YAML 1.2 knows no yes, no, on or off."""


def at(errors: Mapping[tuple[str | int, ...], str | PydanticCustomError]) -> ValidationError:
    """An error for a validator to raise that puts several problems at their places below the value."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("value_error", "{reason}", {"reason": what}) if isinstance(what, str) else what,
            loc=where,
            input=None,
        )
        for where, what in errors.items()
    ]
    return ValidationError.from_exception_data("settings", details, hide_input=True)


class Settings(BaseModel):
    """Base of every section: unknown keys are errors, and no error ever shows what was found."""

    model_config = ConfigDict(
        defer_build=True, extra="forbid", hide_input_in_errors=True, frozen=True, str_strip_whitespace=True
    )


FURTHER: Final = "dns-entry"
"""The key of the validation context under which the configuration says how an entry of `also` is judged."""


def _further(value: Any, _: Any, info: ValidationInfo) -> Any:
    """An entry of `also`, judged by the settings of its own provider, with the zone of the entry that it belongs to."""
    if isinstance(value, DnsSettings):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("model_type", "must be a mapping")
    if value.get("also"):
        raise at({("also",): "is said once, in the entry that this one belongs to"})
    judge: Callable[[Any], Any] = (info.context or {})[FURTHER]
    zone = info.data.get("zone", "invalid")  # a bad zone is a problem of the entry above
    judged = judge({"zone": zone, **value})
    if judged.zone != zone:
        raise at({("zone",): "is that of the entry which this one belongs to: leave it out"})
    return judged


class DnsSettings(Settings):
    """Base of the settings of a DNS provider; `zone` selects it for challenge names under that suffix."""

    zone: Annotated[str, AfterValidator(normalize_zone)] = Field(
        description="Names under this suffix are served by this entry; the longest suffix wins, and `.` serves all."
    )
    provider: str
    zone_id: str | None = Field(None, description="The provider's handle of the zone: skips discovery.")
    private: Flag = Field(
        default=False,
        description="Whether a zone that the internet does not see may be written to, for a CA that looks at that one.",
    )
    propagation_timeout: Seconds = Field(
        180.0, gt=0, le=3600, description="Seconds to wait until every authoritative server has the record."
    )
    propagation_wait: Seconds = Field(
        60.0,
        ge=0,
        le=3600,
        description="Seconds to wait instead where nothing can be asked: no name server, no resolver over HTTPS, and "
        "not the provider.",
    )
    ttl: Count = Field(60, ge=1, le=86400, description="TTL in seconds of a challenge record that we create.")
    also: tuple[Annotated[SerializeAsAny[DnsSettings], WrapValidator(_further)], ...] = Field(
        (),
        max_length=8,
        description="Further providers that serve the same zone (dual-primary), each an entry without `zone`: the "
        "record is written at all of them, and every name server must have it.",
    )

    @property
    def alias(self) -> str | None:
        """The name that challenge names have to be a CNAME of, for a provider that writes at this one alone."""
        return None


class StoreSettings(Settings):
    """Base of the settings of a store.

    An adapter is made once for each certificate and store: it gets the certificate's name beside the settings.
    """

    TARGET: ClassVar[str] = "name"
    """The setting that `--store PROVIDER:TARGET` means."""

    provider: str
    accept: Literal["production", "staging", "any"] = Field(
        "any", description="Whose certificates are stored here: of CAs that the public trusts, of staging CAs, or all."
    )


class ShapedSettings(StoreSettings):
    """Base of the settings of a store that can hold a certificate in several shapes (`ci_acme.shapes`)."""

    SHAPE: ClassVar[ShapeName] = "json"
    """The shape without a word in the config."""

    shape: ShapeName | None = Field(
        None, description="What is written: the consumer's name, `json`, `pem` (chain and key) or `pkcs12`."
    )
    fields: dict[Annotated[str, Field(min_length=1, max_length=200)], Part] | None = Field(
        None,
        min_length=1,
        description="Names of fields of your own, each with its part: key, certificate, chain, fullchain, combined, "
        "pkcs12 or truststore.",
    )
    base64: bool = Field(default=False, description="Write every field as base64 in a single line.")
    pkcs12_password: SecretReference | None = Field(None, description="A reference to the password of PKCS#12 files.")

    @model_validator(mode="after")
    def _shape_fits(self) -> ShapedSettings:
        if self.shape is not None and self.fields is not None:
            raise at({("fields",): "stands in place of shape"})
        parts = set(self.made.fields.values())
        if self.pkcs12_password is not None and not parts & BINARY:
            raise at({("pkcs12_password",): "is of no use: nothing is written as PKCS#12"})
        if self.pkcs12_password is None and "truststore" in parts:
            raise at({("pkcs12_password",): "is required: Java reads no trust store without a password"})
        return self

    @property
    def made(self) -> Shape:
        """The shape, as `ci_acme.shapes` works with it."""
        return Shape(self.fields or SHAPES[self.shape or self.SHAPE], self.base64)
