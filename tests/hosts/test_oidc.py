"""The job's identity token: found or fetched afresh, told what is missing, verified before it is believed."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from ci_acme.clock import SystemClock
from ci_acme.errors import SecretError
from ci_acme.hosts.oidc import identity_token
from ci_acme.hosts.verified import verified_identity
from ci_acme.ports import Deadline
from tests.clouds.api import Answer, Call, FakeApi, refuse

BEARER = "bearer-of-the-runner"


def soon() -> Deadline:
    return Deadline(SystemClock(), 5)


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer(FakeApi):
    """A CI system: mints tokens on request, as GitHub does, and publishes its keys, as OpenID Connect wants."""

    def __init__(self) -> None:
        super().__init__()
        self.key = rsa.generate_private_key(65537, 2048)
        self.minted = 0

    def token(self, key: rsa.RSAPrivateKey | None = None, **claims: Any) -> str:
        now = time.time()
        body = {"iss": self.url, "aud": "ci-acme", "sub": "repo:o/r", "exp": now + 300, "nbf": now - 5, **claims}
        head = {"alg": "RS256", "kid": "one", "typ": "JWT"}
        signed = ".".join(coded(json.dumps(part).encode()) for part in (head, body))
        signature = (key or self.key).sign(signed.encode(), padding.PKCS1v15(), SHA256())
        return f"{signed}.{coded(signature)}"

    def handle(self, call: Call) -> Answer:
        if call.path == "/mint":
            assert call.headers["authorization"] == f"Bearer {BEARER}"
            self.minted += 1
            return Answer.of({"value": self.token(aud=call.one("audience"), jti=self.minted)})
        if call.path == "/.well-known/openid-configuration":
            return Answer.of({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})
        assert call.path == "/jwks"
        numbers = self.key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "one", "alg": "RS256", "e": "AQAB", "n": coded(numbers.n.to_bytes(256, "big"))}
        return Answer.of({"keys": [{"kty": "EC", "kid": "other"}, key]})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as server:
        yield server


def github(issuer: Issuer) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{issuer.url}/mint?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": BEARER,
    }


def gitlab(issuer: Issuer, token: str) -> dict[str, str]:
    return {"GITLAB_CI": "true", "CI_SERVER_URL": issuer.url, "MY_ID_TOKEN": token, "CI_JOB_TOKEN": "glcbt-64_x"}


def test_github_gives_a_fresh_one_each_time(issuer: Issuer) -> None:
    tokens = {identity_token("sts.amazonaws.com", github(issuer), deadline=soon()).reveal() for _ in range(3)}
    assert len(tokens) == 3
    assert all(call.one("audience") == "sts.amazonaws.com" for call in issuer.calls)


def test_the_one_for_the_audience_is_taken(issuer: Issuer) -> None:
    aws, vault = issuer.token(aud="sts.amazonaws.com"), issuer.token(aud=["https://vault.example", "x"])
    environ = {"AWS_ID_TOKEN": aws, "VAULT_ID_TOKEN": vault}
    assert identity_token("https://vault.example", environ, deadline=soon()).reveal().decode() == vault
    assert identity_token("sts.amazonaws.com", environ, deadline=soon()).reveal().decode() == aws


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"GITHUB_ACTIONS": "true"}, "id-token: write"),
        ({"GITLAB_CI": "true"}, "id_tokens: {CI_ACME_ID_TOKEN: {aud: sts.amazonaws.com}}"),
        ({}, "CI_ACME_ID_TOKEN"),
    ],
)
def test_what_to_do_where_there_is_none(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SecretError) as caught:
        identity_token("sts.amazonaws.com", environ, deadline=soon())
    assert words in caught.value.fix


def test_a_token_for_somebody_else_is_named_and_not_shown(issuer: Issuer) -> None:
    token = issuer.token(aud="somebody")
    with pytest.raises(SecretError, match="MY_ID_TOKEN is for somebody") as caught:
        identity_token("sts.amazonaws.com", gitlab(issuer, token), deadline=soon())
    assert token not in repr(caught.value.as_dict())


def test_a_refusal_shows_no_bearer(issuer: Issuer) -> None:
    issuer.fail(lambda call: call.path == "/mint", refuse(Answer.of({"message": BEARER}, 403)))
    with pytest.raises(SecretError, match="status 403") as caught:
        identity_token("x", github(issuer), deadline=soon())
    assert BEARER not in repr(caught.value.as_dict())


def verified(issuer: Issuer, token: str, **more: str) -> dict[str, str] | None:
    return verified_identity({**gitlab(issuer, token), **more}, time.time(), deadline=soon())


def test_claims_are_believed_when_signed_by_our_own_ci_system(issuer: Issuer) -> None:
    found = verified(issuer, issuer.token(project_path="group/web", ref="main", secret_thing="no"))
    assert found == {"iss": issuer.url, "sub": "repo:o/r", "project_path": "group/web", "ref": "main"}


@pytest.mark.parametrize("claims", [{"exp": 1.0}, {"nbf": 1e12}, {"iss": "https://evil.example"}])
def test_a_token_of_another_time_or_issuer_proves_nothing(issuer: Issuer, claims: dict[str, Any]) -> None:
    assert verified(issuer, issuer.token(**claims)) is None


def test_a_token_that_another_key_signed_proves_nothing(issuer: Issuer) -> None:
    assert verified(issuer, issuer.token(key=rsa.generate_private_key(65537, 2048))) is None
    assert verified(issuer, issuer.token(), CI_SERVER_URL="https://gitlab.com") is None


def test_an_issuer_that_is_down_proves_nothing(issuer: Issuer) -> None:
    issuer.fail(lambda call: "well-known" in call.path, refuse(Answer(404)))
    assert verified(issuer, issuer.token()) is None
