"""What is imported when: start-up is latency of every pipeline run, and the core knows no platform."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from ci_acme.spec import ProviderSpec
from ci_acme_providers import CATALOGUE
from tests.structure.project import CORE, loaded_by, modules

SDKS = {"boto3", "botocore", "google", "azure", "msrest", "hvac", "kubernetes", "digitalocean", "lexicon"}
NOT_OURS = {"requests", "urllib3", "httpx", "acme", "josepy", "OpenSSL"}
HEAVY = {"pydantic", "pydantic_core", "yaml", "cryptography", "dns", "idna", "ssl", "http", "sqlite3", "psycopg"}


def test_no_core_module_loads_an_sdk_or_a_second_http_stack() -> None:
    loaded = loaded_by(*modules(CORE))
    assert loaded & SDKS == set()
    assert loaded & NOT_OURS == set()


@pytest.mark.parametrize(
    "module", ["ci_acme", "ci_acme.cli", "ci_acme.errors", "ci_acme.spec", "ci_acme.registry", "ci_acme_providers"]
)
def test_what_version_and_help_need_is_light(module: str) -> None:
    assert loaded_by(module) & (HEAVY | SDKS | NOT_OURS) == set()


def test_listing_providers_imports_none_of_them() -> None:
    loaded = loaded_by("ci_acme.registry", "ci_acme_providers")
    assert loaded & (HEAVY | SDKS) == set()


@pytest.mark.parametrize("package", ["model", "core"])
def test_values_and_decisions_are_plain_python(package: str) -> None:
    """`model` and `core` hold no library's types: they stay testable in microseconds and survive any dependency."""
    names = [f"ci_acme.{name}" for name in modules(CORE / package)]
    assert loaded_by(*names) & {"pydantic", "yaml", "cryptography", "dns", "sqlite3", "psycopg"} == set()


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: f"{row.kind.value}:{row.name}")
def test_settings_of_a_provider_load_no_sdk(row: ProviderSpec) -> None:
    """`config validate` reads every provider's settings; only the one that is used may cost its SDK."""
    module, _, _ = row.settings.partition(":")
    assert loaded_by(module) & (SDKS | NOT_OURS | {"cryptography", "dns"}) == set()


def test_every_module_can_be_imported_by_itself() -> None:
    """No import cycle hides behind the order in which the tests import things."""
    names = modules(CORE)
    assert {name.split(".")[0] for name in names} == {"ci_acme"}
    package = importlib.import_module("ci_acme")
    walked = {info.name for info in pkgutil.walk_packages(package.__path__, "ci_acme.")}
    assert walked - {"ci_acme.__main__"} == set(names) - {"ci_acme"}
