"""Amazon S3 on loopback, as its API reference has it: conditions, tags in the header, user metadata, versions.

A write under If-Match or If-None-Match answers 412 (404 for If-Match without an object); an object has 10 tags; those
of a delete marker are 405; without s3:ListBucket an object that is not there is forbidden, not missing.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.awsjson import REGION, ROLE, Permissions

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MOST_TAGS = 10
MOST_HEADERS = 8192
_TAG = re.compile(r"[\w \-+=._:/@]*")


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "words") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message


@dataclass
class Object:
    """A version; `marker` if it says that the object was deleted."""

    version: str
    body: bytes = b""
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    encryption: tuple[str, str] | None = None
    marker: bool = False

    @property
    def etag(self) -> str:
        """Of an object that KMS encrypts, it is not the content's."""
        salt = self.version.encode() if self.encryption else b""
        return f'"{hashlib.md5(self.body + salt).hexdigest()}"'


class S3(FakeApi):
    """One bucket, in path style. `versioned` keeps what was."""

    def __init__(self, bucket: str) -> None:
        super().__init__()
        self.bucket = bucket
        self.iam = Permissions()
        self.versioned = False
        self.objects: dict[str, list[Object]] = {}
        self.writes = 0
        self.broken: str | None = None
        self._count = 0

    def plant(self, key: str, body: bytes, **tags: str) -> None:
        """An object that somebody else put there."""
        self._store(key, Object(self._next(), body, tags))

    def body(self, key: str) -> bytes | None:
        """What a reader gets."""
        found = self._current(key)
        return None if found is None or found.marker else found.body

    def handle(self, call: Call) -> Answer:
        try:
            self._admit(call)
            with self.lock:
                return self._do(call, self._key(call))
        except Refused as refused:
            text = f"<Error><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error>"
            return Answer(refused.status, b"" if call.method == "HEAD" else text.encode())
        except Exception as defect:
            return Answer(400, f"<Error><Code>DefectOfTheFake</Code><Message>{defect!r}</Message></Error>".encode())

    def _key(self, call: Call) -> str:
        _, bucket, key = (call.path + "/").split("/", 2)
        if bucket != self.bucket:
            raise Refused(404, "NoSuchBucket")
        return key.removesuffix("/")

    def _admit(self, call: Call) -> None:
        authorization = call.headers.get("authorization", "")
        assert f"/{REGION}/s3/aws4_request" in authorization
        assert call.headers["x-amz-content-sha256"] == hashlib.sha256(call.body).hexdigest()
        crc = call.headers.get("x-amz-checksum-crc32")
        if crc is not None:
            assert base64.b64decode(crc) == zlib.crc32(call.body).to_bytes(4, "big")
        assert sum(len(name) + len(value) + 4 for name, value in call.headers.items()) < MOST_HEADERS

    def _do(self, call: Call, key: str) -> Answer:
        if not key:
            self._allow("s3:ListBucketVersions", key)
            assert "versions" in call.query
            return self._list(call.one("prefix") or "")
        if "tagging" in call.query:
            return self._tagging(call, key)
        if call.method == "PUT":
            return self._put(call, key)
        if call.method == "DELETE":
            return self._delete(call, key)
        self._allow("s3:GetObject", key)
        found = self._found(key)
        headers = {"ETag": found.etag, **{f"x-amz-meta-{name}": value for name, value in found.metadata.items()}}
        return Answer(200, found.body, headers)

    def _put(self, call: Call, key: str) -> Answer:
        self._allow("s3:PutObject", key)
        tags = {}
        if "x-amz-tagging" in call.headers:
            self._allow("s3:PutObjectTagging", key)
            tags = _checked(dict(parse_qsl(call.headers["x-amz-tagging"], keep_blank_values=True)))
        self._condition(call, key)
        self._wrote()
        metadata = {name[11:]: value for name, value in call.headers.items() if name.startswith("x-amz-meta-")}
        assert sum(len(name) + len(value) for name, value in metadata.items()) <= 2048
        encryption = None
        if "x-amz-server-side-encryption" in call.headers:
            kind = call.headers["x-amz-server-side-encryption"]
            encryption = (kind, call.headers["x-amz-server-side-encryption-aws-kms-key-id"])
        made = Object(self._next(), call.body, tags, metadata, encryption)
        self._store(key, made)
        version = {"x-amz-version-id": made.version} if self.versioned else {}
        return Answer(200, b"", {"ETag": made.etag, **version})

    def _delete(self, call: Call, key: str) -> Answer:
        version = call.one("versionId")
        self._allow("s3:DeleteObjectVersion" if version else "s3:DeleteObject", key)
        if version is not None:
            self._wrote()
            left = [each for each in self.objects.get(key, ()) if each.version != version]
            self.objects[key] = left
            if not left:
                del self.objects[key]
            return Answer(204)
        found = self._current(key)
        if "if-match" in call.headers:
            self._condition(call, key)
        if found is None:
            return Answer(204)
        self._wrote()
        if not self.versioned:
            del self.objects[key]
            return Answer(204)
        marker = Object(self._next(), marker=True)
        self.objects[key].append(marker)
        return Answer(204, b"", {"x-amz-delete-marker": "true", "x-amz-version-id": marker.version})

    def _tagging(self, call: Call, key: str) -> Answer:
        if call.method == "GET":
            self._allow("s3:GetObjectTagging", key)
            tags = "".join(
                f"<Tag><Key>{escape(name)}</Key><Value>{escape(value)}</Value></Tag>"
                for name, value in self._found(key, marker=405).tags.items()
            )
            return Answer(200, f'<Tagging xmlns="{NAMESPACE}"><TagSet>{tags}</TagSet></Tagging>'.encode())
        self._allow("s3:PutObjectTagging", key)
        found = self._found(key, marker=405)
        tags = _checked(dict(_tags_of(ET.fromstring(call.body))))
        self._wrote()
        found.tags = tags
        return Answer(200)

    def _list(self, prefix: str) -> Answer:
        entries = "".join(
            f"<{kind}><Key>{escape(key)}</Key><VersionId>{each.version}</VersionId></{kind}>"
            for key, versions in sorted(self.objects.items())
            if key.startswith(prefix)
            for each in reversed(versions)
            for kind in ["DeleteMarker" if each.marker else "Version"]
        )
        text = f'<ListVersionsResult xmlns="{NAMESPACE}"><IsTruncated>false</IsTruncated>{entries}</ListVersionsResult>'
        return Answer(200, text.encode())

    # --- inside

    def _condition(self, call: Call, key: str) -> None:
        found = self._current(key)
        there = found is not None and not found.marker
        if "if-none-match" in call.headers:
            assert call.headers["if-none-match"] == "*"
            if there:
                raise Refused(412, "PreconditionFailed")
        if "if-match" in call.headers:
            self._allow("s3:GetObject", key)
            if found is None or not there:
                raise Refused(404, "NoSuchKey")
            if call.headers["if-match"] != found.etag:
                raise Refused(412, "PreconditionFailed")

    def _allow(self, action: str, key: str) -> None:
        resource = f"arn:aws:s3:::{self.bucket}" + ("" if "Bucket" in action else f"/{key}")
        if not self.iam.allows(action, resource):
            raise Refused(
                403,
                "AccessDenied",
                f'User: {ROLE} is not authorized to perform: {action} on resource: "{resource}" '
                f"because no identity-based policy allows the {action} action",
            )

    def _found(self, key: str, marker: int = 404) -> Object:
        found = self._current(key)
        if found is None or (found.marker and marker == 404):
            self._allow("s3:ListBucket", key)
            raise Refused(404, "NoSuchKey")
        if found.marker:
            raise Refused(405, "MethodNotAllowed")
        return found

    def _current(self, key: str) -> Object | None:
        versions = self.objects.get(key)
        return versions[-1] if versions else None

    def _store(self, key: str, made: Object) -> None:
        if self.versioned:
            self.objects.setdefault(key, []).append(made)
        else:
            self.objects[key] = [made]

    def _next(self) -> str:
        self._count += 1
        return f"v{self._count}" if self.versioned else "null"

    def _wrote(self) -> None:
        if self.broken is not None:
            raise Refused(400, self.broken)
        self.writes += 1


def _checked(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > MOST_TAGS:
        raise Refused(400, "BadRequest", "Object tags cannot be greater than 10")
    for name, value in tags.items():
        if len(name) > 128 or len(value) > 256 or not _TAG.fullmatch(name) or not _TAG.fullmatch(value):
            raise Refused(400, "InvalidTag")
    return tags


def _tags_of(document: ET.Element) -> Iterator[tuple[str, str]]:
    for tag in document.iter(f"{{{NAMESPACE}}}Tag"):
        yield tag.findtext(f"{{{NAMESPACE}}}Key") or "", tag.findtext(f"{{{NAMESPACE}}}Value") or ""
