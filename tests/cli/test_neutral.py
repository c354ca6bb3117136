"""What others wrote is no command in the log of a job: judged as actions/runner reads a line (ActionCommand.cs)."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci_acme.cli.annotations import Annotator
from ci_acme.cli.console import Console
from ci_acme.cli.neutral import NeutralStream, neutral
from ci_acme.errors import ConfigError
from ci_acme.model.events import Finished, Started, Step, Waiting, Warned
from tests.cli.test_command_line import CONFIG, run

FORGED = "##[stop-commands]x"
HOSTILE = st.lists(
    st.sampled_from(
        ["::", ":", "#", "##", "[", "]", "##[set-output name=a;]b", "::add-mask::x", "\n", "\r", " ", "\u3000", "a"]
    )
    | st.text(max_size=3)
).map("".join)
PIECES = st.lists(HOSTILE)


def commands(log: str) -> list[str]:
    """The lines that the runner would take for a command, if it knew the name, or Azure Pipelines or TeamCity would."""
    lines = re.split(r"\r\n|\r|\n", log)
    return [line for line in lines if line.lstrip().startswith("::") or re.search(r"##(vso|teamcity)?\[", line, re.I)]


@given(HOSTILE)
@example("##[##[")
@example("###[error]")
@example("##VSO[task.setvariable variable=PATH]x")
@example("a\r::error::x")
@example("\u2003:::")
def test_no_text_is_a_command(text: str) -> None:
    assert commands(neutral(text)) == []
    assert len(neutral(text).splitlines()) == len(text.splitlines())


@given(PIECES)
def test_no_text_that_comes_in_parts_is_a_command(pieces: list[str]) -> None:
    out = io.StringIO()
    stream = NeutralStream(out, json=False)
    for piece in pieces:
        stream.write(piece + "\n")
    assert commands(out.getvalue()) == []


@given(HOSTILE)
def test_a_document_stays_the_same(text: str) -> None:
    out = io.StringIO()
    print(json.dumps({"a": [text, {text: 1}]}, indent=2), file=NeutralStream(out, json=True))
    assert commands(out.getvalue()) == []
    assert json.loads(out.getvalue()) == {"a": [text, {text: 1}]}


@given(HOSTILE, st.sampled_from(["text", "json"]), st.booleans())
def test_what_a_console_says_is_no_command_but_its_own(text: str, form: str, annotated: bool) -> None:
    out = io.StringIO()
    console = Console(level="debug", form=form, stream=out, annotator=Annotator(out) if annotated else None)
    for event in (Step(text, text), Started("web", "issuing", text), Finished("web", "kept", text), Warned(text, text)):
        console(event)
    console(Waiting("web", text, text, 20.0))
    console.error(ConfigError(text, fix=text))
    mine = [line for line in commands(out.getvalue()) if not re.match(r"::(warning|error) title=[^\r\n]*$", line)]
    assert mine == []


def test_the_result_of_a_job_is_no_command(tmp_path: Path) -> None:
    name = f"{FORGED}.yaml"
    (tmp_path / name).write_text(CONFIG)
    for environ in ({"GITHUB_ACTIONS": "true"}, {"TF_BUILD": "True"}):
        ran = run("config", "validate", "--config", name, cwd=tmp_path, environ=environ)
        assert ran.returncode == 0, ran.stderr
        assert "/# #[stop-commands]x.yaml is valid" in ran.stdout
        assert commands(ran.stdout + ran.stderr) == []
    ran = run("config", "validate", "--output", "json", "--config", name, cwd=tmp_path, environ=environ)
    assert commands(ran.stdout) == []
    assert json.loads(ran.stdout)["file"] == str(tmp_path / name)


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_hidden_whatever_the_form_of_the_log(form: str) -> None:
    out = io.StringIO()
    console = Console(form=form, stream=out, annotator=Annotator(out))
    assert console.on_secret is not None
    console.on_secret(b"hunter2-hunter2")
    assert out.getvalue() == "::add-mask::hunter2-hunter2\n"
