"""What `${environment}` stands for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.hosts.environment import detect_environment, dns_label
from ci_acme.model.names import normalize_identifier

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("main", "main"),
        ("feature/Foo_Bar", "feature-foo-bar"),
        ("v1.2.3", "v1-2-3"),
        ("--x--", "x"),
        ("ab--cd", "ab-cd"),
        ("Prüfung/É", "prufung-e"),
        ("a" * 63, "a" * 63),
        ("xn--a", "xn-a"),
        (" 7 ", "7"),
    ],
)
def test_labels(text: str, label: str) -> None:
    assert dns_label(text) == label


@given(st.text())
def test_any_text_becomes_a_label_of_a_host_name(text: str) -> None:
    label = dns_label(text)
    assert LABEL.match(label)
    assert dns_label(label) == label
    assert normalize_identifier(f"{label}.example.com") == f"{label}.example.com"


def test_long_names_that_differ_late_stay_different() -> None:
    one, two = dns_label("dependabot/" + "x" * 80 + "/1"), dns_label("dependabot/" + "x" * 80 + "/2")
    assert one != two
    assert len(one) == len(two) == 63
    assert one == dns_label("dependabot/" + "x" * 80 + "/1")


def test_names_without_a_letter_stay_different() -> None:
    assert dns_label("日本") != dns_label("中国")
    assert LABEL.match(dns_label("日本"))


GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_REF_NAME": "main",
}
PULL = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_REF": "refs/pull/12/merge",
    "GITHUB_REF_NAME": "12/merge",
    "GITHUB_HEAD_REF": "feature/x",
}
GITLAB = {"GITLAB_CI": "true", "CI_COMMIT_REF_SLUG": "feature-x", "CI_COMMIT_REF_NAME": "feature/x"}


@pytest.mark.parametrize(
    ("explicit", "environ", "expected"),
    [
        (None, {}, None),
        ("Pre/View", {"CI_ACME_ENVIRONMENT": "x"} | GITHUB, "pre-view"),
        (None, {"CI_ACME_ENVIRONMENT": "Stage 1"} | GITHUB, "stage-1"),
        (None, {"CI_ACME_ENVIRONMENT": " "} | GITHUB, "main"),
        ("", GITHUB, "main"),
        (None, GITHUB | {"GITHUB_REF": "refs/heads/feature/x", "GITHUB_REF_NAME": "feature/x"}, "feature-x"),
        (None, GITHUB | {"GITHUB_REF": "refs/tags/v1.2", "GITHUB_REF_NAME": "v1.2"}, "v1-2"),
        (None, PULL, "pr-12"),
        (None, GITLAB, "feature-x"),
        (None, GITLAB | {"CI_MERGE_REQUEST_IID": "7"}, "mr-7"),
        (None, GITLAB | {"CI_MERGE_REQUEST_IID": "7", "CI_ENVIRONMENT_SLUG": "review-x-1a2b"}, "review-x-1a2b"),
        (None, {"GITHUB_ACTIONS": "true"}, None),
    ],
)
def test_who_says_the_environment(explicit: str | None, environ: dict[str, str], expected: str | None) -> None:
    assert detect_environment(explicit, environ) == expected


def test_a_fork_does_not_choose_its_environment(tmp_path: Path) -> None:
    environ = PULL | {
        "GITHUB_EVENT_NAME": "pull_request_target",
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_REF_NAME": "main",
    }
    environ |= {"GITHUB_HEAD_REF": "main", "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}
    assert detect_environment(None, environ) is None
    (tmp_path / "event.json").write_text(json.dumps({"number": 12}))
    assert detect_environment(None, environ) == "pr-12"
    for broken in ("", "[" * 100_000, "[]", '{"number": "main"}', '{"number": -1}'):
        (tmp_path / "event.json").write_text(broken)
        assert detect_environment(None, environ) is None
