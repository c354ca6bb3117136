"""The README says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ci_acme.cli.commands import COMMANDS
from ci_acme.cli.parser import build
from ci_acme.config.load import load
from ci_acme.errors import CODES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_config_of_the_readme_loads(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    path = tmp_path / "ci-acme.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, overrides={}, environ={}, environment="pr-7")
    assert loaded.config.certificates["preview"].names == ("pr-7.preview.example.com", "*.pr-7.preview.example.com")


def test_every_command_line_of_the_readme_parses() -> None:
    text = "\n".join(blocks("console")).replace("\\\n", " ")
    lines = re.findall(r"^\$ ci-acme (.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        build().parse_args(line.split())


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^\$ make (\w+)", "\n".join(blocks("console")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_commands_that_it_calls_built_are_there() -> None:
    (sentence,) = re.findall(r"Built: the commands (.*?);", README, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == {name for name, _ in COMMANDS}


def test_its_exit_codes_cover_every_error() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE)
    listed = {int(code) for row in rows for code in row.split(",")}
    assert {kind.exit_status for kind in CODES.values()} | {0} <= listed


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_its_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
