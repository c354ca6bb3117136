"""Concurrent publishers of one target. Usage: writers_driver.py DIRECTORY PROCESSES TIMES."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from ci_acme.model.records import PendingOrder
from ci_acme.testing.material import make_bundle, make_metadata
from tests.stores.support import soon, store_in


def main() -> None:
    directory, processes, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    bundles = [make_bundle(f"n{number}.example") for number in range(processes)]
    children = [child for bundle in bundles if (child := spawn(directory, bundle, times))]
    for child in children:
        _, status = os.waitpid(child, 0)
        assert os.WEXITSTATUS(status) == 0
    store_in(directory).unstage(deadline=soon())
    sys.stdout.write(f"{len(children)}\n")


def spawn(directory: Path, bundle: object, times: int) -> int:
    child = os.fork()
    if child:
        return child
    store = store_in(directory)
    metadata = make_metadata(bundle)
    order = PendingOrder("0" * 64, "https://ca.example/d", "https://ca.example/a", "https://ca.example/o", bundle.key)
    for _ in range(times):
        store.probe(deadline=soon())
        store.stage(order, deadline=soon())
        store.stage(replace(order, certificate=bundle.fullchain), deadline=soon())
        store.publish(bundle, metadata, deadline=soon())
        store.unstage(deadline=soon())
    os._exit(0)


if __name__ == "__main__":
    main()
