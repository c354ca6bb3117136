"""Pull requests of forks end neutral, and a job with secrets that holds a fork's files is refused."""

from __future__ import annotations

import json

import pytest

from tests.action.job import Job


def event(job: Job, name: str, head: str = "fork/web", sha: str = "a" * 40) -> None:
    path = job.workspace.parent / "event.json"
    path.write_text(
        json.dumps(
            {
                "number": 7,
                "repository": {"full_name": "octo/web"},
                "pull_request": {"head": {"repo": {"full_name": head}, "sha": sha}},
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


@pytest.mark.parametrize("detached", [True, False])
def test_a_target_event_with_the_forks_files_is_refused(job: Job, detached: bool) -> None:
    event(job, "pull_request_target")
    git = job.workspace / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(("a" * 40 if detached else "ref: refs/heads/x") + "\n")
    (git / "refs" / "heads" / "x").write_text("a" * 40 + "\n")
    ran = job.main()
    assert ran.status == 2
    assert "pull_request_target" in ran.log
    assert "leave out the ref" in ran.log
