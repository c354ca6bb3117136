"""The built-in providers. Only the catalogue is here: importing it imports none of them."""

from __future__ import annotations

from typing import Final

from ci_acme.spec import Kind, ProviderSpec

CATALOGUE: Final = (
    ProviderSpec(
        name="rfc2136",
        kind=Kind.DNS,
        adapter="ci_acme_providers.rfc2136.adapter:Rfc2136",
        settings="ci_acme_providers.rfc2136.config:Rfc2136Settings",
        summary="DNS UPDATE (RFC 2136) with TSIG: BIND, Knot, PowerDNS, Windows DNS",
        permissions=(
            "update-policy { grant KEY name _acme-challenge.www.example.com. TXT; };  // a grant for each name",
        ),
        policies="ci_acme_providers.rfc2136.permissions:policies",
    ),
    ProviderSpec(
        name="file",
        kind=Kind.STORE,
        adapter="ci_acme_providers.files.adapter:FileStore",
        settings="ci_acme_providers.files.config:FileSettings",
        summary="a directory, replaced as one",
        permissions=("write to the directory",),
    ),
)
