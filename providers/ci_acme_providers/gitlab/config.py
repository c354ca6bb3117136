"""Settings of the store `gitlab-variables`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import SecretReference, ShapedSettings, at
from ci_acme.shapes import ShapeName, is_document, name_problem


def _url(text: str) -> str:
    from ci_acme.rest import api_url

    return api_url(text)


Url = Annotated[str, AfterValidator(_url)]


class GitlabSettings(ShapedSettings):
    """A CI/CD variable of GitLab, with a variable NAME_METADATA beside it that says what it holds.

    Without a shape it is one PEM text (chain, then key) as base64 in one line, which can be masked. A shape with
    several fields is several variables, NAME_FIELD; `json` is one.
    """

    SHAPE: ClassVar[ShapeName] = "pem"

    provider: str = "gitlab-variables"
    name: str = Field(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="The key of the variable.")
    project: str | None = Field(
        None, pattern=r"^[\w./-]+$", description="The project: its id or path; CI_PROJECT_ID otherwise."
    )
    group: str | None = Field(
        None, pattern=r"^[\w./-]+$", description="The group, by id or path, for a variable of its own instead."
    )
    environment_scope: str = Field(
        "*", min_length=1, max_length=255, description="The environments that see it; one variable for each scope."
    )
    type: Literal["env_var", "file"] = Field(
        "env_var", description="`file`: jobs get the path of a file with the value."
    )
    base64: bool = Field(
        default=True, description="Write every field as base64 in a single line: else it cannot be masked."
    )
    masked: bool = Field(default=True, description="Keep the value out of job logs.")
    hidden: bool = Field(
        default=False, description="Never show the value again, not even to us: no other store is served from it."
    )
    protected: bool = Field(default=False, description="For jobs of protected branches and tags alone.")
    token: SecretReference = Field(description="A reference to an access token with the scope api, of a Maintainer.")
    api: Url | None = Field(None, description="https://HOST/api/v4 of GitLab; CI_API_V4_URL or gitlab.com otherwise.")
    adopt: bool = Field(
        default=False, description="Write over a variable of this name that ci-acme did not make. It is lost then."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> GitlabSettings:
        if self.group is not None and self.project is not None:
            raise at({("group",): "stands in place of project"})
        if self.token == "env:CI_JOB_TOKEN":  # noqa: S105 - a name
            raise at(
                {("token",): "cannot be the job's token, which may not write variables: use a project access token"}
            )
        if self.hidden and not self.masked:
            raise at({("masked",): "must be true for a hidden variable"})
        shape = self.made
        one_line = not is_document(self.shape or self.SHAPE, self.fields) and not any(
            shape.is_text(part) for part in shape.fields.values()
        )
        if self.masked and not self.base64 and not one_line:
            raise at({("base64",): "must be true where masked is: GitLab masks a single line without spaces"})
        alone = self.made.single or is_document(self.shape or self.SHAPE, self.fields)
        taken = None if alone else name_problem(self.name, self.made.fields)
        if taken is not None:
            raise at({("fields" if self.fields else "shape",): taken})
        return self
