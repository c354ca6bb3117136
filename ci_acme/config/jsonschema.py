"""The JSON Schema of the config file, for editors. What needs several places of a document is left to `load`."""

from __future__ import annotations

from typing import Any, Final

from ci_acme.config.schema import Config
from ci_acme.errors import NotAvailable
from ci_acme.registry import catalogue, find, load_settings, names
from ci_acme.settings import Settings
from ci_acme.spec import PLANNED, Kind

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EXPANSION: Final = {"type": "string", "pattern": r"\$\{"}


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of the config file, with the settings of every provider that is installed.

    Providers that are planned are named, with a description that says so, and their settings are not judged. A value
    that holds an expansion (`${…}`) is taken in place of a number, a word or a pattern.
    """
    document = Config.model_json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = document.setdefault("$defs", {})
    entries = document["properties"]["dns"]["items"] = _entries(Kind.DNS, definitions)
    definitions["FurtherDnsEntry"] = {**entries, "required": ["provider"]}
    definitions["Certificate"]["properties"]["stores"]["items"] = _entries(Kind.STORE, definitions)
    definitions["MonitorSettings"] = _monitor(definitions)
    for unused in ("DnsSettings", "StoreSettings"):
        definitions.pop(unused, None)
    version = document["properties"]["version"]
    _polish(document)
    document["properties"]["version"] = version
    del document["title"]
    return {"$schema": DIALECT, "title": "ci-acme configuration", **document}


def _monitor(definitions: dict[str, Any]) -> dict[str, Any]:
    from ci_acme.config.monitoring import Monitor

    definition = Monitor.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(definition.pop("$defs", {}))
    return definition


def _entries(kind: Kind, definitions: dict[str, Any]) -> dict[str, Any]:
    """An entry is judged by the schema of the provider that it names."""
    branches: list[dict[str, Any]] = []
    for name in names(kind):
        definition = _settings(kind, name, definitions)
        if definition is not None:
            named = {"properties": {"provider": {"const": name}}, "required": ["provider"]}
            branches.append({"if": named, "then": {"$ref": f"#/$defs/{definition}"}})
    return {
        "type": "object",
        "properties": {"provider": {"oneOf": [_provider(kind, name) for name in names(kind)]}},
        "required": ["provider", "zone"] if kind is Kind.DNS else ["provider"],
        "allOf": branches,
    }


def _provider(kind: Kind, name: str) -> dict[str, Any]:
    row = catalogue().get((kind, name))
    if row is None:
        assert name in PLANNED[kind]
        return {"const": name, "description": "Not part of this version yet; a plug-in may provide it."}
    return {"const": name, "description": row.summary}


def _settings(kind: Kind, name: str, definitions: dict[str, Any]) -> str | None:
    try:
        model: type[Settings] = load_settings(find(kind, name))
    except NotAvailable:
        return None  # planned, or its extra is not installed
    definition = model.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(definition.pop("$defs", {}))
    if kind is Kind.DNS:
        _spread(definition)
    definitions[f"{kind.value}-{name}"] = definition
    return f"{kind.value}-{name}"


def _spread(definition: dict[str, Any]) -> None:
    """The settings of a DNS provider, in an entry of its own and in one of `also`, which has the zone of the other."""
    also = definition["properties"].get("also")
    if also is not None:
        also["items"] = {"$ref": "#/$defs/FurtherDnsEntry"}
    definition["required"] = [name for name in definition.get("required", ()) if name != "zone"]


def _polish(node: Any) -> None:
    """Take an expansion wherever the loader does, let maps have no other names, and drop titles made of key names."""
    if isinstance(node, list):
        for item in node:
            _polish(item)
    elif isinstance(node, dict):
        if "patternProperties" in node:
            node["additionalProperties"] = False
        for key, item in list(node.items()):
            _polish(item)
            if key == "properties" and isinstance(item, dict):
                item.update({name: _property(value) for name, value in item.items()})


def _property(value: dict[str, Any]) -> dict[str, Any]:
    value.pop("title", None)
    strict = value.get("type") in ("integer", "number", "boolean") or "enum" in value or "pattern" in value
    if not strict:
        return value
    kept: dict[str, Any] = {key: value.pop(key) for key in ("description", "default") if key in value}
    return {**kept, "anyOf": [value, _EXPANSION]}
