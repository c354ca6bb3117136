"""What a BIND server has to allow, for exactly the names of a config."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.rfc2136.config import Rfc2136Settings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """An `update-policy` of BIND (its Administrator Reference Manual, "Dynamic Update Policies"): TXT at each name."""
    settings = request.settings
    assert isinstance(settings, Rfc2136Settings)
    if settings.tsig_name is None:
        text = "Updates are not signed: the server can only tell us by our address. Give the entry a TSIG key."
        return [PolicyDocument("a TSIG key", "text", text)]
    grants = "\n".join(f'  grant "{settings.tsig_name}" name {name}. TXT;' for name in request.names)
    title = f"named.conf, in the zone {request.zone}"
    return [PolicyDocument(title, "bind", f"update-policy {{\n{grants}\n}};")]
