"""The connections of a run to its CAs. A kept certificate needs no more than these: no key, no account, no order."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ci_acme.ca.http import HttpsPool, RequestRecord
from ci_acme.ca.limiter import TokenBucket
from ci_acme.ca.problems import SHOW_DIRECTORY
from ci_acme.ca.renewal import fetch_renewal_info
from ci_acme.ca.transport import Transport
from ci_acme.core.quirks import known_ca
from ci_acme.core.renewal import Window
from ci_acme.model.events import Step

if TYPE_CHECKING:
    from ci_acme.ca.messages import Directory
    from ci_acme.ca.scope import Scope
    from ci_acme.runner.services import Services


class Connections:
    """A pool for each trust (the system's, or a bundle), and the pace of each CA. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._pools: dict[str | None, HttpsPool] = {}
        self._buckets: dict[str, TokenBucket] = {}

    def pool(self, ca_bundle: str | None) -> HttpsPool:
        """The connections that trust `ca_bundle`, or the system."""
        with self._lock:
            pool = self._pools.get(ca_bundle)
            if pool is None:
                bundle = Path(ca_bundle) if ca_bundle else None
                pool = self._pools[ca_bundle] = HttpsPool(ca_bundle=bundle, observe=self._seen)
            return pool

    def bucket(self, directory: str) -> TokenBucket | None:
        """What bounds the requests to a CA, None if it is not known to have such a limit."""
        known = known_ca(directory)
        if known.per_second is None:
            return None
        with self._lock:
            bucket = self._buckets.get(directory)
            if bucket is None:
                bucket = TokenBucket(known.per_second, known.burst, self._services.clock)
                self._buckets[directory] = bucket
            return bucket

    def transport(self, authority: str) -> Transport:
        """Unauthenticated requests to a CA."""
        section = self._services.authority(authority)
        bucket = self.bucket(section.directory_url)
        return Transport(self.pool(section.ca_bundle), self._services.clock, bucket=bucket)

    def directory(self, authority: str, scope: Scope) -> Directory:
        """What a CA says of itself. Raises `CaError`."""
        from ci_acme.ca.messages import Directory

        url = self._services.authority(authority).directory_url
        reply = self.transport(authority).get(url, kind="directory", what=SHOW_DIRECTORY, scope=scope)
        return Directory.from_reply(reply)

    @contextmanager
    def apart(self, ca_bundle: str | None) -> Generator[HttpsPool]:
        """Connections that `abort` does not end, for the last requests of a run that was told to stop."""
        bundle = Path(ca_bundle) if ca_bundle else None
        pool = HttpsPool(ca_bundle=bundle, observe=self._seen)
        try:
            yield pool
        finally:
            pool.close()

    def renewal_window(self, authority: str, url: str, scope: Scope) -> Window:
        """One answer of a renewalInfo resource, unauthenticated. Raises `CaError`."""
        reply = fetch_renewal_info(self.transport(authority), url, scope=scope)
        return Window(reply.start, reply.end, reply.retry_after_seconds, reply.explanation_url)

    def abort(self) -> None:
        """End every request at once."""
        for pool in tuple(self._pools.values()):
            pool.abort()

    def close(self) -> None:
        """Close the connections."""
        for pool in tuple(self._pools.values()):
            pool.close()

    def _seen(self, record: RequestRecord) -> None:
        outcome = record.status or "no answer"
        self._services.notify(
            Step("", f"request {record.method} {record.url} -> {outcome} in {record.seconds * 1000:.0f} ms")
        )
