"""Fan-out: every certificate that has work is in exactly one job, and there are never too many jobs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.matrix import MOST_CHARACTERS, MOST_JOBS, GitLabJob, divide, fitting, github_matrix, gitlab_pipeline

NAMES = st.lists(st.from_regex(r"\A[a-z][a-z0-9-]{0,8}\Z"), unique=True, max_size=700)


@given(NAMES.filter(bool), st.integers(1, 300))
def test_groups_are_even_and_lose_nobody(names: list[str], most: int) -> None:
    groups = divide(names, most)
    assert [name for group in groups for name in group] == names
    assert len(groups) == min(len(names), most)
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


@given(NAMES)
def test_a_github_matrix(names: list[str]) -> None:
    jobs = github_matrix(names)["include"]
    assert len(jobs) <= MOST_JOBS["github"]
    assert " ".join(job["certificates"] for job in jobs).split() == names


@pytest.mark.parametrize("length", [1, 20, 200])
def test_a_github_matrix_of_thousands_fits_into_an_output(length: int) -> None:
    names = [f"{number:x>{length}}" for number in range(10, 30_000)]
    matrix = github_matrix(names)
    assert len(json.dumps(matrix, separators=(",", ":"))) <= MOST_CHARACTERS
    taken = " ".join(job["certificates"] for job in matrix["include"]).split()
    assert taken == list(fitting(names)) == names[: len(taken)], "the next run has the others"
    assert len(matrix["include"]) == 256
    assert len(taken) >= min(len(names), 200_000 // (length + 1))


def test_a_gitlab_pipeline_of_thousands_is_within_gitlabs_limits() -> None:
    """A configuration has 2 MiB at most (GitLab: "Maximum size and depth of CI/CD configuration YAML files")."""
    names = [f"certificate-of-team-{number}" for number in range(10_000)]
    text = json.dumps(gitlab_pipeline(names, GitLabJob("ci-acme[aws]==1.2.3")), indent=2)
    assert len(text) < 1 << 20
    assert max(map(len, text.splitlines())) < 1 << 16, "what a shell is given"


@given(NAMES)
def test_a_gitlab_pipeline(names: list[str]) -> None:
    job = GitLabJob("ci-acme[aws]==1.2.3", "python:3", {"CI_ACME_ENVIRONMENT": "pr-7"}, {"X_ID_TOKEN": "y"})
    jobs = list(gitlab_pipeline(names, job).values())
    assert jobs, "a pipeline without jobs is an error at GitLab"
    if not names:
        return
    *issuing, report = jobs
    assert len(issuing) <= MOST_JOBS["gitlab"]
    words = [word for one in issuing for word in one["script"][0].removeprefix("exec ci-acme issue ").split()]
    assert words == names
    for one in issuing:
        assert one["id_tokens"] == {"X_ID_TOKEN": {"aud": "y"}}
        assert one["variables"]["CI_ACME_ENVIRONMENT"] == {"value": "pr-7", "expand": False}
        assert '"ci-acme[aws]==1.2.3"' in one["before_script"][0]
    assert len({one["variables"]["CI_ACME_REPORT"]["value"] for one in jobs}) == len(jobs), "no report replaces another"
    assert "id_tokens" not in report
