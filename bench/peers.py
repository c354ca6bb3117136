"""How each client is called for the same work.

A peer turns "these certificates, in this directory" into command lines. One that takes a single certificate a command
gets several commands, as its users have to write them. Everything else stays at the client's default.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.laboratory import Laboratory
from tests.servers.tools import find

ROOT = Path(__file__).resolve().parents[1]
Certificates = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Job:
    """What a peer has to do and where."""

    laboratory: Laboratory
    directory: Path
    certificates: Certificates


@dataclass(frozen=True)
class Peer:
    """A client in one setting."""

    name: str
    program: Sequence[str]
    commands: Callable[[Job], list[list[str]]]
    environment: Callable[[Job], Mapping[str, str]]
    stored: Callable[[Job], list[Path]]
    """Where the certificates are afterwards, in the order of the job's."""
    ours: bool = False
    floor: bool = False
    slow: bool = False
    """Sleeps a minute by default: measured only on request."""
    skip: frozenset[str] = field(default_factory=frozenset)


def base_environment() -> dict[str, str]:
    """What every client starts with; no setting of the user who runs the bench."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent", "LANG": "C.UTF-8"}


# ci-acme


def _ci_acme_commands(job: Job) -> list[list[str]]:
    lab = job.laboratory
    config = {
        "version": 1,
        "state": "sqlite:state.db",
        "authorities": {
            "bench": {
                "directory": lab.directory_url,
                "agree_terms": True,
                "account_key": "file:account.pem",
                "ca_bundle": str(lab.pebble.ca_bundle),
            }
        },
        "resolver": {"nameservers": [lab.bind.address]},
        "dns": [
            {
                "zone": lab.zone,
                "provider": "rfc2136",
                "server": lab.bind.address,
                "tsig_name": lab.key,
                "tsig_secret": "env:TSIG_SECRET",
            }
        ],
        "certificates": {
            f"certificate-{number}": {
                "names": list(names),
                "authority": "bench",
                "stores": [{"provider": "file", "directory": "certs"}],
            }
            for number, names in enumerate(job.certificates)
        },
    }
    (job.directory / "ci-acme.yaml").write_text(json.dumps(config, indent=1))
    return [[sys.executable, "-m", "ci_acme", "issue", "--config", "ci-acme.yaml"]]


def _ci_acme_environment(job: Job) -> Mapping[str, str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "providers")])
    return {"TSIG_SECRET": job.laboratory.secret, "PYTHONPATH": paths}


def _ci_acme_stored(job: Job) -> list[Path]:
    return [job.directory / "certs" / f"certificate-{n}" / "fullchain.pem" for n in range(len(job.certificates))]


# the floor


def _raw_commands(job: Job) -> list[list[str]]:
    lab = job.laboratory
    spec = {
        "directory_url": lab.directory_url,
        "ca_bundle": str(lab.pebble.ca_bundle),
        "dns": [lab.bind.host, lab.bind.port],
        "zone": lab.zone,
        "key": lab.key,
        "secret": lab.secret,
        "output": str(job.directory),
        "certificates": [list(names) for names in job.certificates],
    }
    path = job.directory / "raw.json"
    path.write_text(json.dumps(spec))
    return [[sys.executable, str(ROOT / "bench" / "raw.py"), str(path)]]


def _raw_stored(job: Job) -> list[Path]:
    return [job.directory / f"{names[0].replace('*', '_')}.pem" for names in job.certificates]


# lego


def _lego_commands(*tuning: str) -> Callable[[Job], list[list[str]]]:
    def commands(job: Job) -> list[list[str]]:
        lab = job.laboratory
        common = [find("lego"), "run", "--accept-tos", "--email", "bench@example.test", "--server", lab.directory_url]
        common += ["--path", str(job.directory / "lego"), "--dns", "dnsupdate", "--dns.resolvers", lab.bind.address]
        return [[*common, *tuning, *_repeated("--domains", names)] for names in job.certificates]

    return commands


def _lego_environment(**tuning: str) -> Callable[[Job], Mapping[str, str]]:
    def environment(job: Job) -> Mapping[str, str]:
        lab = job.laboratory
        return {
            "LEGO_CA_CERTIFICATES": str(lab.pebble.ca_bundle),
            "DNSUPDATE_NAMESERVER": lab.bind.address,
            "DNSUPDATE_TSIG_KEY": lab.key,
            "DNSUPDATE_TSIG_SECRET": lab.secret,
            "DNSUPDATE_TSIG_ALGORITHM": "hmac-sha256.",
            **tuning,
        }

    return environment


def _lego_stored(job: Job) -> list[Path]:
    return [job.directory / "lego" / "certificates" / f"{names[0].replace('*', '_')}.crt" for names in job.certificates]


# certbot


def _certbot_commands(*tuning: str) -> Callable[[Job], list[list[str]]]:
    def commands(job: Job) -> list[list[str]]:
        lab = job.laboratory
        credentials = job.directory / "rfc2136.ini"
        settings = {"server": lab.bind.host, "port": lab.bind.port, "name": lab.key, "secret": lab.secret}
        lines = [f"dns_rfc2136_{key} = {value}\n" for key, value in {**settings, "algorithm": "HMAC-SHA256"}.items()]
        credentials.write_text("".join(lines))
        credentials.chmod(0o600)
        common = [find("certbot"), "certonly", "-n", "--agree-tos", "--register-unsafely-without-email"]
        common += ["--server", lab.directory_url, "--dns-rfc2136", "--dns-rfc2136-credentials", str(credentials)]
        common += [f"--{kind}-dir={job.directory / 'certbot' / kind}" for kind in ("config", "work", "logs")]
        return [
            [*common, *tuning, "--cert-name", f"certificate-{number}", *_repeated("-d", names)]
            for number, names in enumerate(job.certificates)
        ]

    return commands


def _certbot_environment(job: Job) -> Mapping[str, str]:
    return {"REQUESTS_CA_BUNDLE": str(job.laboratory.pebble.ca_bundle)}


def _certbot_stored(job: Job) -> list[Path]:
    live = job.directory / "certbot" / "config" / "live"
    return [live / f"certificate-{number}" / "fullchain.pem" for number in range(len(job.certificates))]


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [argument for value in values for argument in (option, value)]


_LEGO_TUNED = (
    "--dns.propagation.disable-ans",
    "--dns.propagation.disable-rns",
    "--overall-request-limit=1000",
    "--no-random-sleep",
)


def peers() -> list[Peer]:
    """All of them. "tuned" is each client's fastest setting for a single local name server: no propagation checks."""
    nothing = frozenset({"keep", "version", "help"})
    lego, certbot = [find("lego")], [find("certbot")]
    tuned = _lego_environment(DNSUPDATE_SEQUENCE_INTERVAL="0", DNSUPDATE_POLLING_INTERVAL="0")
    certbot_tuned = _certbot_commands("--dns-rfc2136-propagation-seconds", "0")
    return [
        Peer(
            "raw", [sys.executable, "-c", "pass"], _raw_commands, lambda _job: {}, _raw_stored, floor=True, skip=nothing
        ),
        Peer(
            "ci-acme",
            [sys.executable, "-m", "ci_acme"],
            _ci_acme_commands,
            _ci_acme_environment,
            _ci_acme_stored,
            ours=True,
        ),
        Peer("lego tuned", lego, _lego_commands(*_LEGO_TUNED), tuned, _lego_stored),
        Peer("certbot tuned", certbot, certbot_tuned, _certbot_environment, _certbot_stored),
        Peer("lego default", lego, _lego_commands(), _lego_environment(), _lego_stored, slow=True, skip=nothing),
        Peer(
            "certbot default",
            certbot,
            _certbot_commands(),
            _certbot_environment,
            _certbot_stored,
            slow=True,
            skip=nothing,
        ),
    ]
