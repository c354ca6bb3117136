"""Orders under way: written down as soon as the CA has named one, so that a killed run's order is gone on with.

One entry for each request (`CertificateSpec.digest()`) and account. It holds no key, or one that is sealed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Final

from ci_acme.dataclass import asdict, dataclass
from ci_acme.state.engine import ANY, Conflict, Engine

_PREFIX: Final = "order/"
_TEXTS: Final = ("spec_digest", "account", "order", "run")
LIFE_SECONDS: Final = 7 * 86400.0
"""A CA has forgotten a pending order by then."""


@dataclass(frozen=True, slots=True)
class OrderUnderWay:
    """An order that a run has made and not brought to a store yet. `made` is Unix time, `sealed` see `sealing`."""

    spec_digest: str
    account: str
    order: str
    run: str
    made: float
    sealed: bytes | None = None


class Orders:
    """The orders under way of all runs. Every method raises `StateError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, order: OrderUnderWay) -> None:
        """Durable when it returns; replaces an earlier order for the same request."""
        document = {**asdict(order), "sealed": None}
        if order.sealed is not None:
            document["sealed"] = base64.b64encode(order.sealed).decode()
        self._engine.write(_key(order.spec_digest, order.account), json.dumps(document).encode(), expect=ANY)

    def find(self, spec_digest: str, account: str) -> OrderUnderWay | None:
        """The order for a request by an account; None if there is none, or nothing that can be understood."""
        found = self._read(_key(spec_digest, account))
        return None if found is None else found[0]

    def forget(self, spec_digest: str, account: str, order: str) -> None:
        """Remove the entry if it is about this order; another run's newer one stays."""
        key = _key(spec_digest, account)
        found = self._read(key)
        if found is not None and found[0].order == order:
            self._drop(key, found[1])

    def any(self) -> bool:
        """Whether there is one, of whatever run."""
        return bool(self._engine.list(_PREFIX))

    def delivered(self, spec_digest: str, order: str) -> None:
        """The certificate of this order is in its store: forget it, whichever account made it."""
        for key in self._engine.list(f"{_PREFIX}{spec_digest}/"):
            found = self._read(key)
            if found is not None and found[0].order == order:
                self._drop(key, found[1])

    def all(self) -> list[OrderUnderWay]:
        """Every order, of whatever run."""
        found = (self._read(key) for key in self._engine.list(_PREFIX))
        return [one[0] for one in found if one is not None]

    def abandon(self, spec_digest: str, account: str | None = None) -> None:
        """Forget the order for a request by an account, None: by all: nobody wants its certificate any more."""
        keys = self._engine.list(f"{_PREFIX}{spec_digest}/") if account is None else [_key(spec_digest, account)]
        for key in keys:
            self._engine.delete(key, expect=ANY)

    def expire(self, now: float) -> None:
        """Remove what is too old to be gone on with."""
        for key in self._engine.list(_PREFIX):
            found = self._read(key)
            if found is not None and found[0].made < now - LIFE_SECONDS:
                self._drop(key, found[1])

    def _read(self, key: str) -> tuple[OrderUnderWay, str] | None:
        entry = self._engine.read(key)
        if entry is None:
            return None
        try:
            document = json.loads(entry.value)
            spec_digest, account, order, run = (str(document[name]) for name in _TEXTS)
            sealed = None if document["sealed"] is None else base64.b64decode(document["sealed"], validate=True)
            return OrderUnderWay(spec_digest, account, order, run, float(document["made"]), sealed), entry.version
        except (ValueError, KeyError, TypeError, binascii.Error):
            return None

    def _drop(self, key: str, version: str) -> None:
        try:
            self._engine.delete(key, expect=version)
        except Conflict:
            return  # it is another run's by now


def _key(spec_digest: str, account: str) -> str:
    return f"{_PREFIX}{spec_digest}/{hashlib.sha256(account.encode()).hexdigest()[:16]}"
