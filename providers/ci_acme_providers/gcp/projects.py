"""What an identity may do in a project, asked of the Resource Manager where the service itself cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ci_acme.ports import Deadline
from ci_acme_providers.gcp.api import Call, rest
from ci_acme_providers.gcp.endpoints import endpoint
from ci_acme_providers.gcp.faults import Trouble
from ci_acme_providers.gcp.session import GoogleSession

_SECONDS: Final = 5.0
"""A private network that leads to the service alone swallows what is sent elsewhere."""


def lacking(session: GoogleSession, permissions: Sequence[str], deadline: Deadline) -> list[str]:
    """Those of the permissions that the caller lacks in the project.

    Empty, too, where that cannot be known: the Resource Manager may be switched off, or not be reachable from a private
    network. Nothing is tried in place of it, as nothing may be left behind. Raises `ConfigError`, `SecretError`.
    """
    api = rest(session, lambda: f"{endpoint('cloudresourcemanager', session.context.environ)}/v3")
    call = Call("POST", f"projects/{session.project()}:testIamPermissions", {}, {"permissions": list(permissions)})
    try:
        document = api.call(call, deadline=deadline.within(_SECONDS), repeat=False)
    except Trouble:
        return []
    held = document.get("permissions") or ()
    return [name for name in permissions if name not in held]
