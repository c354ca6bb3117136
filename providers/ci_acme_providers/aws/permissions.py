"""The least that Route 53 must allow: as policies to paste, and as the inline policies of a role's sessions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final

from ci_acme.ports.permissions import PermissionRequest, PolicyDocument
from ci_acme_providers.aws.config import AwsAccess, Route53Settings
from ci_acme_providers.aws.route53_records import wire_name

SESSION_CHARACTERS: Final = 2_048
"""Of an inline session policy, as STS takes it."""
_MANAGED_CHARACTERS: Final = 6_144
"""Of a managed policy, not counting white space."""
_KEY: Final = "route53:ChangeResourceRecordSets"


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """What to attach to the role or user of a `route53` entry, and whom the role must trust."""
    settings = request.settings
    assert isinstance(settings, Route53Settings)
    names, zone_id = sorted(request.names), _bare(settings.zone_id)
    title = f"IAM policy for Route 53, zone {request.zone or settings.zone}"
    statements = _statements(settings, zone_id, names)
    if len(_compact(statements)) > _MANAGED_CHARACTERS:
        title += " (names by pattern: a policy with every name would be longer than IAM takes)"
        statements = _statements(settings, zone_id, _patterns(names), operator="StringLike")
    if zone_id is None:
        title += " (zone_id in the config would narrow it to one zone)"
    documents = [PolicyDocument(title, "json", json.dumps(_policy(statements), indent=2))]
    if settings.role is not None:
        documents.append(trust(settings))
    return documents


def trust(access: AwsAccess) -> PolicyDocument:
    """A trust policy for the configured role, for GitHub Actions; other CI systems differ in issuer and subject."""
    role = access.role or ""
    account = role.split(":")[4] if role else "ACCOUNT"
    issuer = "token.actions.githubusercontent.com"
    provider = f"arn:{partition(access)}:iam::{account}:oidc-provider/{issuer}"
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {f"{issuer}:aud": access.audience},
            "StringLike": {f"{issuer}:sub": "repo:OWNER/REPOSITORY:ref:refs/heads/main"},
        },
    }
    title = f"trust policy of {role} for GitHub Actions (GitLab: the instance's host as issuer, subject project_path:…)"
    return PolicyDocument(title, "json", json.dumps(_policy([statement]), indent=2))


def finding(settings: Route53Settings) -> Sequence[str]:
    """The session policy for looking for zones; none if no role is assumed."""
    if settings.role is None:
        return ()
    return (_compact([_read_zones(settings), _list_zones()]),)


def changing(settings: Route53Settings, zone_id: str, names: Sequence[str]) -> Sequence[str]:
    """Session policies for work at these names: narrowed to them if that fits, then without; none without a role."""
    if settings.role is None:
        return ()
    narrow = _compact(_changes(settings, zone_id, sorted(names)))
    coarse = _compact(_changes(settings, zone_id, ()))
    return (narrow, coarse) if len(narrow) <= SESSION_CHARACTERS else (coarse,)


def partition(access: AwsAccess) -> str:
    """`aws`, `aws-cn`, `aws-us-gov`: that of the role, else of the region."""
    if access.role is not None:
        return access.role.split(":")[1]
    region = access.region or ""
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


# --- statements --------------------------------------------------------------------------------------------------


def _statements(
    settings: Route53Settings, zone_id: str | None, names: Sequence[str], operator: str = "StringEquals"
) -> list[dict[str, Any]]:
    statements = _changes(settings, zone_id or "*", names, operator)
    if zone_id is None:
        statements.append(_list_zones())
    statements[1]["Action"] = ["route53:ListResourceRecordSets", "route53:GetHostedZone"]
    return statements


def _changes(
    settings: Route53Settings, zone_id: str, names: Sequence[str], operator: str = "StringEquals"
) -> list[dict[str, Any]]:
    """Change TXT records by CREATE and DELETE, at the names if there are any; look at the zone; ask for the change.

    ForAllValues is true where a key is absent: the Null guard demands that it is there.
    """
    zone = f"arn:{partition(settings)}:route53:::hostedzone/{zone_id}"
    equals = {f"{_KEY}RecordTypes": ["TXT"], f"{_KEY}Actions": ["CREATE", "DELETE"]}
    condition: dict[str, Any] = {"ForAllValues:StringEquals": equals}
    if names:
        values = {f"{_KEY}NormalizedRecordNames": list(names if operator == "StringLike" else map(wire_name, names))}
        condition.setdefault(f"ForAllValues:{operator}", {}).update(values)
    condition["Null"] = {f"{_KEY}NormalizedRecordNames": "false"}
    return [
        {
            "Effect": "Allow",
            "Action": "route53:ChangeResourceRecordSets",
            "Resource": zone,
            "Condition": condition,
        },
        {"Effect": "Allow", "Action": ["route53:ListResourceRecordSets"], "Resource": zone},
        {
            "Effect": "Allow",
            "Action": "route53:GetChange",
            "Resource": f"arn:{partition(settings)}:route53:::change/*",
        },
    ]


def _read_zones(settings: Route53Settings) -> dict[str, Any]:
    zone_id = _bare(settings.zone_id) or "*"
    return {
        "Effect": "Allow",
        "Action": "route53:GetHostedZone",
        "Resource": f"arn:{partition(settings)}:route53:::hostedzone/{zone_id}",
    }


def _list_zones() -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "route53:ListHostedZonesByName", "Resource": "*"}


def _patterns(names: Sequence[str]) -> list[str]:
    """Names by their first label, and the suffix that all with that label have in common."""
    heads: dict[str, list[list[str]]] = {}
    for name in names:
        head, *rest = map(wire_name, name.split("."))
        heads.setdefault(head, []).append(rest[::-1])
    made: list[str] = []
    for head, tails in heads.items():
        common = takewhile(lambda labels: len(set(labels)) == 1, zip(*tails, strict=False))
        suffix = ".".join(reversed([labels[0] for labels in common]))
        made += [f"{head}.{suffix}", f"{head}.*.{suffix}"]
    return made


def _bare(zone_id: str | None) -> str | None:
    return zone_id.rpartition("/")[2] if zone_id else None


def _policy(statements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _compact(statements: Sequence[dict[str, Any]]) -> str:
    return json.dumps(_policy(statements), separators=(",", ":"))
