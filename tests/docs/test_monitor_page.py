"""The page about monitoring: its config loads, its defaults are the defaults, its commands parse."""

from __future__ import annotations

import re
from pathlib import Path

from ci_acme.cli.parser import build
from ci_acme.config.load import load_text
from ci_acme.config.monitoring import Monitor

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "monitor.md").read_text(encoding="utf-8")
OFF = {"ct", "endpoints", "key_age", "ignore"}


def test_its_config_loads_and_says_the_defaults() -> None:
    (section,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = (ROOT / "examples" / "ci-acme.yaml").read_text(encoding="utf-8") + section
    loaded = load_text(config.encode(), "c.yaml", environ={}, environment="pr-7").config.monitor
    assert isinstance(loaded, Monitor)
    assert loaded.model_fields_set == set(Monitor.model_fields), "every setting is shown"
    assert loaded.ct is not None
    assert loaded.ct.model_fields_set == set(type(loaded.ct).model_fields) - {"form", "ca_bundle"}
    usual = Monitor()
    for name in set(Monitor.model_fields) - OFF - {"spike"}:
        assert getattr(loaded, name) == getattr(usual, name), name
    for name in set(type(usual.spike).model_fields) - {"quiet"}:
        assert getattr(loaded.spike, name) == getattr(usual.spike, name), name


def test_its_command_lines_parse() -> None:
    lines = re.findall(r"^\$ ci-acme (.*?)(?:\s+#.*)?$", PAGE, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        assert build().parse_args(line.split()).command == "monitor"
