"""What `check` says of the account at a CA, which is looked for and never made (RFC 8555 section 7.3.1)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ci_acme.ca.jws import thumbprint
from ci_acme.ca.lifecycle import look_up
from ci_acme.core.checks import CheckLine
from ci_acme.dataclass import dataclass
from ci_acme.errors import CiAcmeError, Interrupted, StateError
from ci_acme.runner.key_file import KeyFile
from ci_acme.runner.rotation import refuse_key_named_twice
from ci_acme.runner.solvers import known_account, lacks_key

if TYPE_CHECKING:
    from ci_acme.ca.messages import Directory
    from ci_acme.config.schema import Authority
    from ci_acme.runner.services import Services


@dataclass(slots=True)
class SeenCa:
    """What `check` has learnt of a CA: its directory, and the URL of our account if it has one."""

    directory: Directory
    account: str | None = None


def check_account(name: str, authority: Authority, seen: SeenCa, services: Services) -> Iterator[CheckLine]:
    """The account key and its account; terms and external account where one is yet to be registered."""
    reference = authority.account_key
    new = lacks_key(reference)
    if new and services.may_register:
        yield CheckLine("ok", "ca", name, f"the account key {reference} is made and registered by the first issue")
    elif new:
        yield CheckLine(
            "error",
            "ca",
            name,
            f"there is no account key at {reference}, and a run in CI makes none",
            "give the job the key of an account, or run once with --allow-new-account",
        )
    else:
        line = _judged(name, authority, seen, services)
        yield line
        new = line.level != "error" and seen.account is None
    if new:
        yield from _registration(name, authority, seen.directory)


def _judged(name: str, authority: Authority, seen: SeenCa, services: Services) -> CheckLine:
    try:
        return _look_up(name, authority, seen, services)
    except Interrupted:
        raise
    except CiAcmeError as error:
        return CheckLine("error", "ca", name, error.message, error.fix, error.code)


def _look_up(name: str, authority: Authority, seen: SeenCa, services: Services) -> CheckLine:
    """The account that the key has. Raises `CiAcmeError` if the key cannot be used or the CA does not say."""
    reference = authority.account_key
    client = services.authorities.bare(name, services.read_secret(reference), reference)
    refuse_key_named_twice(name, services)
    key_file = KeyFile.of(reference)
    if key_file is not None and os.path.lexists(key_file.next):
        seen.account = known_account(name, services)
        said = f"the key rotation of {reference} was interrupted: {key_file.next} is there"
        return CheckLine("warning", "ca", name, said, "ci-acme account rotate-key finishes it, as does the next issue")
    client.begin(seen.directory)
    remembered = _ended(client.directory_url, thumbprint(client.signer.jwk), services)
    account = None if remembered else look_up(client, services.scope(""))
    fresh = f"set account_key of {name} to a fresh key, and register that: ci-acme account register"
    if remembered or (account is not None and account.status != "valid"):
        url = remembered or (account and account.url) or known_account(name, services) or f"of {reference}"
        status = account.status if account is not None else "deactivated"
        return CheckLine("error", "ca", name, f"the account {url} is {status}", fresh, "config.account")
    if account is not None:
        seen.account = account.url
        return CheckLine("ok", "ca", name, f"the account key {reference} can be used: its account is {account.url}")
    said = f"the key in {reference} has no account at {client.host}"
    if services.may_register:
        return CheckLine("ok", "ca", name, f"{said}; the first issue registers it")
    fix = "run once with --allow-new-account, or outside CI; then give the job the same account key"
    return CheckLine("error", "ca", name, f"{said}, and a run in CI registers none", fix, "config.account")


def _ended(directory: str, digest: str, services: Services) -> str | None:
    """The account that we have deactivated: a run does not use its key again, even at a CA that would."""
    try:
        return services.accounts().deactivated(directory, digest)
    except StateError:
        return None


def _registration(name: str, authority: Authority, directory: Directory) -> Iterator[CheckLine]:
    """What an account that is yet to be registered will be asked for."""
    if directory.terms_of_service and not authority.agree_terms:
        yield CheckLine(
            "warning",
            "ca",
            name,
            f"its terms are not agreed to: {directory.terms_of_service}",
            "read them, and set agree_terms: true",
        )
    if directory.external_account_required and authority.external_account is None:
        yield CheckLine("error", "ca", name, "wants an external account", "set external_account of the authority")
