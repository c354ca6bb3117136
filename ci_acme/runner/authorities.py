"""The CAs of a run: one account and one client for each."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.jws import thumbprint
from ci_acme.ca.keys import generate_key, key_to_pem, load_signer, refuse_certificate_key
from ci_acme.ca.lifecycle import register
from ci_acme.ca.lost import LostOrders
from ci_acme.ca.scope import Scope
from ci_acme.connect import is_loopback
from ci_acme.errors import AccountError
from ci_acme.model.secret import Secret
from ci_acme.runner.flight import lease
from ci_acme.runner.key_file import KeyFile
from ci_acme.runner.key_use import keys_of_certificates
from ci_acme.runner.rotation import refuse_shared_key, settle

if TYPE_CHECKING:
    from ci_acme.ca.account import ExternalAccount
    from ci_acme.config.schema import Authority
    from ci_acme.runner.services import Services


class Authorities:
    """Makes and keeps the clients; thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._clients: dict[str, AcmeClient] = {}
        self._new: dict[str, bool] = {}
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
            new = self._made(name)
            client = self.opened(name, scope)
            if client.account is None:
                self._account(client, name, scope, new=new)
            if self._services.may_register:
                client.on_lost_account(lambda scope, lost: self._replace_account(client, name, scope, lost))
            self._clients[name] = client
            return client

    def in_use(self, name: str) -> AcmeClient | None:
        """The client that this run has made for a CA, if it has."""
        return self._clients.get(name)

    def thumbprint(self, name: str) -> str:
        """Of the account key of a CA (RFC 7638), which is made if it may be and there is none; without a request."""
        return thumbprint(self._public_key(name))

    def refuse_certificate_key(self, name: str, certificates: Collection[object]) -> None:
        """Raise `AccountError` if the account key is one of these (`keys.refuse_certificate_key`)."""
        jwk = self._public_key(name)
        refuse_certificate_key(jwk, self._services.authority(name).account_key, certificates)

    def _public_key(self, name: str) -> Mapping[str, str]:
        with self._locks[name]:
            self._made(name)
            reference = self._services.authority(name).account_key
            return load_signer(self._services.read_secret(reference), reference).jwk

    def opened(self, name: str, scope: Scope) -> AcmeClient:
        """A client of a CA by the account key that is there: no key is made, and no account looked for or registered.

        Its account is the remembered one, if any. A key rotation that was killed is brought to its end first. Raises
        `AccountError`, `SecretError`, `CaError`.
        """
        authority = self._services.authority(name)
        key_file = KeyFile.of(authority.account_key)
        if key_file is not None and os.path.lexists(key_file.next):
            settle(name, key_file, self._services, scope)
        if key_file is not None and key_file.missing:
            raise AccountError(
                f"there is no account key at {authority.account_key}",
                fix="make one and register it: ci-acme account register; or correct account_key",
            )
        client = self.bare(name, self._services.read_secret(authority.account_key), authority.account_key)
        digest = thumbprint(client.signer.jwk)
        refuse_shared_key(name, digest, self._services)
        url = self._services.accounts().url(client.directory_url, digest)
        if url is not None:
            client.use_account(url)
        return client

    def bare(self, name: str, key: Secret, where: str) -> AcmeClient:
        """A client of a CA by any key, which `where` names in messages. Raises `AccountError` for what is no key."""
        authority = self._services.authority(name)
        signer = load_signer(key, where)
        connections, url = self._services.connections, authority.directory_url
        pool = connections.pool(authority.ca_bundle)
        return AcmeClient(url, signer, http=pool, clock=self._services.clock, bucket=connections.bucket(url))

    def external_account(self, name: str) -> ExternalAccount | None:
        """The external account of an authority, with its secret read or minted.

        Raises `SecretError`, `AccountError`, `Interrupted`.
        """
        section = self._services.authority(name).external_account
        if section is None:
            return None
        from ci_acme.runner.external import external_account  # few need it, and it is a millisecond

        return external_account(section, self._services)

    def lost_orders(self, name: str) -> LostOrders:
        """The orders of our account at a CA that no run remembers."""
        return self._lost[name]

    # --- the account ---

    def _account(self, client: AcmeClient, name: str, scope: Scope, *, new: bool) -> str:
        """The account's URL. One of the runs that come at once finds or registers it; the others take it over.

        `new`: the key is known to have no account.
        """
        accounts = self._services.accounts()
        digest = thumbprint(client.signer.jwk)
        ended = accounts.deactivated(client.directory_url, digest)
        if ended is not None:  # not every CA refuses to register its key anew (RFC 8555 section 7.3.6)
            raise AccountError(
                f"the account {ended} was deactivated: its key is not used again by itself",
                fix=f"set account_key of {name} to a fresh key, or register this one: ci-acme account register",
            )

        def known() -> str | None:
            return accounts.url(client.directory_url, digest)

        key = json.dumps(["account", client.directory_url, digest])
        what = f"the account at {client.host}"
        with lease(key, self._services, scope.certificate, what=what, unless=lambda: known() is not None):
            url = known()
            if url is not None:
                client.use_account(url)
                return url
            url = None if new else client.find_account(scope)
            if url is None:
                url = self._register(client, name, scope)
            accounts.remember(client.directory_url, digest, url)
            return url

    def _replace_account(self, client: AcmeClient, name: str, scope: Scope, lost: str) -> str:
        """Another account for a key whose account the CA has lost (a test CA that was reset).

        Raises what registering raises.
        """
        accounts, digest = self._services.accounts(), thumbprint(client.signer.jwk)
        if accounts.url(client.directory_url, digest) == lost:  # else another run has replaced it already
            accounts.forget(client.directory_url, digest)
        scope.warn(f"{client.host} does not know the account {lost} any more; registering the key anew")
        return self._account(client, name, scope, new=True)

    def _register(self, client: AcmeClient, name: str, scope: Scope) -> str:
        authority = self._services.authority(name)
        if not self._services.may_register:
            raise AccountError(
                f"the key in {authority.account_key} has no account at {client.host}, and a run in CI registers none",
                fix="run once with --allow-new-account, or outside CI; then give the job the same account key",
            )
        refuse_certificate_key(client.signer.jwk, authority.account_key, keys_of_certificates(self._services))
        sandbox = is_loopback(urlsplit(client.directory_url).hostname or "")
        with self._services.quota.account(authority, client.host):
            url = register(
                client,
                scope,
                contact=authority.contact,
                terms_agreed=authority.agree_terms or sandbox,
                external=self.external_account(name),
            )
        scope.step(f"registered the account {url}")
        return url

    def _made(self, name: str) -> bool:
        """Make the account key where it is missing; whether this run has made it."""
        if name not in self._new:
            self._new[name] = self._make_key(self._services.authority(name))
        return self._new[name]

    def _make_key(self, authority: Authority) -> bool:
        """Make the account key where there is none and a run may; whether it was made just now."""
        key_file = KeyFile.of(authority.account_key)
        if key_file is None:
            return False
        if not key_file.missing:
            key_file.tidy()
            return False
        if not self._services.may_register:
            raise AccountError(
                f"there is no account key at {authority.account_key}, and a run in CI makes none",
                fix="give the job the key of an account (account_key: env:NAME), or run once with --allow-new-account",
            )
        return key_file.create(key_to_pem(generate_key()))
