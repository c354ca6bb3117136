"""How requests to OVHcloud prove who they are from: signed with a consumer key, or with an OAuth2 token."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit

from ci_acme.dnsapi import SecretText, ask, said
from ci_acme.errors import DnsCredentialsError, InternalError
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.rest import RestClient, member
from ci_acme_providers.ovh.config import OvhSettings

_MARGIN: Final = 60.0
"""Seconds before a token's end at which another is fetched."""


class Proof(Protocol):
    """Authorises requests; `prepare` fetches what that takes, before a request is made."""

    def prepare(self, deadline: Deadline) -> None: ...

    def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]: ...


class Signature:
    """`X-Ovh-Signature`: a SHA-1 over both secrets, the request and OVH's time, which ours is compared with once."""

    def __init__(self, settings: OvhSettings, context: ProviderContext, where: str) -> None:
        if settings.application_key is None or settings.application_secret is None or settings.consumer_key is None:
            raise InternalError("the settings have no consumer key")
        self._key = SecretText(settings.application_key, context)
        self._secret = SecretText(settings.application_secret, context)
        self._consumer = SecretText(settings.consumer_key, context)
        self._clock = context.clock
        self._where = where
        self._time = RestClient(settings.base)
        self._lock = threading.Lock()
        self._ahead: float | None = None

    def prepare(self, deadline: Deadline) -> None:
        """Learn how far OVH's clock is ahead of ours."""
        with self._lock:
            if self._ahead is not None:
                return
            answer = ask(self._time, self._where, "GET", "/auth/time", deadline=deadline)
            if not answer.ok or not isinstance(answer.document, int):
                raise DnsCredentialsError(
                    f"{self._where} does not tell its time (HTTP {answer.status})",
                    fix="correct endpoint of the DNS entry",
                )
            self._ahead = answer.document - self._clock.now().timestamp()

    def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """The headers of one request."""
        now = str(int(self._clock.now().timestamp() + (self._ahead or 0.0)))
        secret, consumer = self._secret.read(), self._consumer.read()
        text = "+".join((secret, consumer, method, url, (body or b"").decode(), now))
        digest = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - OVH's protocol
        return {
            "X-Ovh-Application": self._key.read(),
            "X-Ovh-Consumer": consumer,
            "X-Ovh-Timestamp": now,
            "X-Ovh-Signature": f"$1${digest}",
        }


class ServiceAccount:
    """OAuth2 client credentials (RFC 6749 section 4.4): a token that is fetched when there is none or it ends soon."""

    def __init__(self, settings: OvhSettings, context: ProviderContext, where: str) -> None:
        if settings.oauth is None or settings.client_id is None or settings.client_secret is None:
            raise InternalError("the settings have no service account")
        parts = urlsplit(settings.oauth)
        self._id = SecretText(settings.client_id, context)
        self._secret = SecretText(settings.client_secret, context)
        self._clock = context.clock
        self._where = where
        self._path = parts.path
        self._client = RestClient(f"{parts.scheme}://{parts.netloc}")
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def prepare(self, deadline: Deadline) -> None:
        """Have a token that lasts for another minute."""
        with self._lock:
            if self._clock.monotonic() + _MARGIN < self._until:
                return
            form = {
                "grant_type": "client_credentials",
                "client_id": self._id.read(),
                "client_secret": self._secret.read(),
                "scope": "all",
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            raw = urlencode(form).encode()
            answer = ask(self._client, self._where, "POST", self._path, deadline=deadline, raw=raw, headers=headers)
            token, seconds = member(answer.document, "access_token"), member(answer.document, "expires_in")
            if not answer.ok or not isinstance(token, str):
                raise DnsCredentialsError(
                    f"{self._where} gives no token: {said(member(answer.document, 'error') or answer.status)}",
                    fix="check client_id and client_secret, and that the service account is of this endpoint's region",
                )
            self._token = token
            self._until = self._clock.monotonic() + (seconds if isinstance(seconds, int | float) else _MARGIN)

    def headers(self, method: str, url: str, body: bytes | None) -> Mapping[str, str]:
        """The header of one request."""
        return {"Authorization": f"Bearer {self._token}"}
