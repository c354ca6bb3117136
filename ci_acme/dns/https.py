"""DNS over HTTPS (RFC 8484): how a resolver is asked where port 53 is closed. Imported only by those who need it.

`Resolver` is the exchange with one URL; `Courier` carries exchanges for an `Asker`'s loop, in a few threads.
"""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Hashable
from pathlib import Path
from queue import SimpleQueue
from typing import Final
from urllib.parse import urlsplit

from ci_acme import dnswire
from ci_acme.dns.question import Answer, Exchange, Failed, Failure, Question, Reply, Server
from ci_acme.dnswire import WireError
from ci_acme.errors import ConfigError
from ci_acme.wire import Reply as HttpReply
from ci_acme.wire import Request, Unreachable, Wire

SECONDS: Final = 5.0
"""For one exchange, with TCP and TLS."""
_TRIES: Final = 2
_THREADS: Final = 8
_TYPE: Final = "application/dns-message"
_NO_POST: Final = frozenset({404, 405, 415, 501})


class NoReply(Exception):
    """The resolver gave no DNS message; the text is for people."""


class Resolver:
    """One DNS-over-HTTPS resolver. POST, and GET from then on if the server does not take that. Thread-safe."""

    def __init__(self, url: str, wire: Wire, closed: threading.Event) -> None:
        self._url = url.removesuffix("{?dns}")
        self._wire = wire
        self._closed = closed
        self._get = False

    def __call__(self, message: bytes) -> bytes:
        """The reply to a DNS message. Raises `NoReply`."""
        try:
            return self._exchange(message)
        finally:
            if self._closed.is_set():  # while the reply was under way: the connection was kept for nobody
                self._wire.close()

    def _exchange(self, message: bytes) -> bytes:
        for attempt in range(_TRIES):
            try:
                return self._ask(message)
            except Unreachable as error:  # a connection that was kept may have ended
                if attempt == _TRIES - 1:
                    raise NoReply(str(error)) from None
            except ConfigError as error:
                raise NoReply(error.message) from None
        raise NoReply("too many tries")

    def _ask(self, message: bytes) -> bytes:
        if not self._get:
            headers = {"Accept": _TYPE, "Content-Type": _TYPE, "User-Agent": "ci-acme"}
            reply = self._wire.send(Request("POST", self._url, headers, message), timeout=SECONDS)
            if reply.status not in _NO_POST:
                return _message(reply)
            self._get = True
        text = base64.urlsafe_b64encode(message).rstrip(b"=").decode("ascii")
        joint = "&" if urlsplit(self._url).query else "?"
        headers = {"Accept": _TYPE, "User-Agent": "ci-acme"}
        return _message(self._wire.send(Request("GET", f"{self._url}{joint}dns={text}", headers), timeout=SECONDS))


def _message(reply: HttpReply) -> bytes:
    if not reply.ok:
        raise NoReply(f"answers HTTP {reply.status}")
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _TYPE:
        raise NoReply(f"answers {kind or 'something'} instead of a DNS message")
    return reply.body


class Https:
    """The resolvers of a run, which share their connections. `trust` replaces the system's roots. Close it."""

    def __init__(self, trust: Path | None = None) -> None:
        self._wire = Wire(trust)
        self._closed = threading.Event()

    def server(self, url: str) -> Server:
        """The resolver at a URL, as one to ask."""
        return Server(url, 443, Resolver(url, self._wire, self._closed))

    def close(self) -> None:
        """Close the kept connections."""
        self._closed.set()
        self._wire.close()


class Courier:
    """Exchanges under way for one loop: `send` returns at once, and `selector` fires when `take` has replies."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)  # noqa: FBT003  # the standard library's signature
        selector.register(self._here, selectors.EVENT_READ, self)
        self._todo: SimpleQueue[tuple[Exchange, Question, Hashable] | None] = SimpleQueue()
        self._done: deque[tuple[Hashable, Reply]] = deque()
        self._under_way = 0
        self._threads: list[threading.Thread] = []

    def send(self, exchange: Exchange, question: Question, key: Hashable) -> None:
        """Begin an exchange."""
        self._under_way += 1
        self._todo.put((exchange, question, key))
        if len(self._threads) < min(_THREADS, self._under_way):
            thread = threading.Thread(target=self._work, name="ci-acme-doh", daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self) -> list[tuple[Hashable, Reply]]:
        """The replies that have come."""
        with contextlib.suppress(BlockingIOError):
            self._here.recv(4096)
        replies: list[tuple[Hashable, Reply]] = []
        while self._done:
            replies.append(self._done.popleft())
        self._under_way -= len(replies)
        return replies

    def close(self) -> None:
        """Forget what is under way; its threads end by themselves."""
        for _ in self._threads:
            self._todo.put(None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._here)
        self._here.close()
        self._there.close()

    def _work(self) -> None:
        while True:
            job = self._todo.get()
            if job is None:
                return
            exchange, question, key = job
            self._done.append((key, ask_one(exchange, question)))
            with contextlib.suppress(OSError):  # the loop has ended meanwhile
                self._there.send(b"\0")


def ask_one(exchange: Exchange, question: Question) -> Reply:
    """The reply to one question."""
    try:
        raw = exchange(bytes(question.wire()))
        message = dnswire.parse(raw)
    except NoReply as error:
        return Failed(Failure.UNREACHABLE, str(error))
    except WireError as error:
        return Failed(Failure.BROKEN, f"broken answer ({error})")
    if not message.is_reply or message.question != (question.name, question.rtype):
        return Failed(Failure.BROKEN, "answers another question")
    return Answer(message.rcode, message.aa, message.answers, message.authority, message.additional)
