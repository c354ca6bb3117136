"""Every engine keeps the same promises: one suite for all; and a URL names the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_acme.clock import SystemClock
from ci_acme.errors import ConfigError
from ci_acme.state.engine import Engine, open_state
from ci_acme.state.memory import MemoryEngine
from ci_acme.state.postgres import PostgresEngine
from ci_acme.state.sqlite import SqliteEngine
from ci_acme.testing.engine_contract import EngineContract, outcome
from tests.servers.postgres import Postgres
from tests.state.support import sqlite_engine


class Opened:
    """Closes the engines of a test at its end."""

    @pytest.fixture(autouse=True)
    def closing(self) -> Iterator[None]:
        with ExitStack() as self.stack:
            yield

    def opened(self, engine: Engine) -> Engine:
        return self.stack.enter_context(closing(engine))


class TestMemory(EngineContract):
    @pytest.fixture(autouse=True)
    def place(self) -> None:
        self.engine = MemoryEngine()

    def open_engine(self) -> Engine:
        return self.engine


class TestSqlite(Opened, EngineContract):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "a" / "b" / "state.db"

    def open_engine(self) -> Engine:
        return self.opened(sqlite_engine(self.path))


@pytest.mark.servers
class TestPostgres(Opened, EngineContract):
    @pytest.fixture(autouse=True)
    def place(self, postgres: Postgres) -> None:
        self.url = postgres.create_database(f"t{uuid4().hex}")

    def open_engine(self) -> Engine:
        return self.opened(PostgresEngine(self.url, clock=SystemClock()))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "delete", "append", "drop"]),
        st.sampled_from(["a", "ab", "b"]),
        st.binary(max_size=3),
        st.sampled_from(["absent", "any", "right", "wrong"]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_engines_agree(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, bytes, str]]) -> None:
    path = tmp_path_factory.mktemp("agree") / "state.db"
    with closing(sqlite_engine(path)) as one:
        other = MemoryEngine()
        for step in steps:
            assert outcome(one, *step) == outcome(other, *step)
        for prefix in ("", "a", "ab"):
            assert list(one.list(prefix)) == list(other.list(prefix))
            assert list(one.streams(prefix)) == list(other.streams(prefix))


def test_a_url_names_the_engine(tmp_path: Path) -> None:
    engine = open_state(f"sqlite:{tmp_path}/x/state.db", clock=SystemClock())
    assert isinstance(engine, SqliteEngine)
    assert engine.where == f"sqlite:{tmp_path.as_posix()}/x/state.db"
    assert not (tmp_path / "x").exists()
    server = open_state("postgresql://u:hunter2@db1:5433,db2/ci?sslmode=require", clock=SystemClock())
    assert isinstance(server, PostgresEngine)
    assert server.where == "postgresql://db1:5433,db2/ci"
    assert open_state("postgresql:///?service=ci", clock=SystemClock()).where == "postgresql:///"


@pytest.mark.parametrize("url", ["", "sqlite:", "hunter2", "mysql://hunter2", "postgresql", "postgresql:hunter2"])
def test_other_urls_are_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_state(url, clock=SystemClock())
    assert "hunter2" not in str(caught.value.as_dict())
    assert "sqlite:" in caught.value.fix
