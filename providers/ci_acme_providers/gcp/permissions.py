"""The least that Google Cloud has to grant for one entry of a config: custom roles, and where they are bound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.gcp import needs
from ci_acme_providers.gcp.config import (
    PENDING_SUFFIX,
    CertificateManagerSettings,
    GoogleAccess,
    GoogleCloudDnsSettings,
    SecretManagerSettings,
)

_PROJECT: Final = "PROJECT"
_SUBJECT: Final = "SUBJECT"


def dns(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """A role on the managed zone; one in the project only where the zone has to be searched for."""
    settings = request.settings
    assert isinstance(settings, GoogleCloudDnsSettings)
    project, zone = settings.zone_place
    project = project or settings.project or _PROJECT
    place = f"the managed zone {zone or f'of {request.zone}'}"
    documents = [_role("ciAcmeDns", f"write challenge records in {request.zone}", needs.DNS_ZONE, place)]
    steps = [
        _create("ciAcmeDns", project),
        f"gcloud dns managed-zones get-iam-policy {zone or 'ZONE'} --project={project} --format=json > policy.json",
        f"add to its bindings: {_binding(settings, project, 'ciAcmeDns')}",
        f"gcloud dns managed-zones set-iam-policy {zone or 'ZONE'} --project={project} --policy-file=policy.json",
    ]
    if zone is None:
        place = f"the project {project}, or not at all with zone_id in the config"
        documents.append(_role("ciAcmeDnsList", "find the managed zone of a name", needs.DNS_LIST, place))
        steps += [_create("ciAcmeDnsList", project), _bind_project(settings, project, "ciAcmeDnsList")]
    steps += [
        "A role on a zone covers every record of it: IAM has no condition on record names. To allow the challenge",
        f"records alone, lead them by CNAME into a zone of their own: {_examples(request.names)}",
    ]
    return [*documents, _text(settings, steps)]


def secret_manager(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """A role on the secret (or, by a condition, on its name), and one in the project for who creates it."""
    settings = request.settings
    assert isinstance(settings, SecretManagerSettings)
    project = settings.project or _PROJECT
    wanted = [*needs.SECRET_READ, *needs.SECRET_WRITE]
    if settings.keep_versions is not None or (request.retire and settings.keep_secret):
        wanted += needs.SECRET_PRUNE
    if (request.retire and not settings.keep_secret) or settings.hold_orders:
        wanted += needs.SECRET_DELETE
    place = f"the secret {settings.name}"
    path = f"projects/PROJECT_NUMBER/{f'locations/{settings.location}/' if settings.location else ''}secrets"
    names = [settings.name, *([f"{settings.name}{PENDING_SUFFIX}"] if settings.hold_orders else [])]
    condition = " || ".join(
        f'resource.name == "{path}/{name}" || resource.name.startsWith("{path}/{name}/")' for name in names
    )
    documents = [
        _role("ciAcmeSecret", f"write the certificate {request.certificate}", wanted, place),
        _role(
            "ciAcmeSecretCreate",
            "create secrets",
            needs.SECRET_CREATE,
            f"the project {project}, or not at all if the secret is made in advance",
        ),
        PolicyDocument(
            "condition of the binding of ciAcmeSecret in the project, while the secret does not exist",
            "json",
            json.dumps({"title": f"ci-acme {settings.name}", "expression": condition}, indent=2),
        ),
    ]
    location = f" --location={settings.location}" if settings.location else ""
    bind = f"gcloud secrets add-iam-policy-binding {settings.name} --project={project}{location} "
    steps = [
        _create("ciAcmeSecret", project),
        bind + f"--member={_member(settings)} --role=projects/{project}/roles/ciAcmeSecret",
        _create("ciAcmeSecretCreate", project),
        _bind_project(settings, project, "ciAcmeSecretCreate"),
        "A job that only keeps or plans needs secretmanager.secrets.get and secretmanager.versions.get of these.",
    ]
    return [*documents, _text(settings, steps)]


def certificate_manager(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """A role in the project: Certificate Manager has no policies of single certificates."""
    settings = request.settings
    assert isinstance(settings, CertificateManagerSettings)
    project = settings.project or _PROJECT
    wanted = [*needs.CERTIFICATE_READ, *needs.CERTIFICATE_WRITE]
    if request.retire:
        wanted += [name for name in needs.CERTIFICATE_DELETE if name not in wanted]
    role = _role("ciAcmeCertificate", f"write the certificate {settings.name}", wanted, f"the project {project}")
    steps = [_create("ciAcmeCertificate", project), _bind_project(settings, project, "ciAcmeCertificate")]
    return [role, _text(settings, steps)]


def _role(identifier: str, title: str, permissions: Sequence[str], place: str) -> PolicyDocument:
    """A custom role, as `gcloud iam roles create --file` takes it."""
    role = {
        "title": f"ci-acme: {title}"[:100],
        "stage": "GA",
        "includedPermissions": list(dict.fromkeys(permissions)),
    }
    return PolicyDocument(f"custom role {identifier}, bound on {place}", "json", json.dumps(role, indent=2))


def _create(identifier: str, project: str) -> str:
    return f"gcloud iam roles create {identifier} --project={project} --file={identifier}.json"


def _bind_project(access: GoogleAccess, project: str, role: str) -> str:
    return (
        f"gcloud projects add-iam-policy-binding {project} --member={_member(access)} "
        f"--role=projects/{project}/roles/{role} --condition=None"
    )


def _binding(access: GoogleAccess, project: str, role: str) -> str:
    binding: dict[str, Any] = {"role": f"projects/{project}/roles/{role}", "members": [_member(access)]}
    return json.dumps(binding)


def _member(access: GoogleAccess) -> str:
    """Who is granted: the service account, else the CI job's own principal."""
    if access.service_account is not None:
        return f"serviceAccount:{access.service_account}"
    if access.workload_identity_provider is not None:
        return _principal(access.workload_identity_provider)
    return "MEMBER"


def _principal(provider: str) -> str:
    pool = provider.partition("/providers/")[0]
    return f"principal://iam.googleapis.com/{pool}/subject/{_SUBJECT}"


def _text(access: GoogleAccess, steps: Sequence[str]) -> PolicyDocument:
    lines = list(steps)
    if access.workload_identity_provider is not None:
        if access.service_account is not None:
            lines.append(
                f"gcloud iam service-accounts add-iam-policy-binding {access.service_account} "
                f"--member={_principal(access.workload_identity_provider)} --role=roles/iam.workloadIdentityUser"
            )
        lines += [
            f"{_SUBJECT} is the `sub` of the job's identity token: repo:OWNER/REPO:environment:NAME at GitHub,",
            "project_path:GROUP/PROJECT:ref_type:branch:ref:main at GitLab, or as these say.",
        ]
    return PolicyDocument("commands", "text", "\n".join(lines))


def _examples(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown}{' and so on' if len(names) > 3 else ''}" if names else "_acme-challenge.NAME"
