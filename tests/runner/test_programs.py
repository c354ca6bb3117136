"""Programs that the config names: how they run, and that they end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ci_acme import programs
from ci_acme.clock import SystemClock
from ci_acme.errors import Interrupted
from ci_acme.ports import Deadline

CLOCK = SystemClock()
posix = pytest.mark.skipif(sys.platform == "win32", reason="process groups and signals are POSIX")


def run(program: str, *, seconds: float = 20, both: bool = False, clock: SystemClock = CLOCK) -> programs.Finished:
    command = [sys.executable, "-c", program]
    return programs.run(command, {"PATH": os.environ["PATH"]}, deadline=Deadline(clock, seconds), both=both)


def test_status_and_output() -> None:
    program = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    finished = run(program)
    assert (finished.status, finished.output, finished.how) == (3, b"out\n", "ended with status 3")
    assert run(program, both=True).output == b"out\nerr\n"


@posix
def test_a_signal_has_a_name() -> None:
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)").how == "was ended by SIGTERM"


def test_of_much_output_the_end_is_kept() -> None:
    finished = run("print('x' * 5_000_000); print('the end')")
    assert finished.size == 5_000_009
    assert len(finished.output) == programs.MAX_OUTPUT
    assert finished.output.endswith(b"x\nthe end\n")


def test_stdin_is_empty() -> None:
    assert run("import sys; print(repr(sys.stdin.read()))").output == b"''\n"


def test_only_what_is_named_is_in_the_environment() -> None:
    environ = {"PATH": "/bin", "HOME": "/home/ci", "TZ": "UTC", "TOKEN": "t", "OTHER": "o"}
    assert programs.environment(environ, ["TOKEN", "ABSENT"]) == {
        "PATH": "/bin",
        "HOME": "/home/ci",
        "TZ": "UTC",
        "TOKEN": "t",
    }


@posix
def test_it_leads_a_session_of_its_own() -> None:
    assert run("import os; print(os.getsid(0) == os.getpid())").output == b"True\n"


@posix
def test_a_daemon_that_it_leaves_behind_is_not_waited_for() -> None:
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
    )
    begun = time.monotonic()
    finished = run(program)
    assert time.monotonic() - begun < 10
    os.kill(int(finished.output), signal.SIGKILL)


@posix
def test_one_that_is_overdue_is_asked_to_end_and_may_tidy_up(tmp_path: Path) -> None:
    program = (
        "import pathlib, signal, sys, time\n"
        "def tidy(*_):\n"
        f"    pathlib.Path({str(tmp_path / 'tidy')!r}).touch()\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, tidy)\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(programs.Overdue, match="did not end within 1 s"):
        run(program, seconds=1)
    assert (tmp_path / "tidy").exists()


@posix
def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(note)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(programs.Overdue):
        run(program, seconds=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_an_interrupt_is_heard() -> None:
    clock = SystemClock()
    threading.Timer(0.2, clock.stop).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted):
        run("import time; time.sleep(60)", clock=clock)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("command", [["/nowhere/program"], ["a\0b"], [str(Path(__file__).parent)]])
def test_what_cannot_be_started_is_told(command: list[str]) -> None:
    with pytest.raises(programs.NotStarted) as raised:
        programs.run(command, {}, deadline=Deadline(CLOCK, 5))
    assert str(raised.value)
