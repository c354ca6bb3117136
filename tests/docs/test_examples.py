"""The examples fit together: pinned actions, the version of this checkout, certificates that their config has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import ci_acme
from ci_acme.config.load import load

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*") if path.is_file())
WORKFLOWS = [
    *sorted((ROOT / "examples" / "github").glob("*.yml")),
    *sorted((ROOT / ".github" / "workflows").glob("*.yml")),
]
CONFIG = load(ROOT / "examples" / "ci-acme.yaml", overrides={}, environ={}, environment="pr-7").config


def test_the_config_is_valid() -> None:
    assert CONFIG.certificates["preview"].names == ("pr-7.preview.example.com",)


def test_actions_are_pinned_by_commit_and_each_is_pinned_once() -> None:
    found: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action, rest in re.findall(r"uses: ([^@\s]+)(.*)", path.read_text(encoding="utf-8")):
            if action.startswith("$/"):
                continue
            assert re.fullmatch(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+", rest), f"{path.name}: {action}{rest}"
            found.setdefault("/".join(action.split("/")[:2]), set()).add(rest)
    assert {action for action, pins in found.items() if len(pins) > 1} == set()


def test_all_name_the_same_placeholder() -> None:
    """Nobody can copy a commit that is none of ours, and one replacement does for all."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *EXAMPLES]
    found = {
        path: re.findall(r"uses: ([\w.-]+/ci-acme)[\w/.-]*@(\S+)", path.read_text(encoding="utf-8"))
        for path in documents
    }
    assert {pin for pins in found.values() for pin in pins} == {("ci-acme/ci-acme", "0" * 40)}
    assert len([path for path in EXAMPLES if found[path]]) >= 5
    components = [
        one for path in documents for one in re.findall(r"component: (\S+?)/\w+@", path.read_text(encoding="utf-8"))
    ]
    assert set(components) == {"gitlab.example.com/ci-acme/ci-acme"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_versions_are_the_one_of_this_checkout(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    said = re.findall(r"ci-acme(?:\[\w+\])?==([\w.]+)|ci-acme/\w+@(\d[\w.]*)|ci-acme[\w/.]*@0{40} # v([\w.]+)", text)
    assert {version for match in said for version in match if version} <= {ci_acme.__version__}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_certificates_are_those_of_the_config(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"ci-acme issue (\w+)|^ +certificate: (\w+)$", text, re.MULTILINE)
    assert {name for pair in named for name in pair if name} <= set(CONFIG.certificates)


@pytest.mark.servers
@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "gitlab").glob("*.yml")), ids=lambda path: path.name)
def test_gitlab_takes_the_pipelines(tmp_path: Path, path: Path) -> None:
    from tests.gitlab.pipeline import Project

    project = Project(tmp_path / "project")
    text = re.sub(
        r"gitlab.example.com/ci-acme/ci-acme/(\w+)@[\d.]+",
        r"$CI_SERVER_FQDN/$CI_PROJECT_PATH/\1@$CI_COMMIT_SHA",
        path.read_text(),
    )
    project.variables["CI_PIPELINE_SOURCE"] = "schedule" if '"schedule"' in text else "push"
    project.write(text)
    jobs = project.preview()
    used = re.findall(r"CI_PROJECT_PATH/(\w+)@", text)
    assert len(
        [job for job in jobs.values() if isinstance(job, dict) and "CI_ACME_CONFIG" in job.get("variables", {})]
    ) == len(used)
    for name in yaml.safe_load(text):
        assert name in {"include", "workflow"} or name in jobs
