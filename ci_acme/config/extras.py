"""Which Python extras a configuration needs: those of the providers, secret sources and state that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ci_acme.errors import NotAvailable
from ci_acme.registry import find
from ci_acme.spec import Kind

if TYPE_CHECKING:
    from ci_acme.config.schema import Config

_EXTRA_REQUIREMENT: Final = re.compile(r"""(?P<package>[\w.-]+).*;.*\bextra\s*==\s*['"](?P<extra>[\w-]+)['"]""")
"""A dependency that an extra brings, as the metadata of a package has it (PEP 508)."""
_SCHEMES: Final = {Kind.SECRETS: ("aws-secrets-manager", "gcp-secret-manager", "azure-key-vault", "vault")}


def extras(config: Config) -> list[str]:
    """Their names, sorted; no adapter is loaded, so that what is missing does not matter."""
    found = {_extra(Kind.DNS, entry.provider) for entry in config.dns}
    found |= {_extra(Kind.STORE, store.provider) for one in config.certificates.values() for store in one.stores}
    for text in _texts(config.model_dump(mode="json")):
        scheme = text.partition(":")[0]
        if scheme in _SCHEMES[Kind.SECRETS]:
            found.add(_extra(Kind.SECRETS, scheme))
        elif scheme == "postgresql":
            found.add("postgresql")
    return sorted(extra for extra in found if extra)


def missing(config: Config) -> list[str]:
    """Those of them whose packages are not all installed; none where this package was not installed by pip either."""
    needed = extras(config)
    if not needed:
        return []
    from importlib import metadata

    try:
        requirements = [_EXTRA_REQUIREMENT.match(text) for text in metadata.requires("ci-acme") or ()]
    except metadata.PackageNotFoundError:
        return []
    absent = {match["extra"] for match in requirements if match and not _installed(match["package"])}
    return [extra for extra in needed if extra in absent]


def _installed(package: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _extra(kind: Kind, name: str) -> str | None:
    try:
        return find(kind, name).extra
    except NotAvailable:
        return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
