"""What a DNS server's refusals mean, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from ci_acme import dnswire
from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, ZoneNotFound
from ci_acme_providers.rfc2136.tsig import BADKEY, BADSIG, BADTIME, Key, TsigError, Unsigned

_KEY_FIX = "compare tsig_name, tsig_secret and tsig_algorithm with the key in the server's configuration"


def tsig_fault(error: TsigError, rcode: int, key: Key, *, server: str, zone: str, now: datetime) -> DnsError:
    """The error for a reply whose signature does not hold."""
    who = f"the DNS server {server}"
    details = {"server": server, "zone": zone, "key": key.name, "rcode": dnswire.rcode_name(rcode)}
    if error.kind == BADTIME:
        return DnsCredentialsError(
            _skew(who, error.server_time, now), fix="set the clock of this machine", details=details
        )
    if error.kind == BADKEY:
        text = f"{who} does not know the TSIG key {key.name} with the algorithm {key.algorithm} (BADKEY)"
        return DnsCredentialsError(text, fix=_KEY_FIX, details=details)
    if error.kind == BADSIG:
        text = f"{who} has another secret for the TSIG key {key.name} (BADSIG)"
        return DnsCredentialsError(text, fix="check the secret that tsig_secret refers to", details=details)
    if isinstance(error, Unsigned) and rcode == dnswire.NOTAUTH:
        either = f"the TSIG key {key.name}, or not the zone {zone}"
        text = f"{who} answers NOTAUTH without a signature: it does not know {either}"
        return DnsCredentialsError(text, fix=f"{_KEY_FIX}; check that it is primary for {zone}", details=details)
    if isinstance(error, Unsigned):
        text = (
            f"{who} answers {dnswire.rcode_name(rcode)} without a signature: it does not accept the TSIG key {key.name}"
        )
        return DnsCredentialsError(text, fix=f"{_KEY_FIX}; check that it may update {zone}", details=details)
    text = f"the answer of {who} is not signed by the TSIG key {key.name}: {error.reason}"
    return DnsCredentialsError(text, fix=_KEY_FIX, details=details)


def rcode_fault(rcode: int, key: Key | None, server: str, zone: str, names: Sequence[str]) -> DnsError:
    """The error for an UPDATE that the server understood and did not carry out."""
    who = f"the DNS server {server}"
    word = dnswire.rcode_name(rcode)
    details = {"server": server, "zone": zone, "names": list(names), "rcode": word}
    if rcode == dnswire.REFUSED:
        by = f"the TSIG key {key.name}" if key is not None else "an unsigned update"
        text = f"{who} refuses {by} to change TXT at {_some(names)} in {zone} (REFUSED)"
        return DnsRefused(text, fix=_policy_fix(key, zone, names), details=details)
    if rcode == dnswire.NOTAUTH:
        text = f"{who} is not authoritative for the zone {zone} (NOTAUTH)"
        fix = f"give the primary of {zone} as server, or the zone that it does hold as zone_id"
        return ZoneNotFound(text, fix=fix, details=details)
    if rcode == dnswire.NOTZONE:
        text = f"{who} says that {_some(names)} is not in the zone {zone} (NOTZONE)"
        return ZoneNotFound(text, fix="correct zone_id of the DNS entry, or remove it", details=details)
    if rcode in {dnswire.FORMERR, dnswire.NOTIMP}:
        text = f"{who} does not take DNS UPDATE for {zone} ({word})"
        return DnsRefused(text, fix="allow dynamic updates for the zone at the server", details=details)
    text = f"{who} failed to change {zone} ({word})"
    return DnsError(text, fix="look into the server's log: it could not write the zone", details=details)


def _policy_fix(key: Key | None, zone: str, names: Sequence[str]) -> str:
    if key is None:
        return f"give tsig_name and tsig_secret, or allow this address to update {zone} (BIND: allow-update)"
    grants = " ".join(f"grant {key.name} name {name}. TXT;" for name in names[:3])
    return f"let the key change these names; BIND, in the zone {zone}: update-policy {{ {grants} }};"


def _skew(who: str, server_time: int | None, now: datetime) -> str:
    if server_time is None:
        return f"{who} rejects the time of the signature (BADTIME): a clock is wrong"
    theirs = datetime.fromtimestamp(server_time, timezone.utc)
    seconds = abs((theirs - now).total_seconds())
    return (
        f"{who} rejects the time of the signature (BADTIME): it has {theirs:%Y-%m-%dT%H:%M:%SZ}, "
        f"this machine {now:%Y-%m-%dT%H:%M:%SZ}, {seconds:.0f} s apart"
    )


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more names" if names else "nothing"
