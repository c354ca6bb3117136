"""A fake of GitHub's API for Actions secrets and variables, judged by GitHub's own OpenAPI description.

Every request and every answer is validated against `data/github-actions.openapi.json` (cut from npm @octokit/openapi).
Secrets are opened with the private key, so that what is not a sealed box for it is refused. Times are of whole seconds,
as the real ones; the server's clock runs `speed` times faster than ours, so that tests need not wait for them.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from werkzeug.datastructures import Headers, ImmutableMultiDict

from ci_acme import companion
from ci_acme_providers.github import adapter
from tests.clouds.api import Answer, Call, FakeApi

DESCRIPTION = Path(__file__).parent / "data" / "github-actions.openapi.json"
TOKEN = "github_pat_of_the_fake"
SPEED = 100
LIMIT = 48 * 1024
_BEGIN = datetime(2030, 1, 1, tzinfo=timezone.utc)


def quicken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the adapter live as fast as the server, where it waits for the end of a second or for a writer."""
    monkeypatch.setattr(adapter, "TICK", 1 / SPEED)
    monkeypatch.setattr(companion, "_YOUNG", companion._YOUNG * SPEED)


@cache
def description() -> OpenAPI:
    """GitHub's description, loaded once."""
    return OpenAPI.from_dict(json.loads(DESCRIPTION.read_text()))


@dataclass
class Place:
    """A repository, an environment or an organisation: with a key of its own."""

    key: PrivateKey = field(default_factory=PrivateKey.generate)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def key_id(self) -> str:
        return str(int.from_bytes(bytes(self.key.public_key)[:8], "big"))

    def value(self, name: str) -> str:
        """What a workflow would see."""
        return str(self.secrets[name]["value"])


