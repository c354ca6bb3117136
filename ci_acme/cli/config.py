"""`ci-acme config`: init, validate, show, schema. None of them contacts anything."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from ci_acme.cli.app import wants_json
from ci_acme.cli.console import Console
from ci_acme.cli.source import load_config
from ci_acme.errors import UsageError
from ci_acme.hosts import detect_environment

DEFAULT_FILE: Final = "ci-acme.yaml"
MOST_TRIES: Final = 5


def main(options: Any, console: Console) -> int:
    """Do what `options.action` says."""
    return _ACTIONS[options.action](options, console)


def _validate(options: Any, console: Console) -> int:
    from ci_acme.config.extras import missing

    loaded = load_config(options)
    certificates = list(loaded.config.certificates)
    absent = missing(loaded.config)
    if absent:
        console.warning(f"a package that it needs is not installed: pip install 'ci-acme[{','.join(absent)}]'")
    where = str(loaded.path) if loaded.path else "the command line"
    if wants_json(options):
        print(
            json.dumps(
                {"schema": "ci-acme/validate/1", "file": where, "certificates": certificates, "missing_extras": absent}
            )
        )
    else:
        print(f"{where} is valid: {len(certificates)} certificate{'s' if len(certificates) > 1 else ''}")
    return 0


def _show(options: Any, console: Console) -> int:
    from ci_acme.config.show import as_json, as_yaml

    loaded = load_config(options)
    print(json.dumps(as_json(loaded), indent=2) if wants_json(options) else as_yaml(loaded).rstrip())
    return 0


def _schema(options: Any, console: Console) -> int:
    from ci_acme.config.jsonschema import schema

    print(json.dumps(schema(), indent=2))
    return 0


def _extras(options: Any, console: Console) -> int:
    from ci_acme.config.extras import extras

    found = extras(load_config(options).config)
    print(json.dumps(found) if wants_json(options) else "\n".join(found))
    return 0


def _init(options: Any, console: Console) -> int:
    from ci_acme.config.init import render
    from ci_acme.config.options import read_options

    target = getattr(options, "file", DEFAULT_FILE)
    if target != "-" and Path(target).exists() and not getattr(options, "overwrite", False):
        raise UsageError(f"{target} exists", fix="name another file with --file, or give --overwrite")
    answers = {name: said.value for name, said in read_options(vars(options), os.environ).items()}
    if not getattr(options, "no_input", False) and sys.stdin.isatty():
        answers = _ask(answers)
    text = render(answers)
    if target == "-":
        print(text, end="")
        return 0
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror or error}",
            fix="name another file with --file, or - for stdout",
        ) from None
    console.info(f"wrote {target}; next: {_next(target, text)}, then ci-acme check")
    if wants_json(options):
        print(json.dumps({"schema": "ci-acme/init/1", "file": target}))
    return 0


def _next(target: str, text: str) -> str:
    """The command that validates it, with what it needs from here."""
    command = "ci-acme config validate" if target == DEFAULT_FILE else f"ci-acme config validate --config {target}"
    wanted = "${environment}" in text and detect_environment(None, os.environ) is None
    return f"{command} --environment NAME (in CI it is known)" if wanted else command


def _ask(answers: dict[str, Any]) -> dict[str, Any]:
    """Put the open questions on the terminal; an empty line takes the default."""
    from ci_acme.config.init import questions

    asked: set[tuple[str, str]] = set()
    while True:
        rest = [one for one in questions(answers) if (one.option, one.setting) not in asked]
        if not rest:
            return answers
        question = rest[0]
        asked.add((question.option, question.setting))
        for _ in range(MOST_TRIES):
            default = f" [{question.default}]" if question.default else ""
            print(f"{question.text}{default}: ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            if not line:
                raise UsageError("the input ended before all questions were answered", fix="give --no-input, or flags")
            text = line.strip() or question.default
            problem = question.check(text)
            if problem is None:
                break
            print(f"  {problem}", file=sys.stderr)
        else:
            raise UsageError(f"no usable answer to: {question.text}", fix="give it as a flag; see --help")
        if text:
            answers = question.answer(answers, text)


_ACTIONS: Final = {"validate": _validate, "show": _show, "schema": _schema, "extras": _extras, "init": _init}
