"""The CAs of a run: one connection pool, one account and one client for each."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.connect import is_loopback
from ci_acme.ca.http import HttpsPool, RequestRecord
from ci_acme.ca.jws import thumbprint
from ci_acme.ca.keys import generate_key, key_to_pem, load_signer
from ci_acme.ca.limiter import TokenBucket
from ci_acme.ca.messages import Directory
from ci_acme.ca.renewal import fetch_renewal_info
from ci_acme.ca.scope import Scope
from ci_acme.ca.transport import Transport
from ci_acme.core.quirks import known_ca
from ci_acme.core.renewal import Window
from ci_acme.errors import AccountError
from ci_acme.model.events import Step
from ci_acme.model.secret import Secret
from ci_acme.runner.external import external_account

if TYPE_CHECKING:
    from ci_acme.config.schema import Authority
    from ci_acme.runner.services import Services


class Authorities:
    """Makes and keeps the clients; thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._pools: dict[str | None, HttpsPool] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._clients: dict[str, AcmeClient] = {}
        self._locks = {name: threading.Lock() for name in services.config.authorities}

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
            url = authority.directory_url
            client = AcmeClient(
                url,
                signer,
                http=self.pool(authority.ca_bundle),
                clock=self._services.clock,
                bucket=self._bucket(url),
            )
            self._account(client, authority, scope, new=new)
            self._clients[name] = client
            return client

    def renewal_window(self, name: str, url: str, scope: Scope) -> Window:
        """One answer of a renewalInfo resource. Raises `CaError`."""
        authority = self._services.authority(name)
        bucket = self._bucket(authority.directory_url)
        transport = Transport(self.pool(authority.ca_bundle), self._services.clock, bucket=bucket)
        reply = fetch_renewal_info(transport, url, scope=scope)
        return Window(reply.start, reply.end, reply.retry_after_seconds, reply.explanation_url)

    def issuers(self, name: str, scope: Scope) -> tuple[str, ...]:
        """The issuer domain names that a CA's directory says for CAA, lower-case. Raises `CaError`."""
        authority = self._services.authority(name)
        bucket = self._bucket(authority.directory_url)
        transport = Transport(self.pool(authority.ca_bundle), self._services.clock, bucket=bucket)
        reply = transport.get(authority.directory_url, kind="directory", what="show its directory", scope=scope)
        return tuple(identity.lower() for identity in Directory.from_reply(reply).caa_identities)

    def _bucket(self, directory: str) -> TokenBucket | None:
        """What bounds the requests to a CA, None if it has no such limit."""
        known = known_ca(directory)
        if known.per_second is None:
            return None
        with self._lock:
            bucket = self._buckets.get(directory)
            if bucket is None:
                bucket = TokenBucket(known.per_second, known.burst, self._services.clock)
                self._buckets[directory] = bucket
            return bucket

    def pool(self, ca_bundle: str | None) -> HttpsPool:
        """The connections that trust `ca_bundle`, or the system."""
        with self._lock:
            pool = self._pools.get(ca_bundle)
            if pool is None:
                bundle = Path(ca_bundle) if ca_bundle else None
                pool = self._pools[ca_bundle] = HttpsPool(ca_bundle=bundle, observe=self._seen)
            return pool

    def abort(self) -> None:
        """End every request at once."""
        for pool in tuple(self._pools.values()):
            pool.abort()

    def close(self) -> None:
        """Close the connections."""
        for pool in tuple(self._pools.values()):
            pool.close()

    def _seen(self, record: RequestRecord) -> None:
        outcome = record.status or "no answer"
        self._services.notify(
            Step("", f"request {record.method} {record.url} -> {outcome} in {record.seconds * 1000:.0f} ms")
        )

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
        section = authority.external_account
        external = None if section is None else external_account(section, self._services)
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
        raise AccountError(
            f"the account key cannot be written to {path}: {error.strerror}",
            fix="make the directory writable, or set account_key to a key that exists",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return True
