"""What a token or an App must be allowed, for exactly one store of a config."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.github.adapter import grant
from ci_acme_providers.github.config import GithubSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """Permissions of a fine-grained token or an App: reading them is enough to plan."""
    settings = request.settings
    assert isinstance(settings, GithubSettings)
    owner = settings.organization or settings.repository or "the repository of the job"
    text = f"{grant(settings)}; nothing else, and on {owner} alone\n"
    return [PolicyDocument(f"GitHub: fine-grained token or App to write {settings.name}", "text", text)]
