"""The points of a run, and what is there after a run was killed at one of them and made again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.lab import ROOT, ZONE, Lab, check_store
from tests.servers.bind import Bind
from tests.servers.buckets import BUCKET, Buckets
from tests.servers.pebble import Pebble
from tests.servers.postgres import Postgres

_EXPECTED = re.compile(
    r"ci-acme\.yaml|\.ci-acme/(account\.pem|state\.db)|(certs|copies)/web/(privkey|cert|chain|fullchain|metadata)\.\w+"
)
SCENARIOS = {
    "first": "no account, no certificate",
    "renewal": "a certificate is replaced by one with one name more, in two stores",
    "sealed": "no store can hold a key before it is issued: it is sealed in the state",
    "full": "no kill: the disk of the state is full from this step on",
    "postgres": "the state is in PostgreSQL",
    "bucket": "the state is in a bucket (S3)",
    "gone": "no kill: the files of the state are removed at this step",
}
PlaceState = Callable[[str], tuple[str, dict[str, str]]]
_KILLED = -9
# The lease of a dead run is anybody's: the next order of that certificate takes it.
_REMEMBERED = ("account/", "budget/", "lease/", "ledger/", "inventory/")


_STATE_KEY = "a-state-key-of-thirty-two-bytes-"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the CA has done so far."""

    accounts: int
    orders: int
    certificates: int

    def since(self, before: Seen) -> Seen:
        """The difference."""
        return Seen(
            self.accounts - before.accounts, self.orders - before.orders, self.certificates - before.certificates
        )


@dataclass(slots=True)
class Verdict:
    """What came of one point. `problems` is empty if all promises were kept; `status` is of the first run."""

    at: str
    status: int
    orders: int = 0
    problems: list[str] = field(default_factory=list[str])

    @property
    def killed(self) -> bool:
        """Whether the first run came to the point, and died there."""
        return self.status == _KILLED

    @property
    def extra(self) -> int:
        """Orders beyond the one that is needed."""
        return max(0, self.orders - 1)


