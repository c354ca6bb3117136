"""The registered domain of a name, by the public suffix list that is installed with us. No network."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from ci_acme.model.names import base_name

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


def registered_domains(names: Iterable[str]) -> list[str]:
    """The registered domains of identifiers (A-labels, with or without ``*.``), sorted."""
    return sorted({registered_domain(name) for name in names})


def registered_domain(name: str) -> str:
    """The name that was registered: one label below its public suffix, also below private ones (`github.io`).

    A name that is a public suffix itself stands for itself. An unknown top-level domain counts as a public suffix.
    """
    plain = base_name(name)
    return _suffixes().privatesuffix(plain) or plain


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    """Read once, in 30 ms, by the runs that need it."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
