"""An engine that forgets: for a run whose state cannot be written, and for tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ci_acme.clock import SystemClock
from ci_acme.ports import Clock
from ci_acme.state.engine import ABSENT, ANY, Conflict, Entry, Expect, Record, Version


class MemoryEngine:
    """An `Engine` of this process alone. What it holds is gone with the process."""

    where = "memory"

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._streams: dict[str, list[Record]] = {}
        self._count = 0

    def check(self) -> None:
        return

    def time(self) -> float:
        return self._clock.now().timestamp()

    def read(self, key: str) -> Entry | None:
        with self._lock:
            return self._entries.get(key)

    def write(self, key: str, value: bytes, *, expect: Version | Expect) -> Version:
        with self._lock:
            self._require(key, expect)
            self._count += 1
            self._entries[key] = Entry(value, str(self._count))
            return str(self._count)

    def delete(self, key: str, *, expect: Version | Expect) -> None:
        with self._lock:
            self._require(key, expect)
            self._entries.pop(key, None)

    def list(self, prefix: str) -> Sequence[str]:
        with self._lock:
            return sorted(key for key in self._entries if key.startswith(prefix))

    def append(self, stream: str, value: bytes, *, expect_last: int | None = None) -> int:
        with self._lock:
            if expect_last is not None:
                self._require_last(stream, expect_last)
            self._count += 1
            self._streams.setdefault(stream, []).append(Record(self._count, value))
            return self._count

    def records(self, stream: str, *, after: int = 0) -> Sequence[Record]:
        with self._lock:
            return [record for record in self._streams.get(stream, ()) if record.number > after]

    def streams(self, prefix: str) -> Sequence[str]:
        with self._lock:
            return sorted(stream for stream in self._streams if stream.startswith(prefix))

    def drop(self, stream: str, *, expect_last: int) -> None:
        with self._lock:
            self._require_last(stream, expect_last)
            self._streams.pop(stream, None)

    def close(self) -> None:
        return

    def _require(self, key: str, expect: Version | Expect) -> None:
        found = self._entries.get(key)
        version = found.version if found else None
        if expect is not ANY and version != (None if expect is ABSENT else expect):
            raise Conflict(key, version)

    def _require_last(self, stream: str, expect_last: int) -> None:
        records = self._streams.get(stream)
        last = records[-1].number if records else 0
        if last != expect_last:
            raise Conflict(stream, last)