class FakeGitHub(FakeApi):
    """`permissions` are those of the token; `apps` maps an installation to the check of its App's JWT."""

    def __init__(self) -> None:
        super().__init__()
        self.places = {
            "/repos/octo/site": Place(),
            "/repos/octo/site/environments/live site": Place(),
            "/orgs/octo": Place(),
        }
        self.tokens = {TOKEN: {"read", "write"}}
        self.apps: dict[int, Callable[[str], bool]] = {}
        self.problems: list[str] = []
        self.writes = 0
        self._begun = time.monotonic()

    def now(self) -> datetime:
        """The server's time, in whole seconds."""
        return (_BEGIN + timedelta(seconds=(time.monotonic() - self._begun) * SPEED)).replace(microsecond=0)

    def handle(self, call: Call) -> Answer:
        """Carry a call out; `problems` has what GitHub's description says against it, or against our answer."""
        request = _Request(call)
        try:
            assert call.headers.get("accept") == "application/vnd.github+json"
            assert call.headers.get("x-github-api-version") == "2022-11-28"
            description().validate_request(request)
            with self.lock:
                answer = self._do(call)
            if answer.described:
                description().validate_response(request, _Response(answer))
        except (OpenAPIError, AssertionError) as error:
            self.problems.append(f"{call.method} {call.path}: {error!r} {error.__cause__ or ''}")
            return Answer.of({"message": self.problems[-1]}, 400)
        answer.headers["Date"] = format_datetime(self.now(), usegmt=True)
        return answer

    def _do(self, call: Call) -> _Told:
        minting = re.fullmatch(r"/app/installations/(\d+)/access_tokens", call.path)
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        if minting is not None:
            return self._mint(int(minting[1]), token)
        rights = self.tokens.get(token)
        if rights is None:
            return _told({"message": "Bad credentials"}, 401)
        match = re.fullmatch(r"(.+?)(/actions)?/(secrets|variables)(?:/([^/]+))?", call.path)
        assert match is not None
        place = self.places.get(match[1])
        if place is None or (match[2] is None) is not ("/environments/" in match[1]):
            return _told({"message": "Not Found"}, 404)
        if ("read" if call.method == "GET" else "write") not in rights:
            return _told({"message": "Resource not accessible by personal access token"}, 403)
        if match[3] == "secrets":
            return self._secret(place, match[4], call)
        return self._variable(place, match[4], call)

    def _mint(self, installation: int, jwt: str) -> _Told:
        check = self.apps.get(installation)
        if check is None or not check(jwt):
            return _told({"message": "A JSON web token could not be decoded"}, 401)
        token = f"ghs_{len(self.tokens)}"
        self.tokens[token] = {"read", "write"}
        expires = datetime.now(timezone.utc) + timedelta(hours=1)
        return _told({"token": token, "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}, 201)

    # --- secrets -------------------------------------------------------------------------------------------------

    def _secret(self, place: Place, name: str | None, call: Call) -> _Told:
        if name == "public-key":
            key = base64.b64encode(bytes(place.key.public_key)).decode()
            return _told({"key_id": place.key_id, "key": key})
        assert name is not None
        if call.method == "PUT":
            return self._put(place, name, call.json)
        if name not in place.secrets:
            return _told({"message": "Not Found"}, 404)
        if call.method == "DELETE":
            del place.secrets[name]
            self.writes += 1
            return _told(None, 204)
        found = {key: value for key, value in place.secrets[name].items() if key != "value"}
        return _told({"name": name, **found})

    def _put(self, place: Place, name: str, body: dict[str, Any]) -> _Told:
        if body["key_id"] != place.key_id:
            return _told({"message": "Bad request - the key_id is not of the newest public key"}, 422)
        try:
            value = SealedBox(place.key).decrypt(base64.b64decode(body["encrypted_value"]))
        except CryptoError:
            return _told({"message": "Improperly encrypted secret"}, 422)
        if not re.fullmatch(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*", name) or not 0 < len(value) <= LIMIT:
            return _told({"message": "Secret names or values are not valid"}, 422)
        created = name not in place.secrets
        self._store(place.secrets, name, value.decode(), body)
        return _told({}, 201) if created else _told(None, 204)

    def _store(self, where: dict[str, dict[str, Any]], name: str, value: str, body: dict[str, Any]) -> None:
        now = self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        created = where[name]["created_at"] if name in where else now
        entry = {"value": value, "created_at": created, "updated_at": now}
        if "visibility" in body:
            entry["visibility"] = body["visibility"]
            assert (body["visibility"] == "selected") == ("selected_repository_ids" in body)
        where[name] = entry
        self.writes += 1

    # --- variables -----------------------------------------------------------------------------------------------

    def _variable(self, place: Place, name: str | None, call: Call) -> _Told:
        if name is None:
            body = call.json
            if body["name"] in place.variables:
                return _told({"message": "Already exists - Variable already exists"}, 409)
            if len(body["value"]) > LIMIT:
                return _told({"message": "value is too long (maximum is 48 KB)"}, 422)
            self._store(place.variables, body["name"], body["value"], body)
            return _told({}, 201)
        if name not in place.variables:
            return _told({"message": "Not Found"}, 404)
        if call.method == "GET":
            return _told({"name": name, **place.variables[name]})
        if call.method == "DELETE":
            del place.variables[name]
            self.writes += 1
        else:
            self._store(place.variables, name, call.json["value"], call.json)
        return _told(None, 204)


@dataclass
class _Told(Answer):
    """An answer, and whether the description knows of it (it knows of no refusals of these operations)."""

    described: bool = True


def _told(document: Any, status: int = 200) -> _Told:
    if document is None:
        return _Told(status)
    return _Told(status, json.dumps(document).encode(), {"Content-Type": "application/json"}, status < 400)


class _Request:
    """What `openapi-core` wants to know of a request."""

    def __init__(self, call: Call) -> None:
        self.host_url = "https://api.github.com"
        self.path = quote(call.path) if "%" not in call.target else call.target.partition("?")[0]
        self.full_url_pattern = self.host_url + self.path
        self.method = call.method.lower()
        self.content_type = call.headers.get("content-type", "")
        self.body = call.body or None
        self.parameters = RequestParameters(
            query=ImmutableMultiDict([(name, value) for name, values in call.query.items() for value in values]),
            header=Headers(list(call.headers.items())),
            cookie=ImmutableMultiDict(),
            path={},
        )


class _Response:
    def __init__(self, answer: Answer) -> None:
        self.data = answer.body or None
        self.status_code = answer.status
        self.content_type = answer.headers.get("Content-Type", "application/json")
        self.headers = Headers(list(answer.headers.items()))
