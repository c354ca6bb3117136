"""The CA and the name server that all clients meet, and what these saw of a client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.bind import KEY, SECRET, Bind
from tests.servers.pebble import Pebble
from tests.servers.ports import free_port
from tests.servers.process import Server, listens

ZONE = "example.test"


class Latency(Server):
    """The proxy of latency.py in front of the CA."""

    name = "latency"

    def __init__(self, directory: Path, target: int, milliseconds: float) -> None:
        super().__init__(directory)
        self._target, self._milliseconds = target, milliseconds
        self.port = 0

    def prepare(self) -> list[str]:
        self.port = free_port()
        program = str(Path(__file__).with_name("latency.py"))
        return [sys.executable, program, str(self.port), str(self._target), str(self._milliseconds)]

    def ready(self) -> bool:
        return listens("127.0.0.1", self.port)


@dataclass(frozen=True)
class Seen:
    """What the servers counted so far."""

    acme: int
    updates: int

    def since(self, before: Seen) -> Seen:
        """What came after `before`."""
        return Seen(self.acme - before.acme, self.updates - before.updates)


@dataclass(frozen=True)
class Laboratory:
    """The addresses of one bench run."""

    bind: Bind
    pebble: Pebble
    directory_url: str
    zone: str = ZONE
    key: str = KEY
    secret: str = SECRET

    def seen(self) -> Seen:
        """Counters of both servers."""
        return Seen(len(self.pebble.requests()), self.bind.update_count())


@contextmanager
def laboratory(directory: Path, *, latency: float, validation: int, dns_port: int | None) -> Iterator[Laboratory]:
    """Start the servers: no nonce is rejected, no authorization is reused on purpose."""
    with (
        Bind(directory / "bind", {ZONE: []}, port=dns_port) as bind,
        Pebble(directory / "pebble", dns_server=bind.address, validation_delay=validation) as pebble,
    ):
        if not latency:
            yield Laboratory(bind, pebble, pebble.directory_url)
            return
        with Latency(directory / "latency", pebble.port, latency) as proxy:
            yield Laboratory(bind, pebble, f"https://127.0.0.1:{proxy.port}/dir")
