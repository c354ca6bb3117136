"""Many DNS questions at once: one selector loop, UDP first, TCP where UDP does not serve.

`Asker` is the loop; `batch` has the common ways to use it. No single answer raises: a server that is dead, broken or
unreachable is a `Failed` with its reason, everything else an `Answer`.
"""

from __future__ import annotations

import heapq
import os
import selectors
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ci_acme import dnswire
from ci_acme.dataclass import dataclass, field
from ci_acme.dns.links import Link
from ci_acme.dns.question import Answer, Exchange, Failed, Failure, Question, Reply, Server
from ci_acme.dnswire import Message, WireError
from ci_acme.ports import Clock

if TYPE_CHECKING:
    from ci_acme.dns.https import Courier  # HTTP is loaded by those who ask over it

K = TypeVar("K", bound=Hashable)

PATIENCE: Final = (1.0, 1.5, 2.0)
"""Seconds for the first UDP try, the second one, and TCP."""
_STREAM: Final = len(PATIENCE) - 1
_SLICE: Final = 0.1
"""The longest time that an interrupt goes unheard."""
_WINDOW: Final = 96
"""Questions in flight to one server over UDP: more would overrun small receive buffers."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A question on its way; `stage` counts the tries, `due` is when the current one is given up."""

    question: Question
    key: Hashable
    wire: bytearray
    stage: int = 0
    due: float = 0.0
    ident: int = -1
    done: bool = False
    edns: bool = True


@dataclass(slots=True, eq=False)
class _Peer:
    """A server in the loop: its sockets, what was sent and what waits for its turn.

    `singly` is for one that ends a connection on which several questions are: it is asked one after the other.
    """

    link: Link
    sent: dict[int, _Pending] = field(default_factory=dict[int, _Pending])
    waiting: deque[_Pending] = field(default_factory=deque[_Pending])
    heard: bool = False
    heard_udp: bool = False
    singly: bool = False

    @property
    def stream_only(self) -> bool:
        """Whether UDP gets no answers through: then nobody waits for it again."""
        return self.heard and not self.heard_udp


