"""Who asked, by what CI systems say."""

from __future__ import annotations

import pytest

from ci_acme.hosts.identity import who_asked


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_RUN_ID": "7",
                "GITHUB_REPOSITORY": "o/r",
                "GITHUB_REF": "refs/pull/3/merge",
                "GITHUB_ACTOR": "octo",
                "GITHUB_TOKEN": "secret",
            },
            {"ci": "github", "run": "7", "repository": "o/r", "ref": "refs/pull/3/merge", "actor": "octo"},
        ),
        (
            {"GITLAB_CI": "true", "CI_PIPELINE_ID": "9", "CI_PROJECT_PATH": "g/p", "CI_JOB_TOKEN": "secret"},
            {"ci": "gitlab", "run": "9", "repository": "g/p"},
        ),
        ({"CI": "true"}, {"ci": "unknown"}),
        ({"USER": "alice"}, {"ci": "none", "actor": "alice"}),
        ({}, {"ci": "none"}),
        (
            {"JENKINS_URL": "x", "BUILD_TAG": "a\x1b[31m\r\nb" + "c" * 999},
            {"ci": "jenkins", "run": ("a [31m b" + "c" * 999)[:200]},
        ),
    ],
)
def test_who_asked(environ: dict[str, str], said: dict[str, str]) -> None:
    assert who_asked(environ) == said
