"""Streams in object storage: chains of objects.

The first part of a stream has number 0. The last part takes appended records by compare-and-swap. When it is full it is
sealed, and the next one begins, named by the first number that it can hold. All who append agree on the one object that
is written next, so that the order of records is that of their numbers, and a sealed part gets no more records. Dropping
a stream of one part removes it. Dropping a longer one writes into the last part that all before is dropped; part 0 and
the last part stay then, and the name of a part between them never comes back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from ci_acme.dataclass import dataclass, replace
from ci_acme.errors import StateError, StateUnavailable
from ci_acme.ports import Clock
from ci_acme.state.clouds.bucket import ABSENT, CROWDED, Backoff, Bucket, Condition, Refused
from ci_acme.state.engine import Conflict, Record
from ci_acme.state.segments import EMPTY, HEAD_SIZE, Part, decode_name, encode_name, new_id, pack_part, unpack_part

PART_SIZE: Final = 256 * 1024
"""Bytes from which the last part of a stream is sealed: each append writes it as a whole."""
_LONGEST_PAUSE: Final = 1.0
_PARALLEL: Final = 8
_REMEMBERED: Final = 16
"""Streams of which the last part is kept, to be tried before it is read."""


@dataclass(frozen=True, slots=True)
class _Tail:
    """The last part of a stream. `tag` is None if there is no such object yet; `first` is part 0 if it was read."""

    number: int = 0
    part: Part = EMPTY
    tag: str | None = None
    first: Part | None = None

    @property
    def target(self) -> tuple[int, Part, Condition]:
        """Which object takes the next record, what it holds now, and the condition of writing it."""
        if self.part.sealed:
            return self.part.last + 1, replace(self.part, records=(), sealed=False), ABSENT
        return self.number, self.part, ABSENT if self.tag is None else self.tag


class Chains:
    """The streams under `root`, an object name's beginning. See `Engine` for what the methods promise. Thread-safe."""

    def __init__(self, bucket: Bucket, root: str, *, clock: Clock, part_size: int = PART_SIZE) -> None:
        self._bucket = bucket
        self._root = root
        self._clock = clock
        self._part_size = part_size
        self._lock = threading.Lock()
        self._tails: dict[str, _Tail] = {}

    def append(self, stream: str, value: bytes, *, expect_last: int | None = None) -> int:
        write, backoff = new_id(), self._contention()
        with self._lock:
            tail = self._tails.get(stream, _Tail())  # most streams that are appended to are new or our own
        sure = False
        while True:
            if expect_last is not None and tail.part.visible != expect_last:
                if sure:
                    raise Conflict(stream, tail.part.visible)
                tail, sure = self._read_tail(stream), True
                continue
            if self._is_full(tail.part, value):
                tail = self._seal(stream, tail)
                continue
            number = max(tail.part.last + 1, int(self._clock.now().timestamp() * 1e6))
            at, before, condition = tail.target
            part = replace(before, records=(*before.records, (Record(number, value), write)), last=number)
            try:
                tag = self._bucket.put(self._part(stream, at), pack_part(part, write), condition)
            except Refused as refused:
                tail, sure = self._read_part(stream, at), True
                if tail.part.has(write):  # the reply of an earlier try was lost
                    return self._remember(
                        stream, tail, next(one.number for one, by in tail.part.records if by == write)
                    )
                self._certain(refused, stream, before, tail)
                if tail.tag is None or tail.part.sealed:
                    tail = self._read_tail(stream)
                self._wait(backoff, stream)
            else:
                return self._remember(stream, _Tail(at, part, tag), number)

    def records(self, stream: str, *, after: int = 0) -> Sequence[Record]:
        backoff = self._contention()
        while True:
            tail = self._read_tail(stream)
            begin = max(after, tail.part.base)
            parts = [] if tail.number <= begin + 1 else self._earlier_parts(stream, tail, begin)
            if None not in parts:
                every = [record for part in (*parts, tail.part) if part for record, _ in part.records]
                return [record for record in every if record.number > begin]
            self._wait(backoff, stream)  # dropped while it was read

    def streams(self, prefix: str) -> Sequence[str]:
        root = f"{self._root}"
        last: dict[str, tuple[int, int]] = {}
        for item in self._bucket.list(root + encode_name(prefix)):
            name, _, number = item.name[len(root) :].rpartition(".")
            last[name] = max(last.get(name, (0, 0)), (int(number), item.size))
        return sorted(decode_name(name) for name, (_, size) in last.items() if size > HEAD_SIZE)

    def drop(self, stream: str, *, expect_last: int) -> None:
        backoff = self._contention()
        with self._lock:
            tail = self._tails.pop(stream, None)
        if tail is None or tail.part.visible != expect_last:
            tail = self._read_tail(stream)
        while True:
            if tail.part.visible != expect_last:
                raise Conflict(stream, tail.part.visible)
            if not tail.part.visible:
                return
            try:
                self._drop(stream, tail)
            except Refused as refused:
                tail = self._read_tail(stream)
                if refused.lost and (tail.part.base >= expect_last or tail.tag is None):
                    return
                self._wait(backoff, stream)
            else:
                return

    def forget(self) -> None:
        """Nothing of a stream is known any more."""
        with self._lock:
            self._tails.clear()

    # --- parts of a stream -------------------------------------------------------------------------------------------

    def _drop(self, stream: str, tail: _Tail) -> None:
        """A stream of one part goes with it; of a longer one the last part says that all before is dropped."""
        if tail.number == 0 and not tail.part.sealed:
            self._bucket.delete(self._part(stream, 0), tail.tag)
            return
        at, part, condition = tail.target
        empty = replace(part, records=(), base=part.last)
        self._bucket.put(self._part(stream, at), pack_part(empty, new_id()), condition)
        try:
            self._sweep(stream, at)
        except (StateError, Refused):
            return  # what is left is not seen, and goes with the next drop

    def _sweep(self, stream: str, last: int) -> None:
        """Remove the parts before `last`; part 0 stays, without its records, for whoever begins to read there."""
        for number in self._numbers(stream):
            if 0 < number < last:
                self._bucket.delete(self._part(stream, number), None)
        first = self._read_part(stream, 0)
        if first.part.records and first.part.sealed and first.tag is not None:
            empty = replace(first.part, records=())
            self._bucket.put(self._part(stream, 0), pack_part(empty, new_id()), first.tag)

    def _seal(self, stream: str, tail: _Tail) -> _Tail:
        """Let nobody append to this part any more; if somebody was first, what is there now."""
        sealed = replace(tail.part, sealed=True)
        try:
            tag = self._bucket.put(self._part(stream, tail.number), pack_part(sealed, new_id()), tail.tag)
        except Refused:
            return self._read_tail(stream)
        return replace(tail, part=sealed, tag=tag)

    def _is_full(self, part: Part, value: bytes) -> bool:
        return not part.sealed and bool(part.records) and part.size + len(value) > self._part_size

    def _read_tail(self, stream: str) -> _Tail:
        """The last part as it is now: one request for a stream of one part, or whose last part was seen before."""
        with self._lock:
            seen = self._tails.get(stream, _Tail()).number
        tail = self._read_part(stream, seen)
        if tail.tag is None and seen:
            tail = self._read_part(stream, 0)
        first = tail.part if tail.number == 0 else None
        if tail.part.sealed:
            last = max(self._numbers(stream), default=0)
            tail = tail if last == tail.number else self._read_part(stream, last)
        if tail.tag is not None:
            self._remember(stream, tail, 0)
        return replace(tail, first=first)

    def _read_part(self, stream: str, number: int) -> _Tail:
        name = self._part(stream, number)
        found = self._bucket.get(name)
        if found is None:
            return _Tail(number)
        return _Tail(number, unpack_part(found.body, f"{self._bucket.where}/{name}"), found.tag)

    def _earlier_parts(self, stream: str, tail: _Tail, begin: int) -> Sequence[Part | None]:
        """The parts before the last with records beyond `begin`, in order; None for one that is gone."""
        from concurrent.futures import ThreadPoolExecutor

        numbers = [number for number in sorted(self._numbers(stream)) if number <= tail.number]
        wanted = [number for number, following in pairwise(numbers) if following > begin + 1]

        def read(number: int) -> Part | None:
            if number == 0 and tail.first is not None:
                return tail.first
            part = self._read_part(stream, number).part
            return part if part.records else None

        with ThreadPoolExecutor(_PARALLEL) as pool:
            return list(pool.map(read, wanted))

    def _numbers(self, stream: str) -> Sequence[int]:
        return [int(item.name.rpartition(".")[2]) for item in self._bucket.list(f"{self._root}{encode_name(stream)}.")]

    def _remember(self, stream: str, tail: _Tail, number: int) -> int:
        with self._lock:
            self._tails.pop(stream, None)
            self._tails[stream] = tail
            while len(self._tails) > _REMEMBERED:
                del self._tails[next(iter(self._tails))]
        return number

    # --- conditions --------------------------------------------------------------------------------------------------

    def _part(self, stream: str, number: int) -> str:
        return f"{self._root}{encode_name(stream)}.{number:020d}"

    def _contention(self) -> Backoff:
        return Backoff(self._clock, seconds=CROWDED, longest=_LONGEST_PAUSE)

    def _wait(self, backoff: Backoff, stream: str) -> None:
        if not backoff.wait():
            raise StateUnavailable(
                f"{stream} in the state {self._bucket.where} changes all the time",
                fix="run fewer jobs at once, or run again later",
            )

    def _certain(self, refused: Refused, stream: str, before: Part, now: _Tail) -> None:
        """Raise `StateUnavailable` if our record, of which no reply came, may have been there and be dropped since."""
        if refused.lost and (now.tag is None or now.part.records[:1] != before.records[:1] != ()):
            raise StateUnavailable(
                f"{self._bucket.where} gave no answer whether {stream} was written, and others changed it since",
                fix="run again",
            )
