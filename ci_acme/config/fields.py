"""The field types of the schema. No message repeats a value: `report.py` alone decides what may be shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ci_acme.config.directories import WELL_KNOWN, UnknownDirectory, check_url, resolve_directory
from ci_acme.errors import NotAvailable
from ci_acme.model.names import normalize_identifier, split_host_port, to_a_labels
from ci_acme.model.spec import RenewPolicy
from ci_acme.registry import find, load_settings, names
from ci_acme.settings import FURTHER, SECRET_SCHEMES, Settings, at
from ci_acme.spec import PLANNED, Kind

LIMITS: Final = ("letsencrypt", "letsencrypt-staging", "none")
STATE_SCHEMES: Final = ("sqlite", "postgresql", "s3", "gs", "az")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION: Final = re.compile(r"(?:\d{1,6}[mhdw])+\Z")
_BACKDATE: Final = re.compile(r"-(?:\d{1,6}[mhdw])+\Z")
LONGEST_BACKDATE: Final = timedelta(hours=48)
"""CA/B Forum BR 7.1.2.7: no certificate begins earlier than 48 hours before it is signed."""
_FRACTION: Final = re.compile(r"0?\.\d{1,6}\Z")
_RATE: Final = re.compile(r"(\d{1,9})/((?:\d{1,6}[mhdw])+)\Z")
_OID: Final = re.compile(r"[0-2](\.\d{1,10}){2,20}\Z")
KEY_USAGES: Final = ("serverAuth", "clientAuth")
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$&'*+/=^_`{|}~-]{1,64}@([^@\s,?]+)\Z")
_ACCOUNT_KEY: Final = re.compile(rf"({'|'.join((*SECRET_SCHEMES, *PLANNED[Kind.SIGNER]))}):\S.*\Z")


def choice(
    allowed: Sequence[str], found: str, message: str = "is not one of the allowed values"
) -> PydanticCustomError:
    """An error for a word that should have been one of `allowed`."""
    return PydanticCustomError("choice", "{reason}", {"reason": message, "allowed": list(allowed), "found": found})


def check_version(value: Any) -> Any:
    """The number 1, and neither `true` nor `1.0`, which Python thinks equal."""
    if type(value) is not int or value != 1:
        raise ValueError("must be 1, the only version of this format")
    return value


def _check_directory(value: str) -> str:
    try:
        resolve_directory(value)
    except UnknownDirectory as unknown:
        raise choice(list(WELL_KNOWN), value, str(unknown)) from None
    return value


def check_state(value: str) -> str:
    """A state engine's address, without a password in it."""
    scheme, _, rest = value.partition(":")
    if scheme not in STATE_SCHEMES or not rest.strip("/"):
        raise ValueError("must be sqlite:PATH, postgresql://…, s3://BUCKET/PREFIX, gs://… or az://CONTAINER/PREFIX")
    if scheme == "sqlite":
        return value
    if not rest.startswith("//"):
        raise ValueError(f"must be {scheme}://…")
    try:
        url = urlsplit(value)
        secret = url.password is not None or any("password" in key for key, _ in parse_qsl(url.query))
    except ValueError:
        raise ValueError("is not a URL") from None
    if secret:
        raise ValueError("must not hold a password; PGPASSWORD or PGPASSFILE gives it to PostgreSQL")
    return value


def email_address(value: str) -> str:
    """The address, its domain as A-labels. Raises `ValueError` for what RFC 8555 section 7.3 does not take."""
    address = value[7:] if value.lower().startswith("mailto:") else value
    if "?" in address or "," in address or "%" in address:
        raise ValueError("must be one address without header fields (RFC 8555 section 7.3)")
    match = _EMAIL.match(address)
    if match is None:
        raise ValueError("is not an e-mail address (ASCII before the @)")
    local = address[: match.start(1) - 1]
    domain = to_a_labels(match[1])
    if not re.match(r"[a-z0-9-]+(\.[a-z0-9-]+)+\Z", domain):
        raise ValueError("has no valid domain after the @")
    return f"{local}@{domain}"


def _check_account_key(value: str) -> str:
    if not _ACCOUNT_KEY.match(value):
        raise ValueError(
            "must be a reference, not the key itself: file:PATH, env:NAME, another secret reference, or a signer "
            f"({', '.join(f'{scheme}:' for scheme in PLANNED[Kind.SIGNER])})"
        )
    return value


def _check_nameserver(value: str) -> str:
    if "://" in value:
        check_url(value)
    else:
        split_host_port(value, 53)
    return value


def _check_doh(value: str) -> str:
    check_url(value)
    return value


