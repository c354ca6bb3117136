"""What a delivering run does to its store, counted: requests to a fake, or system calls of the file store."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ci_acme.clock import SystemClock
from ci_acme_providers.files import slot
from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.awsjson import operation_of
from tests.faults.kinds import Kind
from tests.faults.stores import Rig

_CALLS = ("open", "write", "fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "read")


class QuickClock(SystemClock):
    """Waits of more than 20 ms take 2 ms, and count in full for whoever waits."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._skipped = threading.local()

    def monotonic(self) -> float:
        return super().monotonic() + float(getattr(self._skipped, "seconds", 0.0))

    def sleep(self, seconds: float) -> None:
        self.check()
        taken = max(0.0, seconds) if seconds <= 0.02 else 0.002
        time.sleep(taken)
        self._skipped.seconds = getattr(self._skipped, "seconds", 0.0) + max(0.0, seconds - taken)


class Steps:
    """Counts what a run sends to the fakes of a rig (or, for a directory, its system calls), and lets one go wrong."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._lock = threading.Lock()
        self.labels: list[str] = []
        self._kind: Kind | None = None
        self._at = -1
        self._respond = {id(fake): fake.respond for fake in rig.fakes}
        for fake in rig.fakes:
            fake.respond = self._around(fake)  # type: ignore[method-assign]

    @contextmanager
    def counted(self, at: int = -1, kind: Kind | None = None) -> Generator[None]:
        """Count anew; something happens at the step with this number."""
        self.labels, self._at, self._kind = [], at, kind
        try:
            if self._rig.fakes:
                yield
            else:
                with self._disk():
                    yield
        finally:
            self._kind = None

    @property
    def reached(self) -> bool:
        return len(self.labels) > self._at

    def _hit(self, label: str) -> Kind | None:
        with self._lock:
            number = len(self.labels)
            self.labels.append(label)
            kind = self._kind
        return kind if kind and (number == self._at or (kind.forever and number > self._at)) else None

    def _around(self, fake: FakeApi) -> Callable[[Call], Answer | None]:
        real = self._respond[id(fake)]

        def respond(call: Call) -> Answer | None:
            kind = self._hit(f"{call.method} {operation_of(call) or call.path}")
            if kind is None:
                return real(call)
            return kind.fault(fake)(call, fake.handle)

        return respond

    @contextmanager
    def _disk(self) -> Generator[None]:
        with contextlib.ExitStack() as stack:
            for owner, name in [*((os, name) for name in _CALLS if hasattr(os, name)), (slot, "exchange")]:
                stack.enter_context(mock.patch.object(owner, name, self._call(name, getattr(owner, name))))
            yield

    def _call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if not _is_of_files(sys._getframe(1)):
                return real(*arguments, **more)
            kind = self._hit(name)
            if kind is None or kind.disk is None:
                return real(*arguments, **more)
            number, done = kind.disk
            if done and name not in {"open", "read"}:
                real(*arguments, **more)
            raise OSError(number, os.strerror(number), str(arguments[0]) if name != "write" else None)

        return call


def _is_of_files(frame: Any) -> bool:
    """Whether the file store calls, maybe by pathlib."""
    for _ in range(4):
        name = frame.f_code.co_filename
        if "pathlib" not in name:
            return f"ci_acme_providers{os.sep}files" in name
        frame = frame.f_back
    return False
