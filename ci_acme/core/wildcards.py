"""The wildcard that several certificates of one parent could share, when each by itself burns the CA's budget. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ci_acme.dataclass import dataclass
from ci_acme.model.names import is_suffix, is_wildcard

MANY = 0.5
"""The part of a limit that has to be left over after a plan; else a wildcard is proposed."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One certificate in place of several.

    `covered` are the names that it covers, all one label below `parent`; `uncovered` those of the same certificates
    that it cannot cover. `names` is what the shared certificate would have: `parent` itself, too, if somebody wants it.
    """

    domain: str
    parent: str
    certificates: tuple[str, ...]
    covered: tuple[str, ...]
    uncovered: tuple[str, ...]
    names: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The entry of `suggestions` in the result document."""
        return {
            "kind": "wildcard",
            "registered_domain": self.domain,
            "names": list(self.names),
            "in_place_of": list(self.certificates),
            "covers": list(self.covered),
            "cannot_cover": list(self.uncovered),
        }


def burns(new: int, remaining: int, kept: int, of: int) -> bool:
    """Whether that many new certificates are several, and leave less than half of the limit to others."""
    return new >= 2 and remaining - kept - new < of * MANY


def propose(domain: str, wanted: Mapping[str, Sequence[str]]) -> Proposal | None:
    """The wildcard below `domain` (registered) that serves most of the certificates (name in the config -> its names).

    None if no two of them have names under one parent.
    """
    parents: dict[str, set[str]] = defaultdict(set)
    for certificate, names in wanted.items():
        for above in (name.partition(".")[2] for name in names if not is_wildcard(name)):
            if is_suffix(domain, above):
                parents[above].add(certificate)
    parent = max(sorted(parents), key=lambda found: len(parents[found]), default="")
    if not parent or len(parents[parent]) < 2:
        return None
    certificates = tuple(sorted(parents[parent]))
    every = {name for certificate in certificates for name in wanted[certificate]}
    served = _served(every, parent)
    plain = {parent} & every
    return Proposal(
        domain=domain,
        parent=parent,
        certificates=certificates,
        covered=tuple(sorted(served)),
        uncovered=tuple(sorted(every - served - plain)),
        names=(f"*.{parent}", *sorted(plain)),
    )


def _served(names: Iterable[str], parent: str) -> set[str]:
    """What `*.parent` covers: one label, and no more (RFC 9525 section 6.3)."""
    return {name for name in names if name.partition(".")[2] == parent}
