"""BIND 9 with dynamic zones: the authoritative server of the tests, and the resolver that Pebble asks."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.zone

from tests.servers.ports import free_ports
from tests.servers.process import Server
from tests.servers.tools import find

KEY: Final = "ci-acme"
SECRET: Final = "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0ZXN0cyBvbiBsbzA="
OTHER_KEY: Final = "other"
OTHER_SECRET: Final = "YW5vdGhlciBvbmUsIGFsc28gZm9yIHRlc3RzIG9uIGxvMTE="


class Bind(Server):
    """An authoritative name server with TSIG-protected dynamic zones.

    Args:
        directory: where its files and its log go.
        zones: zone -> records in master file syntax, relative to the zone (`"www A 192.0.2.1"`).
        keys: TSIG key -> base64 secret; algorithm hmac-sha256 unless `algorithms` says another.
        policies: zone -> `update-policy` rules; by default each key may change TXT records anywhere in the zone.
        recursion: follow CNAMEs from one own zone into another, and be the root for everything else (NXDOMAIN at
            once); Pebble needs it, as it follows none by itself. Without it the server is purely authoritative.
        port: fixed instead of a free one. (named listens on addresses of an interface only: 127.0.0.1. For a server on
            127.0.0.2 take `PowerDns`.)
        minimum: SOA minimum, the time that resolvers may cache "there is no such name".
        forwards: zone -> `host:port` of another server, which is asked for names in it when a CNAME leads there.
    """

    name = "named"
    fatal = (
        "not loaded due to errors",
        "address in use",
        "could not listen",
        "creating TCP socket:",
        "permission denied",
    )

    def __init__(
        self,
        directory: Path,
        zones: Mapping[str, Iterable[str]],
        *,
        keys: Mapping[str, str] | None = None,
        algorithms: Mapping[str, str] | None = None,
        policies: Mapping[str, str] | None = None,
        recursion: bool = True,
        port: int | None = None,
        minimum: int = 5,
        forwards: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.zones = {zone.rstrip("."): list(records) for zone, records in zones.items()}
        self.keys = {KEY: SECRET} if keys is None else dict(keys)
        self._algorithms = dict(algorithms or {})
        self._policies = {zone.rstrip("."): rules for zone, rules in (policies or {}).items()}
        self._recursion = recursion
        self._fixed_port = port
        self._minimum = minimum
        self._forwards = dict(forwards or {})
        self.port = port or 0
        self.statistics_port = 0
        self._write_zones()

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    # running

    def prepare(self) -> Sequence[str]:
        self.port, self.statistics_port = free_ports(2, self.host)
        if self._fixed_port:
            self.port = self._fixed_port
        config = self.directory / "named.conf"
        config.write_text(self._config())
        return [find("named"), "-g", "-n", "1", "-c", str(config)]

    def ready(self) -> bool:
        zone = next(iter(self.zones), ".")
        query = dns.message.make_query(zone, "SOA")
        try:
            return bool(dns.query.tcp(query, self.host, timeout=0.5, port=self.port).answer)
        except (OSError, EOFError, dns.exception.DNSException):
            return False

    def restart(self) -> None:
        """Stop and start on the same port, with the zones as they are."""
        self._fixed_port = self.port
        self.stop()
        self.start()

    # looking

    def query(self, name: str, kind: str = "TXT", *, tcp: bool = False) -> dns.message.Message:
        """Ask without recursion."""
        message = dns.message.make_query(name, kind)
        message.flags &= ~dns.flags.RD
        ask = dns.query.tcp if tcp else dns.query.udp
        answer: dns.message.Message = ask(message, self.host, timeout=5, port=self.port)
        return answer

    def txt(self, name: str) -> list[str]:
        """The TXT values at a name (those that the zone holds there, no CNAME followed), sorted."""
        answer = self.query(name, tcp=True).answer
        return sorted(
            b"".join(rdata.strings).decode()
            for rrset in answer
            if rrset.rdtype == dns.rdatatype.TXT and rrset.name == dns.name.from_text(name)
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

    def leftovers(self) -> list[tuple[str, str]]:
        """Name and text of every TXT record in any zone that was not there at the start."""
        left = []
        for zone in self.zones:
            first = {(name, data) for name, kind, data in self._initial(zone) if kind == "TXT"}
            left += [
                (name, data) for name, kind, data in self.zone_dump(zone) if kind == "TXT" and (name, data) not in first
            ]
        return left

    def update_count(self) -> int:
        """How many UPDATE messages arrived, accepted or not."""
        return int(self.statistics()["opcodes"]["UPDATE"])

    def statistics(self) -> dict[str, Any]:
        """BIND's own counters."""
        url = f"http://{self.host}:{self.statistics_port}/json/v1/server"
        with urllib.request.urlopen(url, timeout=5) as response:
            counters: dict[str, Any] = json.load(response)
        return counters

    def wait_for_txt(self, name: str, patience: float = 30.0) -> list[str]:
        """Return the values at a name as soon as there is one: to do something in the middle of a run."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            values = self.txt(name)
            if values:
                return values
            time.sleep(0.005)
        raise TimeoutError(f"no TXT record appeared at {name}")

    # changing

    def update(self, zone: str, *, add: Iterable[str] = (), delete: Iterable[str] = (), key: str | None = None) -> None:
        """Send one UPDATE, signed with `key` (default: the first). Items are `"NAME TTL TYPE DATA"`, names relative.

        A deletion is one value: its TTL is not looked at. Raises `AssertionError` if it is refused.
        """
        name = key or next(iter(self.keys))
        keyring = dns.tsigkeyring.from_text({name: self.keys[name]})
        algorithm = dns.name.from_text(self._algorithms.get(name, "hmac-sha256"))
        message = dns.update.UpdateMessage(
            zone, keyring=keyring, keyname=dns.name.from_text(name), keyalgorithm=algorithm
        )
        for item in add:
            owner, ttl, kind, data = item.split(None, 3)
            message.add(owner, int(ttl), kind, data)
        for item in delete:
            owner, _ttl, kind, data = item.split(None, 3)
            message.delete(owner, kind, data)
        code = dns.query.tcp(message, self.host, timeout=5, port=self.port).rcode()
        assert code == dns.rcode.NOERROR, f"{zone}: {dns.rcode.to_text(code)}"

    # files

    def _initial(self, zone: str) -> list[tuple[str, str, str]]:
        parsed = dns.zone.from_text(self._zone_text(zone), zone, relativize=False)
        return [
            (str(name).rstrip("."), dns.rdatatype.to_text(rdata.rdtype), rdata.to_text())
            for name, _ttl, rdata in parsed.iterate_rdatas()
        ]

    def _zone_text(self, zone: str) -> str:
        return "\n".join(
            [
                f"$ORIGIN {zone}.",
                "$TTL 60",
                f"@ SOA ns1 hostmaster 1 3600 600 86400 {self._minimum}",
                "@ NS ns1",
                f"ns1 A {self.host}",
                *self.zones[zone],
                "",
            ]
        )

    def _write_zones(self) -> None:
        for zone in self.zones:
            (self.directory / f"{zone}.zone").write_text(self._zone_text(zone))
        lines = ["$TTL 60", f". SOA ns1.{{0}}. hostmaster.{{0}}. 1 3600 600 86400 {self._minimum}", ". NS ns1.{0}."]
        lines += [f"{zone}. NS ns1.{zone}." for zone in self.zones]
        lines += [f"{zone}. NS ns1.{{0}}." for zone in self._forwards]
        lines += [f"ns1.{zone}. A {self.host}" for zone in self.zones]
        (self.directory / "root.zone").write_text("\n".join(lines).format(next(iter(self.zones), "invalid")) + "\n")

    def _config(self) -> str:
        recursion = "recursion yes; allow-recursion { 127.0.0.0/8; };" if self._recursion else "recursion no;"
        if self._forwards:
            recursion += " max-cache-ttl 0; max-ncache-ttl 0;"  # as CAs do: they ask anew for each validation
        parts = [
            f"""options {{
  directory "{self.directory}"; pid-file none; lock-file none; session-keyfile none; geoip-directory none;
  listen-on port {self.port} {{ {self.host}; }}; listen-on-v6 {{ none; }}; query-source address {self.host};
  {recursion} dnssec-validation no; empty-zones-enable no; minimal-responses no; notify no;
  allow-query {{ any; }}; allow-transfer {{ any; }}; tcp-clients 1000; recursive-clients 1000;
  tcp-listen-queue 1024;  # Pebble opens three connections a name at once; a full queue costs each a second
}};
controls {{ }};
statistics-channels {{ inet {self.host} port {self.statistics_port} allow {{ 127.0.0.0/8; }}; }};"""
        ]
        for name, secret in self.keys.items():
            algorithm = self._algorithms.get(name, "hmac-sha256")
            parts.append(f'key "{name}" {{ algorithm {algorithm}; secret "{secret}"; }};')
        if self._recursion and "" not in self.zones:
            parts.append('zone "." { type primary; file "root.zone"; };')
        everything = " ".join(f'grant "{name}" zonesub TXT;' for name in self.keys)
        for zone in self.zones:
            rules = self._policies.get(zone, everything)
            policy = f"update-policy {{ {rules} }};" if rules else ""
            parts.append(f'zone "{zone}" {{ type primary; file "{zone}.zone"; {policy} }};')
        for zone, address in self._forwards.items():
            host, _, port = address.rpartition(":")
            parts.append(f'zone "{zone}" {{ type forward; forward only; forwarders {{ {host} port {port}; }}; }};')
        return "\n".join(parts) + "\n"
