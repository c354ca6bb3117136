"""What the schema expects at a place of the data: the model that judges a mapping, and which fields are secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args, get_origin

from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from ci_acme.config.document import KeyPath
from ci_acme.config.schema import Config, MonitorSettings
from ci_acme.errors import NotAvailable
from ci_acme.registry import find, load_settings
from ci_acme.settings import DnsSettings, Settings, StoreSettings
from ci_acme.spec import Kind

_KINDS: Final[dict[Any, Kind]] = {DnsSettings: Kind.DNS, StoreSettings: Kind.STORE}


def provider_model(kind: Kind, name: object) -> type[Settings] | None:
    """The settings class of a provider, None if it cannot be had."""
    if not isinstance(name, str):
        return None
    try:
        model: type[Settings] = load_settings(find(kind, name.strip()))
    except NotAvailable:
        return None
    return model


def model_at(data: Any, path: KeyPath) -> type[Settings] | None:
    """The model that judges the mapping at `path`; None if its keys are free or nothing is known of it."""
    kind: Any = Config
    value = data
    for part in path:
        kind = _below(kind, part)
        value = _item(value, part)
        kind = _specialise(kind, value)
    return kind if _is_model(kind) else None


def secret_fields(data: Any, kind: Any = Config, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every string in `data` that stands where the schema wants a secret reference."""
    kind = _specialise(kind, data)
    if isinstance(data, Mapping):
        for key, item in data.items():
            yield from _secrets_in(item, kind, key, (*path, key))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _secrets_in(item, kind, index, (*path, index))


def _secrets_in(item: Any, kind: Any, part: str | int, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(item, str):
        field = kind.model_fields.get(part) if _is_model(kind) else None
        if field is not None and is_secret(field):
            yield path, item
    else:
        yield from secret_fields(item, _below(kind, part), path)


def is_secret(field: FieldInfo) -> bool:
    """Whether the field holds a reference to a secret."""
    return any(_marks_secret(item) for item in field.metadata) or _annotation_is_secret(field.annotation)


def is_list(field: FieldInfo) -> bool:
    """Whether the field holds a list."""
    return any(get_origin(kind) in (list, tuple) for kind in _alternatives(field.annotation))


def _marks_secret(item: object) -> bool:
    return isinstance(item, WithJsonSchema) and bool((item.json_schema or {}).get("x-secret"))


def _annotation_is_secret(annotation: Any) -> bool:
    if any(_marks_secret(item) for item in getattr(annotation, "__metadata__", ())):
        return True
    return any(_annotation_is_secret(argument) for argument in get_args(annotation))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _specialise(kind: Any, value: Any) -> Any:
    if kind is MonitorSettings:
        from ci_acme.config.monitoring import Monitor

        return Monitor
    family = _KINDS.get(kind) if _is_model(kind) else None
    if family is None:
        return kind
    return provider_model(family, value.get("provider") if isinstance(value, Mapping) else None)


def _below(kind: Any, part: str | int) -> Any:
    if _is_model(kind):
        field = kind.model_fields.get(part)
        return None if field is None else _container(field.annotation)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is dict:
        return _container(arguments[1])
    if origin in (list, tuple):
        return _container(arguments[0])
    return None


def _container(annotation: Any) -> Any:
    """The first alternative of an annotation that has something below it."""
    for kind in _alternatives(annotation):
        if _is_model(kind) or get_origin(kind) in (dict, list, tuple):
            return kind
    return None


def _alternatives(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "__metadata__"):
        yield from _alternatives(annotation.__origin__)
    elif get_origin(annotation) in (dict, list, tuple) or not get_args(annotation):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _alternatives(argument)


def _item(value: Any, part: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None
