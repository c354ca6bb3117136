"""A program that mints external account bindings: what it prints is used and never shown."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import AccountError, CiAcmeError, Interrupted
from ci_acme.ports import Deadline
from ci_acme.runner.external import minted

HMAC = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
CLOCK = SystemClock()


def run(tmp_path: Path, program: str, *arguments: str, seconds: float = 20, clock: SystemClock = CLOCK) -> object:
    script = tmp_path / "mint.py"
    script.write_text(program)
    command = [sys.executable, str(script), *arguments]
    return minted(command, "HS256", {"PATH": os.environ["PATH"], "ROLE": "r"}, deadline=Deadline(clock, seconds))


def test_what_it_prints_is_the_binding(tmp_path: Path) -> None:
    program = (
        "import json, os, sys\n"
        "print('minting', file=sys.stderr)\n"
        f"print(json.dumps({{'key_id': sys.argv[1] + os.environ['ROLE'], 'hmac_key': '{HMAC}', 'expires': 600}}))\n"
    )
    account = run(tmp_path, program, "$(id)")
    assert getattr(account, "key_id", "") == "$(id)r", "no shell looks at arguments"
    assert HMAC not in repr(account)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (f"print('{HMAC}')", "did not print a JSON object"),
        ("print('[1, 2]')", "did not print a JSON object"),
        (f'print(\'{{"hmac_key": "{HMAC}"}}\')', "did not print a JSON object"),
        (f'print(\'{{"key_id": 7, "hmac_key": "{HMAC}"}}\')', "did not print a JSON object"),
        ('print(\'{"key_id": "k", "hmac_key": "c2hvcnQ"}\')', "mint"),
        (f"import sys; print('{HMAC}'); print('{HMAC}', file=sys.stderr); sys.exit(3)", "status 3"),
        (f"print('{HMAC}' * 2000)", "printed"),
        ("", "did not print"),
    ],
)
def test_what_cannot_be_used_is_said_without_showing_it(tmp_path: Path, program: str, words: str) -> None:
    with pytest.raises(CiAcmeError) as raised:
        run(tmp_path, program)
    error = raised.value
    said = f"{error.message} {error.fix} {error.details}"
    assert error.exit_status == 2
    assert words in said or words == "mint"
    assert HMAC not in said
    assert "c2hvcnQ" not in said


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(AccountError, match="No such file"):
        minted(["/nowhere/mint"], "HS256", {}, deadline=Deadline(CLOCK, 5))


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "child"
    program = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(AccountError, match="did not end within"):
        run(tmp_path, program, seconds=2)
    child = int(note.read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the child still runs")


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    clock = SystemClock()
    threading.Timer(0.3, clock.stop).start()
    with pytest.raises(Interrupted):
        run(tmp_path, "import time; time.sleep(60)", clock=clock)
