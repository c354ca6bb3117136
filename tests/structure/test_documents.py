"""What documents say about the project is true of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.structure.project import ROOT, run_script

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
each = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def test_generated_documents_are_up_to_date() -> None:
    done = run_script("generate-docs", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_make_targets_that_are_named_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    named = re.findall(r"(?:^|`|\$ )make ([a-z]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(named) <= targets


@each
def test_links_inside_the_repository_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_python_versions_are_the_same_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    classifiers = re.findall(r"Python :: (3\.\d+)", project)
    assert f'requires-python = ">={classifiers[0]}"' in project
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'"(3\.\d+)"', workflow)) == set(classifiers)


def test_decisions_are_numbered_and_have_their_parts() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(len(records)))
    for path in records:
        headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Evidence", "Consequences"], path.name


def test_a_sample_that_keeps_the_report_has_it_written() -> None:
    samples = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "examples").iterdir() if path.is_file()}
    kept = {name for name, text in samples.items() if "ci-acme-report.json" in text}
    written = {name for name in kept if re.search(r"(CI_ACME_REPORT\W|--report )", samples[name])}
    assert len(kept) >= 4
    assert written == kept
