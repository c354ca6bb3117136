"""Tokens of Entra ID for Azure Storage: a service principal, a federated token, a managed identity, the Azure CLI."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Final
from urllib.parse import quote, urlencode

from ci_acme.errors import StateError
from ci_acme.ports import Clock
from ci_acme.state.clouds.token import Token, document_from, post_form, text_of, token_in
from ci_acme.wire import Request, Unreachable, Wire

_RESOURCE: Final = "https://storage.azure.com"
_SCOPE: Final = f"{_RESOURCE}/.default"
_AUTHORITY: Final = "https://login.microsoftonline.com"
_WHAT: Final = "a token for the state in az:"
_CLI_SECONDS: Final = 30.0
_METADATA_SECONDS: Final = 2.0


class EntraSource:
    """Finds a token by what is present; `token` asks anew each time."""

    def __init__(self, environment: Mapping[str, str], clock: Clock, wire: Wire) -> None:
        self._environment = environment
        self._clock = clock
        self._wire = wire

    def token(self) -> Token:
        """Raises `StateError` if there are no credentials, `Unreachable` if the service does not answer."""
        client, tenant = self._environment.get("AZURE_CLIENT_ID"), self._environment.get("AZURE_TENANT_ID")
        if client and tenant and (form := self._proof()):
            return self._principal(tenant, {"client_id": client, **form})
        found = self._app_service(client) or self._command_line() or self._instance(client)
        if found is None:
            raise StateError(
                "there are no Azure credentials for the state in az:",
                fix="set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or give the job an identity (az login)",
            )
        return found

    def _proof(self) -> Mapping[str, str] | None:
        if secret := self._environment.get("AZURE_CLIENT_SECRET"):
            return {"client_secret": secret}
        if path := self._environment.get("AZURE_FEDERATED_TOKEN_FILE"):
            return {
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": text_of(path, "the token file"),
            }
        return None

    def _principal(self, tenant: str, form: Mapping[str, str]) -> Token:
        authority = (self._environment.get("AZURE_AUTHORITY_HOST") or _AUTHORITY).rstrip("/")
        url = f"{authority}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        form = {"grant_type": "client_credentials", "scope": _SCOPE, **form}
        fix = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or the federated credential of the application"
        return token_in(post_form(self._wire, url, form, what=_WHAT, fix=fix), self._clock.now())

    def _app_service(self, client: str | None) -> Token | None:
        endpoint, header = self._environment.get("IDENTITY_ENDPOINT"), self._environment.get("IDENTITY_HEADER")
        if not endpoint or not header:
            return None
        query = {"api-version": "2019-08-01", "resource": _RESOURCE, **({"client_id": client} if client else {})}
        request = Request("GET", f"{endpoint}?{urlencode(query)}", {"X-IDENTITY-HEADER": header})
        document = document_from(self._wire, request, what=_WHAT, fix="assign a managed identity to this job")
        return _until(token_in({"access_token": document.get("access_token")}, self._clock.now()), document)

    def _instance(self, client: str | None) -> Token | None:
        """The managed identity of a machine; None where there is no such service."""
        query = {"api-version": "2018-02-01", "resource": _RESOURCE, **({"client_id": client} if client else {})}
        url = f"http://169.254.169.254/metadata/identity/oauth2/token?{urlencode(query)}"
        try:
            reply = self._wire.send(Request("GET", url, {"Metadata": "true"}), timeout=_METADATA_SECONDS)
            return token_in(json.loads(reply.body), self._clock.now()) if reply.ok else None
        except (Unreachable, ValueError):
            return None

    def _command_line(self) -> Token | None:
        """What `az login` left, as the login step of a pipeline does; None without it."""
        program = shutil.which("az", path=self._environment.get("PATH"))
        if program is None:
            return None
        command = [program, "account", "get-access-token", "--resource", _RESOURCE, "--output", "json"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_CLI_SECONDS, check=False)  # noqa: S603 - no input
            document = json.loads(done.stdout) if done.returncode == 0 else {}
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
        text = document.get("accessToken")
        return _until(Token(text), document) if isinstance(text, str) and text else None


def _until(token: Token, document: Mapping[str, object]) -> Token:
    """With the end that `expires_on` says in seconds since the epoch."""
    try:
        return Token(token.text, datetime.fromtimestamp(int(str(document["expires_on"])), timezone.utc))
    except (KeyError, ValueError, OverflowError):
        return token
