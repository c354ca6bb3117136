"""The command line in a process that dies by SIGKILL at the step number `DIE_AT`.

A step is a moment after a file operation, before a request, or after the one that changes the key at the CA.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from ci_acme.ca.http import HttpsPool
from ci_acme.cli import main

DIE_AT = int(os.environ["DIE_AT"])
_count = itertools.count(1)


def step() -> None:
    if next(_count) == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def after(function: Callable[..., Any]) -> Callable[..., Any]:
    """A step after every call."""

    def call(*arguments: Any, **more: Any) -> Any:
        result = function(*arguments, **more)
        step()
        return result

    return call


def around(function: Callable[..., Any]) -> Callable[..., Any]:
    """A step before every request, and after that which changes something."""

    def call(pool: HttpsPool, method: str, url: str, **more: Any) -> Any:
        step()
        result = function(pool, method, url, **more)
        if "key-change" in url:
            step()
        return result

    return call


if __name__ == "__main__":
    for name in ("link", "unlink", "replace", "chmod", "fsync"):
        setattr(os, name, after(getattr(os, name)))
    HttpsPool.request = around(HttpsPool.request)  # type: ignore[method-assign]
    sys.exit(main())
