"""The component's inputs: what is no plain text is refused before there is a pipeline."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

import ci_acme
from tests.gitlab.pipeline import ROOT, Project

TEMPLATES = {
    path.stem: list(yaml.safe_load_all(path.read_text())) for path in sorted((ROOT / "templates").glob("*.yml"))
}
INPUTS: dict[str, dict[str, Any]] = {name: parts[0]["spec"]["inputs"] for name, parts in TEMPLATES.items()}
HOSTILE = (
    'a"b',
    "a'b",
    "a\nb: c",
    "$(id)",
    "`id`",
    "a;b",
    "a&&b|c",
    "a #b",
    "a{b}",
    "[a]",
    "\\a",
    "a%0Ab",
    "ä",
    "x\ty",
)


def free(name: str) -> list[str]:
    """The inputs that are texts without a list of options."""
    return [key for key, one in INPUTS[name].items() if one.get("type", "string") == "string" and "options" not in one]


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_text_is_checked(name: str) -> None:
    for key in free(name):
        one = INPUTS[name][key]
        assert one["regex"].startswith("^")
        assert one["regex"].endswith("$")
        pattern = re.compile(one["regex"].removesuffix("$") + r"\Z")
        assert pattern.search(one["default"]), f"{name}: the default of {key}"
        passed = [text for text in HOSTILE if pattern.search(text) and not set(text) <= set(ALLOWED.get(key, ""))]
        assert passed == [], f"{name}: {key}"


ALLOWED = {"state": "?=&"}
"""What has a meaning for a shell, in inputs that go into a variable and never into a script."""


@pytest.mark.servers
@pytest.mark.parametrize("key", ["job-name", "image", "domains", "resource-group"])
def test_gitlab_refuses_what_is_no_plain_text(project: Project, key: str) -> None:
    project.include("issue", {key: 'x"\n  script: $(touch pwned)'})
    ran = project.run("--list")
    assert ran.status != 0
    assert f"`{key}` input" in ran.log
    assert "does not match required regex" in ran.log


@pytest.mark.parametrize("text", ["--force", "-x", "web --force", "web  api", " web", "web "])
def test_names_of_certificates_are_no_options(text: str) -> None:
    for inputs in INPUTS.values():
        assert not re.search(inputs["certificate"]["regex"], text)
        assert re.search(inputs["certificate"]["regex"], "web api-2 www.example.com")


@pytest.mark.servers
def test_a_job_has_the_tokens_that_it_was_given_and_no_others(project: Project) -> None:
    project.include("issue")
    assert "id_tokens" not in project.preview()["ci-acme"]
    for component, job in (("issue", "web api"), ("plan", "p"), ("retire", "r"), ("monitor", "m")):
        google = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/providers/gitlab"
        project.include(component, {"job-name": job, "azure": True, "google": True, "google-audience": google})
        assert project.preview()[job]["id_tokens"] == {
            "CI_ACME_AZURE_ID_TOKEN": {"aud": "api://AzureADTokenExchange"},
            "CI_ACME_GOOGLE_ID_TOKEN": {"aud": google},
        }


def test_an_input_is_the_same_in_every_template() -> None:
    for name, inputs in INPUTS.items():
        for key, one in inputs.items():
            for other, others in INPUTS.items():
                if key in others and key not in {"job-name", "stage"}:
                    assert others[key] == one, f"{key} of {name} and {other}"


def test_a_tag_of_the_component_installs_its_own_version() -> None:
    for inputs in INPUTS.values():
        assert inputs["version"]["default"] == f"=={ci_acme.__version__}"


def test_inputs_reach_scripts_as_variables_only() -> None:
    for name, (_, body) in TEMPLATES.items():
        for job, keys in body.items():
            lines = [line for key in ("before_script", "script", "after_script") for line in keys.get(key, ())]
            used = set(re.findall(r"\$\[\[ inputs\.([\w-]+) \]\]", "\n".join(lines)))
            assert used <= {"version"}, f"{name}: {job}"
