"""Providers that cannot keep writers apart, in front of a real name server; and a process that uses one."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ci_acme.clock import SystemClock
from ci_acme.config.load import load_text
from ci_acme.dns.question import Server
from ci_acme.model.events import Event
from ci_acme.ports import Challenge, Concurrency, Deadline, DnsCapabilities, Placement, TxtValue, Zone
from ci_acme.runner.services import Services
from ci_acme_providers.rfc2136.adapter import Rfc2136
from tests.dns.servers import SECRET, ask_txt

CONFIG = """\
version: 1
state: sqlite:{state}
authorities: {{ca: {{directory: letsencrypt}}}}
dns:
  - {{zone: ci.test, provider: rfc2136, server: "127.0.0.1:{port}", tsig_name: ci-acme, tsig_secret: env:TSIG,
     propagation_timeout: 20}}
resolver: {{nameservers: ["127.0.0.1:{port}"]}}
certificates: {{web: {{names: [app.ci.test], stores: [{{provider: file, directory: certs}}]}}}}
"""


def replace(server: Server, name: str, values: Sequence[str]) -> None:
    """Whatever is at the name, these values are from now on."""
    import dns.query
    import dns.rcode
    import dns.tsigkeyring
    import dns.update

    keyring = dns.tsigkeyring.from_text({"ci-acme": SECRET})
    message = dns.update.UpdateMessage("ci.test", keyring=keyring, keyalgorithm="hmac-sha256")
    message.delete(f"{name}.", "TXT")
    for value in values:
        message.add(f"{name}.", 60, "TXT", f'"{value}"')
    assert dns.query.tcp(message, server.address, port=server.port, timeout=5).rcode() == dns.rcode.NOERROR


class Blind(Rfc2136):
    """Reads the whole set, thinks, and writes the whole set: whoever wrote meanwhile has written in vain."""

    thinks = 0.05
    lock = threading.Lock()

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(Concurrency.BLIND)

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        for name in {value.name for value in values}:
            wanted = {value.value for value in values if value.name == name}
            self.rewrite(name, lambda there, wanted=wanted: [*there, *(wanted - set(there))])  # type: ignore[misc]
        return [Placement(zone, value.name, value.value, created=True) for value in values]

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        for name in {placement.name for placement in placements}:
            gone = {placement.value for placement in placements if placement.name == name}
            self.rewrite(name, lambda there, gone=gone: [v for v in there if v not in gone])  # type: ignore[misc]

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        return None

    def rewrite(self, name: str, change: Callable[[Sequence[str]], Sequence[str]]) -> None:
        """Read the set of a name, think, and put what it is changed to in its place."""
        address, port = self._settings.servers[0]
        there = list(ask_txt(Server(address, port), name))
        time.sleep(self.thinks)
        replace(Server(address, port), name, change(there))


class Ring(Blind):
    """Two slots; the oldest value goes when a third one comes. Nothing can be removed."""

    thinks = 0.0
    slots: ClassVar[dict[str, list[str]]] = {}

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(Concurrency.RING, max_values=2, can_remove=False)

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        with self.lock:
            for value in values:
                slots = self.slots.setdefault(value.name, [])
                if value.value not in slots:
                    slots[:] = [*slots, value.value][-2:]
                self.rewrite(value.name, lambda _, slots=tuple(slots): slots)  # type: ignore[misc]
        return [Placement(zone, value.name, value.value, created=True) for value in values]

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        return None


class Small(Rfc2136):
    """Keeps writers apart, and has room for two values at a name."""

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(Concurrency.CAS, max_values=2)


class Opaque(Rfc2136):
    """A hook: nothing is known of it."""

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(Concurrency.OPAQUE)


def services(
    kind: type[Rfc2136], port: int, state: Path, run: str, notify: Callable[[Event], None], **environ: str
) -> Services:
    """What a run shares, with `kind` in the place of the provider. Close it."""
    text = CONFIG.format(port=port, state=state)
    config = load_text(text.encode(), "ci-acme.yaml", environ={}, environment=None).config
    clock = SystemClock()
    made = Services(
        config,
        run_id=run,
        clock=clock,
        notify=notify,
        environ={"TSIG": SECRET, **environ},
        deadline=Deadline(clock, 60),
        may_register=False,
        force=False,
        dry_run=False,
    )
    settings: Any = config.dns[0]
    made._provider_maker = lambda _: lambda: kind(settings, made.context())  # type: ignore[method-assign]
    return made


def main(port: int, state: Path, value: str) -> None:
    """Publish a value, say so, and remove it when told."""
    made = services(Blind, port, state, f"run-{value}", lambda event: None)
    solver = made.solver("web")
    challenge = Challenge("app.ci.test", "_acme-challenge.app.ci.test", value)
    try:
        solver.solve([challenge], lambda some: None, deadline=Deadline(made.clock, 45))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        solver.cleanup()
        sys.stdout.write("gone\n")
        sys.stdout.flush()
    finally:
        made.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
