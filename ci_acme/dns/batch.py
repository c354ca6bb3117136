"""The common ways to use an `Asker`: a whole batch, and the first good answer of several servers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from ci_acme import dnswire
from ci_acme.dataclass import dataclass, field
from ci_acme.dns.ask import PATIENCE, Asker
from ci_acme.dns.question import Answer, Failed, Failure, Question, Reply, Server
from ci_acme.ports import Clock, Deadline

K = TypeVar("K", bound=Hashable)

STAGGER: Final = 0.35
"""Seconds of silence after which the next server is asked as well (RFC 8305's idea, for servers)."""
_LATE: Final = Failed(Failure.TIMEOUT, "no answer before the deadline")


def ask(questions: Iterable[Question], clock: Clock, *, deadline: Deadline | None = None) -> list[Reply]:
    """Ask everything in parallel; the replies stand in the order of the questions."""
    with Asker[int](clock) as asker:
        count = 0
        for count, question in enumerate(questions, 1):
            asker.submit(question, count - 1)
        replies: list[Reply] = [_LATE] * count
        while asker.outstanding and not (deadline is not None and deadline.expired):
            for index, reply in asker.poll(sum(PATIENCE) if deadline is None else deadline.remaining()):
                replies[index] = reply
        return replies


@dataclass(slots=True)
class Heard:
    """What the servers of one matter said so far. `best` is the first good answer."""

    questions: Sequence[Question]
    replies: dict[Server, Reply] = field(default_factory=dict[Server, Reply])
    best: Answer | None = None
    asked: int = 0

    @property
    def open(self) -> bool:
        """Whether a good answer may still come."""
        return self.best is None and (self.asked < len(self.questions) or len(self.replies) < self.asked)

    @property
    def answered(self) -> bool:
        """Whether any server answered, good or not."""
        return any(isinstance(reply, Answer) for reply in self.replies.values())

    @property
    def silent(self) -> set[Server]:
        """Those that were asked and gave no answer, or not yet."""
        asked = (question.server for question in self.questions[: self.asked])
        return {server for server in asked if not isinstance(self.replies.get(server), Answer)}

    def take(self, server: Server, reply: Reply, *, good: bool) -> None:
        """Note a reply; the first good one is the best."""
        self.replies[server] = reply
        if good and self.best is None and isinstance(reply, Answer):
            self.best = reply

    def why(self) -> str:
        """What each server that was asked did, for an error."""
        return "; ".join(f"{server} {describe(reply)}" for server, reply in self.replies.items())


class Race(Generic[K]):
    """For each matter the first good answer: one server is asked, then the next when it fails or is silent."""

    def __init__(
        self,
        matters: Mapping[K, Sequence[Question]],
        clock: Clock,
        good: Callable[[K, Answer], bool] = lambda _, answer: answer.usable,
    ) -> None:
        self.heard = {key: Heard(questions) for key, questions in matters.items()}
        self._clock = clock
        self._good = good

    def run(self) -> dict[K, Heard]:
        """Ask until every matter has a good answer or no server is left."""
        with Asker[tuple[K, Server]](self._clock) as asker:
            self._advance(asker, self.heard)
            turn = self._clock.monotonic() + STAGGER
            while any(heard.open for heard in self.heard.values()):
                for (key, server), reply in asker.poll(max(0.0, turn - self._clock.monotonic())):
                    heard = self.heard[key]
                    heard.take(server, reply, good=isinstance(reply, Answer) and self._good(key, reply))
                    if heard.best is None:
                        self._advance(asker, (key,))
                if self._clock.monotonic() >= turn:
                    turn += STAGGER
                    self._advance(asker, [key for key, heard in self.heard.items() if heard.open])
        return self.heard

    def _advance(self, asker: Asker[tuple[K, Server]], keys: Iterable[K]) -> None:
        for key in keys:
            heard = self.heard[key]
            if heard.asked < len(heard.questions):
                question = heard.questions[heard.asked]
                heard.asked += 1
                asker.submit(question, (key, question.server))


def ask_all(matters: Mapping[K, Sequence[Question]], clock: Clock, *, grace: float) -> dict[K, Heard]:
    """Ask every server of every matter; `grace` seconds after all matters have an answer, silence counts as silence."""
    heard = {key: Heard(questions, asked=len(questions)) for key, questions in matters.items()}
    with Asker[tuple[K, Server]](clock) as asker:
        for key, questions in matters.items():
            for question in questions:
                asker.submit(question, (key, question.server))
        until: float | None = None
        while asker.outstanding and (until is None or clock.monotonic() < until):
            left = sum(PATIENCE) if until is None else until - clock.monotonic()
            for (key, server), reply in asker.poll(max(0.0, left)):
                heard[key].take(server, reply, good=isinstance(reply, Answer) and reply.usable)
            if until is None and all(one.best is not None for one in heard.values()):
                until = clock.monotonic() + grace
    for one in heard.values():
        for question in one.questions:
            one.replies.setdefault(question.server, Failed(Failure.TIMEOUT, f"no answer in {grace:.1f} s"))
    return heard


def describe(reply: Reply) -> str:
    """What a server did, in a few words: `answers REFUSED`, `no answer in 4.5 s over UDP and TCP`."""
    if isinstance(reply, Failed):
        return reply.reason
    if not reply.usable:
        return f"answers {dnswire.rcode_name(reply.rcode)}"
    return "answers" if reply.aa else "answers without authority"
