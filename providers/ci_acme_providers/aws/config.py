"""What all settings of Amazon Web Services share."""

from __future__ import annotations

from pydantic import Field, model_validator

from ci_acme.settings import DnsSettings, SecretReference, Settings, at


class AwsAccess(Settings):
    """Where and as whom AWS is asked; every field may stay away where the environment says it."""

    region: str | None = Field(None, min_length=1, description="The AWS region; AWS_REGION otherwise.")
    role: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$",
        description="The role to assume: with the CI system's identity token where there is one, else from the "
        "credentials of the environment.",
    )
    audience: str = Field("sts.amazonaws.com", min_length=1, description="The audience of the identity token.")
    endpoint: str | None = Field(
        None, min_length=1, description="Another URL for the service: a VPC endpoint, a test server."
    )
    access_key_id: SecretReference | None = Field(
        None, description="A reference to the id of a static access key, instead of the environment's credentials."
    )
    secret_access_key: SecretReference | None = Field(
        None, description="A reference to the secret of the static access key."
    )

    @model_validator(mode="after")
    def _whole_key(self) -> AwsAccess:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = "access_key_id" if self.access_key_id is None else "secret_access_key"
            raise at({(missing,): "is required: access_key_id and secret_access_key belong together"})
        return self


class Route53Settings(AwsAccess, DnsSettings):
    """Amazon Route 53; `zone_id` is the hosted zone's id (`Z…`)."""

    provider: str = "route53"
