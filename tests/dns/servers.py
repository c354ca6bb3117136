"""Name servers on loopback for the tests of the DNS engine: real ones, and one that misbehaves on demand."""

from __future__ import annotations

import base64
import json
import re
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from ci_acme import dnswire
from ci_acme.dns.question import Server
from tests.servers.ports import free_port
from tests.servers.tools import find

ZONE_FILE = """$TTL 300
@ IN SOA ns1.{zone}. hostmaster.{zone}. 1 3600 600 86400 60
{ns}
{extra}
"""
SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER_SECRET = base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
POLICY = "grant {key} zonesub TXT;"


class Bind:
    """A BIND of our own: zones with TSIG keys, statistics over HTTP, a query log.

    `validating` is a trust anchor: a resolver then validates by it.
    """

    def __init__(self, directory: Path, address: str = "127.0.0.1", port: int | None = None) -> None:
        self.directory = directory
        self.address = address
        self.port = port or free_port(address)
        self.statistics = free_port("127.0.0.1")
        self.zones: dict[str, str] = {}
        self.options: list[str] = ["recursion no;"]
        self.validating = ""
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
        file.write_text(ZONE_FILE.format(zone=name, ns="\n".join(lines), extra=given))
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
  directory "{self.directory}"; pid-file none; session-keyfile none; notify no;
  dnssec-validation {"yes" if self.validating else "no"};
  listen-on port {self.port} {{ {self.address}; }}; listen-on-v6 {{ none; }};
  allow-transfer {{ any; }}; querylog yes; empty-zones-enable no; {" ".join(self.options)}
}};
statistics-channels {{ inet 127.0.0.1 port {self.statistics} allow {{ 127.0.0.1; }}; }};
controls {{ }};
{f"trust-anchors {{ {self.validating} }};" if self.validating else ""}
{chr(10).join(self.zones.values())}
"""
        path = self.directory / "named.conf"
        path.write_text(config)
        log = (self.directory / "named.log").open("ab")
        with log:
            self._process = subprocess.Popen([find("named"), "-g", "-n", "1", "-c", str(path)], stderr=log, stdout=log)
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
        return ask_txt(self.server, name)


class PowerDns:
    """A PowerDNS of our own with its SQLite backend."""

    def __init__(self, directory: Path, zone: str) -> None:
        self.directory = directory
        self.address = "127.0.0.1"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._fill(zone)

    @property
    def server(self) -> Server:
        return Server(self.address, self.port)

    def _fill(self, zone: str) -> None:
        schema = Path("/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql").read_text()
        connection = sqlite3.connect(self.directory / "pdns.sqlite")
        try:
            connection.executescript(schema)
            connection.execute("INSERT INTO domains (id, name, type) VALUES (1, ?, 'NATIVE')", (zone,))
            records = [("SOA", f"ns1.{zone} hostmaster.{zone} 1 3600 600 86400 60"), ("NS", f"ns1.{zone}")]
            rows = [(zone, *record) for record in records] + [(f"ns1.{zone}", "A", self.address)]
            connection.executemany(
                "INSERT INTO records (domain_id, name, type, content, ttl, disabled, auth) "
                "VALUES (1, ?, ?, ?, 300, 0, 1)",
                rows,
            )
            connection.execute(
                "INSERT INTO tsigkeys (name, algorithm, secret) VALUES ('ci-acme', 'hmac-sha256', ?)", (SECRET,)
            )
            connection.execute(
                "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (1, 'TSIG-ALLOW-DNSUPDATE', 'ci-acme')"
            )
            connection.commit()
        finally:
            connection.close()

    def start(self) -> PowerDns:
        settings = {
            "launch": "gsqlite3",
            "gsqlite3-database": self.directory / "pdns.sqlite",
            "gsqlite3-pragma-synchronous": 0,
            "local-address": self.address,
            "local-port": self.port,
            "socket-dir": self.directory,
            "dnsupdate": "yes",
            "allow-dnsupdate-from": "127.0.0.0/8",
            "zone-cache-refresh-interval": 0,
            "cache-ttl": 0,
            "query-cache-ttl": 0,
            "negquery-cache-ttl": 0,
            "receiver-threads": 1,
            "distributor-threads": 1,
            "security-poll-suffix": "",
        }
        (self.directory / "pdns.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        log = (self.directory / "pdns.log").open("ab")
        with log:
            command = [
                "pdns_server",
                f"--config-dir={self.directory}",
                "--daemon=no",
                "--guardian=no",
                "--write-pid=no",
            ]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(500):
            if self._process.poll() is not None:
                break
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                if probe.connect_ex((self.address, self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise RuntimeError((self.directory / "pdns.log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def txt(self, name: str) -> dict[str, int]:
        return ask_txt(self.server, name)


class Stub:
    """A name server whose answers are what `answer` makes of a query, over UDP and TCP; None is silence.

    `answer(wire, tcp)` gets and gives octets. `asked` counts the queries.
    """

    def __init__(
        self, answer: Callable[[bytes, bool], bytes | None], address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._answer = answer
        self.address = address
        self.port = port or free_port(address)
        self.asked = 0
        self._closing = False
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, self.port))
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind((address, self.port))
        self._tcp.listen(64)
        for one in (self._udp, self._tcp):
            one.settimeout(0.05)
        self._threads = [threading.Thread(target=self._serve_udp), threading.Thread(target=self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    @property
    def server(self) -> Server:
        return Server(self.address, self.port)

    def stop(self) -> None:
        self._closing = True
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while not self._closing:
            try:
                wire, peer = self._udp.recvfrom(65535)
            except TimeoutError:
                continue
            self.asked += 1
            reply = self._answer(wire, False)
            if reply is not None:
                self._udp.sendto(reply, peer)

    def _serve_tcp(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._tcp.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(0.05)
                self._serve_connection(connection)

    def _serve_connection(self, connection: socket.socket) -> None:
        data = b""
        while not self._closing:
            try:
                more = connection.recv(65535)
            except TimeoutError:
                continue
            except OSError:
                return
            if not more:
                return
            data += more
            while len(data) >= 2 and len(data) >= 2 + int.from_bytes(data[:2], "big"):
                size = int.from_bytes(data[:2], "big")
                wire, data = data[2 : 2 + size], data[2 + size :]
                self.asked += 1
                reply = self._answer(wire, True)
                if reply is None:
                    continue
                connection.sendall(len(reply).to_bytes(2, "big") + reply)


def ask_txt(server: Server, name: str) -> dict[str, int]:
    """The TXT values at a name with their TTL, asked by an independent client."""
    import dns.message
    import dns.query
    import dns.rdatatype

    query = dns.message.make_query(name, "TXT")
    query.flags &= ~0x0100
    reply = dns.query.tcp(query, server.address, port=server.port, timeout=5)
    return {
        b"".join(item.strings).decode(): rrset.ttl
        for rrset in reply.answer
        if rrset.rdtype == dns.rdatatype.TXT and rrset.name.to_text(omit_final_dot=True).lower() == name.lower()
        for item in rrset
    }


def forward(wire: bytes, server: Server) -> bytes:
    """What a real server answers to the octets of a query."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((server.address, server.port))
        sock.send(wire)
        return sock.recv(65535)


