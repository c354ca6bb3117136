"""What a hook and an endpoint need: nothing at a platform that we know, and little of ours."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.hooks.config import HookSettings, HttpreqSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """What is called, with which names, so that whoever answers can refuse everything else."""
    settings = request.settings
    names = "\n".join(f"  {name}." for name in request.names)
    if isinstance(settings, HookSettings):
        passed = ", ".join(settings.environment) or "none"
        text = (
            f"{settings.program} present|cleanup FQDN VALUE is called for these FQDN only:\n{names}\n"
            f"Environment variables that it gets beside PATH, HOME, LANG and TZ: {passed}.\n"
            "Let its credential change TXT records at these names, and nothing else."
        )
        return [PolicyDocument("the program", "text", text)]
    assert isinstance(settings, HttpreqSettings)
    user = "the user of the config" if settings.username is not None else "anybody: the config has no user"
    text = (
        f"POST {settings.endpoint.rstrip('/')}/present and /cleanup, by {user}, for these fqdn only:\n{names}\n"
        "GET /present is asked by `ci-acme check`: any answer but 401 will do."
    )
    return [PolicyDocument("the server at the endpoint", "text", text)]
