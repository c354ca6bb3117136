"""The surface that needs no network: help, versions, options, and what bad input says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_acme import __version__
from ci_acme.cli import main, top_help
from ci_acme.cli.commands import COMMANDS
from ci_acme.cli.options import READ_HERE
from ci_acme.cli.parser import build, parse
from ci_acme.config.options import OPTIONS
from ci_acme.errors import UsageError

ROOT = Path(__file__).parents[2]
CONFIG = """\
version: 1
authorities:
  ca: {directory: "https://127.0.0.1:1/dir", agree_terms: true}
dns:
  - {zone: example.test, provider: rfc2136, server: "127.0.0.1:1", tsig_name: k, tsig_secret: "env:SECRET"}
certificates:
  web:
    names: [www.example.test]
    stores: [{provider: file, directory: certs}]
"""


def run(
    *arguments: str, cwd: Path, environ: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'providers'}", **(environ or {})}
    command = [sys.executable, "-P", "-m", "ci_acme", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=env, input=stdin, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("arguments", [["--version"], ["version"], ["version", "--no-color"]])
def test_version(arguments: list[str], tmp_path: Path) -> None:
    ran = run(*arguments, cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"ci-acme {__version__}\n", "")
    document = json.loads(run("version", "--output", "json", cwd=tmp_path).stdout)
    assert document["version"] == __version__


def test_every_command_is_on_the_help_page_and_has_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    for command, summary in COMMANDS:
        assert f"  {command} " in top_help()
        assert main([command, "--help"] if command != "config" else ["config", "show", "--help"]) == 0
        page = capsys.readouterr().out
        assert page.startswith(f"usage: ci-acme {command}")
        assert command == "config" or summary.split()[0].strip("`,") in page


def test_nothing_at_all_shows_the_help(tmp_path: Path) -> None:
    ran = run(cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout.startswith("usage:")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["isue"], "did you mean issue?"),
        (["help", "isue"], "did you mean issue?"),
        (["issue", "--forse"], "no option --forse; did you mean --force?"),
        (["--outptu", "json", "plan"], "no option --outptu; did you mean --output?"),
        (["--force", "issue"], "--force comes after the command"),
        (["issue", "--output", "xml"], "xml"),
        (["plan", "--output", "jsn"], "did you mean json?"),
        (["plan", "--log-level=warn"], "did you mean warning?"),
        (["config", "valdate"], "did you mean validate?"),
        (["account", "rotate"], "did you mean rotate-key?"),
        (["config", "validate", "--environmnt", "x"], "did you mean --environment?"),
        (["cleanup", "web"], "an argument too many"),
        (["issue", "--timeout", "soon"], "soon"),
        (["issue", "--timeout", "0"], "timeout"),
        (["issue", "--timeout", "-3"], "timeout"),
        (["issue", "--timeout", "nan"], "timeout"),
        (["issue", "--conf", "x"], "did you mean --config?"),
        (["config"], "give one of validate, show"),
        (["issue", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["issue"], "ci-acme.yaml"),
        (["issue", "--dns", "rfc2136"], "config file"),
    ],
)
def test_bad_input_is_exit_2_with_a_fix(arguments: list[str], words: str, tmp_path: Path) -> None:
    ran = run(*arguments, cwd=tmp_path)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert "fix: " in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [["help", "plan"], ["--help", "plan"], ["plan", "-h"], ["plan", "--help"], ["--output", "json", "--help", "plan"]],
)
def test_the_help_of_a_command_has_its_own_options_first(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    page = capsys.readouterr().out
    assert page.startswith("usage: ci-acme plan [options] [NAME ...]\n")
    assert page.index("--matrix") < page.index("--resolver") < page.index("--domain") < page.index("--log-level")


@pytest.mark.parametrize("arguments", [["--version", "--output", "json"], ["--output", "json", "--version"]])
def test_a_version_may_be_a_document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["version"] == __version__


@pytest.mark.parametrize(
    "arguments", [["--no-color", "--help"], ["--help", "--output", "json"], ["--output=json", "-h"]]
)
def test_help_may_stand_among_the_global_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == top_help() + "\n"


def test_a_command_line_that_cannot_be_read_names_no_command(tmp_path: Path) -> None:
    ran = run("--output", "json", "isue", cwd=tmp_path)
    assert json.loads(ran.stdout)["command"] == ""


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = "rmdir ../gone; exec python -P -m ci_acme plan"
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{ROOT / 'providers'}"}
    ran = subprocess.run(
        ["sh", "-c", script], cwd=gone, env=env, check=False, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 2, ran.stderr
    assert "the working directory was removed" in ran.stderr


@pytest.mark.parametrize(
    "arguments", [["config", "init", "--no-input", "--file", "file/x.yaml"], ["demo", "--directory", "file/x"]]
)
def test_what_cannot_be_written_is_no_defect(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run(*arguments, cwd=tmp_path)
    assert ran.returncode == 2
    assert "file/x" in ran.stderr
    assert "cannot be written: " in ran.stderr
    assert "fix: name another" in ran.stderr


def test_the_demo_ends_with_a_command_that_works(tmp_path: Path) -> None:
    """`make demo` runs a program that no shell finds by its name."""
    ran = run("demo", cwd=tmp_path, environ={"PATH": "/usr/bin:/bin"})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    *_, last = ran.stdout.splitlines()
    command = last.partition("then: ")[2].replace("issue", "version")
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'providers'}"}
    again = subprocess.run(
        command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert again.stdout == f"ci-acme {__version__}\n", again.stderr


def test_the_demo_has_a_document_too(tmp_path: Path) -> None:
    ran = run("demo", "--output", "json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    document = json.loads(ran.stdout)
    (certificate,) = document["certificates"]
    assert (document["schema"], document["command"], document["exit_code"]) == ("ci-acme/result/1", "demo", 0)
    assert certificate["action"] == "issued"
    assert "The real thing: edit" in ran.stderr


def test_config_init_has_a_document_too(tmp_path: Path) -> None:
    ran = run("config", "init", "--no-input", "--output", "json", cwd=tmp_path)
    assert json.loads(ran.stdout) == {"schema": "ci-acme/init/1", "file": "ci-acme.yaml"}


def test_config_init_says_how_to_validate_what_it_wrote(tmp_path: Path) -> None:
    ran = run("config", "init", "--no-input", cwd=tmp_path)
    assert "ci-acme config validate --environment NAME" in ran.stderr
    assert run("config", "validate", "--environment", "pr-1", cwd=tmp_path).returncode == 0
    assert "ca_bundle: private" in (tmp_path / "ci-acme.yaml").read_text()
    flags = ["--domain", "www.example.com", "--ca-bundle", "roots.pem", "--file", "other.yaml"]
    ran = run("config", "init", "--no-input", *flags, cwd=tmp_path)
    assert "next: ci-acme config validate --config other.yaml, then" in ran.stderr
    assert "ca_bundle: private" not in (tmp_path / "other.yaml").read_text()


def test_a_setting_that_is_missing_on_the_command_line(tmp_path: Path) -> None:
    flags = ["--domain", "www.example.com", "--dns", "rfc2136", "--store", "file:certs"]
    ran = run("plan", *flags, cwd=tmp_path)
    assert "dns[0].server: is required; set CI_ACME_RFC2136_SERVER, or give --dns-option server=…" in ran.stderr
    more = ["--dns-option", "server=192.0.2.1", "--dns-option", "tsig_name=k"]
    ran = run("plan", *flags, *more, cwd=tmp_path)
    assert "set CI_ACME_RFC2136_TSIG_SECRET to the secret, or give --dns-option tsig_secret=env:NAME" in ran.stderr
    ran = run("plan", "--domain", "www.example.com", "--store", "file", "--dns", "rfc2136", *more[:2], cwd=tmp_path)
    assert "stores[0].directory: is required; give --store file:DIRECTORY" in ran.stderr


def test_errors_are_a_document_too(tmp_path: Path) -> None:
    (tmp_path / "ci-acme.yaml").write_text(CONFIG.replace("names:", "nams:").replace("version: 1", "version: 2"))
    ran = run("issue", "--output", "json", cwd=tmp_path)
    document = json.loads(ran.stdout)
    assert ran.returncode == 2 == document["exit_code"]
    problems = document["error"]["details"]["problems"]
    assert {problem["line"] for problem in problems} >= {1, 8}
    assert "names" in json.dumps(problems)
    assert "ci-acme.yaml:8:" in ran.stderr


def test_a_name_that_is_not_in_the_config(tmp_path: Path) -> None:
    (tmp_path / "ci-acme.yaml").write_text(CONFIG)
    ran = run("plan", "wbe", cwd=tmp_path)
    assert ran.returncode == 2
    assert "'wbe'" in ran.stderr
    assert "web" in ran.stderr


def test_an_option_wins_over_its_variable(tmp_path: Path) -> None:
    (tmp_path / "ci-acme.yaml").write_text(CONFIG)
    environ = {"CI_ACME_OUTPUT": "json", "CI_ACME_LOG_LEVEL": "error"}
    assert json.loads(run("plan", cwd=tmp_path, environ=environ).stdout)["command"] == "plan"
    assert run("plan", "--output", "text", cwd=tmp_path, environ=environ).stdout.startswith("web: would-issue")
    bad = run("plan", cwd=tmp_path, environ={"CI_ACME_OUTPUT": "xml"})
    assert bad.returncode == 2
    assert "CI_ACME_OUTPUT" in bad.stderr


def test_every_option_has_a_variable_that_is_read() -> None:
    text = {"flag": "true", "number": "7", "other": "x"}
    for option in READ_HERE:
        kind = "flag" if option.flag else "number" if option.number else "other"
        value = option.choices[0] if option.choices else text[kind]
        namespace = parse(["version"], {option.variable: value})
        assert hasattr(namespace, option.name), option.variable
    with pytest.raises(UsageError):
        parse(["version"], {"CI_ACME_FORCE": "perhaps"})


def test_every_option_is_in_some_help_page() -> None:
    pages = build().format_help()
    for action in build()._subparsers._group_actions[0].choices.values():  # type: ignore[union-attr]
        pages += action.format_help()
    assert {option.switch for option in OPTIONS} <= set(re.findall(r"--[a-z-]+", pages))


def test_config_init_writes_what_validate_accepts(tmp_path: Path) -> None:
    flags = ["--domain", "www.example.com", "--ca", "letsencrypt-staging", "--email", "ops@example.com"]
    ran = run("config", "init", "--no-input", *flags, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert run("config", "validate", cwd=tmp_path).returncode == 0
    again = run("config", "init", "--no-input", *flags, cwd=tmp_path)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    shown = run("config", "show", cwd=tmp_path, environ={"CI_ACME_EMAIL": "other@example.com"}).stdout
    assert "other@example.com  # CI_ACME_EMAIL" in shown
    assert "# default" in shown
    assert "# ci-acme.yaml:" in shown


def test_the_schema_is_json_schema(tmp_path: Path) -> None:
    schema = json.loads(run("config", "schema", cwd=tmp_path).stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["properties"]) >= {"version", "authorities", "dns", "certificates", "resolver", "state", "policy"}


def test_a_literal_secret_is_an_error_and_never_shown(tmp_path: Path) -> None:
    canary = "c2VjcmV0LWNhbmFyeS12YWx1ZQ=="
    (tmp_path / "ci-acme.yaml").write_text(CONFIG.replace('"env:SECRET"', f'"{canary}"'))
    for arguments in (["issue"], ["config", "show"], ["config", "validate", "--output", "json"], ["check"]):
        ran = run(*arguments, "--log-level", "debug", cwd=tmp_path)
        assert ran.returncode == 2
        assert canary not in ran.stdout + ran.stderr
        assert "tsig_secret" in ran.stderr


def test_a_provider_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "ci-acme.yaml").write_text(CONFIG.replace("rfc2136", "route35"))
    ran = run("plan", cwd=tmp_path)
    assert ran.returncode == 2
    assert "did you mean 'route53'?" in ran.stderr
    assert "ci-acme.yaml:5:" in ran.stderr


def test_stdout_carries_the_result_only(tmp_path: Path) -> None:
    (tmp_path / "ci-acme.yaml").write_text(CONFIG)
    ran = run("plan", "--log-format", "json", cwd=tmp_path)
    assert ran.stdout.splitlines() == [
        "web: would-issue (no certificate in file:certs/web)",
        "  file:certs/web would-write",
        "  costs 1 order with 1 name (new certificate)",
    ]
    assert all(json.loads(line)["level"] for line in ran.stderr.splitlines())
