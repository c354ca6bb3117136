"""Settings of the store `github-secrets`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import Count, SecretReference, ShapedSettings, at
from ci_acme.shapes import ShapeName, is_document, name_problem


def _url(text: str) -> str:
    from ci_acme.rest import api_url

    return api_url(text)


Url = Annotated[str, AfterValidator(_url)]


class GithubSettings(ShapedSettings):
    """A secret of GitHub Actions, with a variable NAME_METADATA beside it that says what it holds.

    Without a shape it is one PEM text (chain, then key): the runner masks each line of it. A shape with several fields
    is several secrets, NAME_FIELD; `json` is one.
    """

    SHAPE: ClassVar[ShapeName] = "pem"

    provider: str = "github-secrets"
    name: str = Field(max_length=200, pattern=r"^[A-Z_][A-Z0-9_]*$", description="The name of the secret, in capitals.")
    repository: str | None = Field(
        None, pattern=r"^[\w.-]+/[\w.-]+$", description="OWNER/NAME; GITHUB_REPOSITORY otherwise."
    )
    environment: str | None = Field(None, min_length=1, max_length=255, description="An environment of the repository.")
    organization: str | None = Field(
        None, pattern=r"^[\w-]+$", description="The organisation, for a secret of its own instead of a repository's."
    )
    visibility: Literal["all", "private", "selected"] = Field(
        "private", description="Which repositories of the organisation may read it."
    )
    selected_repository_ids: tuple[Count, ...] = Field(
        (), description="The ids of these repositories, with visibility: selected."
    )
    token: SecretReference | None = Field(
        None, description="A reference to a fine-grained token; the job's own GITHUB_TOKEN cannot write secrets."
    )
    app_id: str | None = Field(None, pattern=r"^[\w.]+$", description="The id of a GitHub App, in place of a token.")
    installation_id: Count | None = Field(None, ge=1, description="The id of the App's installation.")
    app_key: SecretReference | None = Field(None, description="A reference to the App's private key, PEM.")
    api: Url | None = Field(
        None, description="https://HOST/api/v3 of GitHub Enterprise Server; GITHUB_API_URL otherwise."
    )
    adopt: bool = Field(
        default=False, description="Write over a secret of this name that ci-acme did not make. It is lost then."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> GithubSettings:
        app = {"app_id": self.app_id, "installation_id": self.installation_id, "app_key": self.app_key}
        missing = [name for name, value in app.items() if value is None]
        if self.token is None and missing:
            problem = "is required" if len(missing) < len(app) else "is required, or app_id with its key"
            raise at({(missing[0] if len(missing) < len(app) else "token",): problem})
        if self.token is not None and len(missing) < len(app):
            raise at({("token",): "stands in place of app_id, installation_id and app_key"})
        if self.organization is not None and (self.repository or self.environment):
            raise at({("organization",): "stands in place of repository and environment"})
        if self.name.startswith("GITHUB_"):
            raise at({("name",): "must not begin with GITHUB_"})
        if (self.visibility == "selected") != bool(self.selected_repository_ids):
            raise at({("selected_repository_ids",): "goes with visibility: selected"})
        alone = self.made.single or is_document(self.shape or self.SHAPE, self.fields)
        taken = None if alone else name_problem(self.name, self.made.fields)
        if taken is not None:
            raise at({("fields" if self.fields else "shape",): taken})
        return self