def refuse(wire: bytes, rcode: int, *rtypes: int) -> bytes | None:
    """The answer with `rcode` to a query for one of these types (none given: for any), None for other queries."""
    end = dnswire.read_name(wire, 12)[1]
    if rtypes and int.from_bytes(wire[end : end + 2], "big") not in rtypes:
        return None
    flags = int.from_bytes(wire[2:4], "big") | 0x8000 | rcode
    return wire[:2] + flags.to_bytes(2, "big") + b"\0\1" + bytes(6) + wire[12 : end + 4]


def checking_disabled(wire: bytes) -> bool:
    """Whether a query asks a resolver not to validate."""
    return bool(wire[3] & 0x10)


def negative(wire: bytes, apex: str) -> bytes:
    """What a recursive resolver answers for a name that does not exist in the zone `apex`."""
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rrset

    reply = dns.message.make_response(dns.message.from_wire(wire), recursion_available=True)
    reply.set_rcode(dns.rcode.NXDOMAIN)
    reply.authority.append(dns.rrset.from_text(apex, 60, "IN", "SOA", "a.root. hostmaster.root. 1 2 3 4 60"))
    return reply.to_wire()


def update(
    server: Server,
    zone: str,
    *,
    add: tuple[str, ...] = (),
    delete: tuple[str, ...] = (),
    secret: str = SECRET,
    key: str = "ci-acme",
) -> None:
    """An UPDATE by an independent client; items are `NAME TTL TYPE DATA`, names absolute."""
    import dns.name
    import dns.query
    import dns.rcode
    import dns.tsigkeyring
    import dns.update

    message = dns.update.UpdateMessage(
        zone, keyring=dns.tsigkeyring.from_text({key: secret}), keyalgorithm="hmac-sha256"
    )
    for item in add:
        name, ttl, kind, data = item.split(None, 3)
        message.add(dns.name.from_text(name), int(ttl), kind, data)
    for item in delete:
        name, _, kind, data = item.split(None, 3)
        message.delete(dns.name.from_text(name), kind, data)
    assert dns.query.tcp(message, server.address, port=server.port, timeout=5).rcode() == dns.rcode.NOERROR
