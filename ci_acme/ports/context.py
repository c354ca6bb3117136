"""What adapters are made with, and where secrets come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

from ci_acme.dataclass import dataclass, field
from ci_acme.errors import SecretError
from ci_acme.model.material import KeyType
from ci_acme.model.secret import Secret
from ci_acme.ports.time import Clock, Deadline

SecretReader = Callable[[str], Secret]
"""Reads a secret reference (`env:NAME`, `file:PATH`, …) at the last moment. Raises `SecretError`."""

IdentitySource = Callable[[str], Secret]
"""A fresh OIDC token of this CI job for an audience, at each call: one may live for five minutes only.

Raises `SecretError` with what to grant where the CI system gives none.
"""


def _no_identity(audience: str) -> Secret:
    raise SecretError(
        f"there is no CI identity token for the audience {audience}", fix="run in CI, or configure other credentials"
    )


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What every adapter is made with, beside its settings.

    `certificate` is the name in the config, for stores, with the `key` type and the `names` that it shall have: what
    will not fit is refused before it is ordered. `run` names the run at the platform (a session name). `environ`
    is the environment: an adapter reads no other. `warn` tells the user something that hinders nothing.
    """

    secrets: SecretReader
    clock: Clock
    certificate: str = ""
    key: KeyType | None = None
    names: tuple[str, ...] = ()
    run: str = "ci-acme"
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    identity: IdentitySource = _no_identity
    warn: Callable[[str], None] = lambda _: None


class SecretSource(Protocol):
    """The adapter of a `secrets` row of the catalogue: reads what stands behind `SCHEME:` in a reference."""

    def __call__(self, rest: str, context: ProviderContext, *, deadline: Deadline) -> Secret:
        """The secret. Raises `SecretError`, which names the reference and never what it holds."""
        ...
