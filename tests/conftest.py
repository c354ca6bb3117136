"""What every test may use: the real servers, and their logs when a test fails."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import process
from tests.servers.bind import KEY, OTHER_KEY, OTHER_SECRET, SECRET, Bind
from tests.servers.pebble import Pebble
from tests.servers.postgres import Postgres
from tests.servers.powerdns import PowerDns
from tests.servers.tools import ToolMissing, find

# The same examples every time, so that a commit is green or is not; `make explore` looks for new ones.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

_NEEDED = ("pebble", "step-ca", "acme2certifier-python", "named", "pdns_server", "postgres")
ZONE, OTHER_ZONE = "example.test", "second.test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of servers fail, and are never skipped, when a server is missing: a green run has run them."""
    if not any(item.get_closest_marker("servers") for item in items):
        return
    try:
        for name in _NEEDED:
            find(name)
    except ToolMissing as missing:
        for item in items:
            if item.get_closest_marker("servers"):
                item.user_properties.append(("missing", str(missing)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail at once with the one line that repairs it."""
    for key, value in item.user_properties:
        if key == "missing":
            pytest.fail(str(value), pytrace=False)


_COLLECT_EVERY = 50
_ended = itertools.count(1)


def pytest_runtest_teardown() -> None:
    """Adapters keep their connections for the life of a process: many tests in one must not run out of descriptors."""
    if next(_ended) % _COLLECT_EVERY == 0:
        gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of the logs of running servers beside a failure."""
    report = yield
    if report.failed and item.get_closest_marker("servers"):
        for server in process.LIVE:
            report.sections.append((f"{server.name} ({server.directory})", server.log_tail(30)))
    return report


@pytest.fixture(scope="session")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    """BIND with `example.test` (key `ci-acme`) and `second.test` (key `other`); shared: use names of your own."""
    policies = {
        ZONE: f'grant "{KEY}" zonesub TXT;',
        OTHER_ZONE: f'grant "{OTHER_KEY}" zonesub TXT;',
    }
    keys = {KEY: SECRET, OTHER_KEY: OTHER_SECRET}
    directory = tmp_path_factory.mktemp("bind")
    with Bind(directory, {ZONE: [], OTHER_ZONE: []}, keys=keys, policies=policies) as server:
        yield server


@pytest.fixture(scope="session")
def pebble(tmp_path_factory: pytest.TempPathFactory, bind: Bind) -> Iterator[Pebble]:
    """Pebble that validates against `bind`, without delays or nonce errors; shared."""
    with Pebble(tmp_path_factory.mktemp("pebble"), dns_server=bind.address) as server:
        yield server


@pytest.fixture(scope="session")
def powerdns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PowerDns]:
    """PowerDNS with the zone `example.test`; shared."""
    with PowerDns(tmp_path_factory.mktemp("powerdns"), {ZONE: []}) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """PostgreSQL; shared: make a database of your own with `create_database`."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def servers_directory(tmp_path: Path) -> Path:
    """Where a test that starts servers of its own puts their files."""
    return tmp_path / "servers"
