"""`hook`: how the program is called, and what is told when it fails."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ci_acme.clock import SystemClock
from ci_acme.dns.publish import NOTHING_WRITTEN
from ci_acme.errors import ConfigError, DnsError, Interrupted, SecretError, ZoneNotFound
from ci_acme.model.secret import Secret
from ci_acme.ports import Concurrency, Deadline, PermissionRequest, Placement, ProviderContext, TxtValue, Zone
from ci_acme_providers.hooks.config import HookSettings
from ci_acme_providers.hooks.hook import Hook
from ci_acme_providers.hooks.permissions import policies

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the hooks of these tests are shell scripts")
ZONE = Zone("example.com", "example.com")
NAME = "_acme-challenge.www.example.com"
TOKEN = "a-token-that-nobody-may-see"


def no_secrets(reference: str) -> Secret:
    raise SecretError(reference)


class Lab:
    """A directory with a hook, and an adapter for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = directory / "hook"
        self.log = directory / "log"
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "TOKEN": TOKEN, "OTHER": "not for you"}
        self.clock = SystemClock()

    def hook(self, script: str, **settings: Any) -> Hook:
        self.program.write_text(f"#!/bin/sh\nLOG={self.log}\n{script}\n")
        self.program.chmod(0o755)
        return self.adapter(program=str(self.program), **settings)

    def adapter(self, **settings: Any) -> Hook:
        parsed = HookSettings.model_validate({"zone": "example.com", **settings})
        return Hook(parsed, ProviderContext(no_secrets, self.clock, environ=self.environ))

    def deadline(self, seconds: float = 30.0) -> Deadline:
        return Deadline(self.clock, seconds)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def values(*names: str) -> list[TxtValue]:
    return [TxtValue(name, f"value-of-{name}") for name in names]


def test_the_calling_form_is_that_of_lego(lab: Lab) -> None:
    hook = lab.hook('echo "$# $@" >>$LOG')
    placements = hook.ensure(ZONE, [TxtValue(NAME, "-value_$(id)")], ttl=60, deadline=lab.deadline())
    assert lab.lines() == [f"3 present {NAME}. -value_$(id)"]
    hook.release(placements, deadline=lab.deadline())
    assert lab.lines()[1:] == [f"3 cleanup {NAME}. -value_$(id)"]


def test_only_what_the_config_names_is_passed_on(lab: Lab) -> None:
    hook = lab.hook("env >$LOG", environment=["TOKEN", "ABSENT"])
    hook.ensure(ZONE, values(NAME), ttl=60, deadline=lab.deadline())
    seen = dict(line.split("=", 1) for line in lab.lines())
    assert {name: seen[name] for name in ("PATH", "HOME", "TOKEN")} == {
        "PATH": lab.environ["PATH"],
        "HOME": lab.environ["HOME"],
        "TOKEN": TOKEN,
    }
    assert not {"OTHER", "ABSENT"} & set(seen)


def test_adopted_values_are_not_removed(lab: Lab) -> None:
    hook = lab.hook('echo "$@" >>$LOG')
    hook.release([Placement(ZONE, NAME, "value", created=False)], deadline=lab.deadline())
    assert lab.lines() == []


def test_calls_are_made_one_after_another(lab: Lab) -> None:
    hook = lab.hook("echo begin >>$LOG; sleep 0.05; echo end >>$LOG")
    hook.ensure(ZONE, values("a.example.com", "b.example.com", "c.example.com"), ttl=60, deadline=lab.deadline())
    assert lab.lines() == ["begin", "end"] * 3


def test_as_many_at_once_as_the_config_says_and_never_two_for_one_name(lab: Lab) -> None:
    hook = lab.hook('echo "begin $2" >>$LOG; sleep 0.3; echo "end $2" >>$LOG', parallel=3)
    names = ["a.example.com", "b.example.com", "c.example.com"]
    items = [*values(*names), TxtValue("a.example.com", "second")]
    hook.ensure(ZONE, items, ttl=60, deadline=lab.deadline())
    lines = lab.lines()
    assert sorted(lines[:3]) == [f"begin {name}." for name in names], "three at once"
    of_a = [line.split()[0] for line in lines if line.endswith(" a.example.com.")]
    assert of_a == ["begin", "end", "begin", "end"]


