"""A connection to Vault: where it is, and a token that is good when it is used."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ci_acme.errors import ConfigError, SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.rest import Answer, RestClient, member
from ci_acme.storing import Refused
from ci_acme_providers.vault.config import VaultAccess
from ci_acme_providers.vault.faults import login_refusal

_MARGIN = 10.0
"""Seconds before a token's end at which it is taken for ended."""


class Vault:
    """The API of one server, in one namespace. Logs in when it must, and again when the token has ended. Thread-safe.

    Raises `ConfigError` if no server is named.
    """

    def __init__(self, access: VaultAccess, context: ProviderContext) -> None:
        self._access = access
        self._context = context
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._ends: float | None = None
        environ = context.environ
        address = access.address or _first(environ, "VAULT_ADDR", "BAO_ADDR")
        if address is None:
            raise ConfigError(
                "it is not known where Vault is", fix="set address of the store, or VAULT_ADDR (https://HOST:PORT)"
            )
        bundle = access.ca_bundle or _first(environ, "VAULT_CACERT", "BAO_CACERT")
        self.address = address.rstrip("/")
        self._namespace = access.namespace or _first(environ, "VAULT_NAMESPACE", "BAO_NAMESPACE")
        headers = {"X-Vault-Request": "true"}
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        self._client = RestClient(f"{self.address}/v1", headers=headers, ca_bundle=Path(bundle) if bundle else None)

    def send(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request with the token; `path` is below /v1, unquoted, with a query if it has one.

        Raises `Refused` if there is no token to be had, `ci_acme.wire.Unreachable`.
        """
        where, _, query = path.partition("?")
        target = f"/{quote(where)}" + (f"?{query}" if query else "")
        token = self._valid_token(deadline).reveal().decode("ascii")
        head = {"X-Vault-Token": token, **(headers or {})}
        return self._client.send(method, target, deadline=deadline, body=body, headers=head)

    def _valid_token(self, deadline: Deadline) -> Secret:
        with self._lock:
            ended = self._ends is not None and deadline.clock.monotonic() >= self._ends
            if self._token is None or ended:
                self._token, self._ends = self._obtain(deadline)
            return self._token

    def _obtain(self, deadline: Deadline) -> tuple[Secret, float | None]:
        access, environ = self._access, self._context.environ
        if access.token is not None:
            return _one_line(self._context.secrets(access.token)), None
        if access.role_id is not None and access.secret_id is not None:
            reveal = self._context.secrets
            body = {"role_id": _text(reveal(access.role_id)), "secret_id": _text(reveal(access.secret_id))}
            return self._log_in("AppRole", access.auth_mount or "approle", body, deadline)
        given = None if access.role else _first(environ, "VAULT_TOKEN", "BAO_TOKEN")
        if given is not None:
            return _one_line(Secret(given.encode())), None
        role = access.role or environ.get("VAULT_ROLE")
        if role:
            jwt = self._context.identity(access.audience or self.address)
            mount = access.auth_mount or environ.get("VAULT_AUTH_PATH") or "jwt"
            return self._log_in("identity token", mount, {"role": role, "jwt": _text(jwt)}, deadline)
        raise Refused(
            "there is no token for Vault",
            fix="set role (the CI system's identity token logs in), token or role_id of the store, or VAULT_TOKEN",
        )

    def _log_in(self, method: str, mount: str, body: Any, deadline: Deadline) -> tuple[Secret, float | None]:
        mount = mount.strip("/")
        answer = self._client.send("POST", f"/auth/{quote(mount)}/login", deadline=deadline, body=body)
        token = member(answer.document, "auth", "client_token")
        if not answer.ok or not isinstance(token, str) or not token:
            raise login_refusal(answer, method, mount)
        seconds = member(answer.document, "auth", "lease_duration")
        lasts = isinstance(seconds, int) and seconds > 0
        return Secret(token.encode()), deadline.clock.monotonic() + max(seconds - _MARGIN, 1.0) if lasts else None


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def _text(secret: Secret) -> str:
    return _one_line(secret).reveal().decode("ascii")


def _one_line(secret: Secret) -> Secret:
    """What a header can carry. Raises `SecretError`."""
    value = secret.reveal().strip()
    if not value.isascii() or len(value.split()) != 1:
        raise SecretError("the credential for Vault is not one word of ASCII", fix="store the token alone, in one line")
    return Secret(value)
