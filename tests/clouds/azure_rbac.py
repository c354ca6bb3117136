"""Role assignments of Azure: which actions are allowed at which scopes, as Azure's authorisation evaluates them."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Assignment:
    """A role at a scope; it holds for everything below. `data` are data actions. Patterns may contain `*`."""

    scope: str
    actions: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @classmethod
    def of_role(cls, role: str | dict[str, Any], scope: str) -> Assignment:
        """A custom role as `az role definition create` takes it."""
        document = json.loads(role) if isinstance(role, str) else role
        assert document["IsCustom"] is True
        assert document["AssignableScopes"]
        excluded = (*document.get("NotActions", ()), *document.get("NotDataActions", ()))
        return cls(scope, tuple(document.get("Actions", ())), tuple(document.get("DataActions", ())), excluded)


@dataclass
class Access:
    """All assignments by client; `seen` are the (action, scope) that were asked for and allowed."""

    assignments: dict[str, list[Assignment]] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def allows(self, client: str, action: str, scope: str, *, data: bool = False) -> bool:
        """Whether any assignment of the client covers it. Everything is compared without case."""
        wanted, at = action.lower(), scope.lower()
        for one in self.assignments.get(client, []):
            root = one.scope.lower().rstrip("/")
            granted = one.data if data else one.actions
            if at != root and not at.startswith(root + "/"):
                continue
            if _matches(wanted, granted) and not _matches(wanted, one.excluded):
                self.seen.add((action, scope))
                return True
        return False


def _matches(action: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(action, pattern.lower()) for pattern in patterns)
