"""The Role that exactly one store of a config needs, to be applied with kubectl."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.kubernetes.config import PENDING_SUFFIX, KubernetesSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """A Role to write. RBAC has no right for metadata alone: who may read them may read the key."""
    settings = request.settings
    assert isinstance(settings, KubernetesSettings)
    verbs = ["get", "update", "patch", *(["delete"] if request.retire else [])]
    rules = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [settings.name], "verbs": verbs},
    ]
    if settings.pending:
        pending = settings.name + PENDING_SUFFIX
        more = ["get", "update", "delete"]
        rules.append({"apiGroups": [""], "resources": ["secrets"], "resourceNames": [pending], "verbs": more})
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": f"ci-acme-{settings.name}", **_in(settings.namespace)},
        "rules": rules,
    }
    title = f"Kubernetes Role to write {settings.namespace or '(the namespace of the context)'}/{settings.name}"
    return [PolicyDocument(title, "json", json.dumps(role, indent=2) + "\n")]


def _in(namespace: str | None) -> dict[str, str]:
    return {} if namespace is None else {"namespace": namespace}
