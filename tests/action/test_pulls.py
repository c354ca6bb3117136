"""Pull requests of forks end neutral, and a job with secrets that holds a fork's files is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.action.job import Job


def event(job: Job, name: str, head: str = "fork/web", merge: str | None = None, **more: Any) -> None:
    path = job.workspace.parent / "event.json"
    path.write_text(
        json.dumps(
            {
                "number": 7,
                "repository": {"full_name": "octo/web"},
                "pull_request": {"head": {"repo": {"full_name": head}, "sha": "a" * 40}, "merge_commit_sha": merge},
                **more,
            }
        )
    )
    job.variables |= {"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path)}


def test_a_fork_ends_neutral_with_the_recipe(job: Job) -> None:
    event(job, "pull_request")
    ran = job.main()
    assert ran.status == 0
    assert "::notice" in ran.log
    assert "has no secrets" in ran.log
    assert job.outputs() == {"changed": "false", "certificates": "[]"}
    assert job.post().status == 0


def hold(job: Job, commit: str, *, at: str) -> None:
    """The workspace as actions/checkout leaves it: detached, on a branch, on a packed branch, or a pull's ref."""
    git = job.workspace / ".git"
    reference = "refs/remotes/pull/7/merge" if at == "pull" else "refs/heads/x"
    (git / reference).parent.mkdir(parents=True)
    (git / "HEAD").write_text(f"ref: {reference}\n" if at in {"branch", "packed"} else f"{commit}\n")
    if at == "packed":
        (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{'c' * 40} refs/heads/y\n{commit} {reference}\n")
    elif at != "detached":
        (git / reference).write_text(f"{commit}\n")


@pytest.mark.parametrize(
    ("commit", "at"), [("a" * 40, "detached"), ("a" * 40, "branch"), ("a" * 40, "packed"), ("b" * 40, "pull")]
)
def test_a_target_event_with_the_forks_files_is_refused(job: Job, commit: str, at: str) -> None:
    event(job, "pull_request_target")
    hold(job, commit, at=at)
    ran = job.main()
    assert ran.status == 2
    assert "pull_request_target" in ran.log
    assert "leave out the ref" in ran.log
    assert list(job.temp.iterdir()) == []


def test_a_merge_of_the_fork_is_refused_and_the_base_is_not(job: Job) -> None:
    event(job, "pull_request_target", merge="d" * 40)
    hold(job, "d" * 40, at="detached")
    assert "has checked out the pull request" in job.main().log
    (job.workspace / ".git" / "HEAD").write_text("e" * 40)
    assert "has checked out" not in job.main(command="report").log


@pytest.mark.parametrize(("head", "refused"), [("fork/web", True), ("octo/web", False)])
def test_a_run_after_a_forks_run_is_refused_with_its_files(job: Job, head: str, refused: bool) -> None:
    run = {"head_sha": "a" * 40, "head_repository": {"full_name": head}}
    event(job, "workflow_run", workflow_run=run)
    hold(job, "a" * 40, at="detached")
    ran = job.main(command="report")
    assert ("this job runs on workflow_run" in ran.log) == refused
