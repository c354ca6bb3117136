"""Servers and engines for the tests of the DNS engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.dns.servers import Bind, Stub


@pytest.fixture
def make_bind(tmp_path: Path) -> Iterator[Callable[..., Bind]]:
    """Makes servers that end with the test. Give the zones, then `start`."""
    made: list[Bind] = []
    numbers = itertools.count()

    def make(zones: Mapping[str, tuple[str, ...]] | None = None, **options: Any) -> Bind:
        directory = tmp_path / f"named-{next(numbers)}"
        directory.mkdir()
        bind = Bind(directory, **options)
        for name, records in (zones or {}).items():
            bind.zone(name, *records)
        made.append(bind)
        return bind

    yield make
    for bind in made:
        bind.stop()


@pytest.fixture
def make_stub() -> Iterator[Callable[..., Stub]]:
    """Makes stubs that end with the test."""
    made: list[Stub] = []

    def make(answer: Callable[[bytes, bool], bytes | None], **options: Any) -> Stub:
        made.append(Stub(answer, **options))
        return made[-1]

    yield make
    for stub in made:
        stub.stop()


@pytest.fixture
def bind(make_bind: Callable[..., Bind]) -> Bind:
    """One server with the zone `ci.test`."""
    return make_bind({"ci.test": ()}).start()
