"""What needs the whole document: defaults that depend on it, and rules between its parts.

These work on the data before pydantic sees it, so that they find their problems beside pydantic's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ci_acme.config.directories import WELL_KNOWN
from ci_acme.config.document import Document, KeyPath, show_path
from ci_acme.config.problems import Problem, nearest, problem
from ci_acme.config.shape import secret_fields
from ci_acme.errors import NotAvailable
from ci_acme.model.names import normalize_identifier, normalize_zone
from ci_acme.registry import find
from ci_acme.spec import PLANNED, Kind


def fill_defaults(document: Document) -> None:
    """Put in what depends on the rest: the place of each account key, and the only authority."""
    authorities = _mapping(document.data.get("authorities"))
    for name, authority in authorities.items():
        if isinstance(authority, dict) and "account_key" not in authority:
            suffix = "" if len(authorities) == 1 else f"-{name}"
            authority["account_key"] = f"file:.ci-acme/account{suffix}.pem"
    for certificate in _mapping(document.data.get("certificates")).values():
        if isinstance(certificate, dict) and "authority" not in certificate and len(authorities) == 1:
            certificate["authority"] = [next(iter(authorities))]


def check(document: Document) -> list[Problem]:
    """All problems between the parts of the document."""
    return [
        *_authorities(document),
        *_names(document),
        *_zones(document),
        *_references(document),
        *_standing_records(document),
    ]


def _authorities(document: Document) -> Iterator[Problem]:
    known = list(_mapping(document.data.get("authorities")))
    for name, certificate in _mapping(document.data.get("certificates")).items():
        if not isinstance(certificate, dict) or not known:
            continue
        path: KeyPath = ("certificates", name, "authority")
        if "authority" not in certificate:
            mark = document.key_mark(path[:-1])
            yield problem(mark, path, "is required, as there are several authorities", allowed=known)
            continue
        seen: set[str] = set()
        for place, word in _words(document, path, certificate["authority"]):
            mark = document.value_mark(place)
            if word not in known:
                yield problem(mark, place, "no authority has this name", allowed=known, suggestion=nearest(word, known))
            elif word in seen:
                yield problem(mark, place, "the authority is in the list already")
            seen.add(word)


def _names(document: Document) -> Iterator[Problem]:
    for certificate, settings in _mapping(document.data.get("certificates")).items():
        first: dict[str, KeyPath] = {}
        path: KeyPath = ("certificates", certificate, "names")
        for place, word in _words(document, path, _mapping(settings).get("names")):
            try:
                name = normalize_identifier(word)
            except ValueError:
                continue
            if first.setdefault(name, place) != place:
                yield problem(document.value_mark(place), place, f"is the same name as {show_path(first[name][2:])}")


def _words(document: Document, path: KeyPath, said: Any) -> Iterator[tuple[KeyPath, str]]:
    """The strings of a list that may be written as a single string."""
    places = [(path, said)] if isinstance(said, str) else [((*path, i), item) for i, item in enumerate(_list(said))]
    for place, word in places:
        if isinstance(word, str) and not document.is_blamed(place):
            yield place, word


def _zones(document: Document) -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for index, entry in enumerate(_list(document.data.get("dns"))):
        zone = entry.get("zone") if isinstance(entry, dict) else None
        if not isinstance(zone, str):
            continue
        try:
            name = normalize_zone(zone)
        except ValueError:
            continue
        path: KeyPath = ("dns", index, "zone")
        other = first.setdefault(name, path)
        if other != path:
            fix = f"to publish at both providers, make this an item of also: in dns[{other[1]}]"
            yield problem(document.value_mark(path), path, f"the zone is there already, in dns[{other[1]}]", fix=fix)


def _standing_records(document: Document) -> Iterator[Problem]:
    """dns-persist-01 is for those who asked for it, at a CA that cannot be mistaken for another."""
    allowed = str(_mapping(document.data.get("experimental")).get("dns_persist", "")).lower() == "true"
    for name, settings in _mapping(document.data.get("authorities")).items():
        authority = _mapping(settings)
        path: KeyPath = ("authorities", name, "challenge")
        if authority.get("challenge") != "dns-persist-01":
            continue
        mark = document.value_mark(path)
        if not allowed:
            fix = "add experimental: {dns_persist: true} at the top, or use dns-01"
            yield problem(mark, path, "is experimental and not allowed here", fix=fix)
        directory = str(authority.get("directory", "")).lower()
        if directory not in WELL_KNOWN and not authority.get("ca_bundle"):
            fix = "set ca_bundle to the CA's own root, or use a well-known directory by its name"
            yield problem(mark, path, "needs a CA that is well known, or pinned by ca_bundle", fix=fix)


def _references(document: Document) -> Iterator[Problem]:
    for path, reference in secret_fields(document.data):
        scheme, colon, _ = reference.partition(":")
        kind = Kind.SIGNER if scheme in PLANNED[Kind.SIGNER] and path[-1] == "account_key" else Kind.SECRETS
        if not colon or scheme not in PLANNED[kind] or document.is_blamed(path):
            continue
        try:
            find(kind, scheme)
        except NotAvailable as error:
            yield problem(document.value_mark(path), path, error.message, fix=_fix(kind), unavailable=True)


def _fix(kind: Kind) -> str:
    what = "keep the account key in env:NAME or file:PATH" if kind is Kind.SIGNER else "use env:NAME or file:PATH"
    return f"{what}, or install a plug-in"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
