"""Certificates that no store holds any more, from what the ledger knows: the CA gives them out again by their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ci_acme.ca.inspect import describe, split_pem
from ci_acme.dataclass import dataclass
from ci_acme.errors import CaProtocolError, CiAcmeError, Interrupted, StateError
from ci_acme.model.events import Warned
from ci_acme.model.material import CertificateFacts

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


@dataclass(frozen=True, slots=True)
class Recalled:
    """A certificate as the CA has given it out again, and the authority of the config that it is of."""

    pem: bytes
    facts: CertificateFacts
    authority: str


def by_serial(number: int, services: Services) -> list[Recalled]:
    """Certificates with this serial number that the ledger knows, of CAs of the config."""
    return _recalled(lambda: _with_serial(number, services), services)


def by_name(name: str, names: Sequence[str], services: Services) -> list[Recalled]:
    """What the inventory has under this name of the config for exactly these names."""
    return _recalled(lambda: _with_name(name, names, services), services)


def _with_serial(number: int, services: Services) -> Iterator[Mapping[str, Any]]:
    from ci_acme.state.ledger import Ledger

    for event in Ledger(services.peek()).events():
        if _number(event.facts.get("serial")) == number and event.facts.get("order"):
            yield event.facts


def _with_name(name: str, names: Sequence[str], services: Services) -> Iterator[Mapping[str, Any]]:
    from ci_acme.state.ledger import Ledger

    for entry in Ledger(services.peek()).entries():
        if entry.get("name") == name and set(entry.get("names") or ()) == set(names) and not entry.get("retired"):
            yield entry


def _number(serial: object) -> int | None:
    try:
        return int(str(serial), 16)
    except ValueError:
        return None


def _recalled(find: Any, services: Services) -> list[Recalled]:
    """Each certificate once. A ledger or CA that does not give one is a warning: the file may still be named."""
    found: dict[str, Recalled] = {}
    try:
        known = {str(facts.get("order")): facts for facts in find()}
    except StateError as error:
        services.notify(Warned("", f"the ledger cannot be read: {error.message}"))
        return []
    for facts in known.values():
        try:
            one = _from_ca(facts, services)
        except Interrupted:
            raise
        except CiAcmeError as error:
            services.notify(Warned("", f"the certificate {facts.get('serial')} was not had again: {error.message}"))
            continue
        if one is not None:
            found[one.facts.sha256] = one
    return list(found.values())


def _from_ca(facts: Mapping[str, Any], services: Services) -> Recalled | None:
    directory, order = facts.get("directory"), str(facts.get("order"))
    sections = services.config.authorities.items()
    name = next((name for name, section in sections if section.directory_url == directory), None)
    if name is None:
        services.notify(
            Warned("", f"the certificate {facts.get('serial')} is of {directory}, no authority of the config")
        )
        return None
    scope = services.scope("")
    client = services.authorities.opened(name, scope)
    url = client.order(scope, order).certificate
    if url is None:
        raise CaProtocolError(f"the order {order} has no certificate any more", fix="give it: --certificate FILE")
    pem = split_pem(client.certificate(scope, url).pem)[0]
    found = describe(pem)
    if _number(found.serial) != _number(facts.get("serial")):
        raise CaProtocolError(f"the order {order} has another certificate now", fix="give it: --certificate FILE")
    return Recalled(pem, found, name)
