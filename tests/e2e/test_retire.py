"""`retire`: an environment ends, is torn down again, and begins anew."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ci_acme.clock import SystemClock
from ci_acme.state.engine import open_state
from ci_acme.state.ledger import Ledger
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, Ran, finish

pytestmark = pytest.mark.servers


def retire(lab: Lab, *arguments: str, status: int = 0) -> Ran:
    ran = lab.run("retire", "--output", "json", *arguments)
    assert ran.status == status, ran.stderr
    assert ran.document["command"] == "retire"
    return ran


def state_of(lab: Lab) -> str:
    ran = lab.run("inventory", "--output", "json")
    (row,) = ran.document["certificates"]
    return str(row["state"])


def left(lab: Lab) -> list[Path]:
    return [path for path in (lab.directory / "certs").rglob("*") if not path.name.endswith(".lock")]


def test_create_and_retire_three_times(lab: Lab) -> None:
    for _ in range(3):
        issued = lab.issue().certificate
        assert issued["action"] == "issued"
        ran = retire(lab)
        gone = ran.certificate
        assert ran.document["changed"]
        assert (gone["action"], gone["serial"]) == ("retired", issued["serial"])
        assert gone["stores"] == [{"provider": "file", "target": "certs/web", "version": None, "action": "removed"}]
        assert left(lab) == []
        assert state_of(lab) == "retired"
        seen = lab.seen()
        again = retire(lab)
        assert (again.certificate["action"], again.document["changed"]) == ("retired", False)
        assert again.certificate["stores"][0]["action"] == "absent"
        assert lab.seen() == seen, "no CA is asked"
    with closing(open_state(f"sqlite:{lab.directory}/.ci-acme/state.db", clock=SystemClock())) as engine:
        whats = [event.what for event in Ledger(engine).events()]
    assert whats.count("retirement") == 6


def test_revoked_as_well(lab: Lab) -> None:
    issued = lab.issue().certificate
    gone = retire(lab, "--revoke").certificate
    assert gone["revocation"] == {"action": "revoked", "by": "account", "reason": "cessationOfOperation"}
    status = lab.pebble.certificate_status(int(issued["serial"], 16))
    assert status["Status"] == "Revoked"
    assert left(lab) == []
    again = retire(lab, "--revoke").certificate
    assert again["revocation"]["action"] == "nothing"


def test_what_another_environment_uses_is_not_revoked(lab: Lab) -> None:
    lab.web["stores"] = [{"provider": "file", "directory": f"certs/{one}"} for one in ("a", "b")]
    issued = lab.issue().certificate
    lab.web["stores"] = lab.web["stores"][:1]
    ran = retire(lab, "--revoke")
    assert ran.certificate["revocation"] == {"action": "skipped", "why": "still used by file:certs/b/web"}
    assert lab.pebble.certificate_status(int(issued["serial"], 16))["Status"] == "Valid"
    assert (lab.directory / "certs/b/web/privkey.pem").exists()
    assert not (lab.directory / "certs/a/web").exists()
    lab.web["stores"] = [{"provider": "file", "directory": "certs/b"}]
    last = retire(lab, "--revoke").certificate
    assert last["revocation"]["action"] == "revoked"
    assert lab.pebble.certificate_status(int(issued["serial"], 16))["Status"] == "Revoked"


def test_a_teardown_without_state_and_without_an_account_key(lab: Lab) -> None:
    lab.issue()
    for path in (lab.directory / ".ci-acme").iterdir():
        path.unlink()
    gone = retire(lab).certificate
    assert gone["action"] == "retired"
    assert left(lab) == []
    assert not (lab.directory / ".ci-acme/account.pem").exists(), "no key is made for a teardown"


def test_one_store_that_fails_is_done_by_the_next_teardown(lab: Lab) -> None:
    lab.web["stores"] = [{"provider": "file", "directory": f"certs/{one}"} for one in ("a", "b")]
    lab.issue()
    (lab.directory / "certs/a/web/metadata.json").unlink()
    ran = retire(lab, status=6)
    results = {store["target"]: store["action"] for store in ran.certificate["stores"]}
    assert results == {"certs/a/web": "failed", "certs/b/web": "removed"}
    assert "did not write" in ran.certificate["error"]["message"]
    for path in (lab.directory / "certs/a/web").iterdir():
        path.unlink()
    assert retire(lab).certificate["action"] == "retired"


def test_an_interrupted_teardown_goes_on(lab: Lab) -> None:
    """Before the first removal, between removals: whatever is left, the next one removes."""
    lab.web["stores"] = [{"provider": "file", "directory": f"certs/{number}"} for number in range(3)]
    lab.issue()
    process = lab.start("retire", "--output", "json")
    process.send_signal(signal.SIGINT)
    stopped = finish(process)
    assert stopped.status in {0, 130, -signal.SIGINT}  # the last: before Python listens
    assert retire(lab).certificate["action"] == "retired"
    assert not list((lab.directory / "certs").rglob("*.pem"))


def test_the_text_says_what_went(lab: Lab) -> None:
    lab.issue()
    ran = lab.run("retire")
    assert ran.stdout == "web: retired (removed from its stores)\n  file:certs/web removed\n"


def test_records_that_a_killed_run_left_go_too(make_lab: MakeLab) -> None:
    lab = make_lab(['_acme-challenge.www TXT "foreign"'], validation_delay=10)
    process = lab.start("issue")
    lab.pebble.wait_for_requests("/chalZ/")
    process.kill()
    process.communicate()
    assert len(lab.bind.txt(f"_acme-challenge.www.{ZONE}")) == 2
    assert retire(lab).certificate["action"] == "retired"
    assert lab.bind.txt(f"_acme-challenge.www.{ZONE}") == ["foreign"]


@pytest.mark.parametrize("name", ["nobody"])
def test_an_unknown_name_is_exit_2(lab: Lab, name: str) -> None:
    ran = lab.run("retire", "--output", "json", name)
    assert ran.status == 2
    error: dict[str, Any] = json.loads(ran.stdout)["error"]
    assert "there is no certificate 'nobody'" in error["message"]
    assert ZONE not in error["message"]
