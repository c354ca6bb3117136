"""What is wrong with a configuration, one value a problem, and the words for it. Never a secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ci_acme.config.document import KeyPath, Mark, show_path
from ci_acme.dataclass import dataclass
from ci_acme.errors import ConfigError, NotAvailable

MOST_SHOWN: Final = 50
MOST_TOLD: Final = 1000
_FIX: Final = "correct these; `ci-acme config validate` checks the configuration and contacts nothing"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `file` is the file, option or environment variable that said it; `line` and `column` are 1-based, None where there
    is no file. `path` is the way to the key (`dns[0].zone`). `found` is set only where no secret can be.
    """

    file: str
    line: int | None
    column: int | None
    path: str
    message: str
    found: str | None = None
    allowed: tuple[str, ...] = ()
    suggestion: str | None = None
    fix: str = ""
    unavailable: bool = False

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        found = "" if self.found is None else f", found {self.found}"
        suggestion = "" if self.suggestion is None else f"; did you mean '{self.suggestion}'?"
        allowed = f"{'' if self.suggestion else ';'} allowed: {', '.join(self.allowed)}" if self.allowed else ""
        fix = f"; {self.fix}" if self.fix else ""
        return f"{place}: {self.path}{': ' if self.path else ''}{self.message}{found}{suggestion}{allowed}{fix}"

    def as_dict(self) -> dict[str, Any]:
        """What `details["problems"]` holds: the fields that say something."""
        fields = {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "found": self.found,
            "allowed": list(self.allowed) or None,
            "suggestion": self.suggestion,
            "fix": self.fix or None,
        }
        return {key: value for key, value in fields.items() if value is not None}


def problem(
    mark: Mark,
    path: KeyPath,
    message: str,
    *,
    found: str | None = None,
    allowed: Sequence[str] = (),
    suggestion: str | None = None,
    fix: str = "",
    unavailable: bool = False,
) -> Problem:
    """A problem at a mark."""
    return Problem(
        file=mark.source,
        line=mark.line,
        column=mark.column,
        path=show_path(path),
        message=message,
        found=found,
        allowed=tuple(allowed),
        suggestion=suggestion,
        fix=fix,
        unavailable=unavailable,
    )


def nearest(word: str, allowed: Sequence[str]) -> str | None:
    """The one of `allowed` that `word` was probably meant to be."""
    import difflib  # errors only

    folded = word.strip().lower().replace("_", "-")
    by_folded = {name.lower().replace("_", "-"): name for name in reversed(allowed)}
    begun = [name for name in by_folded if len(folded) >= 3 and name.startswith(folded)]
    close = begun or difflib.get_close_matches(folded[:64], list(by_folded), n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def config_error(name: str, problems: Sequence[Problem]) -> ConfigError:
    """The error that tells all of `problems`, in the order of their places.

    It is a `NotAvailable` if nothing is wrong but that something named is not part of this installation.
    """
    ordered = sorted(
        set(problems), key=lambda one: (one.line is not None, one.line or 0, one.column or 0, one.file, one.path)
    )
    lines = [str(one) for one in ordered[:MOST_SHOWN]]
    if len(ordered) > MOST_SHOWN:
        lines.append(f"… and {len(ordered) - MOST_SHOWN} more")
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    kind = NotAvailable if all(one.unavailable for one in ordered) else ConfigError
    return kind(
        "\n".join([f"{name} has {count}", *lines]),
        fix=_FIX,
        details={"problems": [one.as_dict() for one in ordered[:MOST_TOLD]]},
    )
