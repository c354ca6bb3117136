"""A CA and a name server of its own for each test: request counts and zone contents are exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_acme.sandbox import SandboxCa
from tests.e2e.lab import ZONE, Lab, SandboxLab
from tests.servers.bind import KEY, OTHER_KEY, OTHER_SECRET, SECRET, Bind
from tests.servers.pebble import Pebble
from tests.servers.proxy import LimitsProxy

MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """Makes labs; `records` are those of the main zone, the rest is for Pebble."""
    with ExitStack() as stack:

        def make(records: list[str] | None = None, **pebble: Any) -> Lab:
            bind = stack.enter_context(
                Bind(
                    _folder(tmp_path, "bind"),
                    {ZONE: records or [], "second.test": []},
                    keys={KEY: SECRET, OTHER_KEY: OTHER_SECRET},
                    policies={
                        ZONE: f'grant "{KEY}" zonesub TXT; grant "{OTHER_KEY}" zonesub CAA;',
                        "second.test": f'grant "{OTHER_KEY}" zonesub TXT;',
                    },
                )
            )
            server = stack.enter_context(Pebble(_folder(tmp_path, "pebble"), dns_server=bind.address, **pebble))
            lab = Lab(_folder(tmp_path, "work"), server, bind)
            lab.config["dns"][1].update(tsig_name=OTHER_KEY, tsig_secret="env:OTHER_SECRET")
            return lab

        yield make


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """The usual laboratory."""
    return make_lab()


@pytest.fixture
def sandbox_lab(tmp_path: Path) -> Iterator[SandboxLab]:
    """A laboratory whose CA is the sandbox, which goes wrong on demand."""
    with (
        Bind(_folder(tmp_path, "bind"), {ZONE: []}) as bind,
        SandboxCa(dns_server=bind.address, directory=_folder(tmp_path, "ca")) as ca,
    ):
        lab = SandboxLab(_folder(tmp_path, "work"), ca, bind)  # type: ignore[arg-type] - what `Lab` reads of a CA is the same
        lab.ca = ca
        yield lab


@contextmanager
def proxied(tmp_path: Path, **pebble: Any) -> Iterator[Lab]:
    """A laboratory whose CA is a proxy before Pebble: its `pebble` is that proxy. The rest is for Pebble."""
    with (
        Bind(_folder(tmp_path, "bind"), {ZONE: []}) as bind,
        Pebble(_folder(tmp_path, "pebble"), dns_server=bind.address, **pebble) as server,
        LimitsProxy(tmp_path / "proxy", server) as proxy,
    ):
        yield Lab(_folder(tmp_path, "work"), proxy, bind)  # type: ignore[arg-type] - what `Lab` reads of a CA is the same


def _folder(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    number = 1
    while path.exists():
        number += 1
        path = tmp_path / f"{name}-{number}"
    path.mkdir()
    return path
