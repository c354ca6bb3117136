"""How the names of a certificate are proven at one CA: by records that we write, by standing ones, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ci_acme.core.quirks import known_ca
from ci_acme.errors import CiAcmeError, ZoneNotFound
from ci_acme.model.names import base_name, challenge_name
from ci_acme.ports import Challenge, ChallengeSolver, Deadline
from ci_acme.runner.key_file import KeyFile

if TYPE_CHECKING:
    from ci_acme.config.schema import Authority
    from ci_acme.runner.services import Services


class NoSolver:
    """For orders that need no challenge: whoever has to solve one after all is told what to do."""

    changes = 0
    propagation = None

    def prepare(self, names: Sequence[str]) -> None: ...

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        names = sorted({base_name(challenge.identifier) for challenge in challenges})
        raise ZoneNotFound(
            f"the CA wants a challenge for {', '.join(names)}, and the config has no dns: entry to solve it",
            fix=f"add an entry to dns: with zone: {names[0]} or one above; or validate the names in the CA's console, "
            "and say preauthorized: true in the authority",
            details={"names": names, "configured": []},
        )

    def cleanup(self) -> None: ...


def solver_for(authority: str, certificate: str, services: Services) -> ChallengeSolver:
    """The solver of one order at this CA."""
    section = services.authority(authority)
    if section.challenge == "dns-persist-01":
        from ci_acme.dns.standing import StandingSolver

        return StandingSolver(services.dns, certificate, services.notify)
    if is_preauthorized(section) or not services.config.dns:
        return NoSolver()
    return services.solver(certificate)


def is_preauthorized(authority: Authority) -> bool:
    """Whether this CA validates names by itself: as the config says, else as is known of it."""
    if authority.preauthorized is not None:
        return authority.preauthorized
    return known_ca(authority.directory_url).preauthorized


def method_of(authority: str, services: Services) -> str | None:
    """The validation method that CAA records call this CA's by (RFC 8657 section 4); None if it is the CA's own."""
    section = services.authority(authority)
    return None if is_preauthorized(section) else section.challenge


def names_for_check(authority: str, services: Services, account: str | None = None) -> Callable[[str], str] | None:
    """What gives the challenge name of an identifier at this CA; None if that needs an account, and none is known.

    `account` is the account's URL if it is known; else it is that of an earlier run.
    """
    section = services.authority(authority)
    if section.challenge != "dns-account-01":
        return challenge_name
    account = account or known_account(authority, services)
    if account is None:
        return None
    from ci_acme.model.names import account_challenge_name

    return lambda identifier: account_challenge_name(identifier, account)


def lacks_key(reference: str) -> bool:
    """Whether the account key is a file that is yet to be made."""
    key_file = KeyFile.of(reference)
    return key_file is not None and key_file.missing


def known_account(authority: str, services: Services) -> str | None:
    """The account URL of an earlier run; no request. None without one, and without a usable key or state."""
    from ci_acme.ca.jws import thumbprint
    from ci_acme.ca.keys import load_signer

    section = services.authority(authority)
    reference = section.account_key
    if lacks_key(reference):
        return None
    try:
        signer = load_signer(services.read_secret(reference), reference)
        return services.accounts().url(section.directory_url, thumbprint(signer.jwk))
    except CiAcmeError:
        return None
