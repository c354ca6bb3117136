"""The section `monitor`: good without a word, judged where it says something, and not imported where it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ci_acme.config.jsonschema import schema
from ci_acme.config.load import Loaded
from ci_acme.config.monitoring import Monitor
from ci_acme.config.shape import secret_fields
from ci_acme.config.show import as_yaml
from ci_acme.core.watch import Rules
from ci_acme.errors import ConfigError
from tests.structure.project import ROOT

Load = Callable[..., Loaded]

FULL = """
monitor:
  overdue: 24h
  expiry: 7d
  failures: 3
  key_age: 400d
  others: true
  ignore: [spike.unusual, endpoint]
  spike:
    repeats: 5
    quiet: [{begin: 2026-12-01, end: "2026-12-02T12:00:00Z", reason: the move}]
  ct:
    api: https://api.certspotter.com
    token: env:CT_TOKEN
    domains: Example.com
    since: 2026-11-01
    known: "AB:cd:ef:01"
  endpoints: [www.example.com, "www.example.com:8443", {address: "10.0.0.7", name: WWW.example.com}]
"""


def monitor(load: Load, small: str, text: str) -> Monitor:
    section = load((small + text).encode()).config.monitor
    assert isinstance(section, Monitor)
    return section


def test_the_defaults_are_good(load: Load, small: str) -> None:
    assert load(small.encode()).config.monitor is None
    assert Monitor().rules == Rules() == monitor(load, small, "monitor: {}\n").rules
    assert Monitor().ct is None
    assert Monitor().spike.rules.unusual


def test_everything_can_be_said(load: Load, small: str) -> None:
    said = monitor(load, small, FULL)
    rules = said.rules
    assert rules == Rules(timedelta(hours=24), timedelta(days=7), None, 3, timedelta(days=400))
    (quiet,) = said.spike.rules.quiet
    assert (quiet.begin, quiet.end) == (_at(1), _at(2, 12))
    assert said.ct is not None
    assert (said.ct.speaks, said.ct.domains, said.ct.known) == ("certspotter", ("example.com",), ("abcdef01",))
    assert [(one.host_port, one.server_name) for one in said.endpoints] == [
        (("www.example.com", 443), "www.example.com"),
        (("www.example.com", 8443), "www.example.com"),
        (("10.0.0.7", 443), "www.example.com"),
    ]


def _at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 12, day, hour, tzinfo=timezone.utc)


def test_crt_sh_is_known_by_its_host(load: Load, small: str) -> None:
    for text, form in (("api: https://crt.sh", "crt.sh"), ("api: https://ct.example, form: crt.sh", "crt.sh")):
        said = monitor(load, small, f"monitor: {{ct: {{{text}}}}}\n")
        assert said.ct is not None
        assert said.ct.speaks == form


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("overdu: 1d", "monitor.overdu", "overdue"),
        ("expiry: auto", "monitor.expiry", "fraction"),
        ("expiry: 1.5", "monitor.expiry", "fraction"),
        ("failures: 0", "monitor.failures", "1"),
        ("ignore: expirey", "monitor.ignore", "expiry"),
        ("spike: {quiet: [{begin: 2026-12-02, end: 2026-12-01}]}", "monitor.spike.quiet[0].end", "after begin"),
        ("spike: {quiet: [{begin: soon, end: 2026-12-01}]}", "monitor.spike.quiet[0].begin", "2026-11-25"),
        ("ct: {token: env:X}", "monitor.ct.api", "required"),
        ("ct: {api: http://ct.example}", "monitor.ct.api", "https"),
        ("ct: {api: https://ct.example, token: s3cret}", "monitor.ct.token", "reference"),
        ("ct: {api: https://ct.example, known: [xyz]}", "monitor.ct.known", "hex"),
        ("endpoints: ['a b']", "monitor.endpoints[0]", "host"),
        ("endpoints: [{name: www.example.com}]", "monitor.endpoints[0].address", "required"),
    ],
)
def test_a_mistake_has_its_place_and_its_words(load: Load, small: str, text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load((small + f"monitor: {{{text}}}\n").encode())
    (problem,) = error.value.details["problems"]
    assert problem["path"].startswith(place)
    assert words in str(problem)
    assert "s3cret" not in str(problem)


def test_the_token_is_a_secret_and_the_whole_is_shown_again(load: Load, built: str) -> None:
    loaded = load((built + FULL).encode())
    data: dict[str, Any] = {"monitor": {"ct": {"token": "env:CT_TOKEN"}}}
    assert list(secret_fields(data)) == [(("monitor", "ct", "token"), "env:CT_TOKEN")]
    shown = as_yaml(loaded)
    assert 'overdue: "24h"  # c.yaml:' in shown
    assert load(shown.encode()).config == loaded.config


def test_editors_know_the_section() -> None:
    found = schema()["$defs"]["MonitorSettings"]
    assert found["additionalProperties"] is False
    assert set(found["properties"]) == set(Monitor.model_fields)
    for name, field in Monitor.model_fields.items():
        assert field.description, name


def test_a_config_without_the_section_does_not_import_it() -> None:
    program = (
        "import sys\n"
        "from ci_acme.config.load import load_text\n"
        "load_text(sys.stdin.buffer.read(), 'c.yaml', environ={}, environment=None)\n"
        "print([name for name in sys.modules if 'monitor' in name or name.startswith('ci_acme.core.watch')])\n"
    )
    text = (ROOT / "examples" / "ci-acme.yaml").read_text().replace("${environment}", "x")
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'providers'}"},
    )
    assert done.stdout == "[]\n"
