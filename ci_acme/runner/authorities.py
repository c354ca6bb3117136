"""The CAs of a run: one account and one client for each."""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ci_acme.ca.account import ExternalAccount
from ci_acme.ca.client import AcmeClient
from ci_acme.ca.connect import is_loopback
from ci_acme.ca.jws import thumbprint
from ci_acme.ca.keys import generate_key, key_to_pem, load_signer, parse_hmac_key
from ci_acme.ca.lost import LostOrders
from ci_acme.ca.scope import Scope
from ci_acme.config.secrets import read_text
from ci_acme.errors import AccountError
from ci_acme.model.secret import Secret
from ci_acme.runner.leftovers import process_exists

if TYPE_CHECKING:
    from ci_acme.config.schema import Authority
    from ci_acme.runner.services import Services


class Authorities:
    """Makes and keeps the clients; thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._clients: dict[str, AcmeClient] = {}
        self._locks = {name: threading.Lock() for name in services.config.authorities}
        self._lost = {name: LostOrders() for name in services.config.authorities}

    def client(self, name: str, scope: Scope) -> AcmeClient:
        """The client of a CA, with an account that exists.

        The account is the remembered one, else the one that the key has at the CA, else a new one where that is
        allowed. Raises `AccountError`, `SecretError`, `CaError`.
        """
        with self._locks[name]:
            known = self._clients.get(name)
            if known is not None:
                return known
            authority = self._services.authority(name)
            key, new = self._account_key(authority)
            signer = load_signer(key, authority.account_key)
            client = AcmeClient(
                authority.directory_url,
                signer,
                http=self._services.connections.pool(authority.ca_bundle),
                clock=self._services.clock,
            )
            self._account(client, authority, scope, new=new)
            self._clients[name] = client
            return client

    def lost_orders(self, name: str) -> LostOrders:
        """The orders of our account at a CA that no run remembers."""
        return self._lost[name]

    # --- the account ---

    def _account(self, client: AcmeClient, authority: Authority, scope: Scope, *, new: bool) -> None:
        accounts = self._services.accounts()
        digest = thumbprint(client.signer.jwk)
        url = accounts.url(client.directory_url, digest)
        if url is not None and not new:
            client.use_account(url)
            return
        url = None if new else client.find_account(scope)
        if url is None:
            url = self._register(client, authority, scope)
        accounts.remember(client.directory_url, digest, url)

    def _register(self, client: AcmeClient, authority: Authority, scope: Scope) -> str:
        if not self._services.may_register:
            raise AccountError(
                f"the key in {authority.account_key} has no account at {client.host}, and a run in CI registers none",
                fix="run once with --allow-new-account, or outside CI; then give the job the same account key",
            )
        external = None
        if authority.external_account is not None:
            section = authority.external_account
            hmac_key = parse_hmac_key(self._services.read_secret(section.hmac_key), section.hmac_key)
            external = ExternalAccount(read_text(section.key_id, self._services.environ), hmac_key)
        sandbox = is_loopback(urlsplit(client.directory_url).hostname or "")
        url = client.register(
            scope, contact=authority.contact, terms_agreed=authority.agree_terms or sandbox, external=external
        )
        scope.step(f"registered the account {url}")
        return url

    def _account_key(self, authority: Authority) -> tuple[Secret, bool]:
        """The account key, and whether it was made just now."""
        reference = authority.account_key
        path = Path(reference.removeprefix("file:"))
        if reference.startswith("file:"):
            _remove_leftovers(path)
        if not reference.startswith("file:") or path.exists():
            return self._services.read_secret(reference), False
        if not self._services.may_register:
            raise AccountError(
                f"there is no account key at {reference}, and a run in CI makes none",
                fix="give the job the key of an account (account_key: env:NAME), or run once with --allow-new-account",
            )
        pem = key_to_pem(generate_key())
        return (pem, True) if _create(path, pem) else (self._services.read_secret(reference), False)


def _create(path: Path, pem: Secret) -> bool:
    """Write a key file that does not exist yet, whole and durable; False if another run was first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem.reveal())
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if path.exists():  # another run was first, and has tidied up
            return False
        raise AccountError(
            f"the account key cannot be written to {path}: {error.strerror}",
            fix="make the directory writable, or set account_key to a key that exists",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove what runs that were killed in `_create` left: keys that nobody has seen, or second names of this one."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)-\d+")
    try:
        found = [(entry, pattern.fullmatch(entry.name)) for entry in path.parent.iterdir()]
    except OSError:
        return
    for entry, match in found:
        if match is not None and not process_exists(int(match[1])):
            with suppress(OSError):
                entry.unlink()