class Asker(Generic[K]):
    """A running batch: `submit` questions at any time, `poll` for replies as they come. One thread uses it.

    The keys given to `submit` come back from `poll` beside the replies. Close it: it holds sockets.
    """

    def __init__(self, clock: Clock, check: Callable[[], None] | None = None) -> None:
        self._clock = clock
        self._check = check or clock.check
        self._selector = selectors.DefaultSelector()
        self._peers: dict[Server, _Peer] = {}
        self._owners: dict[Link, _Peer] = {}
        self._due: list[tuple[float, int, _Pending]] = []
        self._replies: list[tuple[K, Reply]] = []
        self._courier: Courier | None = None
        self._serial = 0
        self.outstanding = 0

    def __enter__(self) -> Asker[K]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close every socket; what is outstanding is forgotten."""
        for peer in self._peers.values():
            peer.link.close()
        if self._courier is not None:
            self._courier.close()
        self._peers.clear()
        self._selector.close()

    def submit(self, question: Question, key: K) -> None:
        """Send a question, now or as soon as its server's window allows."""
        if question.server.via is not None:
            self._send_over_https(question.server.via, question, key)
            return
        peer = self._peers.get(question.server)
        if peer is None:
            link = Link(question.server.address, question.server.port, self._selector)
            peer = self._peers[question.server] = self._owners[link] = _Peer(link)
        pending = _Pending(question, key, question.wire())
        self.outstanding += 1
        peer.waiting.append(pending)
        self._refill(peer)

    def poll(self, timeout: float) -> list[tuple[K, Reply]]:
        """The replies that are there; waits for the first up to `timeout` seconds, if anything is outstanding."""
        until = self._clock.monotonic() + timeout
        while True:
            self._check()
            now = self._clock.monotonic()
            horizon = min(until, self._due[0][0]) if self._due else until
            idle = not self.outstanding
            self._receive(0.0 if idle or self._replies else max(0.0, min(horizon - now, _SLICE)))
            self._give_up()
            for peer in self._peers.values():
                self._refill(peer)
            if self._replies or not self.outstanding or self._clock.monotonic() >= until:
                replies, self._replies = self._replies, []
                return replies

    # --- sending

    def _send_over_https(self, exchange: Exchange, question: Question, key: K) -> None:
        if self._courier is None:
            from ci_acme.dns.https import Courier

            self._courier = Courier(self._selector)
        self.outstanding += 1
        self._courier.send(exchange, question, key)

    def _refill(self, peer: _Peer) -> None:
        """Send what waits, as far as the window allows."""
        while peer.waiting and len(peer.sent) < (1 if peer.singly else _WINDOW):
            pending = peer.waiting.popleft()
            pending.ident = int.from_bytes(os.urandom(2), "big")
            while pending.ident in peer.sent:
                pending.ident = int.from_bytes(os.urandom(2), "big")
            peer.sent[pending.ident] = pending
            pending.stage = _STREAM if peer.stream_only else pending.stage
            self._send(peer, pending)

    def _send(self, peer: _Peer, pending: _Pending) -> None:
        """Start a try. A server that cannot even be sent to fails at once."""
        pending.wire[0:2] = pending.ident.to_bytes(2, "big")
        pending.due = self._clock.monotonic() + PATIENCE[pending.stage]
        self._serial += 1
        heapq.heappush(self._due, (pending.due, self._serial, pending))
        stream = pending.stage == _STREAM
        error = peer.link.send_tcp(pending.wire) if stream else peer.link.send_udp(pending.wire)
        if error is not None:
            self._channel_failed(peer, error, stream=stream)

    # --- receiving

    def _receive(self, pause: float) -> None:
        if not self._selector.get_map():  # Windows cannot select among nothing
            self._clock.sleep(pause)
            return
        for event, mask in self._selector.select(pause):
            if event.data is self._courier and self._courier is not None:
                self._take_from(self._courier)
                continue
            link: Link = event.data
            peer = self._owners[link]
            if event.fileobj is link.udp:
                wires, error = link.receive_udp()
                stream = False
            else:
                wires, error = link.advance_tcp(mask)
                stream = True
            for wire in wires:
                self._take(peer, wire, stream=stream)
            if error is not None:
                self._channel_failed(peer, error, stream=stream)

    def _take_from(self, courier: Courier) -> None:
        replies = courier.take()
        self.outstanding -= len(replies)
        self._replies += replies  # type: ignore[arg-type]  # `submit` took a K for each key

    def _take(self, peer: _Peer, wire: bytes, *, stream: bool) -> None:
        """Match a message to its question; what matches none is dropped (RFC 5452 section 4)."""
        pending = peer.sent.get(int.from_bytes(wire[:2], "big"))
        if pending is None:
            return
        try:
            message = dnswire.parse(wire)
        except WireError as error:
            if stream:
                self._finish(peer, pending, Failed(Failure.BROKEN, f"broken answer ({error})", pending.stage + 1))
            return
        if not _answers(message, pending.question):
            return
        peer.heard = True
        peer.heard_udp = peer.heard_udp or not stream
        if message.truncated and not stream:
            if pending.stage != _STREAM:
                pending.stage = _STREAM
                self._send(peer, pending)
        elif pending.edns and message.rcode in {dnswire.FORMERR, dnswire.NOTIMP, dnswire.BADVERS}:
            pending.edns = False  # RFC 6891 section 7: a server from before EDNS
            pending.wire = pending.question.wire(edns=False)
            self._send(peer, pending)
        else:
            answer = Answer(message.rcode, message.aa, message.answers, message.authority, message.additional)
            self._finish(peer, pending, answer)

    def _channel_failed(self, peer: _Peer, error: OSError, *, stream: bool) -> None:
        """A socket failed: every try that was under way on it failed."""
        victims = [one for one in peer.sent.values() if (one.stage == _STREAM) is stream and not one.done]
        if stream and peer.link.take_progress():
            for pending in victims:  # a server that closes after some answers is asked the rest on a new connection
                self._send(peer, pending)
            return
        if stream and len(victims) > 1 and not isinstance(error, ConnectionRefusedError):
            self._queue_singly(peer, victims)
            return
        for pending in victims:
            if not pending.done:
                self._try_failed(peer, pending, error)

    @staticmethod
    def _queue_singly(peer: _Peer, victims: Sequence[_Pending]) -> None:
        """Ask again, each on its own: who closes with questions unread takes back the answers that he has sent."""
        peer.singly = True
        for pending in reversed(victims):
            del peer.sent[pending.ident]
            pending.due = 0.0  # no try is under way that could be given up
            peer.waiting.appendleft(pending)

    # --- giving up

    def _give_up(self) -> None:
        now = self._clock.monotonic()
        while self._due and self._due[0][0] <= now:
            due, _, pending = heapq.heappop(self._due)
            if not pending.done and due == pending.due:
                self._try_failed(self._peers[pending.question.server], pending, None)

    def _try_failed(self, peer: _Peer, pending: _Pending, error: OSError | None) -> None:
        """Go on with the next try: the second UDP one after silence only, else TCP, else `Failed`."""
        if pending.stage != _STREAM:
            pending.stage = _STREAM if error is not None else pending.stage + 1
            self._send(peer, pending)
            return
        failure, reason = _explain(error)
        failed = Failed(failure, reason, pending.stage + 1)
        self._finish(peer, pending, failed)
        while peer.waiting and not peer.heard:  # a server that never spoke is not given a turn for each question
            self._finish(peer, peer.waiting.popleft(), failed)

    def _finish(self, peer: _Peer, pending: _Pending, reply: Reply) -> None:
        pending.done = True
        peer.sent.pop(pending.ident, None)
        self.outstanding -= 1
        self._replies.append((pending.key, reply))  # type: ignore[arg-type]  # `submit` took a K for this key


def _answers(message: Message, question: Question) -> bool:
    if not message.is_reply:
        return False
    if message.question is None:
        return message.rcode != dnswire.NOERROR
    return message.question == (question.name, question.rtype)


def _explain(error: OSError | None) -> tuple[Failure, str]:
    if error is None:
        return Failure.TIMEOUT, f"no answer in {sum(PATIENCE):.1f} s over UDP and TCP"
    if isinstance(error, ConnectionRefusedError):
        return Failure.REFUSED, "the port is refused"
    if isinstance(error, ConnectionError):
        return Failure.BROKEN, "the connection was closed without an answer"
    return Failure.UNREACHABLE, f"unreachable ({error.strerror or error})"
