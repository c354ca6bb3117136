"""What the role of a job needs for its stores and secrets: IAM policies for exactly these targets.

Actions and resources as in the Service Authorization Reference. A store without `retire` gets no right to delete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.aws.store_config import (
    ORDER_SUFFIX,
    AcmSettings,
    S3Settings,
    SecretsManagerSettings,
    SsmSettings,
)

_NAME_TAG = "ci-acme-store"  # as in acm_search, which needs the SDK's caller


def secrets_manager(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """For one secret and, while an order is under way, the one beside it."""
    settings = request.settings
    assert isinstance(settings, SecretsManagerSettings)
    base = _arn("secretsmanager", settings.region, f"secret:{settings.name}")
    actions = [
        "CreateSecret",
        "DescribeSecret",
        "GetSecretValue",
        "PutSecretValue",
        "RestoreSecret",
        "TagResource",
        "UntagResource",
        "UpdateSecretVersionStage",
        *(("DeleteSecret",) if request.retire else ()),
    ]
    statements = [_allow("secretsmanager", actions, [f"{base}-??????"])]
    if settings.keep_order:
        order = ["CreateSecret", "DeleteSecret", "GetSecretValue", "PutSecretValue"]
        statements.append(_allow("secretsmanager", order, [f"{base}{ORDER_SUFFIX}-??????"]))
    return [_policy(f"IAM policy for the secret {settings.name}", statements, settings.kms_key, settings.region)]


def ssm(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """For one parameter; DescribeParameters cannot be narrowed."""
    settings = request.settings
    assert isinstance(settings, SsmSettings)
    arn = _arn("ssm", settings.region, f"parameter/{settings.name.lstrip('/')}")
    actions = [
        "AddTagsToResource",
        "GetParameter",
        "ListTagsForResource",
        "PutParameter",
        "RemoveTagsFromResource",
        *(("DeleteParameter",) if request.retire else ()),
    ]
    statements = [_allow("ssm", actions, [arn]), _allow("ssm", ["DescribeParameters"], ["*"])]
    return [_policy(f"IAM policy for the parameter {settings.name}", statements, settings.kms_key, settings.region)]


def acm(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """For one ARN, or for what has the store's tag; a new import has to carry it."""
    settings = request.settings
    assert isinstance(settings, AcmSettings)
    arn = settings.arn or _arn("acm", settings.region, "certificate/*")
    changes = [
        "AddTagsToCertificate",
        "ImportCertificate",
        "RemoveTagsFromCertificate",
        *(("DeleteCertificate",) if request.retire else ()),
    ]
    reads = ["DescribeCertificate", "GetCertificate", "ListTagsForCertificate"]
    if settings.arn:
        return [_policy(f"IAM policy for {settings.arn}", [_allow("acm", changes + reads, [arn])])]
    ours = {"StringEquals": {f"aws:ResourceTag/{_NAME_TAG}": settings.name}}
    new = {"StringEquals": {f"aws:RequestTag/{_NAME_TAG}": settings.name}}
    statements = [
        {**_allow("acm", changes, [arn]), "Condition": ours},
        {**_allow("acm", ["AddTagsToCertificate", "ImportCertificate"], [arn]), "Condition": new},
        _allow("acm", reads, [arn]),
        _allow("acm", ["ListCertificates"], ["*"]),
    ]
    return [_policy(f"IAM policy for the certificate with the tag {_NAME_TAG}={settings.name}", statements)]


def s3(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """For one object and, while an order is under way, the one beside it."""
    settings = request.settings
    assert isinstance(settings, S3Settings)
    key = settings.key or f"ci-acme/{request.certificate}"
    bucket = f"arn:{_partition(settings.region)}:s3:::{settings.bucket}"
    arn = f"{bucket}/{key}"
    actions = [
        "GetObject",
        "GetObjectTagging",
        "PutObject",
        "PutObjectTagging",
        *(("DeleteObject", "DeleteObjectVersion") if request.retire else ()),
    ]
    statements = [_allow("s3", actions, [arn])]
    if settings.keep_order:
        order = ["DeleteObject", "DeleteObjectVersion", "GetObject", "PutObject"]
        statements.append(_allow("s3", order, [arn + ORDER_SUFFIX]))
    statements.append(_allow("s3", ["ListBucket", "ListBucketVersions"], [bucket]))
    return [_policy(f"IAM policy for s3://{settings.bucket}/{key}", statements, settings.kms_key, settings.region)]


def _allow(service: str, actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": sorted(f"{service}:{action}" for action in actions),
        "Resource": list(resources),
    }


def _arn(service: str, region: str | None, rest: str) -> str:
    """An ARN of any account, in the partition of the region."""
    return f"arn:{_partition(region)}:{service}:{region or '*'}:*:{rest}"


def _partition(region: str | None) -> str:
    prefix = (region or "").rpartition("-")[0].rpartition("-")[0]
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(prefix, "aws")


def _use_of(kms_key: str, region: str | None) -> dict[str, Any]:
    """A key by its id or ARN; by an alias, which a policy can only ask for."""
    _, slash, alias = kms_key.partition("alias/")
    if slash:
        use: dict[str, Any] = _allow("kms", ["Decrypt", "GenerateDataKey"], [_arn("kms", region, "key/*")])
        return {**use, "Condition": {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{alias}"}}}
    arn = kms_key if kms_key.startswith("arn:") else _arn("kms", region, f"key/{kms_key}")
    return _allow("kms", ["Decrypt", "GenerateDataKey"], [arn])


def _policy(
    title: str, statements: Sequence[Mapping[str, Any]], kms_key: str | None = None, region: str | None = None
) -> PolicyDocument:
    found = list(statements)
    if kms_key is not None:
        found.append(_use_of(kms_key, region))
    return PolicyDocument(title, "json", json.dumps({"Version": "2012-10-17", "Statement": found}, indent=2))
