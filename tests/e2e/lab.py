"""The whole product as a user runs it: a process, a config file, a real CA and a real name server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ci_acme.sandbox import SandboxCa
from tests.servers.bind import KEY, OTHER_SECRET, SECRET, Bind
from tests.servers.pebble import Pebble

ROOT = Path(__file__).parents[2]
ZONE = "example.test"


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished run."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def certificate(self) -> dict[str, Any]:
        """The result of the only certificate."""
        (certificate,) = self.document["certificates"]
        result: dict[str, Any] = certificate
        return result


class Lab:
    """A working directory with a config for one CA and one name server."""

    def __init__(self, directory: Path, pebble: Pebble, bind: Bind) -> None:
        self.directory = directory
        self.pebble = pebble
        self.bind = bind
        self.variables: dict[str, str] = {}
        self.config: dict[str, Any] = {
            "version": 1,
            "authorities": {
                "pebble": {
                    "directory": pebble.directory_url,
                    "contact": ["ops@example.com"],
                    "agree_terms": True,
                    "ca_bundle": str(pebble.ca_bundle),
                }
            },
            "dns": [
                {
                    "zone": zone,
                    "provider": "rfc2136",
                    "server": bind.address,
                    "tsig_name": KEY,
                    "tsig_secret": "env:TSIG_SECRET",
                }
                for zone in bind.zones
            ],
            "resolver": {"nameservers": [bind.address]},
            "certificates": {"web": {"names": [f"www.{ZONE}"], "stores": [{"provider": "file", "directory": "certs"}]}},
        }

    @property
    def web(self) -> dict[str, Any]:
        """The config of the certificate `web`."""
        section: dict[str, Any] = self.config["certificates"]["web"]
        return section

    @property
    def store(self) -> Path:
        """Where `web` is stored."""
        return self.directory / "certs" / "web"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a process of the product sees: no CI, the TSIG secret, our sources."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'providers'}",
            "CI_ACME_TRACEBACK": "1",
            "TSIG_SECRET": SECRET,
            "OTHER_SECRET": OTHER_SECRET,
            **self.variables,
            **(more or {}),
        }

    def write(self) -> Path:
        """Write the config file, at once: another run may be reading it."""
        path = self.directory / "ci-acme.yaml"
        new = path.with_suffix(".new")
        new.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return new.replace(path)

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a run; the config file is written anew."""
        self.write()
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "ci_acme", *arguments],
            cwd=self.directory,
            env=self.environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, environ: Mapping[str, str] | None = None, timeout: float = 90) -> Ran:
        """Run to the end, without a traceback ever."""
        return finish(self.start(*arguments, environ=environ), timeout)

    def issue(self, *arguments: str, environ: Mapping[str, str] | None = None, timeout: float = 90) -> Ran:
        """`ci-acme issue --output json`."""
        return self.run("issue", "--output", "json", *arguments, environ=environ, timeout=timeout)

    def seen(self) -> int:
        """ACME requests that the CA has seen."""
        return len(self.pebble.requests())

    def orders(self) -> int:
        """Orders that the CA has seen."""
        return self.pebble.orders()


class SandboxLab(Lab):
    """The sandbox CA in place of Pebble: it counts by kind of request, and goes wrong on demand."""

    ca: SandboxCa

    def orders(self) -> int:
        """Orders that the CA has made."""
        return self.ca.log.counts([201])["newOrder"]

    def asked(self) -> int:
        """Requests for renewal information."""
        return self.ca.log.counts()["renewalInfo"]

    def memory(self) -> dict[str, Any]:
        """What the store remembers of it."""
        renewal: dict[str, Any] = json.loads((self.store / "metadata.json").read_text())["renewal"]
        return renewal


def finish(process: subprocess.Popen[str], timeout: float = 90) -> Ran:
    """Wait for a run. The process is killed if it hangs."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"the run hung\n{stdout}\n{stderr}") from None
    assert "Traceback" not in stderr, stderr
    assert "PRIVATE KEY" not in stdout + stderr
    shown = [line for line in stderr.splitlines() if not line.startswith("::add-mask::")]  # the runner hides the rest
    assert SECRET not in stdout + "\n".join(shown)
    return Ran(process.returncode, stdout, stderr)


def check_store(store: Path, names: Sequence[str]) -> x509.Certificate:
    """The files of a store belong together and are for exactly these names."""
    leaf, *chain = x509.load_pem_x509_certificates((store / "fullchain.pem").read_bytes())
    assert (store / "cert.pem").read_bytes() + (store / "chain.pem").read_bytes() == (
        store / "fullchain.pem"
    ).read_bytes()
    key = load_pem_private_key((store / "privkey.pem").read_bytes(), None)
    assert key.public_key() == leaf.public_key()
    assert (store / "privkey.pem").stat().st_mode & 0o777 == 0o600
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(san.get_values_for_type(x509.DNSName)) == sorted(names)
    for certificate, issuer in zip([leaf, *chain], chain, strict=False):
        certificate.verify_directly_issued_by(issuer)
    metadata = json.loads((store / "metadata.json").read_text())
    assert metadata["serial"] == f"{leaf.serial_number:x}" or int(metadata["serial"], 16) == leaf.serial_number
    return leaf
