"""Hostile replies of a CA, made from its proper ones by throws of dice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from ci_acme.ca.http import Headers, HttpResponse
from tests.ca.support import BASE

Dice = random.Random


class Tape(random.Random):
    """Dice whose first throws are written down: numbers that Hypothesis makes smaller, and whatever the CA sends.

    The throws after them follow from those numbers, too. So a case does not depend on what happens while it runs.
    """

    def __init__(self, throws: Sequence[int]) -> None:
        super().__init__(repr(throws))
        self.throws = tuple(throws)
        self._left = list(reversed(throws))

    def random(self) -> float:
        return self._left.pop() * 2654435761 % 2**32 / 2**32 if self._left else super().random()

    def __repr__(self) -> str:
        return f"Tape({self.throws})"


STATUSES = [
    200, 201, 202, 204, 206, 226, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 409, 410, 412, 413,
    415, 418, 422, 429, 431, 451, 500, 501, 502, 503, 504, 511, 520, 599, 600, 999,
]  # fmt: skip
URLS = [
    "", " ", "/", "/relative/1", "//other.example/x", "http://ca.example/x", "https://", "https:///x", "javascript:x",
    "https://user:hunter2@ca.example/x", "https://ca.example:99999/x", "https://ca.example:x/", "https://[::1/x",
    "https://[v1.x]/", "https://ca.example/\r\nX: y", "https://ca.example/\x1b[2J", "https://ca.example/ü", "file:///etc/passwd",
    "https://other.example/authz/0", f"{BASE}/authz/999", f"{BASE}/authz/-1", f"{BASE}/unknown/1", f"{BASE}/dir",
    f"{BASE}/" + "x" * 70000, "https://ca.example/%00", "data:,x", "http://127.0.0.1:9/x", "HTTPS://CA.EXAMPLE/order/1",
]  # fmt: skip
TEXTS = [
    "", "valid", "ready", "pending", "processing", "invalid", "VALID", "\x00", "\x1b[31m::error::x", "a\r\nb", "\ud800",
    "\u202egnp", "x" * 300000, "💥" * 2000, "dns", "dns-01", "*.example.com", "..", "-", "1e999", "null", "NaN",
    "2026-13-45T99:99:99Z", "9999-12-31T23:59:59.999999999+23:59", "0001-01-01T00:00:00Z",
    "urn:ietf:params:acme:error:badNonce", "urn:ietf:params:acme:error:rateLimited",
    "urn:ietf:params:acme:error:accountDoesNotExist", "urn:ietf:params:acme:error:",
    "retry after 9999-99-99 99:99:99 UTC", "retry after 0001-01-01 00:00:00 UTC",
]  # fmt: skip
TIMES = [
    "0", "-1", "1", "59", "61", "86400", "99999999999", "1" * 400, "1.5", "soon", "", " 7 ", "٣", "Wed, 99 Foo 9999",
    "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 +2359", "\x00", "1, 2",
]  # fmt: skip
LINKS = [
    "<", "<>", "<>;rel=alternate", '<cert/9>;rel="alternate"', f'<{BASE}/cert/0>;rel="alternate"',
    '<http://ca.example/c>;rel="alternate"', '<https://[::1>;rel="alternate"', '<https://x:y@ca.example/>;rel="alternate"',
    "<a>;rel=alternate," * 3000, ";" * 50000, '<a>' + '; a="' * 9000, "<a>" + ";a=b" * 20000 + "!", "<" * 60000,
    '<https://ca.example/ü>;rel="alternate"', '<\ud83d\x00>;rel="alternate"',
]  # fmt: skip
NONCES = ["", "=", "a b", "ü", "x" * 100000, "\x00", "ok-nonce", "nonce1", "nonce1, nonce2"]
FIELDS = {"Location": URLS, "Retry-After": TIMES, "Date": TIMES, "Link": LINKS, "Replay-Nonce": NONCES}


def value(dice: Dice, depth: int = 0) -> Any:
    """Any JSON value, hostile ones preferred."""
    leaves: list[Callable[[], Any]] = [
        lambda: None,
        lambda: dice.choice([True, False]),
        lambda: dice.choice([0, -1, 2**31, 2**63, -(2**64), 10**300, 1e308, 0.5]),
        lambda: dice.choice(TEXTS),
        lambda: dice.choice(URLS),
    ]
    if depth < 3 and dice.random() < 0.4:
        count = dice.choice([0, 1, 2, 3, 3, 2000]) if depth == 0 else dice.randrange(3)
        if dice.random() < 0.5:
            return [value(dice, depth + 1) for _ in range(count)]
        return {dice.choice([*MEMBERS, *TEXTS[:9]]): value(dice, depth + 1) for _ in range(min(count, 9))}
    return dice.choice(leaves)()


MEMBERS = [
    "type", "status", "value", "url", "token", "error", "detail", "title", "instance", "identifier", "subproblems",
    "algorithms", "start", "end", "suggestedWindow", "explanationURL", "wildcard", "finalize", "certificate", "meta",
]  # fmt: skip


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every container and key or index in a document."""
    if isinstance(node, dict):
        pairs = list(node.items())
    elif isinstance(node, list):
        pairs = list(enumerate(node))
    else:
        return []
    return [(node, key) for key, _ in pairs] + [place for _, inner in pairs for place in places(inner)]


def edit(dice: Dice, document: Any) -> Any:
    """One member replaced, removed, repeated, swapped with another or added."""
    found = places(document)
    if not found:
        return value(dice)
    node, key = dice.choice(found)
    action = dice.randrange(6)
    if action == 0:
        del node[key]
    elif action == 1 and isinstance(node[key], list):
        node[key] = node[key] * dice.choice([0, 2, 50, 5000])
    elif action == 2:
        other, place = dice.choice(found)
        if not any(other[place] is holder for holder, _ in found):  # else a document that holds itself
            node[key] = other[place]
    elif action == 3 and isinstance(node, dict):
        node[dice.choice(MEMBERS)] = value(dice)
    else:
        node[key] = value(dice)
    return document


