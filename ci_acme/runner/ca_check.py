"""What `check` says of a CA: its directory and our account are looked at; nothing is made, changed or ordered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ci_acme.ca.messages import Directory
from ci_acme.ca.problems import SHOW_DIRECTORY
from ci_acme.ca.transport import Reply
from ci_acme.core.caa import NEW_ACCOUNT
from ci_acme.core.checks import CheckLine
from ci_acme.core.quirks import known_ca
from ci_acme.core.requirements import refusal
from ci_acme.runner.account_check import SeenCa, check_account
from ci_acme.runner.ca_duties import SKEW_ERROR, SKEW_WARNING
from ci_acme.runner.solvers import known_account, lacks_key

if TYPE_CHECKING:
    from ci_acme.config.schema import Authority
    from ci_acme.runner.jobs import Job
    from ci_acme.runner.services import Services


def check_authority(name: str, jobs: list[Job], services: Services, seen: dict[str, SeenCa]) -> Iterator[CheckLine]:
    """Reachability, clock, account key, terms, external account, profiles. Raises `CaError` if out of reach.

    What the CA says of itself is put into `seen`, so that it is asked once.
    """
    authority = services.authority(name)
    for job in jobs:
        yield from _known(name, job, services)
    yield from _habits(name, authority)
    scope = services.scope("")
    transport = services.connections.transport(name)
    reply = transport.get(authority.directory_url, kind="directory", what=SHOW_DIRECTORY, scope=scope)
    directory = Directory.from_reply(reply)
    seen[name] = SeenCa(directory)
    yield CheckLine("ok", "ca", name, f"{authority.directory_url} answers")
    yield from _clock(name, reply, services)
    yield from check_account(name, authority, seen[name], services)
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


def account_url(name: str, services: Services, seen: SeenCa | None = None) -> str | None:
    """The account's URL without a request: as the CA has shown it, `NEW_ACCOUNT` for one that is yet to be made, None
    if it is not known.
    """
    if seen is not None and seen.account is not None:
        return seen.account
    return NEW_ACCOUNT if lacks_key(services.authority(name).account_key) else known_account(name, services)
