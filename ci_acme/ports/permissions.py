"""What a provider needs at its platform, for exactly one config."""

from __future__ import annotations

from ci_acme.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PermissionRequest:
    """What will be done with an entry of the config.

    `settings` is the entry, of the provider's settings class. For a DNS entry `names` are the record names that
    challenges are written at (absolute, no trailing dot, lower case) and `zone` the apex. For a store `certificate` is
    the name in the config and `retire` says whether it may delete.
    """

    settings: object
    names: tuple[str, ...] = ()
    zone: str = ""
    certificate: str = ""
    retire: bool = True


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """Something to paste: an IAM policy, a role, a server's configuration. `syntax` is json, text, bind or dns."""

    title: str
    syntax: str
    text: str
