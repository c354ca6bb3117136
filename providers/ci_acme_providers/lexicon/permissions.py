"""What lexicon needs at a provider: only that provider knows how narrow its tokens can be."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ports import PermissionRequest, PolicyDocument
from ci_acme_providers.lexicon.config import LexiconSettings


def policies(request: PermissionRequest) -> Sequence[PolicyDocument]:
    """What is done, in words."""
    settings = request.settings
    assert isinstance(settings, LexiconSettings)
    names = "\n".join(f"  {name}." for name in request.names)
    text = (
        f"The credentials of lexicon's provider {settings.lexicon_provider} have to list the zone {request.zone}\n"
        f"and its records, and to add and remove TXT records at these names:\n{names}\n"
        "Make them as narrow as the provider can, or delegate the names by CNAME to a zone that holds nothing else."
    )
    return [PolicyDocument(f"credentials at {settings.lexicon_provider}", "text", text)]
