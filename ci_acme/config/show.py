"""`config show`: the resolved configuration with the origin of every value. Secrets are the references they are."""

from __future__ import annotations

from typing import Any

from ci_acme.config.document import KeyPath, Origin, show_path
from ci_acme.config.emit import emit
from ci_acme.config.load import Loaded


def as_yaml(loaded: Loaded) -> str:
    """A config file that says everything, each value with its origin beside it; it loads to the same configuration."""
    data = _escape(loaded.config.model_dump(mode="json", exclude_none=True))

    def origin(path: KeyPath) -> str:
        return describe(loaded.origins.get(show_path(path), Origin("default")))

    source = loaded.path.name if loaded.path else "the command line"
    environment = loaded.environment or "not known"
    return f"# from {source}; ${{environment}} is {environment}\n" + emit(data, beside=origin)


def as_json(loaded: Loaded) -> dict[str, Any]:
    """The same as a JSON document: `config`, and `origins` by dotted path."""
    return {
        "schema": "ci-acme/config/1",
        "file": None if loaded.path is None else str(loaded.path),
        "environment": loaded.environment,
        "config": loaded.config.model_dump(mode="json", exclude_none=True),
        "origins": {path: {"kind": origin.kind, "where": origin.where} for path, origin in loaded.origins.items()},
    }


def describe(origin: Origin) -> str:
    """An origin in a word: `ci-acme.yaml:12`, `--ca`, `CI_ACME_CA` or `default`."""
    return origin.where or origin.kind


def _escape(value: Any) -> Any:
    """Written back to a file, a `$` would be read as the start of an expansion."""
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
