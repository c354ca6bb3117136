"""`${environment}`, `${env.NAME}` and `$$` in string values; nothing else is expanded, and nothing is parsed again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ci_acme.config.document import Document, KeyPath, leaves
from ci_acme.config.problems import Problem, problem

_REFERENCE: Final = re.compile(r"\$\$|\$\{([^{}]*)(\}?)")
_ENV_NAME: Final = re.compile(r"env\.([A-Za-z_][A-Za-z0-9_]*)\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
ALLOWED: Final = ("${environment}", "${env.NAME}", "$$")
ENVIRONMENT_FIX: Final = "set --environment or CI_ACME_ENVIRONMENT"


class _Cannot(Exception):
    """One reference cannot be expanded; the words never hold a value."""

    def __init__(self, message: str, *allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


def expand(document: Document, environ: Mapping[str, str], environment: str | None) -> list[Problem]:
    """Expand every string of `document` in place, and tell what cannot be.

    `environment` is a DNS label or None for unknown, which is a problem only where `${environment}` is used. A string
    that holds a control character, before or after, is a problem too. What has a problem becomes None and blamed.
    """
    problems: list[Problem] = []
    for path, text in list(leaves(document.data)):
        if not isinstance(text, str) or ("$" not in text and not _CONTROL.search(text)):
            continue
        try:
            value = _expand(text, environ, environment)
            if "${env." in text:
                document.from_environment.add(path)
        except _Cannot as cannot:
            problems.append(problem(document.value_mark(path), path, str(cannot), allowed=cannot.allowed))
            document.blamed.add(path)
            value = None
        _replace(document.data, path, value)
    return problems


def _expand(text: str, environ: Mapping[str, str], environment: str | None) -> str:
    def reference(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        name, closed = match.groups()
        variable = _ENV_NAME.match(name)
        if not closed:
            raise _Cannot("a '${' is not closed; write '$$' for a '$'", *ALLOWED)
        if name == "environment":
            if environment is None:
                raise _Cannot(f"${{environment}} is not known here; {ENVIRONMENT_FIX}")
            return environment
        if variable is None:
            raise _Cannot("this ${…} is not one that is expanded", *ALLOWED)
        if variable[1] not in environ:
            raise _Cannot(f"the environment variable {variable[1]} is not set")
        return environ[variable[1]]

    expanded = _REFERENCE.sub(reference, text).strip()
    if _CONTROL.search(expanded):
        raise _Cannot("control characters and line breaks are not allowed in a value")
    return expanded


def _replace(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    here: Any = data
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
