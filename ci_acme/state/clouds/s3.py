"""Amazon S3 and what speaks its protocol: REST with Signature Version 4."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final
from urllib.parse import quote, urlsplit

from ci_acme.errors import ConfigError
from ci_acme.ports import Clock
from ci_acme.state.clouds.aws import AwsKeys, AwsSource
from ci_acme.state.clouds.bucket import ABSENT, Condition, Listed
from ci_acme.wire import Reply, Request, Wire

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_REGION: Final = re.compile(r"[a-z0-9-]{1,40}\Z")
_TAG: Final = re.compile(r'"[!#-~]+"\Z')
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})


class S3:
    """A `Cloud` for one S3 bucket, found by the variables that every AWS tool reads.

    `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names another service, which is then addressed by path.
    """

    needs = "call s3:GetObject, s3:PutObject, s3:DeleteObject on the objects and s3:ListBucket on the bucket"

    def __init__(self, bucket: str, *, clock: Clock, wire: Wire, environment: Mapping[str, str] = os.environ) -> None:
        if not _NAME.match(bucket):
            raise ConfigError("state names no valid S3 bucket", fix="use state: s3://BUCKET/PREFIX")
        self.where = f"s3://{bucket}"
        self._bucket = bucket
        self._clock = clock
        self._endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        self._source = AwsSource(environment, clock, wire)
        self._region = self._source.region
        self._skew = timedelta()
        self._lock = threading.Lock()
        self._keys: AwsKeys | None = None

    def get(self, name: str) -> Request:
        return Request("GET", self._url(name))

    def put(self, name: str, body: bytes, condition: Condition) -> Request:
        headers: dict[str, str] = {"Content-Type": "application/octet-stream"}
        if condition is ABSENT:
            headers["If-None-Match"] = "*"
        elif isinstance(condition, str):
            headers["If-Match"] = condition
        return Request("PUT", self._url(name), headers, body)

    def delete(self, name: str, tag: str | None) -> Request:
        return Request("DELETE", self._url(name), {} if tag is None else {"If-Match": tag})

    def listing(self, prefix: str, page: str | None) -> Request:
        query = {"list-type": "2", "prefix": prefix}
        if page is not None:
            query["continuation-token"] = page
        return Request("GET", f"{self._url('')}?{canonical_query(query)}")

    def signed(self, request: Request) -> Request:
        with self._lock:
            if self._keys is None or self._keys.stale(self._clock.now()):
                self._keys = self._source.keys()
            keys, region = self._keys, self._region
        url = request.url if self._endpoint else request.url.replace("{region}", region)
        headers = sign(
            request.method,
            url,
            request.headers,
            request.body or b"",
            keys=keys,
            region=region,
            now=self._clock.now() + self._skew,
        )
        return Request(request.method, url, headers, request.body)

    def learn(self, reply: Reply) -> bool:
        region = reply.headers.get("x-amz-bucket-region") or _inner(
            reply.body[:4096].decode(errors="replace"), "Region"
        )
        code = self.code(reply)
        with self._lock:
            if region != self._region and _REGION.match(region):
                self._region = region
                return True
            if code == "RequestTimeTooSkewed" and not self._skew:
                from email.utils import parsedate_to_datetime

                self._skew = parsedate_to_datetime(reply.headers["date"]) - self._clock.now()
                return True
            if code in _EXPIRED:
                self._keys = None
                return True
        return False

    def code(self, reply: Reply) -> str:
        match = re.search(rb"<Code>(\w{1,80})</Code>", reply.body[:4096]) if not reply.ok else None
        return match[1].decode() if match else ""

    def tag(self, reply: Reply) -> str:
        return reply.headers.get("etag", "")

    def is_tag(self, text: str) -> bool:
        return bool(_TAG.match(text))

    def listed(self, reply: Reply) -> tuple[Sequence[Listed], str | None]:
        text = reply.body.decode()
        found = [
            Listed(_inner(entry, "Key"), int(_inner(entry, "Size")))
            for entry in re.findall(r"<Contents>(.*?)</Contents>", text, re.DOTALL)
        ]
        more = _inner(text, "IsTruncated") == "true"
        return found, _inner(text, "NextContinuationToken") if more else None

    def _url(self, name: str) -> str:
        path = quote(name, safe="/-_.~")
        if self._endpoint:
            return f"{self._endpoint.rstrip('/')}/{self._bucket}/{path}"
        if "." in self._bucket:  # the wildcard of the certificate covers one label
            return f"https://s3.{{region}}.{_suffix(self._region)}/{self._bucket}/{path}"
        return f"https://{self._bucket}.s3.{{region}}.{_suffix(self._region)}/{path}"


def canonical_query(parameters: Mapping[str, str]) -> str:
    """A query string as the signature wants it: sorted, with everything but unreserved characters encoded."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(parameters[name], safe='-_.~')}" for name in sorted(parameters))


def sign(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, keys: AwsKeys, region: str, now: datetime
) -> dict[str, str]:
    """The headers of a request with AWS Signature Version 4 of service s3 among them; `url` is in canonical form."""
    parts = urlsplit(url)
    stamp = now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    signed = {**headers, "Host": parts.netloc, "x-amz-date": stamp, "x-amz-content-sha256": digest}
    if keys.token:
        signed["x-amz-security-token"] = keys.token
    ordered = sorted((name.lower(), " ".join(value.split())) for name, value in signed.items())
    names = ";".join(name for name, _ in ordered)
    lines = "".join(f"{name}:{value}\n" for name, value in ordered)
    canonical = "\n".join([method, parts.path or "/", parts.query, lines, names, digest])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + keys.secret.encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signed["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return signed


def _suffix(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _inner(text: str, element: str) -> str:
    from html import unescape

    match = re.search(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return unescape(match[1]) if match else ""
