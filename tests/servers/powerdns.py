"""PowerDNS with its SQLite backend: DNS UPDATE with TSIG, and the HTTP API."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.zone

from tests.servers.bind import KEY, SECRET
from tests.servers.ports import free_ports
from tests.servers.process import Server, listens
from tests.servers.tools import find

API_KEY: Final = "api-key-for-tests"

# The tables and columns that the backend's queries name (PowerDNS documentation, "Generic SQLite 3 backend").
_SCHEMA: Final = """
CREATE TABLE domains (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, master TEXT, last_check INTEGER,
  type TEXT NOT NULL, notified_serial INTEGER, account TEXT, options TEXT, catalog TEXT);
CREATE TABLE records (id INTEGER PRIMARY KEY, domain_id INTEGER, name TEXT COLLATE NOCASE, type TEXT, content TEXT,
  ttl INTEGER, prio INTEGER, disabled BOOLEAN DEFAULT 0, ordername TEXT, auth BOOLEAN DEFAULT 1);
CREATE INDEX records_by_name ON records (name, type);
CREATE INDEX records_by_domain ON records (domain_id, ordername);
CREATE TABLE supermasters (ip TEXT, nameserver TEXT, account TEXT);
CREATE TABLE comments (id INTEGER PRIMARY KEY, domain_id INTEGER, name TEXT, type TEXT, modified_at INTEGER,
  account TEXT, comment TEXT);
CREATE TABLE domainmetadata (id INTEGER PRIMARY KEY, domain_id INTEGER, kind TEXT COLLATE NOCASE, content TEXT);
CREATE TABLE cryptokeys (id INTEGER PRIMARY KEY, domain_id INTEGER, flags INTEGER, active BOOLEAN, published BOOLEAN,
  content TEXT);
CREATE TABLE tsigkeys (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, algorithm TEXT COLLATE NOCASE, secret TEXT);
"""


class PowerDns(Server):
    """An authoritative PowerDNS. Records are `"NAME TYPE DATA"`, names relative to the zone.

    `api_url` and `API_KEY` reach its HTTP API; `address` its DNS side. Every key may update every zone. With `host`
    127.0.0.2, 127.0.0.3, … and `port` several servers can share a port, as the servers of one zone do in the world.
    """

    name = "pdns_server"

    def __init__(
        self,
        directory: Path,
        zones: Mapping[str, Iterable[str]],
        *,
        keys: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
    ) -> None:
        super().__init__(directory)
        self.host = host
        self.zones = {zone.rstrip("."): list(records) for zone, records in zones.items()}
        self.keys = {KEY: SECRET} if keys is None else dict(keys)
        self.port, self.api_port = port or 0, 0
        self._fixed_port = port
        self._database = directory / "pdns.sqlite"
        self._fill()

    @property
    def address(self) -> str:
        """`host:port` of the DNS side."""
        return f"{self.host}:{self.port}"

    @property
    def api_url(self) -> str:
        """Base of the HTTP API, without `/api/v1`."""
        return f"http://{self.host}:{self.api_port}"

    def prepare(self) -> Sequence[str]:
        self.port, self.api_port = free_ports(2, self.host)
        if self._fixed_port:
            self.port = self._fixed_port
        settings = {
            "launch": "gsqlite3",
            "gsqlite3-database": self._database,
            "gsqlite3-pragma-synchronous": 0,
            "local-address": self.host,
            "local-port": self.port,
            "socket-dir": self.directory,
            "dnsupdate": "yes",
            "allow-dnsupdate-from": "127.0.0.0/8",
            "allow-axfr-ips": "127.0.0.0/8",
            "zone-cache-refresh-interval": 0,  # else a zone that is added later stays unknown for five minutes
            "cache-ttl": 0,
            "query-cache-ttl": 0,
            "negquery-cache-ttl": 0,
            "api": "yes",
            "api-key": API_KEY,
            "webserver-address": self.host,
            "webserver-port": self.api_port,
            "webserver-allow-from": "127.0.0.0/8",
            "receiver-threads": 1,
            "distributor-threads": 1,
            "security-poll-suffix": "",
        }
        config = self.directory / "pdns.conf"
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return [
            find("pdns_server"),
            f"--config-dir={self.directory}",
            "--daemon=no",
            "--guardian=no",
            "--disable-syslog",
            "--write-pid=no",
        ]

    def ready(self) -> bool:
        query = dns.message.make_query(next(iter(self.zones), "."), "SOA")
        try:
            answered = bool(dns.query.udp(query, self.host, timeout=0.5, port=self.port).answer)
        except (OSError, dns.exception.DNSException):
            return False
        return answered and listens(self.host, self.api_port)

    def txt(self, name: str) -> list[str]:
        """The TXT values at a name, sorted."""
        query = dns.message.make_query(name, "TXT")
        query.flags &= ~dns.flags.RD
        answer = dns.query.tcp(query, self.host, timeout=5, port=self.port).answer
        owner = dns.name.from_text(name)
        return sorted(
            b"".join(rdata.strings).decode()
            for rrset in answer
            if rrset.rdtype == dns.rdatatype.TXT and rrset.name == owner
            for rdata in rrset
        )

    def zone_dump(self, zone: str) -> list[tuple[str, str, str]]:
        """Name, type and data of every record, by AXFR; sorted, names absolute without the last dot."""
        transfer = dns.query.xfr(self.host, zone, port=self.port, timeout=5, lifetime=10, relativize=False)
        parsed = dns.zone.from_xfr(transfer, relativize=False)
        return sorted(
            (str(name).rstrip("."), dns.rdatatype.to_text(rdata.rdtype), rdata.to_text())
            for name, _ttl, rdata in parsed.iterate_rdatas()
        )

    def _fill(self) -> None:
        with closing(sqlite3.connect(self._database)) as connection, connection:
            connection.executescript(_SCHEMA)
            for name, secret in self.keys.items():
                connection.execute(
                    "INSERT INTO tsigkeys (name, algorithm, secret) VALUES (?, 'hmac-sha256', ?)", (name, secret)
                )
            for number, (zone, records) in enumerate(self.zones.items(), 1):
                connection.execute("INSERT INTO domains (id, name, type) VALUES (?, ?, 'NATIVE')", (number, zone))
                for name in self.keys:
                    connection.execute(
                        "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (?, 'TSIG-ALLOW-DNSUPDATE', ?)",
                        (number, name),
                    )
                connection.executemany(
                    "INSERT INTO records (domain_id, name, type, content, ttl, prio) VALUES (?, ?, ?, ?, 60, 0)",
                    [(number, *row) for row in self._rows(zone, records)],
                )

    def _rows(self, zone: str, records: Iterable[str]) -> Iterable[tuple[str, str, str]]:
        yield zone, "SOA", f"ns1.{zone} hostmaster.{zone} 1 3600 600 86400 5"
        yield zone, "NS", f"ns1.{zone}"
        yield f"ns1.{zone}", "A", self.host
        for record in records:
            owner, kind, data = record.split(None, 2)
            yield zone if owner == "@" else f"{owner}.{zone}", kind, data.rstrip(".")