RAW: list[Callable[[Dice, bytes], bytes]] = [
    lambda dice, body: b"",
    lambda dice, body: dice.randbytes(dice.randrange(1, 400)),
    lambda dice, body: body[: dice.randrange(len(body) + 1)],
    lambda dice, body: body + b"\x00" * dice.randrange(5) + b"{}",
    lambda dice, body: b"[" * dice.choice([10, 1000, 200_000]),
    lambda dice, body: b'{"a":' * dice.choice([1000, 100_000]),
    lambda dice, body: b"<html>" + b"x" * dice.choice([10, 2_000_000]),
    lambda dice, body: b"\xef\xbb\xbf" + body,
    lambda dice, body: body.decode("utf-8", "replace").encode(dice.choice(["utf-16", "utf-32", "utf-7"])),
    lambda dice, body: b"1" * dice.choice([10, 5000, 1_000_000]),
    lambda dice, body: dice.choice([b"NaN", b"Infinity", b'"x"', b"null", b"true", b"[]", b"{}", b"0", b'"\\ud800"']),
    lambda dice, body: body.replace(b'"', b"'"),
    lambda dice, body: body.replace(b"-----BEGIN CERTIFICATE-----", b"-----BEGIN PRIVATE KEY-----"),
    lambda dice, body: body * dice.choice([2, 20, 300]),
    lambda dice, body: flip(dice, body, dice.choice([1, 1, 1, 3, 20])),
    lambda dice, body: b"-----BEGIN CERTIFICATE-----" + b"\n" * 90_000 + b"!",
    lambda dice, body: b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % (b"A" * 90_000),
]  # fmt: skip


def flip(dice: Dice, data: bytes, count: int) -> bytes:
    """Some bytes changed."""
    changed = bytearray(data)
    for _ in range(count if changed else 0):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def spoil_body(dice: Dice, body: bytes) -> bytes:
    """Another body: a document with a few edits, or no document at all."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if document is None or dice.random() < 0.25:
        return dice.choice(RAW)(dice, body)
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        document = edit(dice, document)
    return json.dumps(document).encode()


def spoil_headers(dice: Dice, headers: Headers) -> Headers:
    """One field dropped, replaced, or repeated."""
    name = dice.choice(sorted(FIELDS))
    fields = [(key, item) for key, values in headers._fields.items() for item in values]
    if dice.random() < 0.5:
        fields = [(key, item) for key, item in fields if key != name.lower()]
    if dice.random() < 0.9:
        fields.insert(dice.randrange(len(fields) + 1), (name, dice.choice(FIELDS[name])))
    return Headers(fields)


def spoil(dice: Dice, reply: HttpResponse) -> HttpResponse:
    """The reply with something wrong in its status, its header, its body, or several of them."""
    status, headers, body = reply.status, reply.headers, reply.body
    what = dice.choice(["status", "headers", "body", "body", "body", "problem", "all"])
    if what in {"status", "all"}:
        status = dice.choice(STATUSES)
    if what in {"headers", "all"}:
        headers = spoil_headers(dice, headers)
    if what in {"body", "all"}:
        body = spoil_body(dice, body)
    if what == "problem":
        status = dice.choice([400, 403, 404, 409, 429, 500, 503])
        proper = {
            "type": dice.choice(TEXTS[-6:]),
            "detail": "no",
            "instance": "/x",
            "subproblems": [{"type": "x", "identifier": {"type": "dns", "value": "a.example.com"}}],
        }
        body = spoil_body(dice, json.dumps(proper).encode())
        headers = spoil_headers(dice, headers)
    return HttpResponse(status, headers, body)


def on_the_wire(dice: Dice, reply: HttpResponse) -> bytes:
    """The bytes of a reply with something wrong in them."""
    fields = [(key, item) for key, values in reply.headers._fields.items() for item in values]
    length = dice.choice([len(reply.body)] * 3 + [0, len(reply.body) + 9, -1, 10**15, 10**400, "x", "1, 1", ""])
    framing: list[tuple[str, Any]] = dice.choice(
        [
            [("Content-Length", length)],
            [("Content-Length", length), ("Content-Length", 3)],
            [("Transfer-Encoding", dice.choice(["chunked", "gzip", "chunked, chunked", "\x00"]))],
            [("Content-Encoding", "gzip")],
            [],
        ]
    )
    extra = dice.choice(
        [[], [("X", "y" * 70000)], [("X", "y")] * 300, [("X y", "z")], [("", "z")], [("Connection", "x")]]
    )
    line = dice.choice(
        [f"HTTP/1.1 {reply.status} x"] * 4
        + ["HTTP/1.1", "HTTP/9.9 200", "HTTP/1.0 200 OK", "HTTP/1.1 2000 x", "HTTP/1.1 -1 x", "HTTP/1.1 100 x"]
        + ["HTTP/1.1 101 x", "ICY 200", "", "HTTP/1.1 200 " + "x" * 70000, f"HTTP/1.1 {reply.status}"]
    )  # fmt: skip
    head = "\r\n".join([line, *(f"{key}: {item}" for key, item in [*fields, *framing, *extra])]) + "\r\n\r\n"
    data = head.encode("utf-8", "replace") + reply.body
    action = dice.randrange(4)
    if action == 0:
        return data[: dice.randrange(len(data) + 1)]
    if action == 1:
        return flip(dice, data, dice.choice([1, 2, 10]))
    return data
