"""Azure Blob Storage: an object is a block blob, its ETag is its tag."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ci_acme.errors import ConfigError, StateError
from ci_acme.ports import Clock
from ci_acme.state.clouds.bucket import ABSENT, Condition, Listed
from ci_acme.state.clouds.entra import EntraSource
from ci_acme.state.clouds.token import Token
from ci_acme.wire import Reply, Request, Wire

VERSION: Final = "2021-12-02"
"""Of the service's interface."""
_NAME: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}\Z")
_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}\Z")
_TAG: Final = re.compile(r'"[!#-~]+"\Z')
_STANDARD: Final = ("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date")
_CONDITIONS: Final = ("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")


class Azure:
    """A `Cloud` for one container of the storage account that the environment names.

    `AZURE_STORAGE_CONNECTION_STRING` says all; else `AZURE_STORAGE_ACCOUNT` names the account, and a key, a shared
    access signature or an identity of Entra ID gives access.
    """

    needs = "read, write, delete and list blobs (the role Storage Blob Data Contributor) in the container"

    def __init__(
        self, container: str, *, clock: Clock, wire: Wire, environment: Mapping[str, str] = os.environ
    ) -> None:
        if not _NAME.match(container):
            raise ConfigError("state names no valid Azure container", fix="use state: az://CONTAINER/PREFIX")
        self._settings = _settings(environment)
        self._endpoint = self._settings["endpoint"].rstrip("/")
        self.where = f"az://{container}"
        self._container = container
        self._clock = clock
        self._source = EntraSource(environment, clock, wire)
        self._lock = threading.Lock()
        self._token: Token | None = None

    def get(self, name: str) -> Request:
        return Request("GET", self._url(name))

    def put(self, name: str, body: bytes, condition: Condition) -> Request:
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        if condition is ABSENT:
            headers["If-None-Match"] = "*"
        elif isinstance(condition, str):
            headers["If-Match"] = condition
        return Request("PUT", self._url(name), headers, body)

    def delete(self, name: str, tag: str | None) -> Request:
        return Request("DELETE", self._url(name), {} if tag is None else {"If-Match": tag})

    def listing(self, prefix: str, page: str | None) -> Request:
        query = {"restype": "container", "comp": "list", "prefix": prefix, **({"marker": page} if page else {})}
        return Request("GET", f"{self._endpoint}/{self._container}?{urlencode(query, quote_via=quote)}")

    def signed(self, request: Request) -> Request:
        from email.utils import format_datetime

        headers = {
            **request.headers,
            "x-ms-date": format_datetime(self._clock.now(), usegmt=True),
            "x-ms-version": VERSION,
        }
        if key := self._settings.get("key"):
            signature = shared_key(request, headers, account=self._settings["account"], key=key)
            headers["Authorization"] = f"SharedKey {self._settings['account']}:{signature}"
            return Request(request.method, request.url, headers, request.body)
        if query := self._settings.get("sas"):
            return Request(request.method, request.url, headers, request.body, secret=query)
        with self._lock:
            if self._token is None or self._token.stale(self._clock.now()):
                self._token = self._source.token()
            headers["Authorization"] = f"Bearer {self._token.text}"
        return Request(request.method, request.url, headers, request.body)

    def learn(self, reply: Reply) -> bool:
        with self._lock:
            had, self._token = self._token, None if reply.status == 401 else self._token
        return reply.status == 401 and had is not None

    def code(self, reply: Reply) -> str:
        return "" if reply.ok else reply.headers.get("x-ms-error-code", "")

    def tag(self, reply: Reply) -> str:
        return reply.headers.get("etag", "")

    def is_tag(self, text: str) -> bool:
        return bool(_TAG.match(text))

    def listed(self, reply: Reply) -> tuple[Sequence[Listed], str | None]:
        text = reply.body.decode("utf-8-sig")
        found = [
            Listed(_inner(entry, "Name"), int(_inner(entry, "Content-Length")))
            for entry in re.findall(r"<Blob>(.*?)</Blob>", text, re.DOTALL)
        ]
        return found, _inner(text, "NextMarker") or None

    def _url(self, name: str) -> str:
        return f"{self._endpoint}/{self._container}/{quote(name, safe='/-_.~')}"


def shared_key(request: Request, headers: Mapping[str, str], *, account: str, key: str) -> str:
    """The signature of a request by the account's key (the scheme SharedKey for blobs)."""
    lower = {name.lower(): value for name, value in headers.items()}
    lower["content-length"] = str(len(request.body)) if request.body else ""
    standard = [lower.get(name, "") for name in (*_STANDARD, *_CONDITIONS)]
    own = [f"{name}:{lower[name].strip()}" for name in sorted(lower) if name.startswith("x-ms-")]
    parts = urlsplit(request.url)
    resource = [f"/{account}{parts.path}"]
    resource += [f"{name.lower()}:{value}" for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True))]
    text = "\n".join([request.method, *standard, *own, *resource])
    try:
        secret = base64.b64decode(key, validate=True)
    except ValueError:
        raise StateError("the key of the Azure storage account is not base64", fix="copy it again") from None
    return base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Account, endpoint, and key or shared access signature. Raises `StateError` if nothing names the account."""
    given = dict(
        part.split("=", 1) for part in environment.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";") if "=" in part
    )
    account = given.get("AccountName") or environment.get("AZURE_STORAGE_ACCOUNT")
    account = account or environment.get("AZURE_STORAGE_ACCOUNT_NAME") or ""
    endpoint = given.get("BlobEndpoint") or environment.get("AZURE_STORAGE_BLOB_ENDPOINT")
    if not endpoint and not _ACCOUNT.match(account):
        raise StateError(
            "nothing names the storage account of the state in az:",
            fix="set AZURE_STORAGE_ACCOUNT, or AZURE_STORAGE_CONNECTION_STRING",
        )
    protocol, suffix = given.get("DefaultEndpointsProtocol", "https"), given.get("EndpointSuffix", "core.windows.net")
    named = environment.get("AZURE_STORAGE_KEY") or environment.get("AZURE_STORAGE_ACCOUNT_KEY")
    return {
        "account": account,
        "endpoint": endpoint or f"{protocol}://{account}.blob.{suffix}",
        "key": given.get("AccountKey") or named or "",
        "sas": (given.get("SharedAccessSignature") or environment.get("AZURE_STORAGE_SAS_TOKEN") or "").lstrip("?"),
    }


def _inner(text: str, element: str) -> str:
    from html import unescape

    match = re.search(rf"<{element}[^>]*>(.*?)</{element}>", text, re.DOTALL)
    return unescape(match[1]) if match else ""
