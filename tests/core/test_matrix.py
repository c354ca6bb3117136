"""Fan-out: every certificate that has work is in exactly one job, and there are never too many jobs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.matrix import MOST_JOBS, divide, github_matrix, gitlab_pipeline

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


@given(NAMES)
def test_a_gitlab_pipeline(names: list[str]) -> None:
    plain = gitlab_pipeline(names, None, "pr-7")
    assert plain, "a pipeline without jobs is an error at GitLab"
    included = gitlab_pipeline(names, "gitlab.example/g/ci-acme/issue@1", None)
    if names:
        words = [
            word for job in plain.values() for word in job["script"][0].removeprefix("exec ci-acme issue ").split()
        ]
        assert words == names
        assert [word for one in included["include"] for word in one["inputs"]["certificate"].split()] == names
