"""Google Cloud Storage by its JSON API: an object's generation is its tag."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from ci_acme.errors import ConfigError
from ci_acme.ports import Clock
from ci_acme.state.clouds.bucket import ABSENT, Condition, Listed
from ci_acme.state.clouds.google import GoogleSource
from ci_acme.state.clouds.token import Token
from ci_acme.wire import Reply, Request, Wire

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]\Z")
_ENDPOINT: Final = "https://storage.googleapis.com"


class Gcs:
    """A `Cloud` for one bucket. `STORAGE_EMULATOR_HOST` names another server, which gets no credentials."""

    needs = "get, create, delete and list storage.objects (roles/storage.objectUser) in the bucket"

    def __init__(self, bucket: str, *, clock: Clock, wire: Wire, environment: Mapping[str, str] = os.environ) -> None:
        if not _NAME.match(bucket):
            raise ConfigError("state names no valid Google Cloud Storage bucket", fix="use state: gs://BUCKET/PREFIX")
        self.where = f"gs://{bucket}"
        emulator = environment.get("STORAGE_EMULATOR_HOST")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        self._endpoint = (emulator or _ENDPOINT).rstrip("/")
        self._bucket = bucket
        self._clock = clock
        self._source = None if emulator else GoogleSource(environment, clock, wire)
        self._lock = threading.Lock()
        self._token: Token | None = None

    def get(self, name: str) -> Request:
        return Request("GET", f"{self._object(name)}?alt=media")

    def put(self, name: str, body: bytes, condition: Condition) -> Request:
        query = {"uploadType": "media", "name": name}
        if condition is ABSENT:
            query["ifGenerationMatch"] = "0"
        elif isinstance(condition, str):
            query["ifGenerationMatch"] = condition
        url = f"{self._endpoint}/upload/storage/v1/b/{self._bucket}/o?{urlencode(query)}"
        return Request("POST", url, {"Content-Type": "application/octet-stream"}, body)

    def delete(self, name: str, tag: str | None) -> Request:
        return Request("DELETE", self._object(name) + ("" if tag is None else f"?ifGenerationMatch={tag}"))

    def listing(self, prefix: str, page: str | None) -> Request:
        query = {"prefix": prefix, "fields": "items(name,size),nextPageToken", **({"pageToken": page} if page else {})}
        return Request("GET", f"{self._endpoint}/storage/v1/b/{self._bucket}/o?{urlencode(query)}")

    def signed(self, request: Request) -> Request:
        if self._source is None:
            return request
        with self._lock:
            if self._token is None or self._token.stale(self._clock.now()):
                self._token = self._source.token()
            bearer = {"Authorization": f"Bearer {self._token.text}"}
        return Request(request.method, request.url, {**request.headers, **bearer}, request.body)

    def learn(self, reply: Reply) -> bool:
        with self._lock:
            had, self._token = self._token, None if reply.status == 401 else self._token
        return reply.status == 401 and had is not None

    def code(self, reply: Reply) -> str:
        if reply.ok:
            return ""
        text = reply.body[:4096].decode(errors="replace")
        if reply.status == 404 and "bucket does not exist" in text:
            return "NoSuchBucket"
        match = re.search(r'"reason": ?"(\w{1,80})"', text)
        return match[1] if match else ""

    def tag(self, reply: Reply) -> str:
        if generation := reply.headers.get("x-goog-generation"):
            return generation
        return str(_document(reply).get("generation", ""))

    def is_tag(self, text: str) -> bool:
        return text.isascii() and text.isdigit() and text != "0"

    def listed(self, reply: Reply) -> tuple[Sequence[Listed], str | None]:
        document = _document(reply)
        found = [Listed(item["name"], int(item["size"])) for item in document.get("items", ())]
        return found, document.get("nextPageToken")

    def _object(self, name: str) -> str:
        return f"{self._endpoint}/storage/v1/b/{self._bucket}/o/{quote(name, safe='')}"


def _document(reply: Reply) -> Mapping[str, Any]:
    document = json.loads(reply.body)
    return document if isinstance(document, dict) else {}
