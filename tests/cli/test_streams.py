"""What is read, and what cannot be: pipes that close, full disks, streams that are not there, locales without UTF-8."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_acme.cli.console import Console
from ci_acme.cli.streams import Steadfast
from ci_acme.model.events import Waiting
from tests.cli.test_command_line import CONFIG, ROOT


def shell(script: str, cwd: Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A shell in which `ci-acme` is the product; a pipeline's status is that of the first command that fails."""
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'providers'}",
        **(environ or {}),
    }
    text = f'set -o pipefail; ci-acme() {{ python -P -m ci_acme "$@"; }}; {script}'
    return subprocess.run(
        ["bash", "-c", text], cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with a config that plans without a network."""
    (tmp_path / "ci-acme.yaml").write_text(CONFIG)
    return tmp_path


@pytest.mark.parametrize("command", ["--help", "issue --help", "plan", "config schema", "config show", "inventory"])
def test_a_reader_that_has_enough_changes_nothing(command: str, work: Path) -> None:
    ran = shell(f"ci-acme {command} | head -c 1", work)
    assert (ran.returncode, len(ran.stdout)) == (0, 1)
    assert "Traceback" not in ran.stderr
    assert "error" not in ran.stderr


def test_a_command_that_fails_still_fails_before_a_reader_that_has_enough(work: Path) -> None:
    assert shell("ci-acme plan --output json nobody | true", work).returncode == 2


@pytest.mark.parametrize("command", ["--version", "--help", "plan --output json", "config schema", "inventory"])
def test_a_result_that_cannot_be_written_is_said(command: str, work: Path) -> None:
    ran = shell(f"ci-acme {command} >/dev/full", work)
    assert ran.returncode == 1
    assert (
        ran.stderr.splitlines()[-1]
        == "error: stdout cannot be written, so that the result is cut: No space left on device"
    )
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", "2> >(true)"])
def test_streams_that_are_not_there(closed: str, work: Path) -> None:
    ran = shell(f"ci-acme plan --log-level debug {closed}", work)
    assert ran.returncode == 0, ran.stderr
    if not closed.startswith(("<", ">")):
        assert ran.stdout.startswith("web: would-issue")


@pytest.mark.parametrize("command", ["config init --no-input --file -", "config show", "inventory --format html"])
def test_documents_are_utf8_whatever_the_locale_is(command: str, work: Path) -> None:
    (work / "ci-acme.yaml").write_text(CONFIG.replace("names:", "owner: Zoë\n    names:"), encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    here, elsewhere = shell(f"ci-acme {command}", work), shell(f"ci-acme {command}", work, ascii_only)
    assert here.returncode == elsewhere.returncode == 0, elsewhere.stderr
    strip = [line for line in here.stdout.splitlines() if "<p>" not in line]  # the time
    assert [line for line in elsewhere.stdout.splitlines() if "<p>" not in line] == strip


def test_who_names_an_encoding_gets_it(work: Path) -> None:
    (work / "ci-acme.yaml").write_text(CONFIG.replace("names:", "owner: Zoë\n    names:"), encoding="utf-8")
    ran = shell("ci-acme config show", work, {"PYTHONIOENCODING": "ascii"})
    assert ran.returncode == 0, ran.stderr
    assert "Zo\\xeb" in ran.stdout


def test_a_path_that_no_file_can_have_here(work: Path) -> None:
    (work / "ci-acme.yaml").write_text(CONFIG.replace("certs", "zertifikäte"), encoding="utf-8")
    ran = shell("ci-acme plan", work, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"})
    assert ran.returncode == 2
    assert "PYTHONUTF8=1" in ran.stderr


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return False


def test_the_console_outlives_its_reader() -> None:
    stream = Steadfast(_Broken())
    console = Console(stream=stream)  # type: ignore[arg-type]
    console.warning("one")
    console.info("two")
    console.close()
    assert isinstance(stream.lost, BrokenPipeError)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 99


def test_a_live_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps stays: only its last row is wiped."""
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((40, 24)))
    stream = _Terminal()
    console = Console(stream=stream)
    console(Waiting("web", "the TXT records of a long name", "ns1.a-long-name.example.com", 3.0))
    assert len(stream.getvalue()) == 39
