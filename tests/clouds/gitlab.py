"""A strict fake of GitLab's API for CI/CD variables: keys with scopes, masking rules, hidden ones, roles and scopes.

What it refuses, and in which words, is of GitLab's documentation and of its code (`Ci::Maskable`, the variables API).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.clouds.api import Answer, Call, FakeApi

TOKEN = "glpat-of-the-fake"
MAINTAINER, OWNER, DEVELOPER = 40, 50, 30
_MASKED = re.compile(r"[a-zA-Z0-9_+=/@:.~-]{8,}\Z")
_MASKED_RAW = re.compile(r"\S{8,}\Z")
_KEY = re.compile(r"[a-zA-Z0-9_]{1,255}\Z")
_SETTABLE = {"value", "variable_type", "environment_scope", "protected", "masked", "raw", "description"}


@dataclass
class Token:
    """A project or group access token."""

    role: int
    scopes: list[str]


class FakeGitLab(FakeApi):
    """`variables` are by owner (`projects/7`, `groups/web`), key and environment scope."""

    def __init__(self) -> None:
        super().__init__()
        self.variables: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.owners = {"projects/7": 7, "projects/web/site": 7, "groups/web": 1}
        self.tokens = {TOKEN: Token(OWNER, ["api"])}
        self.problems: list[str] = []
        self.writes = 0

    def handle(self, call: Call) -> Answer:
        with self.lock:
            token = self.tokens.get(call.headers.get("private-token", ""))
            if token is None:
                return _message("401 Unauthorized", 401)
            if call.path == "/personal_access_tokens/self" and call.method == "GET":
                return Answer.of({"scopes": token.scopes, "active": True})
            match = re.fullmatch(r"/((?:projects|groups)/.+?)/variables(?:/([^/]+))?", call.path)
            if match is None or match[1] not in self.owners:
                return _message("404 Project Not Found", 404)
            owner = match[1].replace("web/site", "7")
            return self._refusal(token, owner, call) or self._variable(owner, match[2], call)

    @staticmethod
    def _refusal(token: Token, owner: str, call: Call) -> Answer | None:
        if "api" not in token.scopes and (call.method != "GET" or "read_api" not in token.scopes):
            return Answer.of({"error": "insufficient_scope", "error_description": "…", "scope": "api"}, 403)
        if token.role < (OWNER if owner.startswith("groups/") else MAINTAINER):
            return _message("403 Forbidden", 403)
        return None

    def put(self, owner: str, key: str, value: str, scope: str = "*") -> None:
        """What a person would make."""
        made = self._create(owner, {"key": key, "value": value, "environment_scope": scope})
        assert made.status == 201, made

    def _variable(self, owner: str, key: str | None, call: Call) -> Answer:
        if key is None:
            assert call.method == "POST"
            return self._create(owner, call.json)
        scope = call.one("filter[environment_scope]")
        found = [place for place in self.variables if place[:2] == (owner, key) and scope in (None, place[2])]
        if not found:
            return _message("404 Variable Not Found", 404)
        if len(found) > 1:
            words = "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'"
            return _message(words, 409)
        variable = self.variables[found[0]]
        if call.method == "GET":
            return Answer.of(_shown(variable))
        self.writes += 1
        if call.method == "DELETE":
            del self.variables[found[0]]
            return Answer(204)
        return self._update(found[0], variable, call.json)

    def _create(self, owner: str, body: dict[str, Any]) -> Answer:
        wrong = set(body) - _SETTABLE - {"key", "masked_and_hidden"}
        if wrong:
            self.problems.append(f"unknown parameters {wrong}")
        scope = body.get("environment_scope", "*")
        if (owner, body["key"], scope) in self.variables:
            return _message({"key": [f"({body['key']}) has already been taken"]}, 400)
        hidden = body.get("masked_and_hidden", False)
        variable = {**_DEFAULTS, **body, "masked": body.get("masked", False) or hidden, "hidden": hidden}
        variable.pop("masked_and_hidden", None)
        problem = _problem(variable)
        if problem:
            return _message(problem, 400)
        self.variables[owner, body["key"], scope] = variable
        self.writes += 1
        return Answer.of(_shown(variable), 201)

    def _update(self, place: tuple[str, str, str], old: dict[str, Any], body: dict[str, Any]) -> Answer:
        if set(body) - _SETTABLE:
            self.problems.append(f"unknown parameters {set(body) - _SETTABLE}")
        if old["hidden"] and body.get("masked") is False:
            return _message(
                {"base": ["The visibility setting cannot be changed for masked and hidden variables."]}, 400
            )
        variable = {**old, **body}
        problem = _problem(variable)
        if problem:
            return _message(problem, 400)
        del self.variables[place]
        self.variables[(*place[:2], variable["environment_scope"])] = variable
        return Answer.of(_shown(variable))


_DEFAULTS: dict[str, Any] = {
    "variable_type": "env_var",
    "environment_scope": "*",
    "protected": False,
    "masked": False,
    "raw": False,
    "description": None,
}


def _shown(variable: dict[str, Any]) -> dict[str, Any]:
    return {**variable, "value": None if variable["hidden"] else variable["value"]}


def _problem(variable: dict[str, Any]) -> dict[str, list[str]] | None:
    if not _KEY.match(variable["key"]):
        return {"key": ["can contain only letters, digits and '_'."]}
    pattern = _MASKED_RAW if variable["raw"] else _MASKED
    if variable["masked"] and not pattern.match(variable["value"]):
        return {"value": ["is invalid"]}
    if variable["variable_type"] not in {"env_var", "file"} or len(variable["description"] or "") > 255:
        return {"description": ["is too long (maximum is 255 characters)"]}
    return None


def _message(words: Any, status: int) -> Answer:
    return Answer.of({"message": words}, status)
