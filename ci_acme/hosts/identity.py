"""Who asked: what the CI system says of the job, for the records. Taken from the environment, so nothing is proven."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ci_acme.hosts import detect_ci

_MOST: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_VARIABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "github": {
        "run": "GITHUB_RUN_ID",
        "attempt": "GITHUB_RUN_ATTEMPT",
        "repository": "GITHUB_REPOSITORY",
        "ref": "GITHUB_REF",
        "commit": "GITHUB_SHA",
        "actor": "GITHUB_ACTOR",
        "event": "GITHUB_EVENT_NAME",
        "workflow": "GITHUB_WORKFLOW_REF",
    },
    "gitlab": {
        "run": "CI_PIPELINE_ID",
        "job": "CI_JOB_ID",
        "repository": "CI_PROJECT_PATH",
        "ref": "CI_COMMIT_REF_NAME",
        "commit": "CI_COMMIT_SHA",
        "actor": "GITLAB_USER_LOGIN",
        "event": "CI_PIPELINE_SOURCE",
    },
    "azure-pipelines": {
        "run": "BUILD_BUILDID",
        "repository": "BUILD_REPOSITORY_NAME",
        "ref": "BUILD_SOURCEBRANCH",
        "commit": "BUILD_SOURCEVERSION",
        "actor": "BUILD_REQUESTEDFOR",
        "event": "BUILD_REASON",
    },
    "bitbucket": {
        "run": "BITBUCKET_BUILD_NUMBER",
        "repository": "BITBUCKET_REPO_FULL_NAME",
        "ref": "BITBUCKET_BRANCH",
        "commit": "BITBUCKET_COMMIT",
        "actor": "BITBUCKET_STEP_TRIGGERER_UUID",
    },
    "circleci": {
        "run": "CIRCLE_WORKFLOW_ID",
        "job": "CIRCLE_BUILD_NUM",
        "repository": "CIRCLE_PROJECT_REPONAME",
        "ref": "CIRCLE_BRANCH",
        "commit": "CIRCLE_SHA1",
        "actor": "CIRCLE_USERNAME",
    },
    "jenkins": {
        "run": "BUILD_TAG",
        "repository": "JOB_NAME",
        "ref": "GIT_BRANCH",
        "commit": "GIT_COMMIT",
        "actor": "BUILD_USER_ID",
    },
    "buildkite": {
        "run": "BUILDKITE_BUILD_ID",
        "job": "BUILDKITE_JOB_ID",
        "repository": "BUILDKITE_PIPELINE_SLUG",
        "ref": "BUILDKITE_BRANCH",
        "commit": "BUILDKITE_COMMIT",
        "actor": "BUILDKITE_BUILD_CREATOR",
        "event": "BUILDKITE_SOURCE",
    },
}


def who_asked(environ: Mapping[str, str]) -> dict[str, str]:
    """The CI system (`ci`) and what it says: run, repository, ref, commit, actor, event. `ci` is `none` on a person's
    machine, where `actor` is the user. What is not said is not there.
    """
    ci = detect_ci(environ)
    said = {"ci": ci or "none"}
    names = _VARIABLES.get(ci, {}) if ci else {"actor": "USER" if environ.get("USER") else "USERNAME"}
    for name, variable in names.items():
        value = _CONTROL.sub(" ", environ.get(variable, "")).strip()[:_MOST]
        if value:
            said[name] = value
    return said
