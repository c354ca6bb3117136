"""Which account URL belongs to an account key at a CA, so that a run does not have to ask (RFC 8555 section 7.3.1)."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from ci_acme.state.engine import ANY, Engine

_PREFIX: Final = "account/"


class Accounts:
    """Account URLs by directory URL and key thumbprint (RFC 7638). Raises `StateError`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def url(self, directory: str, thumbprint: str) -> str | None:
        """The account's URL; None if it is not known."""
        entry = self._engine.read(_key(directory, thumbprint))
        if entry is None:
            return None
        try:
            document = json.loads(entry.value)
        except ValueError:
            return None  # asking the CA again is cheap
        url = document.get("url") if isinstance(document, dict) else None
        return url if isinstance(url, str) else None

    def remember(self, directory: str, thumbprint: str, url: str) -> None:
        """Keep the URL for later runs."""
        document = {"directory": directory, "thumbprint": thumbprint, "url": url}
        self._engine.write(_key(directory, thumbprint), json.dumps(document).encode(), expect=ANY)

    def forget(self, directory: str, thumbprint: str) -> None:
        """The CA does not know this account (any more)."""
        self._engine.delete(_key(directory, thumbprint), expect=ANY)


def _key(directory: str, thumbprint: str) -> str:
    return f"{_PREFIX}{hashlib.sha256(directory.encode()).hexdigest()[:16]}/{thumbprint}"
