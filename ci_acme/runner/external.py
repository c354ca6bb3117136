"""External account binding from where the config says: references to secrets, or a program that mints a pair.

The program is for credentials that live for minutes (AWS Certificate Manager): the pipeline's own role makes them. It
is run without a shell, only when an account is about to be registered, and what it prints is in no message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ci_acme import programs
from ci_acme.ca.account import ExternalAccount
from ci_acme.ca.keys import parse_hmac_key
from ci_acme.config.secrets import read_text
from ci_acme.errors import AccountError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline

if TYPE_CHECKING:
    from ci_acme.config.schema import ExternalAccount as Section
    from ci_acme.runner.services import Services

PATIENCE: Final = 60.0
"""Seconds for the program."""


def external_account(section: Section, services: Services) -> ExternalAccount:
    """The key ID and MAC key. Raises `AccountError`, `SecretError`, `Interrupted`."""
    if section.command:
        deadline = services.deadline.within(PATIENCE)
        return minted(section.command, section.alg, services.environ, deadline=deadline)
    assert section.key_id is not None
    assert section.hmac_key is not None
    hmac_key = parse_hmac_key(services.read_secret(section.hmac_key), section.hmac_key)
    return ExternalAccount(read_text(section.key_id, services.environ, services.elsewhere), hmac_key, section.alg)


def minted(
    command: Sequence[str], algorithm: str, environ: Mapping[str, str], *, deadline: Deadline
) -> ExternalAccount:
    """What `command` prints as one JSON object with `key_id` and `hmac_key` (base64url), and nothing else on stdout."""
    name = command[0]
    output = _run(command, environ, deadline)
    try:
        document: Any = json.loads(output)
    except (ValueError, RecursionError):
        document = None
    key_id, hmac_key = (_text(document, member) for member in ("key_id", "hmac_key"))
    if not key_id or not hmac_key:
        raise AccountError(
            f"external_account.command: {name} did not print a JSON object with key_id and hmac_key",
            fix='let it print {"key_id": "…", "hmac_key": "…"} on stdout and everything else on stderr',
        )
    return ExternalAccount(
        key_id, parse_hmac_key(Secret(hmac_key.encode()), f"external_account.command {name}"), algorithm
    )


def _text(document: Any, member: str) -> str:
    value = document.get(member) if isinstance(document, Mapping) else None
    return value.strip() if isinstance(value, str) else ""


def _run(command: Sequence[str], environ: Mapping[str, str], deadline: Deadline) -> bytes:
    name = command[0]
    try:
        finished = programs.run(command, environ, deadline=deadline)
    except programs.NotStarted as error:
        raise AccountError(
            f"external_account.command: {name}: {error}", fix="check the program's path and that it is executable"
        ) from None
    except programs.Overdue as error:
        raise AccountError(
            f"external_account.command: {name} {error}", fix="let it end by itself, without asking anybody anything"
        ) from None
    if finished.status != 0 or finished.size > programs.MAX_OUTPUT:
        raise AccountError(
            f"external_account.command: {name} {finished.how if finished.status else f'printed {finished.size} bytes'}",
            fix="run it by hand: its stderr is not shown here, as it may hold what it minted",
        )
    return finished.output
