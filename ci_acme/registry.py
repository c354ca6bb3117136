"""Finds catalogues, and imports an adapter or its settings only when a config names it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from ci_acme.errors import NotAvailable
from ci_acme.spec import PLANNED, Kind, ProviderSpec

BUILT_IN: Final = "ci_acme_providers"
ENTRY_POINT_GROUP: Final = "ci_acme.catalogues"


@cache
def catalogue() -> dict[tuple[Kind, str], ProviderSpec]:
    """Every provider that is installed, by kind and name: the built-in ones, then third-party ones.

    A third party cannot replace a built-in name. Reading entry points costs 7 ms and is done only when a name is not
    built in (`find`), so this is for listing.
    """
    rows = dict(_built_in())
    for spec in _third_party():
        rows.setdefault((spec.kind, spec.name), spec)
    return rows


def find(kind: Kind, name: str) -> ProviderSpec:
    """The row of a provider. Raises `NotAvailable` with what to do."""
    spec = _built_in().get((kind, name)) or catalogue().get((kind, name))
    if spec is not None:
        return spec
    known = sorted(row for family, row in catalogue() if family is kind)
    if name in PLANNED[kind]:
        raise NotAvailable(
            f"the {kind.value} provider {name!r} is not part of this version",
            fix=f"use one of: {', '.join(known)}; or install a plug-in that provides {name!r}",
        )
    raise NotAvailable(f"unknown {kind.value} provider {name!r}", fix=f"use one of: {', '.join(known)}")


def names(kind: Kind) -> list[str]:
    """The names that a config may use: what is installed, then what is planned."""
    installed = [row for family, row in catalogue() if family is kind]
    return sorted(installed) + [name for name in PLANNED[kind] if name not in installed]


def load_settings(spec: ProviderSpec) -> Any:
    """The settings class (a pydantic model)."""
    return _load(spec.settings, spec)


def load_adapter(spec: ProviderSpec) -> Any:
    """The adapter's factory. Raises `NotAvailable` with the install command if its extra is missing."""
    return _load(spec.adapter, spec)


@cache
def _built_in() -> dict[tuple[Kind, str], ProviderSpec]:
    rows: Iterable[ProviderSpec] = importlib.import_module(BUILT_IN).CATALOGUE
    return {(row.kind, row.name): row for row in rows}


def _third_party() -> list[ProviderSpec]:
    from importlib.metadata import entry_points

    return [row for point in entry_points(group=ENTRY_POINT_GROUP) for row in point.load()]


def _load(reference: str, spec: ProviderSpec) -> Any:
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if spec.extra is None or (error.name or "").split(".")[0] in {module.split(".")[0], "ci_acme"}:
            raise
        raise NotAvailable(
            f"{spec.name} needs the Python package {error.name}, which is not installed",
            fix=f"pip install 'ci-acme[{spec.extra}]'",
        ) from None
