"""Adapters of Google Cloud for tests: with the job's identity, on a clock whose waits are short."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ci_acme.clock import SystemClock
from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Clock, Deadline, ProviderContext
from tests.clouds.google_tokens import ACCOUNT, MEMBER, PROVIDER, CiTokens, GoogleTokens

PROJECT = "my-project"
ACCESS = {"project": PROJECT, "workload_identity_provider": PROVIDER, "service_account": ACCOUNT}


class QuickClock(SystemClock):
    """The real clock; whoever waits, waits a fraction of it."""

    share = 0.05

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds * self.share)


def quick(seconds: float = 60.0, clock: Clock | None = None) -> Deadline:
    return Deadline(clock or QuickClock(), seconds)


def no_secrets(reference: str) -> Secret:
    raise SecretError(f"{reference} is not set", fix="set it")


def context(
    tokens: GoogleTokens,
    *,
    ci: CiTokens | None = None,
    environ: Mapping[str, str] | None = None,
    secrets: Callable[[str], Secret] = no_secrets,
    certificate: str = "test",
    warn: Callable[[str], None] = lambda _: None,
) -> ProviderContext:
    """What an adapter is made with, in a job of `ci`, without any credentials of this machine."""
    made = ProviderContext(
        secrets=secrets,
        clock=QuickClock(),
        certificate=certificate,
        environ={**tokens.environment, "NO_GCE_CHECK": "true", **(environ or {})},
        warn=warn,
    )
    return made if ci is None else replace(made, identity=lambda audience: Secret(ci.token(audience).encode()))


def trust(tokens: GoogleTokens, permissions: list[str] | None = None, resource: str = "") -> None:
    """Let the job's identity be the service account, and bind a role to that; None is every permission."""
    tokens.iam.grant(MEMBER, ["iam.serviceAccounts.getAccessToken"], f"serviceAccounts/{ACCOUNT}")
    tokens.iam.grant(f"serviceAccount:{ACCOUNT}", permissions, resource)
