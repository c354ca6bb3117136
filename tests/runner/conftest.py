"""The runner on a sandbox CA and name server in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_acme.clock import SystemClock
from ci_acme.config.load import load_text
from ci_acme.core.account import AccountReport, RevokeReport
from ci_acme.core.report import Outcome
from ci_acme.model.events import Event, Step, Warned
from ci_acme.runner import Run, RunOptions
from ci_acme.runner.revoking import Wanted
from ci_acme.sandbox import DEMO_ZONE, SandboxCa, SandboxDns

TSIG = b"c2FuZGJveC10ZXN0cy1zZWNyZXQtb2YtMzItYnl0ZXM="


@dataclass
class World:
    """A directory with a config, and the CA that it names."""

    directory: Path
    ca: SandboxCa
    config: dict[str, Any]
    environ: dict[str, str] = field(default_factory=dict[str, str])
    events: list[Event] = field(default_factory=list[Event])

    @property
    def authority(self) -> dict[str, Any]:
        """The config's only authority."""
        section: dict[str, Any] = self.config["authorities"]["sandbox"]
        return section

    @property
    def key(self) -> Path:
        """The account key."""
        return self.directory / "account.pem"

    @property
    def next_key(self) -> Path:
        """The key of a rotation that has not ended."""
        return self.directory / "account.pem.new"

    @property
    def store(self) -> Path:
        """Where `web` is stored."""
        return self.directory / "certs" / "web"

    def write(self) -> Path:
        """The config as a file."""
        path = self.directory / "ci-acme.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return path

    def run(self, **options: Any) -> Run:
        """A run over the config."""
        loaded = load_text(
            yaml.safe_dump(self.config, sort_keys=False).encode(), "test", environ=self.environ, environment=None
        )
        more = {"allow_new_account": True, "timeout": 60.0, **options}
        return Run(
            loaded.config, RunOptions(**more), clock=SystemClock(), notify=self.events.append, environ=self.environ
        )

    def account(
        self,
        action: str,
        authority: str | None = None,
        *,
        agree: Callable[[str], bool] = lambda _: True,
        **options: Any,
    ) -> AccountReport:
        """`ci-acme account ACTION`."""
        return self.run(**options).account(action, authority, agree)

    def revoke(self, **wanted: Any) -> RevokeReport:
        """`ci-acme revoke`."""
        return self.run().revoke(Wanted(**wanted))

    def issue(self, **options: Any) -> Outcome:
        """`ci-acme issue`."""
        (outcome,) = self.run(**options).issue([]).certificates
        return outcome

    def texts(self) -> list[str]:
        """What was told, without the requests."""
        told = [event.text for event in self.events if isinstance(event, (Step, Warned))]
        return [text for text in told if not text.startswith("request ")]

    def requests(self) -> Mapping[str, int]:
        """What the CA has seen, by kind."""
        return self.ca.log.counts()


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWorld]:
    """Makes worlds with one name server; the arguments are the CA's."""
    with ExitStack() as stack:
        dns = stack.enter_context(SandboxDns([DEMO_ZONE], {"ci-acme": TSIG}))

        def make(**settings: Any) -> World:
            directory = tmp_path / f"work{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            settings = {"validity": {"classic": timedelta(days=90)}, **settings}
            ca = stack.enter_context(SandboxCa(dns_server=dns.address, directory=directory / "ca", **settings))
            stack.callback(lambda: _no_crash(ca))
            monkeypatch.chdir(directory)
            return World(directory, ca, _config(directory, ca, dns), {"TSIG": TSIG.decode()})

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """The usual one."""
    return make_world()


def _no_crash(ca: SandboxCa) -> None:
    assert not ca.crashes, "\n".join(ca.crashes)


def _config(directory: Path, ca: SandboxCa, dns: SandboxDns) -> dict[str, Any]:
    provider = {"provider": "rfc2136", "server": dns.address, "tsig_name": "ci-acme", "tsig_secret": "env:TSIG"}
    return {
        "version": 1,
        "state": f"sqlite:{directory}/state.db",
        "authorities": {
            "sandbox": {
                "directory": ca.directory_url,
                "ca_bundle": str(ca.ca_bundle),
                "contact": ["ops@example.com"],
                "account_key": f"file:{directory}/account.pem",
            }
        },
        "dns": [{"zone": DEMO_ZONE, **provider}],
        "resolver": {"nameservers": [dns.address]},
        "certificates": {
            "web": {
                "names": [f"www.{DEMO_ZONE}"],
                "stores": [{"provider": "file", "directory": f"{directory}/certs"}],
            }
        },
    }
