"""What all settings of Amazon Web Services share."""

from __future__ import annotations

from pydantic import Field

from ci_acme.settings import Settings


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
