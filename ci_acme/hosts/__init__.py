"""The CI system that a run is in."""

from __future__ import annotations

from collections.abc import Mapping

from ci_acme.hosts.environment import detect_environment

__all__ = ["detect_ci", "detect_environment", "may_have_identity"]

_MARKERS = (
    ("github", "GITHUB_ACTIONS"),
    ("gitlab", "GITLAB_CI"),
    ("azure-pipelines", "TF_BUILD"),
    ("bitbucket", "BITBUCKET_BUILD_NUMBER"),
    ("circleci", "CIRCLECI"),
    ("jenkins", "JENKINS_URL"),
    ("buildkite", "BUILDKITE"),
)


def may_have_identity(environ: Mapping[str, str]) -> bool:
    """Whether it is worth looking for an identity token of the job (`oidc`): a variable is called like one."""
    return any("TOKEN" in name or "JWT" in name for name in environ)


def detect_ci(environ: Mapping[str, str]) -> str | None:
    """The CI system's name, `unknown` where only `CI` is set, None on a person's machine."""
    for name, marker in _MARKERS:
        if environ.get(marker):
            return name
    return "unknown" if environ.get("CI", "").lower() not in {"", "0", "false"} else None
