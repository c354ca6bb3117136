"""The findings of `check`, as values."""

from __future__ import annotations

from typing import Any, Final

from ci_acme.dataclass import dataclass

CHECK_SCHEMA: Final = "ci-acme/check/1"


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One line of `check`. `level` is ok, warning or error; a warning does not change the exit status."""

    level: str
    area: str
    subject: str
    message: str
    fix: str = ""
    code: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For the JSON document."""
        return {
            "level": self.level,
            "area": self.area,
            "subject": self.subject,
            "message": self.message,
            "fix": self.fix,
            "code": self.code,
        }
