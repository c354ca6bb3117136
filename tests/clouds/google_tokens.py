"""Google's token services on loopback: the Security Token Service, impersonation, and the project's permissions.

The identity tokens that it takes are those of `CiTokens`, which stands for a CI system's issuer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, ClassVar
from urllib.parse import parse_qs

from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.google import ApiError, Document, GoogleApi, Iam, new_error

NUMBER = "123456789"
POOL = f"projects/{NUMBER}/locations/global/workloadIdentityPools/ci"
PROVIDER = f"{POOL}/providers/github"
ISSUER = "https://token.actions.example"
SUBJECT = "repo:octo/site:ref:refs/heads/main"
MEMBER = f"principal://iam.googleapis.com/{POOL}/subject/{SUBJECT}"
ACCOUNT = "deployer@my-project.iam.gserviceaccount.com"
_KEY = b"the issuer's key"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_SNAKE = {
    "grant_type": "grantType",
    "audience": "audience",
    "scope": "scope",
    "requested_token_type": "requestedTokenType",
    "subject_token": "subjectToken",
    "subject_token_type": "subjectTokenType",
    "options": "options",
}


class CiTokens(FakeApi):
    """GitHub's token endpoint: a signed token for the audience that is asked for, to the bearer of the job's secret."""

    secret = "job-secret"

    def __init__(self, clock: Callable[[], float], seconds: float = 300.0) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds
        self.issued: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.secret,
        }

    def handle(self, call: Call) -> Answer:
        if call.headers.get("authorization") != f"Bearer {self.secret}":
            return Answer.of({"message": "unauthorized"}, 401)
        return Answer.of({"value": self.token(call.one("audience") or "")})

    def token(self, audience: str, subject: str = SUBJECT) -> str:
        now = self._clock()
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + self._seconds,
            "jti": str(len(self.issued)),
        }
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        self.issued.append(f"{signed}.{_signature(signed)}")
        return self.issued[-1]


class GoogleTokens(GoogleApi):
    """STS takes an identity token once: whoever sends an old one again did not ask for a fresh one."""

    documents: ClassVar[Sequence[str]] = ("sts.v1", "iamcredentials.v1", "cloudresourcemanager.v3")

    def __init__(self, iam: Iam | None = None, *, seconds: float = 3600.0) -> None:
        super().__init__(iam)
        self.seconds = seconds
        self.exchanged: list[str] = []
        self.condition: Callable[[dict[str, Any]], bool] = lambda _: True

    @property
    def environment(self) -> dict[str, str]:
        """gcloud's variables that lead here."""
        return {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": f"{self.url}/"
            for name in ("STS", "IAMCREDENTIALS", "CLOUDRESOURCEMANAGER")
        }

    def handle(self, call: Call) -> Answer:
        if call.path == "/v1/token":
            with self.lock:
                return self._exchange(call)
        return super().handle(call)

    # --- sts

    def _exchange(self, call: Call) -> Answer:
        """RFC 8693: a form in, and snake case out, unlike anything else of Google's."""
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        self.problems += [f"STS: unknown field {name}" for name in form if name not in _SNAKE]
        body = {_SNAKE[name]: value for name, value in form.items() if name in _SNAKE}
        self.problems += self.judge_sts(body)
        claims = _claims(form.get("subject_token", ""))
        trouble = self._trouble(form, claims)
        if trouble is not None:
            word, text = trouble
            return Answer.of({"error": word, "error_description": text}, 400)
        self.exchanged.append(form["subject_token"])
        principal = f"principal://iam.googleapis.com/{POOL}/subject/{claims['sub']}"
        token = self.iam.issue(principal, self.seconds, "ya29.d.fed")
        return Answer.of(
            {
                "access_token": token,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": int(self.seconds),
            }
        )

    def judge_sts(self, body: Document) -> list[str]:
        return self.judge.schema("GoogleIdentityStsV1ExchangeTokenRequest", body)

    def _trouble(self, form: dict[str, str], claims: dict[str, Any]) -> tuple[str, str] | None:
        if form.get("grant_type") != _EXCHANGE:
            return "unsupported_grant_type", 'Invalid value for "grantType".'
        if form.get("audience") != f"//iam.googleapis.com/{PROVIDER}":
            return "invalid_target", 'The target service indicated by the "audience" parameters is invalid.'
        if not claims or claims["exp"] <= self.iam.clock() or form["subject_token"] in self.exchanged:
            return "invalid_grant", "The token is not valid."
        allowed = f"//iam.googleapis.com/{PROVIDER}"
        if claims["aud"] not in {allowed, f"https:{allowed}"}:
            text = f"The audience in ID Token [{claims['aud']}] does not match the expected audience."
            return "invalid_grant", text
        if not self.condition(claims):
            return "unauthorized_client", "The given credential is rejected by the attribute condition."
        return None

    # --- the other services

    def projects_serviceAccounts_generateAccessToken(self, call: Call, project: str, account: str) -> Document:  # noqa: N802
        assert project == "-"
        self.require("iam.serviceAccounts.getAccessToken", f"serviceAccounts/{account}")
        if not call.json.get("scope"):
            raise new_error(400, "INVALID_ARGUMENT", "Scope required.")
        token = self.iam.issue(f"serviceAccount:{account}", self.seconds, "ya29.c.imp")
        ends = datetime.fromtimestamp(self.iam.clock() + self.seconds, timezone.utc)
        return {"accessToken": token, "expireTime": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def projects_testIamPermissions(self, call: Call, project: str) -> Document:  # noqa: N802
        return self.held(call, f"projects/{project}")


def _encoded(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def _signature(text: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(_KEY, text.encode(), hashlib.sha256)).rstrip(b"=").decode()


def _claims(token: str) -> dict[str, Any]:
    """What a token says, if the issuer signed it."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature, _signature(signed)):
        return {}
    body = signed.partition(".")[2]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


__all__ = ["ACCOUNT", "MEMBER", "PROVIDER", "ApiError", "CiTokens", "GoogleTokens"]
