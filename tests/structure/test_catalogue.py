"""The catalogue of providers is complete, and the extras are its folders."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from ci_acme.config.fields import STATE_SCHEMES
from ci_acme.spec import PLANNED, Kind, ProviderSpec
from ci_acme_providers import CATALOGUE
from tests.servers.bind import KEY, Bind
from tests.structure.project import platforms, toml_arrays

rows = pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: f"{row.kind.value}:{row.name}")


def load(reference: str) -> object:
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def test_extras_are_the_platform_folders_the_state_engines_that_need_a_package_and_all() -> None:
    extras = toml_arrays("project.optional-dependencies")
    engines = set(extras) - {"all"} - set(platforms())
    assert sorted(set(extras) - {"all"} - engines) == platforms()
    for engine in engines:
        assert engine in STATE_SCHEMES, f"{engine} is neither a platform folder nor a kind of state"
        assert extras[engine], "an engine that needs no package needs no extra"


def test_all_brings_every_extra() -> None:
    extras = toml_arrays("project.optional-dependencies")
    assert set(extras["all"]) == {item for name, items in extras.items() if name != "all" for item in items}


def test_names_are_unique_within_their_kind() -> None:
    keys = [(row.kind, row.name) for row in CATALOGUE]
    assert len(set(keys)) == len(keys)


def test_what_is_built_in_is_no_longer_planned() -> None:
    for row in CATALOGUE:
        assert row.name not in PLANNED[row.kind], f"{row.name} is in the catalogue: remove it from PLANNED"


@rows
def test_a_row_says_everything(row: ProviderSpec) -> None:
    assert row.summary
    assert row.permissions, "the permissions it needs at the platform are what people grant it"
    assert row.extra is None or row.extra in toml_arrays("project.optional-dependencies")
    assert row.adapter.split(".")[:2] == row.settings.split(".")[:2], "adapter and settings are of one platform"


@rows
def test_a_row_can_be_imported(row: ProviderSpec) -> None:
    assert callable(load(row.adapter))


@rows
def test_settings_derive_from_the_base_of_their_kind(row: ProviderSpec) -> None:
    from ci_acme.settings import DnsSettings, Settings, StoreSettings

    bases: dict[Kind, type[Settings]] = {Kind.DNS: DnsSettings, Kind.STORE: StoreSettings}
    base = bases.get(row.kind, Settings)
    settings = load(row.settings)
    assert isinstance(settings, type)
    assert issubclass(settings, base)
    for name, field in settings.model_fields.items():
        if name not in base.model_fields:
            assert field.description, f"{row.name}: {name} has no description, which the JSON Schema shows in editors"


@pytest.mark.servers
def test_bind_accepts_the_policy_that_we_tell_people_to_write(servers_directory: Path) -> None:
    row = next(row for row in CATALOGUE if row.name == "rfc2136")
    rules = re.search(r"update-policy \{ (.*) \};", row.permissions[0])
    assert rules is not None
    policies = {"example.com": rules[1].replace("KEY", f'"{KEY}"')}
    with Bind(servers_directory, {"example.com": []}, policies=policies) as bind:
        bind.update("example.com", add=['_acme-challenge.www 60 TXT "x"'])
        with pytest.raises(AssertionError, match="REFUSED"):
            bind.update("example.com", add=['www 60 TXT "x"'])
