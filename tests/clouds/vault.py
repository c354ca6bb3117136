"""A strict fake of Vault's HTTP API: KV engines of both versions, policies, namespaces, logins by JWT and by AppRole.

Semantics are those of the KV plug-in's code (check-and-set, custom metadata, deletion) and of Vault's documentation
(capabilities, the most specific rule wins). What a real server would refuse is refused: an unknown option, metadata
that are too long, a merge patch without its content type.
"""

from __future__ import annotations

import copy
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.clouds.api import Answer, Call, FakeApi

ROOT = "hvs.root-token-of-the-fake"
Rules = dict[str, set[str]]


@dataclass
class Secret:
    """A key of a KV 2 engine. `versions` are by number; `data` is None once a version is destroyed."""

    versions: dict[int, dict[str, Any]] = field(default_factory=dict)
    current: int = 0
    custom: dict[str, str] | None = None
    cas_required: bool = False
    delete_version_after: int = 0


@dataclass
class Token:
    """What a token may do, and until when it is good. `rules` is None for root."""

    rules: Rules | None
    ends: datetime | None = None


@dataclass
class JwtRole:
    """A role of the JWT method."""

    audience: str
    rules: Rules
    ttl: int = 3600


class FakeVault(FakeApi):
    """`mounts` maps the mount to the version of KV. `at` is the server's clock."""

    def __init__(self, tls: ssl.SSLContext | None = None, mounts: dict[str, int] | None = None) -> None:
        super().__init__(tls)
        self.mounts = mounts or {"secret": 2}
        self.secrets: dict[tuple[str, str, str], Secret] = {}
        self.plain: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, Token] = {ROOT: Token(None)}
        self.jwt_roles: dict[str, JwtRole] = {}
        self.jwts: dict[str, str] = {}
        self.approles: dict[str, tuple[str, Rules]] = {}
        self.cas_required = False
        self.patching = True
        self.writes = 0
        self.at: Callable[[], datetime] = lambda: datetime.now(timezone.utc)

    def grant(self, token: str, rules: Rules) -> str:
        """Make a token with a policy."""
        self.tokens[token] = Token(rules)
        return token

    def handle(self, call: Call) -> Answer:
        with self.lock:
            if call.headers.get("x-vault-request") != "true" or not call.path.startswith("/v1/"):
                return _errors(400, "missing the header X-Vault-Request, or /v1")
            path = call.path.removeprefix("/v1/")
            if path.startswith("auth/"):
                return self._log_in(path, call)
            token = self.tokens.get(call.headers.get("x-vault-token", ""))
            if token is None or (token.ends is not None and token.ends <= self.at()):
                return _errors(403, "permission denied")
            if path.startswith("sys/"):
                return self._system(path, call, token)
            return self._engine(path, call, token)

    # --- logins and rights ---------------------------------------------------------------------------------------

    def _log_in(self, path: str, call: Call) -> Answer:
        mount = path.removeprefix("auth/").removesuffix("/login")
        body = call.json
        if mount == "approle":
            secret, rules = self.approles.get(body["role_id"], (None, {}))
            if secret is None or secret != body["secret_id"]:
                return _errors(400, "invalid role or secret ID")
            return self._token(rules, 1200)
        if mount != "jwt":
            return _errors(404, f"no handler for route {path!r}")
        role = self.jwt_roles.get(body["role"])
        if role is None:
            return _errors(400, f'role "{body["role"]}" could not be found')
        if self.jwts.get(body["jwt"]) != role.audience:
            return _errors(400, "error validating token: invalid audience (aud) claim: audience claim does not match")
        del self.jwts[body["jwt"]]
        return self._token(role.rules, role.ttl)

    def _token(self, rules: Rules, ttl: int) -> Answer:
        name = f"hvs.{len(self.tokens)}"
        self.tokens[name] = Token(rules, self.at() + timedelta(seconds=ttl))
        return Answer.of({"auth": {"client_token": name, "lease_duration": ttl, "renewable": True}})

    def _capabilities(self, token: Token, path: str) -> set[str]:
        """Those of the rule that fits best: the exact one, else the longest with a star at its end."""
        if token.rules is None:
            return {"root"}
        stars = [rule for rule in token.rules if rule.endswith("*") and path.startswith(rule[:-1])]
        chosen = path if path in token.rules else max(stars, key=len, default=None)
        found = set() if chosen is None else token.rules[chosen]
        return {"deny"} if not found or "deny" in found else found

    def _may(self, token: Token, path: str, capability: str) -> bool:
        return bool(self._capabilities(token, path) & {"root", capability})

    def _system(self, path: str, call: Call, token: Token) -> Answer:
        if path == "sys/capabilities-self" and call.method == "POST":
            found = {each: sorted(self._capabilities(token, each)) for each in call.json["paths"]}
            return Answer.of({"data": {**found, "capabilities": next(iter(found.values()))}})
        prefix = "sys/internal/ui/mounts/"
        mount = next((name for name in self.mounts if path.startswith(f"{prefix}{name}/")), None)
        known = mount is not None and (token.rules is None or any(rule.startswith(mount) for rule in token.rules))
        if not known or call.method != "GET":
            return _errors(403, "preflight capability check returned 403, please ensure client's policies grant access")
        version = self.mounts[mount or ""]
        options = {"version": "2"} if version == 2 else None
        return Answer.of({"data": {"path": f"{mount}/", "type": "kv", "options": options}})

    # --- engines -------------------------------------------------------------------------------------------------

    def _engine(self, path: str, call: Call, token: Token) -> Answer:
        mount = next((name for name in self.mounts if path.startswith(f"{name}/")), None)
        if mount is None:
            return _errors(404, f"no handler for route {path!r}")
        if self.mounts[mount] == 1:
            return self._version_1(path, call, token)
        api, _, name = path.removeprefix(f"{mount}/").partition("/")
        key = (call.headers.get("x-vault-namespace", ""), mount, name)
        secret = self.secrets.get(key)
        capability = {"GET": "read", "DELETE": "delete", "PATCH": "patch"}.get(call.method, "update")
        if capability == "update" and api in {"data", "metadata"} and secret is None:
            capability = "create"
        if not self._may(token, path, capability):
            return _errors(403, "1 error occurred:\n\t* permission denied\n\n")
        routes: dict[tuple[str, str], Callable[..., Answer]] = {
            ("GET", "data"): self._read,
            ("POST", "data"): self._write,
            ("GET", "metadata"): self._read_metadata,
            ("POST", "metadata"): self._write_metadata,
            ("PATCH", "metadata"): self._patch_metadata,
            ("DELETE", "metadata"): self._remove,
            ("POST", "delete"): self._delete,
        }
        route = routes.get((call.method, api))
        if route is None or (call.method == "PATCH" and not self.patching):
            return _errors(405, "unsupported operation")
        return route(key, secret, call)

    def _version_1(self, path: str, call: Call, token: Token) -> Answer:
        if not self._may(token, path, {"GET": "read"}.get(call.method, "update")):
            return _errors(403, "permission denied")
        if call.method == "GET":
            return Answer.of({"data": self.plain[path]}) if path in self.plain else _errors(404)
        self.plain[path] = call.json
        return Answer(204)

    def _read(self, _key: object, secret: Secret | None, _call: Call) -> Answer:
        version = None if secret is None else secret.versions.get(secret.current)
        if secret is None or version is None:
            return _errors(404)
        data = None if self._is_gone(version) else version["data"]
        metadata = {**self._times(version), "version": secret.current, "custom_metadata": secret.custom}
        return Answer.of({"data": {"data": data, "metadata": metadata}}, 404 if data is None else 200)

    def _write(self, key: tuple[str, str, str], secret: Secret | None, call: Call) -> Answer:
        body = call.json
        if set(body) - {"data", "options"} or not isinstance(body.get("data"), dict):
            return _errors(400, "no data provided")
        current = 0 if secret is None else secret.current
        cas = body.get("options", {}).get("cas")
        if cas is None and (self.cas_required or (secret is not None and secret.cas_required)):
            return _errors(400, "check-and-set parameter required for this call")
        if cas is not None and cas != current:
            return _errors(400, "check-and-set parameter did not match the current version")
        if len(call.body) > 1 << 20:
            return _errors(413, "request body too large")
        secret = self.secrets.setdefault(key, Secret())
        secret.current += 1
        after = secret.delete_version_after
        deletion = self.at() + timedelta(seconds=after) if after else None
        secret.versions[secret.current] = {
            "data": copy.deepcopy(body["data"]),
            "created": self.at(),
            "deletion": deletion,
            "destroyed": False,
        }
        secret.versions.pop(secret.current - 10, None)
        self.writes += 1
        times = self._times(secret.versions[secret.current])
        return Answer.of({"data": {**times, "version": secret.current, "custom_metadata": secret.custom}})

    def _read_metadata(self, _key: object, secret: Secret | None, _call: Call) -> Answer:
        if secret is None:
            return _errors(404)
        versions = {str(number): self._times(version) for number, version in secret.versions.items()}
        seconds = secret.delete_version_after
        after = f"{seconds // 3600}h{seconds // 60 % 60}m{seconds % 60}s" if seconds else "0s"
        return Answer.of(
            {
                "data": {
                    "current_version": secret.current,
                    "versions": versions,
                    "custom_metadata": secret.custom,
                    "cas_required": secret.cas_required,
                    "delete_version_after": after,
                    "max_versions": 0,
                    "oldest_version": 0,
                }
            }
        )

    def _write_metadata(self, key: tuple[str, str, str], secret: Secret | None, call: Call) -> Answer:
        body = call.json
        if set(body) - {"custom_metadata", "delete_version_after", "cas_required", "max_versions"}:
            return _errors(400, "unknown field")
        custom = body.get("custom_metadata")
        problem = None if custom is None else _custom_problem(custom)
        if problem is not None:
            return _errors(400, problem)
        secret = self.secrets.setdefault(key, secret or Secret())
        if custom is not None:
            secret.custom = dict(custom)
        if "delete_version_after" in body:
            secret.delete_version_after = _seconds(body["delete_version_after"])
        self.writes += 1
        return Answer(204)

    def _patch_metadata(self, _key: object, secret: Secret | None, call: Call) -> Answer:
        if call.headers.get("content-type") != "application/merge-patch+json":
            return _errors(415, "PATCH requires Content-Type of application/merge-patch+json")
        if secret is None:
            return _errors(404)
        patch = call.json["custom_metadata"]
        merged = {**(secret.custom or {}), **patch}
        wanted = {name: text for name, text in merged.items() if text is not None}
        problem = _custom_problem(wanted)
        if problem is not None:
            return _errors(400, problem)
        secret.custom = wanted
        self.writes += 1
        return Answer(204)

    def _delete(self, _key: object, secret: Secret | None, call: Call) -> Answer:
        numbers = call.json.get("versions") or []
        if not numbers:
            return _errors(400, "No version number provided")
        for number in numbers:
            version = None if secret is None else secret.versions.get(number)
            if version is not None and not self._is_gone(version):
                version["deletion"] = self.at()
                self.writes += 1
        return Answer(204)

    def _remove(self, key: tuple[str, str, str], secret: Secret | None, _call: Call) -> Answer:
        if secret is not None:
            del self.secrets[key]
            self.writes += 1
        return Answer(204)

    def _is_gone(self, version: dict[str, Any]) -> bool:
        return version["destroyed"] or (version["deletion"] is not None and version["deletion"] <= self.at())

    @staticmethod
    def _times(version: dict[str, Any]) -> dict[str, Any]:
        return {
            "created_time": _go_time(version["created"]),
            "deletion_time": _go_time(version["deletion"]),
            "destroyed": version["destroyed"],
        }


def _errors(status: int, *words: str) -> Answer:
    return Answer.of({"errors": list(words)}, status)


def _go_time(value: datetime | None) -> str:
    return "" if value is None else value.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


def _seconds(text: str) -> int:
    if not text.endswith(("h", "m", "s")):
        raise AssertionError(text)
    return int(text[:-1]) * {"h": 3600, "m": 60, "s": 1}[text[-1]]


def _custom_problem(custom: dict[str, Any]) -> str | None:
    if len(custom) > 64:
        return f"custom_metadata validation failed: payload must contain at most 64 keys, provided {len(custom)}"
    for name, text in custom.items():
        if not 0 < len(name) <= 128 or not isinstance(text, str) or not 0 < len(text.encode()) <= 512:
            return f"custom_metadata validation failed: {name!r} is too long or empty"
        if not (name + text).isprintable():
            return "custom_metadata validation failed: contains unprintable characters"
    json.dumps(custom)
    return None
