"""Fan-out: the certificates that a plan would work on, divided over jobs of a CI system's own runners. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ci_acme.core.report import Result

MOST_JOBS: Final[Mapping[str, int]] = {"github": 256, "gitlab": 200}
"""Jobs of one matrix (GitHub: "Running variations of jobs in a workflow"; GitLab: `parallel` and `include` limits)."""
_WORK: Final = frozenset({"would-issue", "would-renew", "would-deliver", "failed", "refused"})


def to_do(result: Result) -> list[str]:
    """The certificates that `issue` would work on, and those whose plan failed: their job says so again."""
    return [outcome.name for outcome in result.certificates if outcome.action in _WORK]


def divide(names: Sequence[str], most: int) -> list[list[str]]:
    """The names in their order, over as many groups as there may be, of sizes that differ by one at most."""
    count = min(len(names), most)
    return [list(names[index * len(names) // count : (index + 1) * len(names) // count]) for index in range(count)]


def github_matrix(names: Sequence[str]) -> dict[str, Any]:
    """The value of `strategy.matrix`: `certificates` of each job, separated by spaces, and `job`, a number."""
    groups = divide(names, MOST_JOBS["github"]) if names else []
    return {"include": [{"job": number, "certificates": " ".join(group)} for number, group in enumerate(groups, 1)]}


def gitlab_pipeline(names: Sequence[str], component: str | None, environment: str | None) -> dict[str, Any]:
    """A child pipeline: one job a group, by the component that ran the plan, else by the image of this job.

    A pipeline without a job is an error at GitLab, so that one without work has a job that says so.
    """
    if not names:
        return {"nothing to do": {"script": ["echo 'every certificate is valid'"]}}
    groups = divide(names, MOST_JOBS["gitlab"])
    if component is not None:
        return {"include": [_included(component, number, group, environment) for number, group in enumerate(groups, 1)]}
    return {f"ci-acme {number}": _job(group, environment) for number, group in enumerate(groups, 1)}


def _included(component: str, number: int, group: Sequence[str], environment: str | None) -> dict[str, Any]:
    inputs = {"job-name": f"ci-acme {number}", "certificate": " ".join(group), "stage": "test"}
    return {"component": component, "inputs": inputs | ({"environment": environment} if environment else {})}


def _job(group: Sequence[str], environment: str | None) -> dict[str, Any]:
    chosen = {"CI_ACME_ENVIRONMENT": environment} if environment else {}
    return {
        "image": "$CI_JOB_IMAGE",
        "interruptible": False,
        "variables": chosen,
        "script": [f"exec ci-acme issue {' '.join(group)}"],
        "after_script": ["ci-acme cleanup"],
        "artifacts": {"reports": {"dotenv": "ci-acme.env"}},
    }
