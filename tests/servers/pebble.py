"""Pebble, Let's Encrypt's test CA: RFC 8555 with ARI, profiles, account binding and injected nonce errors."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.servers.ports import free_ports
from tests.servers.process import Server
from tests.servers.tls import tls_files
from tests.servers.tools import find

_ISSUED: Final = re.compile(r"Issued certificate serial ([0-9a-f]+) ")
_REQUEST: Final = re.compile(r"(GET|HEAD|POST) (/\S*) -> calling handler")
DEFAULT_PROFILES: Final = {"default": {"description": "90 days", "validityPeriod": 7776000}}


class Pebble(Server):
    """A CA on loopback.

    Args:
        directory: where its files and its log go.
        dns_server: `host:port` that it asks, over TCP, for challenge records; it follows no CNAME by itself.
        nonce_reject: per cent of good nonces that it refuses.
        profiles: name -> {"description", "validityPeriod" in seconds}; a random one serves orders that name none.
        validity: seconds that a certificate lasts, for the default profile.
        eab: key id -> base64url HMAC key; accounts then need an external account binding.
        retry_after: seconds it asks clients to wait before polling (authorization, order); 0 asks nothing.
        always_valid: accept every challenge without looking.
        authz_reuse: per cent of authorizations that are reused (at 0 about one in a hundred still is).
        validation_delay: validation takes a random number of whole seconds from 0 to this; at 0 none is slept.
        alternate_roots: how many more chains it offers.
    """

    name = "pebble"

    def __init__(
        self,
        directory: Path,
        *,
        dns_server: str = "127.0.0.1:53",
        nonce_reject: int = 0,
        profiles: Mapping[str, Mapping[str, Any]] | None = None,
        validity: int | None = None,
        eab: Mapping[str, str] | None = None,
        retry_after: tuple[int, int] = (0, 0),
        always_valid: bool = False,
        authz_reuse: int = 0,
        validation_delay: int = 0,
        alternate_roots: int = 0,
        domain_blocklist: Sequence[str] = (),
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(directory)
        self.host = host
        self.dns_server = dns_server
        self.profiles = dict(profiles or DEFAULT_PROFILES)
        if validity is not None:
            self.profiles = {"default": {"description": "of the test", "validityPeriod": validity}}
        self._eab = dict(eab or {})
        self._retry_after = retry_after
        self._blocklist = list(domain_blocklist)
        self._tls = tls_files(directory)
        self._environment = {
            "PEBBLE_WFE_NONCEREJECT": str(nonce_reject),
            "PEBBLE_AUTHZREUSE": str(authz_reuse),
            "PEBBLE_VA_ALWAYS_VALID": "1" if always_valid else "0",
            "PEBBLE_ALTERNATE_ROOTS": str(alternate_roots),
            # Pebble draws below this number.
            **({"PEBBLE_VA_SLEEPTIME": str(validation_delay + 1)} if validation_delay else {"PEBBLE_VA_NOSLEEP": "1"}),
        }
        self.port = self.management_port = 0
        self._ports: tuple[int, int] | None = None

    @property
    def directory_url(self) -> str:
        """The URL of the ACME directory."""
        return f"https://{self.host}:{self.port}/dir"

    @property
    def ca_bundle(self) -> Path:
        """What a client must trust to speak HTTPS with it. (Not what issues the certificates: see `root`.)"""
        return self._tls.ca_bundle

    def reset(self) -> None:
        """Start again on the same ports with nothing remembered: no account, no order, another root."""
        self.stop()
        self._ports = (self.port, self.management_port)
        self.start()

    def prepare(self) -> Sequence[str]:
        self.port, self.management_port = self._ports or free_ports(2, self.host)
        settings = {
            "listenAddress": f"{self.host}:{self.port}",
            "managementListenAddress": f"{self.host}:{self.management_port}",
            "certificate": str(self._tls.certificate),
            "privateKey": str(self._tls.key),
            "httpPort": 5002,
            "tlsPort": 5001,
            "keyAlgorithm": "ecdsa",
            "profiles": self.profiles,
            "domainBlocklist": self._blocklist,
            "externalAccountBindingRequired": bool(self._eab),
            "externalAccountMACKeys": self._eab,
            "retryAfter": {"authz": self._retry_after[0], "order": self._retry_after[1]},
        }
        config = self.directory / "pebble.json"
        config.write_text(json.dumps({"pebble": settings}))
        return [find("pebble"), "-config", str(config), "-dnsserver", self.dns_server]

    def environment(self) -> Mapping[str, str]:
        return self._environment

    def ready(self) -> bool:
        return all(self._is_ours(port) for port in (self.management_port, self.port))

    def _is_ours(self, port: int) -> bool:
        """Whether this process listens there: nobody else has a certificate of our throw-away CA."""
        context = ssl.create_default_context(cafile=str(self.ca_bundle))
        try:
            with (
                socket.create_connection((self.host, port), timeout=1) as connection,
                context.wrap_socket(connection, server_hostname=self.host),
            ):
                return True
        except OSError:
            return False

    # what it saw

    def requests(self) -> list[tuple[str, str]]:
        """Method and handler (`/dir`, `/nonce-plz`, `/order-plz`, `/authZ/`, `/chalZ/`, …) of every ACME request."""
        found = _REQUEST.findall(self.log())
        return [(method, path) for method, path in found if not path.startswith(_MANAGEMENT)]

    def request_counts(self) -> Counter[str]:
        """How often each handler was called."""
        return Counter(path for _method, path in self.requests())

    @staticmethod
    def misses_certid(serial: int) -> bool:
        """Whether Pebble does not know a certificate by its CertID, so that it refuses to see it replaced.

        Where DER puts a zero before the serial number (one in 256), RFC 9773 section 4.1 has the zero and Pebble's
        index has not. The order is then sent once more, without `replaces`.
        """
        return serial.bit_length() % 8 == 0

    def misses_a_certid(self) -> bool:
        """Whether there is such a certificate among all that it issued."""
        return any(self.misses_certid(int(serial, 16)) for serial in _ISSUED.findall(self.log()))

    def orders(self) -> int:
        """Orders that were asked for; without those that it refused where it `misses_a_certid`."""
        return self.log().count("Added order") if self.misses_a_certid() else self.request_counts()["/order-plz"]

    # the management interface

    def root(self, number: int = 0) -> str:
        """PEM of the root that certificates chain to; other numbers are the alternate roots."""
        return self._management(f"/roots/{number}").decode()

    def intermediate(self, number: int = 0) -> str:
        """PEM of the intermediate that signs."""
        return self._management(f"/intermediates/{number}").decode()

    def certificate_status(self, serial: int) -> dict[str, Any]:
        """`Status` (Valid or Revoked) and more of an issued certificate."""
        status: dict[str, Any] = json.loads(self._management(f"/cert-status-by-serial/{serial:x}"))
        return status

    def set_renewal_info(self, certificate_pem: str, response: str) -> None:
        """Answer ARI requests for this certificate with `response`, literally."""
        body = json.dumps({"certificate": certificate_pem, "ariResponse": response}).encode()
        self._management("/set-renewal-info/", body)

    def wait_for_requests(self, handler: str, count: int = 1, patience: float = 30.0) -> None:
        """Return as soon as `handler` was called `count` times: to do something in the middle of a run."""
        end = time.monotonic() + patience
        while self.request_counts()[handler] < count:
            if time.monotonic() > end:
                raise TimeoutError(f"pebble saw {self.request_counts()}, not {count} of {handler}")
            time.sleep(0.005)

    def _management(self, path: str, body: bytes | None = None) -> bytes:
        url = f"https://{self.host}:{self.management_port}{path}"
        request = urllib.request.Request(url, data=body, headers={"User-Agent": "ci-acme-tests"})
        context = ssl.create_default_context(cafile=str(self.ca_bundle))
        with urllib.request.urlopen(request, context=context, timeout=10) as response:
            content: bytes = response.read()
        return content


_MANAGEMENT: Final = (
    "/roots/",
    "/root-keys/",
    "/intermediates/",
    "/intermediate-keys/",
    "/cert-status",
    "/set-renewal",
)
