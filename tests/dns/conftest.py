"""Real name servers on loopback for the tests of the DNS engine."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ci_acme.dns.ask import Server

ZONE = """$TTL 300
@ IN SOA ns1.{zone}. hostmaster.{zone}. 1 3600 600 86400 60
{ns}
{extra}
"""
SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER_SECRET = base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
POLICY = "grant {key} zonesub TXT;"


def free_port(address: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP."""
    for _ in range(50):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind((address, 0))
            port = tcp.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                try:
                    udp.bind((address, port))
                except OSError:
                    continue
                return int(port)
    raise RuntimeError("no free port")


class Bind:
    """A BIND of our own: zones with TSIG keys, statistics over HTTP, a query log."""

    def __init__(self, directory: Path, address: str = "127.0.0.1", port: int | None = None) -> None:
        self.directory = directory
        self.address = address
        self.port = port or free_port(address)
        self.statistics = free_port("127.0.0.1")
        self.zones: dict[str, str] = {}
        self.options: list[str] = ["recursion no;"]
        self.keys = {"ci-acme": SECRET, "other": OTHER_SECRET}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> Server:
        return Server(self.address, self.port)

    def zone(
        self,
        name: str,
        *records: str,
        key: str = "ci-acme",
        policy: str = POLICY,
        ns: tuple[str, ...] = ("ns1",),
        options: str = "",
    ) -> None:
        """Serve a zone; `ns` are relative names, whose addresses are ours unless `records` gives them."""
        given = "\n".join(records)
        lines = [f"@ IN NS {host}" for host in ns]
        lines += [
            f"{host} IN A {self.address}"
            for host in ns
            if not host.endswith(".") and not re.search(rf"^{host} ", given, re.MULTILINE)
        ]
        file = self.directory / f"{name}.zone"
        file.write_text(ZONE.format(zone=name, ns="\n".join(lines), extra=given))
        rule = f"update-policy {{ {policy.format(key=key)} }};" if policy else ""
        self.zones[name] = f'zone "{name}" {{ type primary; file "{file.name}"; {rule} {options} }};'

    def raw_zone(self, name: str, text: str) -> None:
        self.zones[name] = f'zone "{name}" {{ {text} }};'

    def start(self) -> Bind:
        keys = "\n".join(
            f'key "{name}" {{ algorithm hmac-sha256; secret "{secret}"; }};' for name, secret in self.keys.items()
        )
        config = f"""{keys}
options {{
  directory "{self.directory}"; pid-file none; session-keyfile none; dnssec-validation no; notify no;
  listen-on port {self.port} {{ {self.address}; }}; listen-on-v6 {{ none; }};
  allow-transfer {{ any; }}; querylog yes; empty-zones-enable no; {" ".join(self.options)}
}};
statistics-channels {{ inet 127.0.0.1 port {self.statistics} allow {{ 127.0.0.1; }}; }};
controls {{ }};
{chr(10).join(self.zones.values())}
"""
        path = self.directory / "named.conf"
        path.write_text(config)
        log = (self.directory / "named.log").open("ab")
        with log:
            self._process = subprocess.Popen(["named", "-g", "-n", "1", "-c", str(path)], stderr=log, stdout=log)
        self._wait()
        return self

    def _wait(self) -> None:
        assert self._process is not None
        for _ in range(500):
            if self._process.poll() is not None:
                break
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                if probe.connect_ex((self.address, self.port)) == 0 and "running" in self.log():
                    return
            time.sleep(0.01)
        raise RuntimeError(f"named did not start:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        file = self.directory / "named.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def queries(self) -> list[str]:
        """`name type` of every query so far."""
        return [f"{match[0].lower()} {match[1]}" for match in re.findall(r"query: (\S+) IN (\S+) ", self.log())]

    def updates(self) -> int:
        """How many UPDATE messages arrived."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.statistics}/json/v1/server", timeout=5) as reply:
            return int(json.load(reply)["opcodes"].get("UPDATE", 0))

    def txt(self, name: str) -> dict[str, int]:
        """The TXT values at a name with their TTL, asked by an independent client."""
        import dns.message
        import dns.query
        import dns.rdatatype

        reply = dns.query.tcp(dns.message.make_query(name, "TXT"), self.address, port=self.port, timeout=5)
        return {
            b"".join(item.strings).decode(): rrset.ttl
            for rrset in reply.answer
            if rrset.rdtype == dns.rdatatype.TXT
            for item in rrset
        }


@pytest.fixture(scope="session")
def need_bind() -> None:
    if shutil.which("named") is None:
        pytest.skip("BIND (named) is not installed")


@pytest.fixture
def make_bind(tmp_path: Path, need_bind: None) -> Iterator[Callable[..., Bind]]:
    """Makes servers that end with the test. Give the zones, then `start`."""
    made: list[Bind] = []
    numbers = itertools.count()

    def make(zones: Mapping[str, tuple[str, ...]] = {}, **options: object) -> Bind:
        directory = tmp_path / f"named-{next(numbers)}"
        directory.mkdir()
        bind = Bind(directory, **options)  # type: ignore[arg-type]
        for name, records in zones.items():
            bind.zone(name, *records)
        made.append(bind)
        return bind

    yield make
    for bind in made:
        bind.stop()


@pytest.fixture
def bind(make_bind: Callable[..., Bind]) -> Bind:
    """One server with the zone `ci.test`."""
    return make_bind({"ci.test": ()}).start()
