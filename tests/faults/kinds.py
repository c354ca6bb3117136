"""What can happen to a request, and how each platform would word an answer that repeats what it was sent."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from tests.clouds.api import Answer, Call, FakeApi, Fault, commit_then, lose_call, lose_reply, refuse
from tests.clouds.awsjson import AwsJson
from tests.clouds.entra import Entra
from tests.clouds.google import GoogleApi
from tests.clouds.key_vault import KeyVaultApi
from tests.clouds.kubernetes import FakeKubernetes
from tests.clouds.s3 import S3
from tests.clouds.vault import FakeVault


@dataclass(frozen=True)
class Kind:
    """`fault` is what happens to a request of a fake; `forever`: to every later one as well. `disk` is what happens
    to a system call instead: the number of the error, and whether it was carried out before. None: to no system call.
    """

    fault: Callable[[FakeApi], Fault]
    forever: bool = False
    disk: tuple[int, bool] | None = None


def _said(status: int) -> Callable[[FakeApi], Fault]:
    return lambda fake: refuse(worded(fake, status, "not now", retry_after="1" if status == 429 else None))


def _echo(status: int, shown: Callable[[Call], str]) -> Callable[[FakeApi], Fault]:
    return lambda fake: lambda call, _do: worded(fake, status, shown(call))


def _garbage(_: FakeApi) -> Fault:
    return refuse(Answer(200, b"<html>a proxy's page</html>", {"Content-Type": "text/html"}))


def _reflection(_: FakeApi) -> Fault:
    """A proxy's page that has all of the request in it."""

    def fault(call: Call, _do: Callable[[Call], Answer]) -> Answer:
        page = f"<html>{everything(call)}</html>"
        return Answer(502, page.encode(errors="replace"), {"Content-Type": "text/html"})

    return fault


def everything(call: Call) -> str:
    """The credentials first: texts are cut somewhere."""
    return f"{credentials(call)} {call.body.decode(errors='replace')}"


def credentials(call: Call) -> str:
    """What headers prove who asks."""
    names = ("authorization", "private-token", "x-vault-token", "x-amz-security-token")
    return " ".join(call.headers[name] for name in names if name in call.headers)


def values(call: Call) -> str:
    """Whatever text is deep inside the body, keys first, as a validation would name it: `invalid value '…'`."""
    found = sorted(leaves(call.body), key=lambda text: "PRIVATE KEY" not in text)
    return " ".join(f"invalid value '{text}'" for text in found[:3]) or "no value"


def lines(call: Call) -> str:
    """The lines of keys alone, the shortest first, or the ends of other long values: what no pattern takes for PEM."""
    found = list(leaves(call.body))
    keys = [text.partition("PRIVATE KEY-----")[2].partition("-----END")[0] for text in found if "PRIVATE KEY" in text]
    inner = sorted((line.strip() for text in keys for line in text.split("\n") if line.strip()), key=len)
    return "illegal data at " + " ".join(inner or [text[-40:] for text in found if len(text) > 40] or ["?"])


def leaves(data: bytes) -> Iterator[str]:
    """The texts in a JSON document, also of documents that are texts in it, or in a form."""
    text = data.decode(errors="replace")
    try:
        document = json.loads(text)
    except ValueError:
        form = parse_qsl(text) if "=" in text and "\n" not in text else []
        yield from [value for _, value in form] or [text]
        return
    yield from _leaves(document)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        if value.startswith("{"):
            yield from leaves(value.encode())
        else:
            yield value


def worded(fake: FakeApi, status: int, text: str, *, retry_after: str | None = None) -> Answer:
    """An error as this platform words it."""
    if isinstance(fake, S3):
        code = "SlowDown" if status == 429 else "AccessDenied" if status == 403 else "InvalidRequest"
        xml = f"<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
        return Answer(503 if status == 429 else status, xml.encode(), {"Content-Type": "application/xml"})
    answer = Answer.of(_document(fake, status, text), status)
    if retry_after is not None:
        answer.headers["Retry-After"] = retry_after
    return answer


def _document(fake: FakeApi, status: int, text: str) -> Any:  # noqa: PLR0911 - one for each platform
    if isinstance(fake, AwsJson):
        code = {403: "AccessDeniedException", 429: "ThrottlingException"}.get(status, "ValidationException")
        return {"__type": code, "message": text}
    if isinstance(fake, Entra):
        return {"error": "invalid_request", "error_description": text}
    if isinstance(fake, KeyVaultApi):
        return {"error": {"code": "Forbidden" if status == 403 else "BadParameter", "message": text}}
    if isinstance(fake, GoogleApi):
        words = {403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}.get(status, "INVALID_ARGUMENT")
        return {"error": {"code": status, "status": words, "message": text}}
    if isinstance(fake, FakeVault):
        return {"errors": [text]}
    if isinstance(fake, FakeKubernetes):
        causes = [{"field": text, "reason": text, "message": text}]
        return {"kind": "Status", "reason": "Invalid", "message": text, "code": status, "details": {"causes": causes}}
    return {"message": text, "errors": [{"message": text}]}


KINDS: dict[str, Kind] = {
    "answer lost": Kind(lambda _: lose_reply, disk=(errno.EIO, True)),
    "cut before": Kind(lambda _: lose_call, disk=(errno.EIO, False)),
    "gone for good": Kind(lambda _: lose_call, forever=True, disk=(errno.ENOSPC, False)),
    "500 after it was done": Kind(lambda fake: commit_then(worded(fake, 500, "broken"))),
    "503 for good": Kind(_said(503), forever=True, disk=(errno.EROFS, False)),
    "429": Kind(_said(429)),
    "403": Kind(_said(403), disk=(errno.EACCES, False)),
    "403 for good": Kind(_said(403), forever=True, disk=(errno.EACCES, False)),
    "garbage": Kind(_garbage),
    "echo of all, 400": Kind(_echo(400, everything)),
    "echo of values, 403": Kind(_echo(403, values)),
    "echo of lines, 409": Kind(_echo(409, lines)),
    "echo of values, 500 for good": Kind(_echo(500, values), forever=True),
    "echo of lines, 401": Kind(_echo(401, lines)),
    "echo of credentials, 403": Kind(_echo(403, credentials)),
    "echo of all, a page, for good": Kind(_reflection, forever=True),
}