def test_two_threads_share_the_turns(lab: Lab) -> None:
    hook = lab.hook("echo begin >>$LOG; sleep 0.1; echo end >>$LOG")

    def work(name: str) -> None:
        hook.ensure(ZONE, values(name), ttl=60, deadline=lab.deadline())

    threads = [threading.Thread(target=work, args=(f"{letter}.example.com",)) for letter in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lab.lines() == ["begin", "end"] * 3


# --- failures


def test_the_last_lines_are_shown_and_nothing_that_was_told_in_confidence(lab: Lab) -> None:
    hook = lab.hook(
        "for n in 1 2 3 4 5; do echo line $n; done\n"
        'printf "\\033[31mdenied\\033[0m for %s\\r\\n\\n" "$TOKEN" >&2\nexit 7',
        environment=["TOKEN", "ABSENT"],
    )
    with pytest.raises(DnsError) as raised:
        hook.ensure(ZONE, values(NAME), ttl=60, deadline=lab.deadline())
    error = raised.value
    assert error.message == (
        f"the hook {lab.program} present {NAME}. ended with status 7: line 4 | line 5 | denied for ***"
    )
    assert error.fix.startswith(f"run it by hand: {lab.program} present {NAME}. value-of-")
    assert "ABSENT" in error.fix
    assert error.details["status"] == 7
    assert error.details["output"] == [*(f"line {n}" for n in range(1, 6)), "denied for ***"]
    assert TOKEN not in json.dumps(error.as_dict())
    assert not isinstance(error, NOTHING_WRITTEN), "it may have written before it failed"


@pytest.mark.parametrize("secret", ["-----BEGIN KEY-----\nMIIabcdef\n-----END KEY-----\n", " padded-secret "])
def test_lines_of_a_secret_are_hidden_each(lab: Lab, secret: str) -> None:
    lab.environ["TOKEN"] = secret
    hook = lab.hook('echo "got: $TOKEN"; exit 1', environment=["TOKEN"])
    with pytest.raises(DnsError) as raised:
        hook.ensure(ZONE, values(NAME), ttl=60, deadline=lab.deadline())
    text = json.dumps(raised.value.as_dict())
    assert "MIIabcdef" not in text
    assert "padded-secret" not in text


def test_a_secret_that_is_cut_off_where_the_kept_output_begins_is_not_shown(lab: Lab) -> None:
    lab.environ["TOKEN"] = "secret" * 20_000
    hook = lab.hook('printf "%s\\nthe end\\n" "$TOKEN"; exit 1', environment=["TOKEN"])
    with pytest.raises(DnsError) as raised:
        hook.ensure(ZONE, values(NAME), ttl=60, deadline=lab.deadline())
    assert raised.value.details["output"] == ["the end"]


def test_the_first_failure_ends_presenting(lab: Lab) -> None:
    hook = lab.hook('echo "$2" >>$LOG; case $2 in b.*) exit 1 ;; esac')
    with pytest.raises(DnsError, match=r"present b\.example\.com\."):
        hook.ensure(ZONE, values("a.example.com", "b.example.com", "c.example.com"), ttl=60, deadline=lab.deadline())
    assert lab.lines() == ["a.example.com.", "b.example.com."]


def test_a_failure_does_not_keep_cleanup_from_the_others(lab: Lab) -> None:
    hook = lab.hook('echo "$2" >>$LOG; case $2 in a.*) exit 1 ;; esac')
    placements = [
        Placement(ZONE, one.name, one.value, created=True) for one in values("a.example.com", "b.example.com")
    ]
    with pytest.raises(DnsError, match=r"cleanup a\.example\.com\."):
        hook.release(placements, deadline=lab.deadline())
    assert lab.lines() == ["a.example.com.", "b.example.com."]


def test_a_failure_after_a_success_never_says_that_nothing_was_written(lab: Lab) -> None:
    hook = lab.hook('rm "$0"')
    with pytest.raises(DnsError, match="No such file") as raised:
        hook.ensure(ZONE, values("a.example.com", "b.example.com"), ttl=60, deadline=lab.deadline())
    assert not isinstance(raised.value, NOTHING_WRITTEN)


def test_one_that_takes_too_long_is_ended(lab: Lab) -> None:
    hook = lab.hook("sleep 60", timeout=0.3)
    with pytest.raises(DnsError, match="did not end within") as raised:
        hook.ensure(ZONE, values(NAME), ttl=60, deadline=lab.deadline())
    assert "timeout" in raised.value.fix


def test_an_interrupt_ends_it_and_what_it_started(lab: Lab) -> None:
    hook = lab.hook("sleep 60 & echo $! >$LOG; wait")
    threading.Timer(0.4, lab.clock.stop).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted):
        hook.ensure(ZONE, values(NAME, "second.example.com"), ttl=60, deadline=lab.deadline())
    assert time.monotonic() - begun < 10
    (child,) = lab.lines()
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("the child still runs")