def number_as_text(value: Any) -> Any:
    """A number that YAML has read, as the text that was written (0.33)."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def parse_duration(text: str) -> timedelta:
    """`30d`, `12h`, `90m`, `2w`, or several in a row (`1d12h`). Raises `ValueError`."""
    if not _DURATION.match(text):
        raise ValueError("is not a duration like 30d, 12h, 90m or 2w")
    parts = re.findall(r"(\d+)([mhdw])", text)
    return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())


def parse_renew(text: str) -> RenewPolicy:
    """The policy that `auto`, a duration or a fraction says. Raises `ValueError`."""
    if text == "auto":
        return RenewPolicy()
    if _FRACTION.match(text) and float(text) > 0:
        return RenewPolicy(auto=False, fraction=float(text))
    if _DURATION.match(text):
        before = parse_duration(text)
        if timedelta() < before <= timedelta(days=398):
            return RenewPolicy(auto=False, before=before)
    raise ValueError("must be auto, a time before the end (30d, 12h, 90m, 2w), or a fraction below 1 (0.33)")


def _check_lifetime(value: str) -> str:
    if not timedelta() < parse_duration(value) <= timedelta(days=398 * 10):
        raise ValueError("must be longer than nothing and shorter than ten years")
    return value


def _check_backdate(value: str) -> str:
    if not _BACKDATE.match(value):
        raise ValueError(
            "must be a time before the order: -1h, -30m. Later or fixed times are not taken: a certificate that is not "
            "valid yet would replace one that is"
        )
    if not timedelta() < parse_duration(value[1:]) <= LONGEST_BACKDATE:
        raise ValueError("must be between -1m and -48h: no CA that browsers trust begins a certificate earlier")
    return value


def _check_key_usage(value: str) -> str:
    if value not in KEY_USAGES and not _OID.match(value):
        raise choice(KEY_USAGES, value, "is neither a key usage nor an OID")
    return value


def _check_renew(value: str) -> str:
    parse_renew(value)
    return value


def parse_rate(text: str) -> tuple[int, timedelta]:
    """The count and period of `50/7d`. Raises `ValueError`."""
    match = _RATE.match(text)
    if match is None or not int(match[1]) or not parse_duration(match[2]):
        raise ValueError("must be COUNT/PERIOD: 50/7d, 300/3h")
    return int(match[1]), parse_duration(match[2])


def _check_rate(value: str) -> str:
    parse_rate(value)
    return value


def dump(settings: Settings) -> dict[str, Any]:
    """A provider's settings with the fields of its own class."""
    return settings.model_dump(mode="json")


def provider_entry(kind: Kind, value: Any) -> Any:
    """Judge an entry by the settings class of its provider; without a known provider nothing else is judged."""
    if isinstance(value, Settings):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("model_type", "must be a mapping")
    name = value.get("provider")
    if name is None and "provider" not in value:
        raise at({("provider",): PydanticCustomError("missing", "is required", {"allowed": names(kind)})})
    if not isinstance(name, str):
        raise at({("provider",): PydanticCustomError("string_type", "must be a string")})
    try:
        settings = load_settings(find(kind, name.strip()))
    except NotAvailable as error:
        raise at({("provider",): unavailable(error, kind, name)}) from None
    return settings.model_validate(value, context=_CONTEXT)


def _further_entry(value: Any) -> Any:
    return provider_entry(Kind.DNS, value)


_CONTEXT: Final = {FURTHER: _further_entry}


def unavailable(error: NotAvailable, kind: Kind, name: str) -> PydanticCustomError:
    """The error of a provider that cannot be had: planned, or its extra missing, or a word that nobody knows."""
    known = names(kind)
    if name not in known:
        return choice(known, name, f"unknown {kind.value} provider")
    return PydanticCustomError("unavailable", "{reason}", {"reason": error.message, "fix": error.fix})


Name = Annotated[str, AfterValidator(normalize_identifier)]
DirectoryName = Annotated[
    str,
    AfterValidator(_check_directory),
    WithJsonSchema(
        {
            "anyOf": [{"enum": list(WELL_KNOWN)}, {"type": "string", "pattern": r"^https?://"}],
            "examples": ["letsencrypt"],
        }
    ),
]
"""A well-known CA, or the URL of a directory."""
Email = Annotated[str, AfterValidator(email_address)]
AccountKey = Annotated[
    str,
    AfterValidator(_check_account_key),
    WithJsonSchema({"type": "string", "pattern": f"^({_ACCOUNT_KEY.pattern.split(')')[0][1:]}):.+", "x-secret": True}),
]
"""Where an account key is."""
Nameserver = Annotated[str, AfterValidator(_check_nameserver)]
DohUrl = Annotated[str, AfterValidator(_check_doh)]
Renew = Annotated[
    str,
    BeforeValidator(number_as_text),
    AfterValidator(_check_renew),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}]}),
]


Lifetime = Annotated[
    str,
    AfterValidator(_check_lifetime),
    WithJsonSchema({"type": "string", "pattern": _DURATION.pattern.replace("\\Z", "$"), "examples": ["47d"]}),
]
"""How long something lasts: 47d, 160h, 1d12h."""
Backdate = Annotated[
    str,
    AfterValidator(_check_backdate),
    WithJsonSchema({"type": "string", "pattern": _BACKDATE.pattern.replace("\\Z", "$"), "examples": ["-1h"]}),
]
"""How long before something: -1h, -30m."""
KeyUsage = Annotated[
    str,
    AfterValidator(_check_key_usage),
    WithJsonSchema({"anyOf": [{"enum": list(KEY_USAGES)}, {"type": "string", "pattern": r"^[0-2](\.\d+)+$"}]}),
]


class NamedOrTable:
    """Annotates a table that may be written as the name of a profile."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._as_table, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(LIMITS)}, handler(schema)]}

    @staticmethod
    def _as_table(value: Any) -> Any:
        return {"profile": value} if isinstance(value, str) else value


Rate = Annotated[str, AfterValidator(_check_rate)]
Argument = Annotated[str, Field(min_length=1, max_length=4096)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$")]
"""A name of the user's choice for an authority or a certificate; it becomes part of file names."""
