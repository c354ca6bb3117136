"""The store `github-secrets`: secrets of GitHub Actions, sealed for their repository, environment or organisation.

A secret is never given back, and there is no check-and-set. What is told of one is when it was written: that is the
mark which the companion, an Actions variable, speaks of.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from ci_acme.companion import Companion, CompanionStore, Seen
from ci_acme.model.records import parse_time
from ci_acme.ports import Deadline, ProviderContext, StoreCapabilities
from ci_acme.rest import Answer, member
from ci_acme.rest_store import expected, is_done
from ci_acme_providers.github.config import GithubSettings
from ci_acme_providers.github.faults import refusal
from ci_acme_providers.github.session import GitHub, where

MAX_BYTES: Final = 48 * 1024
"""GitHub's limit of one secret, and of one variable."""

TICK: float = 1.0
"""Seconds: how coarse GitHub's times are. A write is told from a later one once this time is over."""


class GithubStore(CompanionStore):
    """A `ports.CertificateStore` on Actions secrets. The last writer wins."""

    PROVIDER = "github-secrets"
    MARKS = False

    def __init__(self, settings: GithubSettings, context: ProviderContext) -> None:
        super().__init__(settings, context, name=settings.name, adopt=settings.adopt, most=MAX_BYTES)
        self._settings = settings
        self._github = GitHub(settings, context)

    @property
    def target(self) -> str:
        """`owner/name/TLS`, `owner/name/environment/TLS`."""
        settings = self._settings
        owner = settings.organization or settings.repository or self.context.environ.get("GITHUB_REPOSITORY", "?")
        return "/".join(part for part in (owner, settings.environment, settings.name) if part)

    @property
    def capabilities(self) -> StoreCapabilities:
        """Nothing comes back, so that nothing can be kept there either."""
        return StoreCapabilities(holds_pending=False, returns_key=False, max_bytes=MAX_BYTES)

    def look(self, deadline: Deadline) -> Seen:
        """The companion, and when each secret was written."""
        answer = self._send("GET", f"/variables/{self.companion_name}", deadline, missing=True)
        text = _text(answer, "value") if answer.ok else None
        companion = None if text is None else Companion.from_text(text)
        marks: dict[str, str] = {}
        for name in self.all_names(companion):
            found = self._send("GET", f"/secrets/{name}", deadline, missing=True)
            if found.ok:
                marks[name] = _text(found, "updated_at")
        return Seen(companion, marks, _age(answer), taken=text is not None and companion is None)

    def put_values(self, values: Mapping[str, str], mark: str, deadline: Deadline) -> None:
        """Seal each value for the public key of today, and send it."""
        del mark  # GitHub has its own
        answer = self._send("GET", "/secrets/public-key", deadline)
        key_id, key = _text(answer, "key_id"), _text(answer, "key")
        for name, value in values.items():
            body = {"encrypted_value": seal(value, key), "key_id": key_id, **self._visibility()}
            self._send("PUT", f"/secrets/{name}", deadline, body)

    def put_companion(self, text: str, deadline: Deadline) -> None:
        """Change the variable, or make it."""
        self.content.require_size(len(text))
        body = {"name": self.companion_name, "value": text, **self._visibility()}
        path = f"/variables/{self.companion_name}"
        if self._send("PATCH", path, deadline, body, missing=True).status != 404:
            return
        made = self._send("POST", "/variables", deadline, body, exists=True)
        if made.status == 409:  # by another run, or by us with the answer lost
            self._send("PATCH", path, deadline, body)

    def remove(self, name: str, deadline: Deadline) -> None:
        """Delete the secret."""
        self._send("DELETE", f"/secrets/{name}", deadline, missing=True)

    def remove_companion(self, deadline: Deadline) -> None:
        """Delete the variable."""
        self._send("DELETE", f"/variables/{self.companion_name}", deadline, missing=True)

    def check(self, deadline: Deadline) -> None:
        """Ask for the public key, which whoever writes needs. Whether a token may write is found out by writing."""
        self._send("GET", "/secrets/public-key", deadline)

    def settle(self, deadline: Deadline) -> None:
        """Let the second end in which we wrote: GitHub's times are of whole seconds."""
        deadline.clock.sleep(TICK)

    def _visibility(self) -> dict[str, Any]:
        settings = self._settings
        if settings.organization is None:
            return {}
        if settings.visibility != "selected":
            return {"visibility": settings.visibility}
        return {"visibility": "selected", "selected_repository_ids": list(settings.selected_repository_ids)}

    def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Any = None,
        *,
        missing: bool = False,
        exists: bool = False,
    ) -> Answer:
        """A request below the base path; 404 is an answer where `missing`, 409 where `exists`. Raises `Refused`."""
        answer = self._github.send(method, where(self._settings, self.context) + path, deadline=deadline, body=body)
        if is_done(answer) or (missing and answer.status == 404) or (exists and answer.status == 409):
            return answer
        verb = {"GET": "read", "DELETE": "delete"}.get(method, "write")
        raise refusal(answer, f"{verb} {path.lstrip('/')}", grant(self._settings))


def grant(settings: GithubSettings) -> str:
    """The permission of a fine-grained token or an App."""
    if settings.organization is not None:
        return "the organisation permissions Secrets: write and Variables: write"
    if settings.environment is not None:
        return "the repository permission Environments: write"
    return "the repository permissions Secrets: write and Variables: write"


def seal(value: str, public_key: str) -> str:
    """A sealed box of libsodium for a public key in base64, in base64."""
    from nacl.public import PublicKey, SealedBox

    box = SealedBox(PublicKey(base64.b64decode(public_key)))
    return base64.b64encode(box.encrypt(value.encode())).decode("ascii")


def _text(answer: Answer, name: str) -> str:
    """A member of an answer. Raises `Refused` if it is not there."""
    return str(expected("GitHub", member(answer.document, name)))


def _age(answer: Answer) -> float:
    """Seconds since a variable was written, by GitHub's own clock."""
    written, date = member(answer.document, "updated_at"), answer.headers.get("date")
    try:
        now: datetime = parsedate_to_datetime(str(date))
        return max(0.0, (now - parse_time(str(written))).total_seconds())
    except (ValueError, TypeError):
        return 0.0
