"""The points of a delivering run to a store, and what is there after a fault at one of them and one more run."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from cryptography import x509

from ci_acme.ca import keys
from ci_acme.cli import check, issue, permissions, plan, retire
from ci_acme.cli import main as product
from ci_acme.runner import issuing
from ci_acme.sandbox import DEMO_ZONE, SandboxCa, SandboxDns
from tests.clouds.github import quicken
from tests.contract import aws_stores
from tests.faults.canary import Canary
from tests.faults.kinds import KINDS
from tests.faults.steps import QuickClock, Steps
from tests.faults.stores import PASSWORD, Rig, key_of, opened
from tests.faults.watch import Watch

STATE_KEY = "a-passphrase-of-the-state-that-nobody-sees"
TSIG = "c2FuZGJveC10ZXN0cy1zZWNyZXQtb2YtMzItYnl0ZXM="
SCENES = ("first", "renewal", "revived")
"""A new name; a certificate with one name more; a name that was retired."""
_CODES = frozenset({0, 2, 6})
"""Of a run at which only the store fails: done, nothing ordered, issued and not delivered."""


@dataclass(frozen=True)
class Point:
    """A fault of this kind at the request with this number (from 0), in a run of this scene."""

    store: str
    scene: str
    step: int
    kind: str
    what: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.store}, {self.scene}, {self.step} ({self.what}), {self.kind}"


@dataclass
class Verdict:
    """What came of a point. `statuses` are of the run with the fault and of the next; `orders` of both together."""

    point: Point
    statuses: tuple[int, ...] = ()
    orders: int = 0
    certificates: int = 0
    reached: bool = False
    problems: list[str] = field(default_factory=list)


class Matrix:
    """One store with one CA; every point has a target of its own, or goes on with that of the point before."""

    def __init__(self, directory: Path, name: str, rig: Rig, ca: SandboxCa, dns: SandboxDns) -> None:
        self.name = name
        self._rig = rig
        self._ca = ca
        self._directory = directory
        self._temporary = directory / "tmp"
        self._temporary.mkdir()
        self._steps = Steps(rig)
        self.canary = Canary()
        self.environ = dict(rig.environ)
        self._number = 0
        self._round = 0
        self.config = _config(directory, ca, dns)
        self._made: list[bytes] = []
        self._keys = 0
        for secret, what in ((PASSWORD, "the password"), (STATE_KEY, "the state key"), (TSIG, "the TSIG secret")):
            self.canary.add_text(secret, what)

    # --- points

    def points(self) -> list[Point]:
        """Every step of a run that nothing disturbs, in each scene, with each kind of fault."""
        found: list[Point] = []
        scenes: dict[str, list[str]] = {}
        for scene in SCENES:
            self.aim()
            scenes[scene] = [label.replace(self._target, "T") for label in self._undisturbed(scene)]
        if scenes["revived"] == scenes["first"]:
            del scenes["revived"]
        for scene, labels in scenes.items():
            found += [
                Point(self.name, scene, step, kind, label)
                for step, label in enumerate(labels)
                for kind, it in KINDS.items()
                if self._rig.fakes or it.disk is not None
            ]
        return found

    def _undisturbed(self, scene: str) -> list[str]:
        self._prepare(scene)
        with self._steps.counted():
            status, _ = self.issue()
        assert status == 0, self.last
        return self._steps.labels

    def try_at(self, point: Point) -> Verdict:
        """A run with the fault, a look, a run without, and another look."""
        verdict = Verdict(point)
        self.aim()
        try:
            self._prepare(point.scene)
        except AssertionError as error:
            verdict.problems.append(f"cannot be prepared: {error}")
            return verdict
        before = self._ca.log.counts()
        old = self._served(verdict, "before")
        with self._steps.counted(point.step, KINDS[point.kind]):
            first, document = self.issue(verdict)
            verdict.reached = self._steps.reached
        issued = self._ca.log.counts()["finalize"] - before["finalize"]
        self._judge_first(verdict, first, document, old)
        second, document = self.issue(verdict)
        verdict.statuses = (first, second)
        if second != 0:
            verdict.problems.append(f"the next run ends with {second}: {self.last[-600:]}")
        if issued and second == 0 and first != 0:
            action = document["certificates"][0]["action"]
            if action not in {"delivered", "issued", "renewed", "kept"}:
                verdict.problems.append(f"the next run has {action}")
        now = self._served(verdict, "after the next run")
        if now is None or self._names_of(now) != self._names:
            verdict.problems.append("the new certificate is not there after the next run")
        elif int(document["certificates"][0]["serial"], 16) != now.serial_number:
            verdict.problems.append("the result names another certificate than the one that is there")
        after = self._ca.log.counts()
        verdict.orders = after["newOrder"] - before["newOrder"]
        verdict.certificates = after["finalize"] - before["finalize"]
        if verdict.certificates != 1:
            verdict.problems.append(f"{verdict.certificates} certificates were issued")
        verdict.problems += self._rig.problems()
        self._rig.problems().clear()
        return verdict

    def _judge_first(self, verdict: Verdict, status: int, document: Any, old: x509.Certificate | None) -> None:
        if status not in _CODES:
            verdict.problems.append(f"ends with {status}: {self.last[-1500:]}")
        if not document or "certificates" not in document:
            verdict.problems.append(f"no result: {self.last[-600:]}")
            return
        (result,) = document["certificates"] or [{}]
        error = result.get("error")
        if (status == 0 and error) or (status and not (error and error["message"] and error["fix"])):
            verdict.problems.append(f"status {status} with the error {error}")
        there = self._served(verdict, "after the fault")
        if there is None:
            if old is not None or status == 0:
                verdict.problems.append("nothing is served after the fault")
        elif there not in {old, self._retired} and self._names_of(there) != self._names:
            verdict.problems.append("neither the old certificate nor the new one is served")
        elif self._names_of(there) != self._names and status == 0:
            verdict.problems.append("the run says that it is done, and the old certificate is served")

    # --- the world

    def aim(self) -> None:
        """At a new target."""
        self._number += 1
        self._round = 0
        self._retired: x509.Certificate | None = None
        self._rig.forget()
        web = self.config["certificates"]["web"]
        web["stores"] = [{"provider": self.name, **self._rig.entry(f"t{self._number}")}]

    def recover(self) -> None:
        """After a problem: what it left shall not be taken for one of the next point."""
        for path in self._directory.glob("state.db*"):
            path.unlink()

    def orders(self) -> int:
        """How many there were."""
        return self._ca.log.counts()["newOrder"]

    def _prepare(self, scene: str) -> None:
        """What is there before the run."""
        self.new_names()
        if scene == "first":
            return
        status, _ = self.issue()
        assert status == 0, self.last[-800:]
        self.new_names()
        if scene == "revived":
            served = self._rig.served(self._target)
            self._retired = None if served is None else key_of(served)
            status = self.run("retire", "web")
            assert status == 0, self.last[-800:]

    def new_names(self) -> None:
        """Other names than before, so that there is something to do."""
        self._round += 1
        self._names = [f"n{self._number}-{self._round}.{DEMO_ZONE}"]
        self.config["certificates"]["web"]["names"] = self._names

    @property
    def _target(self) -> str:
        return f"t{self._number}"

    def _served(self, verdict: Verdict, when: str) -> x509.Certificate | None:
        try:
            served = self._rig.served(self._target)
            return None if served is None else key_of(served)
        except (AssertionError, ValueError, KeyError, OSError) as error:
            verdict.problems.append(f"no whole certificate {when}: {error!r}")
            return None

    @staticmethod
    def _names_of(leaf: x509.Certificate) -> list[str]:
        return list(
            leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        )

    # --- runs

    def issue(self, verdict: Verdict | None = None) -> tuple[int, Any]:
        """`ci-acme issue` as a job of GitHub or as a plain one, in turn; its status and its result."""
        report = self._directory / "report.json"
        report.unlink(missing_ok=True)
        status = self.run(
            "issue",
            *(
                "--allow-new-account",
                "--log-level",
                "debug",
                "--timeout",
                "120",
                "--output",
                "json",
                "--report",
                str(report),
            ),
            verdict=verdict,
        )
        try:
            return status, json.loads(report.read_text() if report.exists() else self._out)
        except ValueError:
            return status, None

    def run(self, *arguments: str, verdict: Verdict | None = None) -> int:
        out, err = io.StringIO(), io.StringIO()
        (self._directory / "ci-acme.yaml").write_text(yaml.safe_dump(self.config))
        watch = Watch(self._directory)
        environ = self._environ()
        with (
            mock.patch.dict(os.environ, environ, clear=True),
            mock.patch.object(tempfile, "tempdir", str(self._temporary)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(self._directory) if hasattr(contextlib, "chdir") else contextlib.nullcontext(),
            watch.open(),
        ):
            try:
                status = product(list(arguments))
            finally:
                gc.enable()
        self._out, self.last = out.getvalue(), err.getvalue() + out.getvalue()
        masks = "".join(line for line in self.last.splitlines(keepends=True) if not line.startswith("::add-mask::"))
        watch.tell("output", masks)
        self._learn()
        problems = self._leaks(watch) + [f"a child was started: {child!r}" for child in watch.children]
        if verdict is not None:
            verdict.problems += problems
        else:
            assert not problems, problems
        return status

    def _leaks(self, watch: Watch) -> list[str]:
        assert len(self.canary) > 2, "there is something to find"
        found = []
        for place, text in watch.seen:
            if names := self.canary.found(text):
                found.append(f"{', '.join(sorted(names))} in {place}: {text[:300]!r}")
        return found

    def _learn(self) -> None:
        """What is secret by now."""
        for pem in self._made[self._keys :]:
            self.canary.add_key(pem, "a key")
        self._keys = len(self._made)
        for secret in self._rig.secrets():
            self.canary.add_text(secret, "a credential")
        account = self._directory / "account.pem"
        if account.exists():
            self.canary.add_key(account.read_bytes(), "the account's key")

    def note_key(self, pem: bytes) -> None:
        """A key that the product has made."""
        self._made.append(pem)

    def _environ(self) -> Mapping[str, str]:
        files = {name: str(self._directory / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            Path(path).unlink(missing_ok=True)
        job = {"GITHUB_ACTIONS": "true", "CI": "true", **files} if self._number % 2 else {}
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._directory),
            "TMPDIR": str(self._temporary),
            "TSIG": TSIG,
            "STATE_KEY": STATE_KEY,
            "P12_PASSWORD": PASSWORD,
            "CI_ACME_TRACEBACK": "1",
            **job,
            **self.environ,
        }


def _config(directory: Path, ca: SandboxCa, dns: SandboxDns) -> dict[str, Any]:
    provider = {"provider": "rfc2136", "server": dns.address, "tsig_name": "ci-acme", "tsig_secret": "env:TSIG"}
    return {
        "version": 1,
        "state": f"sqlite:{directory}/state.db",
        "state_key": "env:STATE_KEY",
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
        "certificates": {"web": {"names": [], "stores": []}},
    }


@contextmanager
def laboratory(directory: Path, name: str) -> Iterator[Matrix]:
    """A matrix of a store with servers of its own."""
    work = directory / "work"
    work.mkdir(parents=True)
    with (
        SandboxDns([DEMO_ZONE], {"ci-acme": TSIG.encode()}) as dns,
        SandboxCa(dns_server=dns.address, directory=directory / "ca", validity={"classic": timedelta(days=90)}) as ca,
        opened(name, work) as rig,
        pytest.MonkeyPatch.context() as patch,
    ):
        ca.faults.authorizations_valid = True
        quicken(patch)
        aws_stores.prepare(patch)
        matrix = Matrix(work, name, rig, ca, dns)
        _listen(patch, matrix)
        yield matrix
        assert not ca.crashes, ca.crashes


def _listen(patch: pytest.MonkeyPatch, matrix: Matrix) -> None:
    """Quick clocks, and every key that is made."""
    for command in (check, issue, permissions, plan, retire):
        if hasattr(command, "SystemClock"):
            patch.setattr(command, "SystemClock", QuickClock)
    real = keys.generate_key

    def generate(kind: Any) -> Any:
        key = real(kind)
        matrix.note_key(keys.key_to_pem(key).reveal())
        return key

    patch.setattr(issuing, "generate_key", generate)
