"""What acme-dns's answers mean, and what to do where it is not the right place to write."""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, DnsUnreachable, SecretError, ZoneNotFound
from ci_acme.rest import Answer, member
from ci_acme_providers.acmedns.config import AcmeDnsSettings


def no_alias(name: str, settings: AcmeDnsSettings) -> ZoneNotFound:
    """The challenge name does not lead to the registration."""
    target = settings.target
    return ZoneNotFound(
        f"{name} is not {target}, the only name that this acme-dns registration writes at",
        fix=f"publish this record in the zone of {name}: {name}. CNAME {target}. (correct full_domain if that is not "
        "the fulldomain of the registration)",
        details={"name": name, "target": target, "record": f"{name}. CNAME {target}."},
    )


def too_many(values: Sequence[str], settings: AcmeDnsSettings) -> DnsRefused:
    """A third value would evict the first."""
    return DnsRefused(
        f"acme-dns holds two values at {settings.target}, and {len(values)} are wanted at once",
        fix="register once more for some of the names, let their CNAMEs lead there, and give it a DNS entry of its own",
        details={"target": settings.target, "values": len(values)},
    )


def not_a_digest(settings: AcmeDnsSettings) -> DnsRefused:
    """Something else than a dns-01 value."""
    return DnsRefused(
        f"acme-dns takes only the 43 characters of a dns-01 value at {settings.target}",
        fix="use the challenge dns-01 with acme-dns",
        details={"target": settings.target},
    )


def fault(answer: Answer, settings: AcmeDnsSettings, host: str) -> DnsError:
    """The error for an answer to /update that is not 200."""
    said = member(answer.document, "error")
    said = said[:100] if isinstance(said, str) else f"status {answer.status}"
    details = {"server": host, "target": settings.target, "status": answer.status, "answer": said}
    text = f"acme-dns at {host} does not take a value for {settings.subdomain}: {said}"
    if answer.status in {401, 403}:
        fix = (
            f"compare {settings.username}, {settings.password} and subdomain with what the registration gave, and this "
            "machine's address with its allowfrom"
        )
        return DnsCredentialsError(text, fix=fix, details=details)
    if answer.status == 404:
        return DnsRefused(text, fix="correct url of the DNS entry: /update is not below it", details=details)
    if 400 <= answer.status < 500:
        return DnsRefused(text, fix="correct subdomain of the DNS entry", details=details)
    return DnsError(text, fix="look into the server's log: its database could not be written", details=details)


def unreachable(reason: Exception) -> DnsUnreachable:
    """No answer came."""
    return DnsUnreachable(f"acme-dns: {reason}", fix="check url of the DNS entry, and that this machine may reach it")


def bad_credential(reference: str) -> SecretError:
    """It cannot be a header's value."""
    return SecretError(
        f"{reference} does not hold one line of ASCII", fix="store what the registration gave, without quotes"
    )


def evicted(values: Sequence[str], settings: AcmeDnsSettings) -> DnsError:
    """Somebody else keeps writing there."""
    return DnsError(
        f"acme-dns does not keep {len(values)} value{'s' if len(values) > 1 else ''} at {settings.target}: others are "
        "written there at the same time",
        fix="give each of the writers a registration of its own",
        details={"target": settings.target},
    )
