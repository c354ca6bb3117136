"""A connection to GitHub's REST API, with a token or as an App."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any, Final

from ci_acme.errors import SecretError
from ci_acme.model.records import parse_time
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.rest import Answer, RestClient, member
from ci_acme.storing import Refused
from ci_acme_providers.github.config import GithubSettings
from ci_acme_providers.github.faults import is_limited, refusal

_HEADERS: Final = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_PATIENCE: Final = 90
"""Seconds that are waited at most for a limit of writes in a row."""
_MARGIN: Final = 60.0


class GitHub:
    """The API of github.com or of an Enterprise Server. Thread-safe."""

    def __init__(self, settings: GithubSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._lock = threading.Lock()
        self._minted: tuple[Secret, float] | None = None
        api = settings.api or context.environ.get("GITHUB_API_URL") or "https://api.github.com"
        self._client = RestClient(api, headers=_HEADERS)

    def send(self, method: str, path: str, *, deadline: Deadline, body: Any = None) -> Answer:
        """One request, again after a limit of writes in a row. Raises `SecretError`, `Refused`, `Unreachable`."""
        while True:
            token = self._token(deadline).reveal().decode("ascii")
            head = {"Authorization": f"Bearer {token}"}
            answer = self._client.send(method, path, deadline=deadline, body=body, headers=head)
            asked = answer.headers.get("retry-after", "")
            if not is_limited(answer) or not asked.isdigit() or int(asked) > min(_PATIENCE, deadline.remaining()):
                return answer
            deadline.clock.sleep(max(1.0, float(asked)))

    def _token(self, deadline: Deadline) -> Secret:
        if self._settings.token is not None:
            return _one_word(self._context.secrets(self._settings.token))
        with self._lock:
            if self._minted is None or deadline.clock.monotonic() >= self._minted[1]:
                self._minted = self._mint(deadline)
            return self._minted[0]

    def _mint(self, deadline: Deadline) -> tuple[Secret, float]:
        """A token of the App's installation, which is good for an hour; for the one repository, if it is one's."""
        settings = self._settings
        assert settings.app_id is not None
        assert settings.app_key is not None
        now = deadline.clock.now()
        jwt = app_jwt(settings.app_id, self._context.secrets(settings.app_key), int(now.timestamp()))
        path = f"/app/installations/{settings.installation_id}/access_tokens"
        repository = None if settings.organization else _repository(settings, self._context)
        body = {} if repository is None else {"repositories": [repository.partition("/")[2]]}
        head = {"Authorization": f"Bearer {jwt.reveal().decode('ascii')}"}
        answer = self._client.send("POST", path, deadline=deadline, body=body, headers=head)
        token, expires = member(answer.document, "token"), member(answer.document, "expires_at")
        if not answer.ok or not isinstance(token, str) or not isinstance(expires, str):
            grant = f"by installing the App {settings.app_id} there (installation {settings.installation_id})"
            raise refusal(answer, "give the App a token", grant)
        lasts = (parse_time(expires) - now).total_seconds() - _MARGIN
        return Secret(token.encode()), deadline.clock.monotonic() + max(lasts, 1.0)


def where(settings: GithubSettings, context: ProviderContext) -> str:
    """The base path of secrets and variables. Raises `Refused`."""
    from urllib.parse import quote

    if settings.organization is not None:
        return f"/orgs/{settings.organization}/actions"
    repository = _repository(settings, context)
    if repository is None:
        raise Refused("it is not known whose secret is meant", fix="set repository (OWNER/NAME) or organization")
    if settings.environment is not None:
        return f"/repos/{repository}/environments/{quote(settings.environment, safe='')}"
    return f"/repos/{repository}/actions"


def app_jwt(app_id: str, key: Secret, now: int) -> Secret:
    """What an App shows itself by (RS256, nine minutes). Raises `SecretError` for a key that is none of RSA."""
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.reveal(), None)
    except (ValueError, TypeError):
        private = None  # the library's words may be about the key
    if not isinstance(private, rsa.RSAPrivateKey):
        raise SecretError("app_key is no RSA private key in PEM", fix="give the key that GitHub made for the App")
    claims = {"iat": now - 60, "exp": now + 540, "iss": app_id}  # a minute back: clocks differ
    signed = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    return Secret(signed + b"." + _encoded(private.sign(signed, padding.PKCS1v15(), SHA256())))


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _repository(settings: GithubSettings, context: ProviderContext) -> str | None:
    return settings.repository or context.environ.get("GITHUB_REPOSITORY") or None


def _one_word(secret: Secret) -> Secret:
    value = secret.reveal().strip()
    if not value.isascii() or len(value.split()) != 1:
        raise SecretError("the token for GitHub is not one word of ASCII", fix="store the token alone, in one line")
    return Secret(value)
