"""Entra ID, as far as a job signs in to it: tokens for a secret or for an identity token of a CI system.

And the service of GitHub that gives a job its identity token. What Entra checks is checked: tenant, client, secret,
issuer, subject, audience, and the times of the assertion; its refusals are worded as Entra words them.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.clouds.api import Answer, Call, FakeApi

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
SECRET = "the-secret-of-the-application"
SUBJECT = "repo:example/shop:ref:refs/heads/main"
GITHUB = "https://token.actions.githubusercontent.com"
AUDIENCE = "api://AzureADTokenExchange"
BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_TRAILER = (
    " Trace ID: 0a0a0a0a-0000-0000-0000-000000000000 Correlation ID: 0b0b0b0b-0000-0000-0000-000000000000"
    " Timestamp: 2030-01-01 00:00:00Z"
)


@dataclass
class Application:
    """What can sign in: `secrets`, and the federated credentials as (issuer, subject, audience)."""

    secrets: set[str] = field(default_factory=lambda: {SECRET})
    federated: set[tuple[str, str, str]] = field(default_factory=lambda: {(GITHUB, SUBJECT, AUDIENCE)})


@dataclass(frozen=True)
class Token:
    """What a bearer token says."""

    client: str
    audience: str
    expires: float


def jwt(claims: Mapping[str, Any]) -> str:
    """A token of a CI system. Nobody here has its public key, so the signature is none."""
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    return ".".join([*(_segment(json.dumps(part).encode()) for part in parts), _segment(b"not a signature")])


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Entra(FakeApi):
    """The sign-in host of one tenant."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(tls)
        self.applications = {CLIENT: Application()}
        self.issued: dict[str, Token] = {}
        self.assertions: list[str] = []
        self.lifetime = 3599

    def holder(self, call: Call, audience: str) -> str | None:
        """The client whose token the call carries, if it is for this audience and lives."""
        scheme, _, text = call.headers.get("authorization", "").partition(" ")
        token = self.issued.get(text)
        if scheme != "Bearer" or token is None or token.audience != audience or token.expires < time.time():
            return None
        return token.client

    def handle(self, call: Call) -> Answer:
        parts = call.path.strip("/").split("/")
        if call.method == "GET" and call.path.endswith("/.well-known/openid-configuration"):
            return self._discovery(parts[0])
        if call.method == "POST" and call.path.endswith("/oauth2/v2.0/token"):
            return self._token(parts[0], {name: values[0] for name, values in parse_qs(call.body.decode()).items()})
        return Answer.of({"error": "not_found"}, 404)

    def _discovery(self, tenant: str) -> Answer:
        base = f"{self.url}/{tenant}"
        return Answer.of(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            }
        )

    def _token(self, tenant: str, form: Mapping[str, str]) -> Answer:
        client = form.get("client_id", "")
        application = self.applications.get(client)
        if tenant != TENANT:
            return _refuse("invalid_request", 90002, f"Tenant '{tenant}' not found.", 400)
        if form.get("grant_type") != "client_credentials" or not form.get("scope", "").endswith("/.default"):
            return _refuse("invalid_scope", 70011, "The provided value for 'scope' is not valid.", 400)
        if application is None:
            text = f"Application with identifier '{client}' was not found in the directory 'Example'."
            return _refuse("unauthorized_client", 700016, text, 400)
        refusal = self._prove(application, client, form)
        if refusal is not None:
            return refusal
        text = secrets.token_urlsafe(40)
        audience = form["scope"].removesuffix("/.default")
        self.issued[text] = Token(client, audience, time.time() + self.lifetime)
        return Answer.of(
            {
                "token_type": "Bearer",
                "expires_in": self.lifetime,
                "ext_expires_in": self.lifetime,
                "access_token": text,
            }
        )

    def _prove(self, application: Application, client: str, form: Mapping[str, str]) -> Answer | None:
        if "client_secret" in form:
            if form["client_secret"] in application.secrets:
                return None
            text = (
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
                f"value, not the client secret ID, for a secret added to app '{client}'."
            )
            return _refuse("invalid_client", 7000215, text, 401)
        if form.get("client_assertion_type") != BEARER or "client_assertion" not in form:
            text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
            return _refuse("invalid_client", 7000218, text, 401)
        self.assertions.append(form["client_assertion"])
        return self._judge(application, _claims(form["client_assertion"]))

    def _judge(self, application: Application, claims: Mapping[str, Any]) -> Answer | None:
        now = time.time()
        if not claims.get("nbf", 0) <= now < claims.get("exp", 0):
            text = "Client assertion is not within its valid time range. Current time: …, assertion valid from …"
            return _refuse("invalid_client", 700024, text, 401)
        presented = (claims.get("iss"), claims.get("sub"), claims.get("aud"))
        if presented in application.federated:
            return None
        issuers = {issuer for issuer, _, _ in application.federated}
        subjects = {subject for _, subject, _ in application.federated}
        if claims.get("iss") not in issuers:
            return _refuse(
                "invalid_client",
                700211,
                f"No matching federated identity record found for presented assertion issuer '{claims.get('iss')}'.",
                401,
            )
        if claims.get("sub") not in subjects:
            text = (
                "No matching federated identity record found for presented assertion subject "
                f"'{claims.get('sub')}'. Check your federated identity credential Subject, Audience and Issuer against "
                "the presented assertion."
            )
            return _refuse("invalid_client", 700213, text, 401)
        text = f"No matching federated identity record found for presented assertion audience '{claims.get('aud')}'."
        return _refuse("invalid_client", 700212, text, 401)


def _claims(token: str) -> Mapping[str, Any]:
    body = token.split(".")[1]
    claims: Mapping[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


def _refuse(error: str, number: int, text: str, status: int) -> Answer:
    document = {
        "error": error,
        "error_description": f"AADSTS{number}: {text}{_TRAILER}",
        "error_codes": [number],
        "timestamp": "2030-01-01 00:00:00Z",
        "trace_id": "0a0a0a0a-0000-0000-0000-000000000000",
        "correlation_id": "0b0b0b0b-0000-0000-0000-000000000000",
    }
    return Answer.of(document, status)


class GitHubTokens(FakeApi):
    """Where a job of GitHub Actions gets an identity token for an audience; each is another one."""

    bearer = "the-bearer-of-the-job"

    def __init__(self) -> None:
        super().__init__()
        self.subject = SUBJECT
        self.issuer = GITHUB
        self.given: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a job with `id-token: write` sees."""
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.bearer,
        }

    def handle(self, call: Call) -> Answer:
        if call.headers.get("authorization") != f"Bearer {self.bearer}":
            return Answer.of({"message": "unauthorized"}, 401)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": call.one("audience"),
            "nbf": now - 5,
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
        }
        self.given.append(jwt(claims))
        return Answer.of({"value": self.given[-1]})