@pytest.mark.parametrize(
    ("program", "words", "fix"),
    [
        ("./nowhere", "is not there", "correct program"),
        ("no-such-program-in-path", "is not there", "name in PATH"),
        ("plain", "may not be run", "chmod"),
    ],
)
def test_a_program_that_cannot_be_run_is_told_by_check(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, program: str, words: str, fix: str
) -> None:
    monkeypatch.chdir(lab.directory)
    (lab.directory / "plain").write_text("#!/bin/sh\n")
    hook = lab.adapter(program=str(lab.directory / program) if program == "plain" else program)
    with pytest.raises(ConfigError, match=words) as raised:
        hook.check_access(ZONE, [NAME], deadline=lab.deadline())
    assert fix in raised.value.fix


def test_a_relative_path_is_from_the_working_directory_and_a_bare_name_from_path(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.hook("echo here >>$LOG")
    monkeypatch.chdir(lab.directory)
    lab.adapter(program="./hook").ensure(ZONE, values(NAME), ttl=60, deadline=lab.deadline())
    lab.environ["PATH"] += f":{lab.directory}"
    lab.adapter(program="hook").ensure(ZONE, values(NAME), ttl=60, deadline=lab.deadline())
    assert lab.lines() == ["here", "here"]


def test_a_script_without_an_interpreter_is_explained(lab: Lab) -> None:
    hook = lab.hook("")
    lab.program.write_bytes(b"\x00\x01")
    with pytest.raises(ConfigError) as raised:
        hook.ensure(ZONE, values(NAME), ttl=60, deadline=lab.deadline())
    assert "#!" in raised.value.fix


# --- zones, settings, permissions


def test_the_zone_is_what_the_config_or_the_dns_says(lab: Lab) -> None:
    def zone(apex: str | None, **settings: Any) -> str:
        hook = lab.adapter(program="hook", **settings)
        return hook.zones_for(NAME, apex, deadline=lab.deadline())[0].name

    assert zone(None) == "example.com"
    assert zone("www.example.com") == "www.example.com"
    assert zone("www.example.com", zone_id="Example.COM.") == "example.com"
    assert zone(None, zone=".") == "."
    with pytest.raises(ZoneNotFound, match=r"not in the zone example\.org"):
        zone(None, zone_id="example.org")


def test_capabilities_promise_nothing(lab: Lab) -> None:
    assert lab.adapter(program="hook").capabilities.concurrency is Concurrency.OPAQUE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "RAW"}, "token and key authorization"),
        ({"environment": ["A=B"]}, "pattern"),
        ({"parallel": 0}, "greater than"),
        ({"timeout": 0}, "greater than"),
        ({"program": ""}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        HookSettings.model_validate({"zone": "example.com", "program": "hook", **settings})


def test_permissions_name_what_it_is_called_for() -> None:
    settings = HookSettings(zone="example.com", program="hook", environment=("TOKEN",))
    (document,) = policies(PermissionRequest(settings, names=(NAME,), zone="example.com"))
    assert f"{NAME}." in document.text
    assert "TOKEN" in document.text
