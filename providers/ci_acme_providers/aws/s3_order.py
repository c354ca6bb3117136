"""An order under way in an object of its own, beside the one that it is for."""

from __future__ import annotations

from collections.abc import Callable

from ci_acme.ports import Deadline
from ci_acme_providers.aws.s3_objects import Bucket
from ci_acme_providers.aws.store_faults import AwsFault


class OrderObject:
    """A `storing.Orders` in one object. Everything raises `AwsFault`."""

    def __init__(self, bucket: Bucket, key: str, warn: Callable[[str], None]) -> None:
        self._bucket = bucket
        self._key = key
        self._warn = warn

    def keep(self, text: str, deadline: Deadline) -> None:
        """Put it."""
        del deadline  # it is of the calls already
        self._bucket.put(self._key, text.encode(), {})

    def find(self, deadline: Deadline) -> bytes | None:
        """What it holds."""
        del deadline
        found = self._bucket.get(self._key)
        return found.body if found else None

    def forget(self, deadline: Deadline) -> None:
        """Delete it, with its versions; who may not is warned."""
        del deadline
        try:
            if self._bucket.get(self._key) is None:
                return
            self._bucket.delete(self._key, None)
            self._bucket.purge(self._key)
        except AwsFault as fault:
            if not fault.denied:
                raise
            self._warn(
                f"{self._bucket.name} may keep an order under way in {self._key}, with its key: {fault.action} is not "
                "allowed"
            )
