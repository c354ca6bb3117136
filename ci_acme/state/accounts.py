"""Which account URL belongs to an account key at a CA, so that a run does not have to ask (RFC 8555 section 7.3.1).

And which CA an account key belongs to: a key serves one CA only, whatever config it is named in.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from ci_acme.state.engine import ABSENT, ANY, Conflict, Engine

_PREFIX: Final = "account/"
_KEYS: Final = "account-key/"


class Accounts:
    """Account URLs by directory URL and key thumbprint (RFC 7638). Raises `StateError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def url(self, directory: str, thumbprint: str) -> str | None:
        """The URL of an account that can be used; None if it is not known."""
        url, deactivated = self._account(directory, thumbprint)
        return None if deactivated else url

    def deactivated(self, directory: str, thumbprint: str) -> str | None:
        """The URL of an account that we have deactivated; None if we have not."""
        url, deactivated = self._account(directory, thumbprint)
        return url if deactivated else None

    def remember(self, directory: str, thumbprint: str, url: str, *, deactivated: bool = False) -> None:
        """Keep the URL for later runs."""
        document = {"directory": directory, "thumbprint": thumbprint, "url": url}
        if deactivated:
            document["status"] = "deactivated"
        self._engine.write(_key(directory, thumbprint), json.dumps(document).encode(), expect=ANY)

    def forget(self, directory: str, thumbprint: str) -> None:
        """The CA does not know this account (any more)."""
        self._engine.delete(_key(directory, thumbprint), expect=ANY)

    def claim(self, directory: str, thumbprint: str) -> str | None:
        """Bind a key to a directory for good, before its first use there.

        None if it is bound to this directory, now or since earlier; else the other directory that it is bound to.
        """
        key = _KEYS + thumbprint
        bound = _text(self._read(key), "directory")
        if bound is None:
            document = json.dumps({"directory": directory}).encode()
            try:
                self._engine.write(key, document, expect=ABSENT)
            except Conflict:
                bound = _text(self._read(key), "directory")  # another run was first
        return None if bound in (None, directory) else bound

    def _account(self, directory: str, thumbprint: str) -> tuple[str | None, bool]:
        document = self._read(_key(directory, thumbprint))
        return _text(document, "url"), document.get("status") == "deactivated"

    def _read(self, key: str) -> dict[str, Any]:
        entry = self._engine.read(key)
        try:
            document = json.loads(entry.value) if entry else {}
        except ValueError:
            return {}  # asking the CA again is cheap
        return document if isinstance(document, dict) else {}


def _text(document: dict[str, Any], member: str) -> str | None:
    value = document.get(member)
    return value if isinstance(value, str) else None


def _key(directory: str, thumbprint: str) -> str:
    return f"{_PREFIX}{hashlib.sha256(directory.encode()).hexdigest()[:16]}/{thumbprint}"
