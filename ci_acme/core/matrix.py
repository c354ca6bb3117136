"""Fan-out: the certificates that a plan would work on, divided over jobs of a CI system's own runners. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ci_acme.dataclass import dataclass, field

MOST_JOBS: Final[Mapping[str, int]] = {"github": 256, "gitlab": 200}
"""Jobs of one matrix (GitHub: "Running variations of jobs in a workflow"; GitLab: the limit of `parallel`)."""
MOST_CHARACTERS: Final = 240_000
"""Of a matrix. It is a job's output, and those of a job have 1 MB as UTF-16 together: `certificates` has as much."""
_AROUND: Final = 64
"""Characters of an entry of `include` beside the names."""
_WORK: Final = frozenset({"would-issue", "would-renew", "would-deliver", "failed", "refused"})


def to_do(document: Mapping[str, Any]) -> list[str]:
    """The certificates of a plan that `issue` would work on, and those whose plan failed: their job says so again."""
    return [str(one["name"]) for one in document.get("certificates", ()) if one.get("action") in _WORK]


def divide(names: Sequence[str], most: int) -> list[list[str]]:
    """The names in their order, over as many groups as there may be, of sizes that differ by one at most."""
    count = min(len(names), most)
    return [list(names[index * len(names) // count : (index + 1) * len(names) // count]) for index in range(count)]


def fitting(names: Sequence[str]) -> Sequence[str]:
    """As many of the names as one matrix of GitHub's takes; the next run has the others."""
    left = MOST_CHARACTERS - _AROUND * MOST_JOBS["github"]
    for index, name in enumerate(names):
        left -= len(name) + 1
        if left < 0:
            return names[:index]
    return names


def github_matrix(names: Sequence[str]) -> dict[str, Any]:
    """The value of `strategy.matrix`: `certificates` of each job, separated by spaces, and `job`, a number.

    It has the names that are `fitting`.
    """
    groups = divide(fitting(names), MOST_JOBS["github"]) if names else []
    return {"include": [{"job": number, "certificates": " ".join(group)} for number, group in enumerate(groups, 1)]}


@dataclass(frozen=True, slots=True)
class GitLabJob:
    """What the jobs of a child pipeline take over from the job that planned."""

    install: str
    """The requirement that pip installs where the image has no ci-acme: `ci-acme[aws]==1.2.3`."""
    image: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """What is said to this run and not to the project, whose variables they have anyway. No secrets."""
    audiences: Mapping[str, str] = field(default_factory=dict)
    """Of the identity tokens, by the variable that a token is in."""


def gitlab_pipeline(names: Sequence[str], job: GitLabJob) -> dict[str, Any]:
    """A child pipeline: one job a group, and one more that makes their reports one.

    A pipeline without a job is an error at GitLab, so that one without work has a job that says so.
    """
    if not names:
        return {"nothing to do": {"script": ["echo 'every certificate is valid'"]}}
    groups = divide(names, MOST_JOBS["gitlab"])
    jobs = {f"ci-acme {number}": _issuing(job, number, group) for number, group in enumerate(groups, 1)}
    return {**jobs, "ci-acme report": _reporting(job)}


def _issuing(job: GitLabJob, number: int, group: Sequence[str]) -> dict[str, Any]:
    report = f"ci-acme-report-{number}.json"
    tokens = {name: {"aud": audience} for name, audience in job.audiences.items()}
    return {
        **_common(job, {**job.variables, "CI_ACME_REPORT": report}),
        **({"id_tokens": tokens} if tokens else {}),
        "stage": "test",
        "script": [f"exec ci-acme issue {' '.join(group)}"],
        "after_script": ["ci-acme cleanup"],
        "artifacts": {"when": "always", "access": "developer", "expire_in": "1 week", "paths": [report]},
    }


def _reporting(job: GitLabJob) -> dict[str, Any]:
    report, dotenv = "ci-acme-report.json", "ci-acme.env"
    artifacts = {"when": "always", "access": "developer", "expire_in": "1 week", "paths": [report]}
    return {
        **_common(job, {"CI_ACME_REPORT": report, "CI_ACME_DOTENV": dotenv}),
        "stage": ".post",
        "when": "always",
        "script": ["exec ci-acme report ci-acme-report-*.json"],
        "artifacts": {**artifacts, "reports": {"dotenv": dotenv}},
    }


def _common(job: GitLabJob, variables: Mapping[str, str]) -> dict[str, Any]:
    install = f'python3 -m pip install --quiet --disable-pip-version-check "{job.install}"'
    return {
        **({"image": job.image} if job.image else {}),
        "interruptible": False,
        "variables": {name: {"value": value, "expand": False} for name, value in variables.items()},
        "before_script": [f"command -v ci-acme > /dev/null || {install}"],
    }