class Matrix:
    """One CA, one name server and one driver; every point has a directory and a name of its own."""

    def __init__(
        self,
        directory: Path,
        pebble: Pebble,
        bind: Bind,
        driver: subprocess.Popen[str],
        scenario: str,
        place_state: PlaceState | None = None,
    ) -> None:
        self._place_state = place_state
        self._scenario = scenario
        self._directory = directory
        self._pebble = pebble
        self._bind = bind
        self._driver = driver
        self._number = 0

    def steps(self) -> list[str]:
        """The steps of a run that nothing disturbs, in their order."""
        lab = self._lab()
        log = lab.directory.with_suffix(".steps")
        status = self._run(lab, ["issue"], log=log)
        assert status == 0, self._said(lab)
        return log.read_text().splitlines()

    def kill(self, at: str) -> Lab:
        """Kill a run there, and leave everything as it is then."""
        lab = self._lab()
        assert self._run(lab, ["issue"], at=at) == _KILLED, self._said(lab)
        return lab

    def try_at(self, at: str) -> Verdict:
        """Kill a run there (or let something else happen), make it again, clean up, and look."""
        lab = self._lab()
        before = self.seen()
        what = self._scenario if self._scenario in {"full", "gone"} else "kill"
        status = self._run(lab, ["issue"], at=at, what=what)
        verdict = Verdict(at, status)
        if what != "kill" and status not in {0, 2}:
            verdict.problems.append(f"ends with {status}: {self._said(lab)}")
        if self._scenario == "renewal":
            verdict.problems += self._store_problems(lab, interrupted=True)
        for command in ("issue", "cleanup"):
            status = self._run(lab, [command])
            if status != 0:
                verdict.problems.append(f"{command} ends with {status}: {self._said(lab)}")
        done = self.seen().since(before)
        verdict.orders = done.orders
        verdict.problems += list(self._problems(lab, done))
        return verdict

    def seen(self) -> Seen:
        """Counted in the CA's log."""
        log = self._pebble.log()
        accounts = re.findall(r"There are now (\d+) accounts in memory", log)
        return Seen(int(accounts[-1]) if accounts else 0, log.count("Added order "), log.count("Issued certificate "))

    # --- inside

    def _lab(self) -> Lab:
        self._number += 1
        directory = self._directory / f"p{self._number}"
        directory.mkdir()
        lab = Lab(directory, self._pebble, self._bind)
        lab.web["names"] = self._names(lab)
        if self._scenario == "renewal":
            lab.web["names"] = self._names(lab)[:1]
            lab.web["stores"].append({"provider": "file", "directory": "copies"})
            lab.write()
            assert self._run(lab, ["issue"]) == 0, self._said(lab)
            lab.web["names"] = self._names(lab)
        if self._place_state is not None:
            lab.config["state"], variables = self._place_state(directory.name)
            lab.variables |= variables
        if self._scenario == "sealed":
            lab.config["state_key"] = "env:STATE_KEY"
        lab.write()
        return lab

    @staticmethod
    def _names(lab: Lab) -> list[str]:
        name = f"{lab.directory.name}.{ZONE}"
        return [f"*.{name}", name]

    def _run(self, lab: Lab, arguments: Sequence[str], **more: Any) -> int:
        task = {
            "directory": str(lab.directory),
            "environ": lab.environment({"STATE_KEY": _STATE_KEY}),
            "forgetful": self._scenario == "sealed",
            "arguments": list(arguments),
            "output": str(lab.directory.with_suffix("")),
            **{key: str(value) for key, value in more.items()},
        }
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps(task) + "\n")
        self._driver.stdin.flush()
        return int(self._driver.stdout.readline())

    def _state(self, lab: Lab) -> list[str]:
        """The names of all that the state holds."""
        assert self._run(lab, ["state", lab.config.get("state", "sqlite:.ci-acme/state.db")]) == 0
        return lab.directory.with_suffix(".out").read_text().splitlines()

    @staticmethod
    def _said(lab: Lab) -> str:
        return lab.directory.with_suffix(".err").read_text()[-2000:]

    def _problems(self, lab: Lab, done: Seen) -> Iterator[str]:
        """Every promise that was not kept."""
        if done.accounts != (self._scenario != "renewal"):
            yield f"{done.accounts} accounts"
        if done.certificates != 1:
            yield f"{done.certificates} certificates issued"
        yield from self._store_problems(lab)
        left = self._bind.leftovers()
        if left:
            yield f"records left: {left}"
            self._bind.update(ZONE, delete=[f"{name}. 60 TXT {data}" for name, data in left])
        yield from (f"state left: {what}" for what in self._state(lab) if not what.startswith(_REMEMBERED))
        files = [path.relative_to(lab.directory).as_posix() for path in lab.directory.rglob("*") if path.is_file()]
        yield from (f"file left: {name}" for name in files if not _EXPECTED.fullmatch(name))

    def _store_problems(self, lab: Lab, *, interrupted: bool = False) -> list[str]:
        """Whether every store has the certificate; after an interrupted run, whether each has a whole one."""
        problems: list[str] = []
        for settings in lab.web["stores"]:
            store = lab.directory / settings["directory"] / "web"
            try:
                check_store(store, self._names(lab))
            except (AssertionError, OSError, ValueError) as error:
                try:
                    assert interrupted
                    check_store(store, self._names(lab)[:1])
                except (AssertionError, OSError, ValueError):
                    problems.append(f"{settings['directory']}: {error!r}")
        return problems


@contextmanager
def laboratory(directory: Path, scenario: str) -> Iterator[Matrix]:
    """A matrix with servers and a driver of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    points = directory / "points"
    points.mkdir()
    with ExitStack() as stack:
        bind = stack.enter_context(Bind(directory / "bind", {ZONE: []}))
        pebble = stack.enter_context(Pebble(directory / "pebble", dns_server=bind.address))
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.crash.driver"],
            cwd=ROOT,
            env=Lab(points, pebble, bind).environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        place_state = _state_elsewhere(scenario, directory, stack)
        yield Matrix(points, pebble, bind, stack.enter_context(driver), scenario, place_state)


def _state_elsewhere(scenario: str, directory: Path, stack: ExitStack) -> PlaceState | None:
    """Where the state of a point is, if it is in no file: a URL, and variables of the environment."""
    if scenario == "postgres":
        server = stack.enter_context(Postgres(directory / "postgres"))
        return lambda name: (server.create_database(name), {})
    if scenario == "bucket":
        buckets = stack.enter_context(Buckets("s3"))
        return lambda name: (f"s3://{BUCKET}/{name}", buckets.environment())
    return None


def places(steps: Sequence[str]) -> list[str]:
    """Where a run with these steps can be killed."""
    return [f"{side} {step}" for step in steps for side in ("before", "after")]
