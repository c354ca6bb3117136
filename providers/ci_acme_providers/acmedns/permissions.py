"""What an acme-dns registration needs: a CNAME for each name, and a registration that only this network may use."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.acmedns.config import AcmeDnsSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """The records that delegate challenges, as far as they are not there yet, and what bounds the registration."""
    settings = request.settings
    assert isinstance(settings, AcmeDnsSettings)
    missing = [name for name in request.names if name != settings.target]
    documents = []
    if missing:
        text = "\n".join(f"{name}. CNAME {settings.target}." for name in missing)
        documents.append(PolicyDocument("records in the zones of the names, once and by hand", "dns", text))
    text = (
        f"The registration can write two values at {settings.target}., and nothing else anywhere.\n"
        'Bind it to the network of the runners when it is made: POST /register {"allowfrom": ["192.0.2.0/24"]}'
    )
    return [*documents, PolicyDocument("the registration", "text", text)]
