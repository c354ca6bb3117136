"""What an access token must be, for exactly one store of a config."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.gitlab.adapter import grant
from ci_acme_providers.gitlab.config import GitlabSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """GitLab has no smaller right than this: whoever may write one variable may read all of the project."""
    settings = request.settings
    assert isinstance(settings, GitlabSettings)
    text = f"{grant(settings)} (to plan, the scope read_api is enough)\n"
    return [PolicyDocument(f"GitLab: access token to write {settings.name}", "text", text)]
