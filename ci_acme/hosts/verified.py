"""Who this job is, proven: its identity token (OpenID Connect), verified by the keys of the CI system that issued it.

What the environment says can be said by anybody who starts the job. A token is signed; what it says of repository, ref
and run is recorded as proven only if its signature, issuer and time are right. The token itself is recorded nowhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from ci_acme.connect import is_loopback
from ci_acme.errors import CiAcmeError
from ci_acme.hosts.oidc import any_token, claims_of
from ci_acme.ports import Deadline
from ci_acme.rest import RestClient, member
from ci_acme.wire import Unreachable

AUDIENCE: Final = "ci-acme"
_LEEWAY: Final = 60.0
_MOST: Final = 300
_ISSUERS: Final = (
    "https://token.actions.githubusercontent.com",
    "https://oidc.circleci.com/org/",
    "https://api.bitbucket.org/2.0/workspaces/",
    "https://agent.buildkite.com",
    "https://vstoken.dev.azure.com/",
)
CLAIMS: Final = (
    "iss", "sub", "repository", "repository_id", "repository_owner_id", "ref", "sha", "workflow_ref",
    "job_workflow_ref", "run_id", "run_attempt", "actor", "actor_id", "event_name", "environment", "project_path",
    "project_id",
    "namespace_id", "pipeline_id", "job_id", "pipeline_source", "user_login", "user_id", "ref_protected",
)  # fmt: skip
"""What is recorded of a token: names and numbers of things, nothing that lets anybody in."""


def verified_identity(environ: Mapping[str, str], now: float, *, deadline: Deadline) -> dict[str, str] | None:
    """The claims of the job's token, verified; None if there is no token, or it cannot be verified. Never raises."""
    try:
        found = any_token(AUDIENCE, environ, deadline=deadline)
        if found is None:
            return None
        token = found.reveal().decode("ascii")
        issuer = str(claims_of(token).get("iss", ""))
        if not _expected(issuer, environ):
            return None
        claims = _verify(token, _keys(issuer, deadline), issuer, now)
    except (CiAcmeError, Unreachable, ValueError):
        return None
    return {name: str(claims[name])[:_MOST] for name in CLAIMS if claims.get(name) not in (None, "")}


def _expected(issuer: str, environ: Mapping[str, str]) -> bool:
    """Whether the issuer is the CI system that we run in: anybody can sign a token as himself."""
    own = [environ.get("CI_SERVER_URL", "").rstrip("/")]
    server = environ.get("GITHUB_SERVER_URL", "").rstrip("/")
    if server and server != "https://github.com":
        own.append(f"{server}/_services/token")
    parts = urlsplit(issuer)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        return False
    return issuer.rstrip("/") in [one for one in own if one] or any(
        issuer == known or (known.endswith("/") and issuer.startswith(known)) for known in _ISSUERS
    )


def _keys(issuer: str, deadline: Deadline) -> Sequence[Mapping[str, Any]]:
    """The issuer's keys (OpenID Connect Discovery 1.0 section 4; RFC 7517)."""
    base = RestClient(issuer.rstrip("/"))
    try:
        url = member(base.send("GET", "/.well-known/openid-configuration", deadline=deadline).document, "jwks_uri")
    finally:
        base.close()
    if not isinstance(url, str) or urlsplit(url).hostname is None:
        raise ValueError("the issuer names no keys")
    client = RestClient(url)
    try:
        keys = member(client.send("GET", "", deadline=deadline).document, "keys")
    finally:
        client.close()
    return [key for key in keys if isinstance(key, Mapping)] if isinstance(keys, list) else []


def _verify(token: str, keys: Sequence[Mapping[str, Any]], issuer: str, now: float) -> Mapping[str, Any]:
    """The claims (RFC 7519 section 7.2). Raises `ValueError`."""
    head, body, signature = token.split(".")
    header = json.loads(_decode(head))
    key = next((one for one in keys if one.get("kid") == header.get("kid")), None)
    if key is None or header.get("alg") != "RS256" or key.get("kty") != "RSA":
        raise ValueError("the token is signed by no key of its issuer")
    _check_signature(key, f"{head}.{body}".encode("ascii"), _decode(signature))
    claims = claims_of(token)
    expires, begins = float(claims.get("exp", 0)), float(claims.get("nbf", 0))
    if claims.get("iss") != issuer or now > expires + _LEEWAY or now < begins - _LEEWAY:
        raise ValueError("the token is not valid now")
    return claims


def _check_signature(key: Mapping[str, Any], data: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    numbers = [int.from_bytes(_decode(str(key.get(name, ""))), "big") for name in ("e", "n")]
    try:
        rsa.RSAPublicNumbers(*numbers).public_key().verify(signature, data, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        raise ValueError("the token's signature is wrong") from None


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
