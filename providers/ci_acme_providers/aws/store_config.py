"""Settings of the stores of Amazon Web Services."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ci_acme.settings import Count, ShapedSettings, StoreSettings, at
from ci_acme.shapes import BINARY, ShapeName
from ci_acme_providers.aws.config import AwsAccess

ORDER_SUFFIX = ".ci-acme-order"
"""Where an order under way is kept, beside the target's own name."""

_DEPTH = 15
"""Levels of a parameter's name (API reference, PutParameter)."""


class SecretsManagerSettings(ShapedSettings, AwsAccess):
    """One secret of AWS Secrets Manager."""

    provider: str = "aws-secrets-manager"
    name: str = Field(
        pattern=r"^[A-Za-z0-9/_+=.@-]+$", max_length=512 - len(ORDER_SUFFIX), description="The name of the secret."
    )
    kms_key: str | None = Field(
        None, min_length=1, max_length=2048, description="The KMS key of a new secret; aws/secretsmanager otherwise."
    )
    recovery_days: Count = Field(
        7, ge=7, le=30, description="Days in which a retired secret can be restored; --purge skips them."
    )
    keep_order: bool = Field(
        default=True,
        description="Keep the key of an order under way in a second secret, NAME.ci-acme-order, until it is stored.",
    )


class SsmSettings(ShapedSettings, AwsAccess):
    """One SecureString parameter of AWS Systems Manager."""

    SHAPE: ClassVar[ShapeName] = "pem"

    provider: str = "aws-ssm"
    name: str = Field(
        pattern=r"^/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$",
        max_length=900,
        description="The name of the parameter; with a leading slash if it has levels.",
    )
    kms_key: str | None = Field(
        None, min_length=1, max_length=256, description="The KMS key that encrypts it; aws/ssm otherwise."
    )
    tier: Literal["standard", "advanced"] = Field(
        "standard", description="`standard` holds 4 KB and is free; `advanced` holds 8 KB and cannot be taken back."
    )

    @model_validator(mode="after")
    def _parameter_store_takes_it(self) -> SsmSettings:
        levels = self.name.strip("/").split("/")
        if levels[0].lower().startswith(("aws", "ssm")):
            raise at({("name",): "must not begin with aws or ssm, which AWS keeps for itself"})
        if len(levels) > 1 and not self.name.startswith("/"):
            raise at({("name",): "has levels, and so it needs a leading slash"})
        if len(levels) > _DEPTH:
            raise at({("name",): f"has {len(levels)} levels, and {_DEPTH} are the most"})
        made = self.made
        if made.single and not made.base64 and set(made.fields.values()) & BINARY:
            raise at({("base64",): "must be true: a parameter holds text, and PKCS#12 is binary"})
        if any("{{" in field for field in made.fields):
            raise at({("fields",): "must not hold {{, which a parameter cannot hold"})
        return self

    @property
    def most(self) -> int:
        """Bytes that the tier holds."""
        return 4096 if self.tier == "standard" else 8192


class AcmSettings(StoreSettings, AwsAccess):
    """One imported certificate of AWS Certificate Manager, which keeps its ARN."""

    provider: str = "aws-acm"
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.:/=+@-]+$",
        max_length=256,
        description="What the certificate is called in the tag ci-acme-store, by which its ARN is found again: "
        "unique in the account and region.",
    )
    arn: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[A-Za-z0-9-]+$",
        description="The ARN of a certificate that was imported before, in place of name: nothing is listed.",
    )
    used_by: Literal["load-balancer", "cloudfront"] = Field(
        "load-balancer", description="Who serves it: `cloudfront` takes no P-384 key, and looks in us-east-1 only."
    )

    @model_validator(mode="after")
    def _one_of_name_and_arn(self) -> AcmSettings:
        if (self.name is None) is (self.arn is None):
            raise at({("name",): "is required, or arn in its place"})
        region = self.arn.split(":")[3] if self.arn else self.region
        if self.used_by == "cloudfront" and region not in {None, "us-east-1"}:
            raise at({("region",): "must be us-east-1, where CloudFront looks for certificates"})
        return self


class S3Settings(ShapedSettings, AwsAccess):
    """One object of Amazon S3."""

    TARGET: ClassVar[str] = "bucket"

    provider: str = "aws-s3"
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="The name of the bucket.")
    key: str | None = Field(
        None,
        min_length=1,
        max_length=1024 - len(ORDER_SUFFIX),
        description="The key of the object; ci-acme/CERTIFICATE otherwise, with the name of the certificate.",
    )
    kms_key: str | None = Field(
        None, min_length=1, description="Encrypt with this KMS key; as the bucket does it otherwise."
    )
    keep_order: bool = Field(
        default=True,
        description="Keep the key of an order under way in a second object, KEY.ci-acme-order, until it is stored.",
    )
