"""step-ca, smallstep's CA: a challenge that fails stays pending with an error until it is answered again."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.servers.ports import free_port
from tests.servers.process import Server
from tests.servers.tls import issuing_files
from tests.servers.tools import find


class StepCa(Server):
    """A CA on loopback with one ACME provisioner. Its certificates last a day.

    External accounts need its remote administration, which needs a login: they are not here.
    """

    name = "step-ca"

    def __init__(self, directory: Path, *, dns_server: str) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = 0
        self._dns_server = dns_server
        self._files = issuing_files(directory)

    @property
    def directory_url(self) -> str:
        """The URL of the ACME directory."""
        return f"https://{self.host}:{self.port}/acme/acme/directory"

    @property
    def ca_bundle(self) -> Path:
        """What a client must trust to speak HTTPS with it: the root that its certificates chain to, too."""
        return self._files.root

    def prepare(self) -> Sequence[str]:
        self.port = free_port(self.host)
        settings = {
            "root": str(self._files.root),
            "crt": str(self._files.intermediate),
            "key": str(self._files.key),
            "address": f"{self.host}:{self.port}",
            "dnsNames": [self.host, "localhost"],
            "logger": {"format": "text"},
            "db": {"type": "bbolt", "dataSource": str(self.directory / "step-ca.db")},
            "authority": {"provisioners": [{"type": "ACME", "name": "acme"}]},
        }
        config = self.directory / "ca.json"
        config.write_text(json.dumps(settings))
        return [find("step-ca"), str(config), f"--resolver={self._dns_server}"]

    def ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.ca_bundle))
        try:
            with urllib.request.urlopen(self.directory_url, context=context, timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False
