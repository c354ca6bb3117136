"""The hook that the page of `hook` shows works."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext, TxtValue, Zone
from ci_acme_providers.hooks.config import HookSettings
from ci_acme_providers.hooks.hook import Hook
from tests.servers.bind import SECRET, Bind

PAGES = Path(__file__).parents[2] / "docs" / "providers"


def block(page: str, language: str) -> str:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found is not None, f"{page} has no example"
    return found[1]


def no_secrets(reference: str) -> Secret:
    raise SecretError(reference)


@pytest.mark.servers
def test_the_hook_that_is_shown_works(tmp_path: Path) -> None:
    zone, name = Zone("example.com", "example.com"), "_acme-challenge.www.example.com"
    with Bind(tmp_path / "bind", {zone.name: []}) as bind:
        program = tmp_path / "dns-hook"
        program.write_text(block("hook", "sh").replace("ns1.example.com", f"{bind.host} {bind.port}"))
        program.chmod(0o755)
        settings = HookSettings(zone=zone.name, program=str(program), environment=("DNS_TOKEN",))
        environ = {"PATH": os.environ["PATH"], "DNS_TOKEN": SECRET}
        hook = Hook(settings, ProviderContext(no_secrets, SystemClock(), environ=environ))
        deadline = Deadline(SystemClock(), 30)
        placements = hook.ensure(zone, [TxtValue(name, "one"), TxtValue(name, "-two")], ttl=60, deadline=deadline)
        assert bind.txt(name) == ["-two", "one"]
        hook.release(placements[:1], deadline=deadline)
        assert bind.txt(name) == ["-two"]
        hook.release(placements, deadline=deadline)
        assert bind.txt(name) == []
