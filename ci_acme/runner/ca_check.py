"""What `check` says of a CA: one request, for its directory; no account is touched and nothing is ordered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ci_acme.ca.keys import load_signer
from ci_acme.ca.messages import Directory
from ci_acme.ca.transport import Reply
from ci_acme.core.caa import NEW_ACCOUNT
from ci_acme.core.checks import CheckLine
from ci_acme.core.quirks import known_ca
from ci_acme.core.requirements import refusal
from ci_acme.errors import CiAcmeError
from ci_acme.runner.ca_duties import SKEW_ERROR, SKEW_WARNING
from ci_acme.runner.rotation import refuse_key_named_twice
from ci_acme.runner.solvers import known_account

if TYPE_CHECKING:
    from ci_acme.config.schema import Authority
    from ci_acme.runner.jobs import Job
    from ci_acme.runner.services import Services


def check_authority(
    name: str, jobs: list[Job], services: Services, directories: dict[str, Directory]
) -> Iterator[CheckLine]:
    """Reachability, clock, account key, terms, external account, profiles. Raises `CaError` if out of reach.

    What the CA says of itself is put into `directories`, so that it is asked once.
    """
    authority = services.authority(name)
    for job in jobs:
        yield from _known(name, job, services)
    yield from _habits(name, authority)
    scope = services.scope("")
    transport = services.connections.transport(name)
    reply = transport.get(authority.directory_url, kind="directory", what="show its directory", scope=scope)
    directory = directories[name] = Directory.from_reply(reply)
    yield CheckLine("ok", "ca", name, f"{authority.directory_url} answers")
    yield from _clock(name, reply, services)
    yield from _account(name, authority, directory, services)
    for job in jobs:
        profile = next((source.profile for source in job.spec.sources if source.authority == name), None)
        if profile is not None and profile not in directory.profiles:
            offered = ", ".join(sorted(directory.profiles)) or "none"
            yield CheckLine(
                "error",
                "ca",
                name,
                f"does not offer the profile {profile!r} of {job.spec.name}",
                f"it offers: {offered}",
            )


def _known(name: str, job: Job, services: Services) -> Iterator[CheckLine]:
    """What this CA is known not to give."""
    for source in job.spec.sources:
        error = refusal(job.spec.of(source), known_ca(source.directory), services.clock.now())
        if source.authority == name and error is not None:
            yield CheckLine("error", "ca", name, f"{job.spec.name}: {error.message}", error.fix, error.code)


def _habits(name: str, authority: Authority) -> Iterator[CheckLine]:
    """What this CA is known for, whatever is ordered."""
    ca = known_ca(authority.directory_url)
    if ca.contact and not authority.contact:
        said = f"{ca.title} issues nothing to an account without a contact"
        yield CheckLine("error", "ca", name, said, "set contact of the authority")
    if ca.caution is not None and ca.caution[0] not in authority.directory_url:
        yield CheckLine("warning", "ca", name, f"{ca.title}: {ca.caution[1]}", "use the directory of a role")


def _clock(name: str, reply: Reply, services: Services) -> Iterator[CheckLine]:
    date = reply.date
    if date is None:
        return
    skew = (services.clock.now() - date).total_seconds()
    if abs(skew) > SKEW_WARNING:
        level = "error" if abs(skew) > SKEW_ERROR else "warning"
        word = "ahead of" if skew > 0 else "behind"
        yield CheckLine(
            level,
            "clock",
            "this machine",
            f"is {abs(skew):.0f} s {word} {name}",
            "set the clock (NTP): TSIG takes 300 s, certificates begin an hour back at most",
        )
    else:
        yield CheckLine("ok", "clock", "this machine", f"agrees with {name}")


def _account(name: str, authority: Authority, directory: Directory, services: Services) -> Iterator[CheckLine]:
    reference = authority.account_key
    made_on_use = _made_on_use(authority)
    if made_on_use and services.may_register:
        yield CheckLine("ok", "ca", name, f"the account key {reference} is made and registered by the first issue")
    elif made_on_use:
        yield CheckLine(
            "error",
            "ca",
            name,
            f"there is no account key at {reference}, and a run in CI makes none",
            "give the job the key of an account, or run once with --allow-new-account",
        )
    else:
        try:
            load_signer(services.read_secret(reference), reference)
            refuse_key_named_twice(name, services)
        except CiAcmeError as error:
            yield CheckLine("error", "ca", name, error.message, error.fix, error.code)
        else:
            yield CheckLine("ok", "ca", name, f"the account key {reference} can be used")
    if directory.terms_of_service and not authority.agree_terms and made_on_use:
        yield CheckLine(
            "warning",
            "ca",
            name,
            f"its terms are not agreed to: {directory.terms_of_service}",
            "read them, and set agree_terms: true",
        )
    if directory.external_account_required and authority.external_account is None and made_on_use:
        yield CheckLine("error", "ca", name, "wants an external account", "set external_account of the authority")


def _made_on_use(authority: Authority) -> bool:
    """Whether the account key is yet to be made."""
    reference = authority.account_key
    return reference.startswith("file:") and not Path(reference.removeprefix("file:")).exists()


def account_url(name: str, services: Services) -> str | None:
    """The account's URL without a request: `NEW_ACCOUNT` for one that is yet to be made, None if it is not known."""
    return NEW_ACCOUNT if _made_on_use(services.authority(name)) else known_account(name, services)
