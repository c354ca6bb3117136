"""Runs the product in a child process for each line of stdin, with everything imported already.

A line is a JSON object: `directory`, `environ`, `arguments` (of the product; or `state` and a URL, to see what is in
the state), `output` (a path without its ending for .out and .err),
`forgetful` (stores hold no key before it is issued), `log` (where steps are listed), `at` and `what` (see
`Steps`). The answer is a line with the exit status, negative if it was killed by a signal.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

_MODULES = ("ci_acme.cli.issue", "ci_acme.cli.cleanup", "ci_acme.runner.issuing", "ci_acme.runner.authorities")
_MORE = ("ci_acme.dns.engine", "ci_acme.state.sqlite", "ci_acme_providers.files.adapter", "ci_acme.config.load")


def main() -> None:
    for name in (*_MODULES, *_MORE):
        importlib.import_module(name)
    from ci_acme.ports import StoreCapabilities
    from ci_acme_providers.files.adapter import FileStore
    from tests.e2e.crash.steps import Steps

    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(task)
            if task["arguments"][0] == "state":
                _show_state(task["arguments"][1])
                os._exit(0)
            steps = Steps(task.get("log") and Path(task["log"]), task.get("at"), task.get("what", "kill"))
            steps.install()
            if task["forgetful"]:
                FileStore.capabilities = property(lambda _: StoreCapabilities(holds_pending=False, returns_key=True))
            from ci_acme.cli import main as product

            status = product(task["arguments"])
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _show_state(url: str) -> None:
    """Print the names of everything in it."""
    from ci_acme.clock import SystemClock
    from ci_acme.state.engine import open_state

    engine = open_state(url, clock=SystemClock())
    sys.stdout.write("".join(f"{name}\n" for name in [*engine.list(""), *engine.streams("")]))
    sys.stdout.flush()
    engine.close()


def _become(task: dict[str, Any]) -> None:
    os.chdir(task["directory"])
    os.environ.clear()
    os.environ.update(task["environ"])
    for number, ending in ((0, None), (1, "out"), (2, "err")):
        path = os.devnull if ending is None else f"{task['output']}.{ending}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)


if __name__ == "__main__":
    main()
