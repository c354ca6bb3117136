"""acme2certifier, an ACME front for many CAs, here with its own OpenSSL one: plain HTTP, renewal information."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.servers.ports import free_port
from tests.servers.process import Server
from tests.servers.tls import issuing_files
from tests.servers.tools import find

_LAUNCHER: Final = Path(__file__).with_name("a2c_launcher.py")
_CONFIG: Final = """
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {key}
issuing_ca_cert: {intermediate}
issuing_ca_crl: {directory}/crl.pem
ca_cert_chain_list: ["{root}"]
cert_validity_days: 30
cert_save_path: {directory}/certs
[DBhandler]
handler_module: acme2certifier.dbhandlers.wsgi_handler
dbfile: {directory}/acme.db
[Challenge]
dns_server_list: ["{dns_host}"]
[Renewalinfo]
renewaltreshold_pctg: 85
[Directory]
url_prefix:
[DEFAULT]
server_name: {address}
"""


class Acme2Certifier(Server):
    """A CA on loopback, without TLS.

    Args:
        directory: where its files and its log go.
        dns_server: `host:port` that it asks for challenge records.
        eab: key id -> base64url HMAC key; accounts then need an external account binding.
    """

    name = "acme2certifier"
    patience = 30.0

    def __init__(self, directory: Path, *, dns_server: str, eab: Mapping[str, str] | None = None) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = 0
        self._dns_host, self._dns_port = dns_server.rsplit(":", 1)
        self._eab = dict(eab or {})
        self._files = issuing_files(directory)

    @property
    def directory_url(self) -> str:
        """The URL of the ACME directory."""
        return f"http://{self.host}:{self.port}/directory"

    @property
    def ca_bundle(self) -> Path:
        """The root that its certificates chain to; there is no TLS to trust."""
        return self._files.root

    def prepare(self) -> Sequence[str]:
        self.port = free_port(self.host)
        config = _CONFIG.format(
            key=self._files.key,
            intermediate=self._files.intermediate,
            root=self._files.root,
            directory=self.directory,
            dns_host=self._dns_host,
            address=f"{self.host}:{self.port}",
        )
        if self._eab:
            keys = self.directory / "eab.json"
            keys.write_text(json.dumps(self._eab))
            handler = "acme2certifier.eabhandlers.json_handler"
            config += f"[EABhandler]\neab_handler_module: {handler}\nkey_file: {keys}\n"
        (self.directory / "certs").mkdir(exist_ok=True)
        (self.directory / "acme_srv.cfg").write_text(config)
        return [find("acme2certifier-python"), str(_LAUNCHER), str(self.port), self._dns_port]

    def environment(self) -> Mapping[str, str]:
        return {"ACME_SRV_CONFIGFILE": str(self.directory / "acme_srv.cfg"), "PYTHONDONTWRITEBYTECODE": "1"}

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.directory_url, timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False
