"""Google access tokens: application default credentials, workload identity federation, the metadata server."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ci_acme.errors import StateError
from ci_acme.model.records import parse_time
from ci_acme.ports import Clock
from ci_acme.state.clouds.token import Token, document_from, post_form, text_of, token_in
from ci_acme.wire import Request, Unreachable, Wire

_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
_CLOUD: Final = "https://www.googleapis.com/auth/cloud-platform"
_TOKENS: Final = "https://oauth2.googleapis.com/token"
_STS: Final = "https://sts.googleapis.com/v1/token"
_WHAT: Final = "a token for the state in gs:"
_METADATA_SECONDS: Final = 2.0


class GoogleSource:
    """Finds a token in the order of Google's tools; `token` asks anew each time."""

    def __init__(self, environment: Mapping[str, str], clock: Clock, wire: Wire) -> None:
        self._environment = environment
        self._clock = clock
        self._wire = wire

    def token(self) -> Token:
        """Raises `StateError` if there are no credentials, `Unreachable` if the service does not answer."""
        if given := self._environment.get("GOOGLE_OAUTH_ACCESS_TOKEN"):
            return Token(given)
        path = self._file()
        if path is not None:
            return self._from_file(path)
        found = self._metadata()
        if found is None:
            raise StateError(
                "there are no Google credentials for the state in gs:",
                fix="set GOOGLE_APPLICATION_CREDENTIALS, or run: gcloud auth application-default login",
            )
        return found

    def _file(self) -> str | None:
        if named := self._environment.get("GOOGLE_APPLICATION_CREDENTIALS"):
            return named
        folder = self._environment.get("CLOUDSDK_CONFIG")
        if not folder:
            base = self._environment.get("APPDATA") if os.name == "nt" else self._environment.get("HOME")
            folder = str(Path(base or "~").expanduser() / ("gcloud" if os.name == "nt" else ".config/gcloud"))
        path = Path(folder) / "application_default_credentials.json"
        return str(path) if path.is_file() else None

    def _from_file(self, path: str) -> Token:
        try:
            document: dict[str, Any] = json.loads(text_of(path, "the credentials file"))
            kind = document["type"]
            makers = {
                "service_account": self._service_account,
                "authorized_user": self._authorized_user,
                "external_account": self._external_account,
            }
            if kind in makers:
                return makers[kind](document)
        except (ValueError, KeyError, TypeError):
            raise StateError(
                f"the credentials file {path} is not one of Google's, or is not whole", fix="make it anew"
            ) from None
        raise StateError(
            f"the credentials file {path} is of a type that state does not know: {kind!s:.40}",
            fix="use a service account, gcloud's application default credentials or workload identity federation",
        )

    def _service_account(self, document: Mapping[str, Any]) -> Token:
        """RFC 7523: a JWT that the account's key signs."""
        now = int(self._clock.now().timestamp())
        url = document.get("token_uri") or _TOKENS
        head = {"alg": "RS256", "typ": "JWT", "kid": document["private_key_id"]}
        claims = {"iss": document["client_email"], "scope": _SCOPE, "aud": url, "iat": now, "exp": now + 3600}
        signing_input = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = _rs256(document["private_key"].encode(), signing_input.encode())
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": f"{signing_input}.{_encoded(signature)}",
        }
        fix = "check that the service account and its key are enabled, and this machine's clock"
        return token_in(post_form(self._wire, url, form, what=_WHAT, fix=fix), self._clock.now())

    def _authorized_user(self, document: Mapping[str, Any]) -> Token:
        form = {"grant_type": "refresh_token"}
        form |= {name: document[name] for name in ("client_id", "client_secret", "refresh_token")}
        fix = "run: gcloud auth application-default login"
        return token_in(post_form(self._wire, _TOKENS, form, what=_WHAT, fix=fix), self._clock.now())

    def _external_account(self, document: Mapping[str, Any]) -> Token:
        """RFC 8693: the job's own token for one of Google's, and that for one of the service account, if any."""
        impersonation = document.get("service_account_impersonation_url")
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": document["audience"],
            "scope": _CLOUD if impersonation else _SCOPE,
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token_type": document["subject_token_type"],
            "subject_token": self._subject_token(document["credential_source"]),
        }
        fix = "check the workload identity pool's provider: issuer, audience and attribute condition"
        url = document.get("token_url") or _STS
        federated = token_in(post_form(self._wire, url, form, what=_WHAT, fix=fix), self._clock.now())
        if not impersonation:
            return federated
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {federated.text}"}
        request = Request("POST", impersonation, headers, json.dumps({"scope": [_SCOPE]}).encode())
        fix = "grant roles/iam.workloadIdentityUser on the service account to the job's identity"
        answer = document_from(self._wire, request, what=_WHAT, fix=fix)
        return Token(token_in(answer, self._clock.now(), key="accessToken").text, parse_time(answer["expireTime"]))

    def _subject_token(self, source: Mapping[str, Any]) -> str:
        """From a file or a URL, as text or as a field of JSON."""
        if "file" in source:
            text = text_of(source["file"], "the token file")
        elif "url" in source:
            request = Request("GET", source["url"], source.get("headers") or {})
            reply = self._wire.send(request, timeout=10.0)
            if not reply.ok:
                raise Unreachable(f"the job's identity service answered {reply.status}")
            text = reply.body.decode()
        else:
            raise StateError(
                "the credentials file gets its token from a program or from AWS, which state does not follow",
                fix="use a token file or URL, or set GOOGLE_OAUTH_ACCESS_TOKEN",
            )
        form = source.get("format") or {}
        return json.loads(text)[form["subject_token_field_name"]] if form.get("type") == "json" else text

    def _metadata(self) -> Token | None:
        """The service account of the machine; None where there is no metadata server."""
        if self._environment.get("NO_GCE_CHECK", "").lower() == "true":
            return None
        host = self._environment.get("GCE_METADATA_HOST", "169.254.169.254")
        url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        try:
            reply = self._wire.send(Request("GET", url, {"Metadata-Flavor": "Google"}), timeout=_METADATA_SECONDS)
            return token_in(json.loads(reply.body), self._clock.now()) if reply.ok else None
        except (Unreachable, ValueError):
            return None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _rs256(pem: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("not an RSA key")
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
