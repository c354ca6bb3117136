"""The commands about an account: register, show, update, rotate-key, deactivate. Each may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ci_acme.ca.account import Account, contact_urls
from ci_acme.ca.client import AcmeClient
from ci_acme.ca.jws import thumbprint
from ci_acme.ca.keys import generate_key, key_to_pem, refuse_certificate_key
from ci_acme.ca.lifecycle import deactivate, key_type, look_up, register, update_contacts
from ci_acme.ca.problems import problem_kind
from ci_acme.core.account import AccountReport
from ci_acme.errors import AccountError, CaError, RateLimited, UsageError
from ci_acme.hosts import detect_ci
from ci_acme.runner.key_file import KeyFile
from ci_acme.runner.key_use import keys_of_certificates
from ci_acme.runner.rotation import rotate

if TYPE_CHECKING:
    from ci_acme.runner.services import Services

Agree = Callable[[str], bool]
"""Asks a person a question: about the terms at a URL, or whether the account at a URL shall end."""


def only_authority(services: Services, name: str | None) -> str:
    """The authority that is meant. Raises `UsageError` if the config has none of this name, or several."""
    known = list(services.config.authorities)
    if name is None and len(known) == 1:
        return known[0]
    if name in known:
        return name
    said = "there are several authorities" if name is None else f"there is no authority {name!r} in the config"
    raise UsageError(said, fix=f"name one of: {', '.join(known)}")


class AccountWork:
    """One command about the account of one authority. `agree` is asked about terms, and before an account ends."""

    def __init__(self, name: str, services: Services, agree: Agree) -> None:
        self._name = name
        self._services = services
        self._agree = agree
        self._authority = services.authority(name)
        self._scope = services.scope("")

    def run(self, action: str) -> AccountReport:
        """What `ci-acme account ACTION` does. Raises `CiAcmeError`."""
        actions = {
            "register": self.register,
            "show": self.show,
            "update": self.update,
            "rotate-key": self.rotate_key,
            "deactivate": self.deactivate,
        }
        return actions[action]()

    def register(self) -> AccountReport:
        """Make the key if there is none, and the account if the key has none.

        The key is durable before a credential for an external account is spent on it. Raises `AccountError`.
        """
        made = self._make_key()
        client = self._open()
        account = None if made else look_up(client, self._scope)
        if account is not None:
            return self._report("register", "found", client, self._valid(account))
        refuse_certificate_key(
            client.signer.jwk, self._authority.account_key, () if made else keys_of_certificates(self._services)
        )
        terms = client.directory(self._scope).terms_of_service
        agreed = self._authority.agree_terms or (terms is not None and self._agree(terms))
        if terms is not None and agreed:
            self._scope.step(f"the terms of service of {client.host} are agreed to: {terms}")
        external = self._services.authorities.external_account(self._name)
        contact = self._authority.contact
        url = register(client, self._scope, contact=contact, terms_agreed=agreed, external=external)
        self._scope.step(f"registered the account {url}")
        if made and detect_ci(self._services.environ):
            self._scope.warn(f"the account key {self._authority.account_key} was made by this job: keep it as a secret")
        account = Account(url, "valid", tuple(contact_urls(contact)), agreed or None, external is not None)
        return self._report("register", "registered", client, account, changed=True)

    def show(self) -> AccountReport:
        """The account as the CA shows it. Raises `AccountError` if the key has none."""
        client, account = self._find()
        return self._report("show", "shown", client, account)

    def update(self) -> AccountReport:
        """Let the account have the config's contacts: none, if the config has none."""
        client, account = self._find()
        changed = update_contacts(client, self._scope, self._valid(account), self._authority.contact)
        if changed is account:
            return self._report("update", "unchanged", client, account)
        return self._report("update", "updated", client, changed, changed=True)

    def rotate_key(self) -> AccountReport:
        """Give the account a new key, of the type of the old one."""
        client, url, previous = rotate(self._name, self._services, self._scope)
        account = Account(url, "valid")
        with suppress(AccountError, CaError, RateLimited):  # the key is changed whatever becomes of this
            account = look_up(client, self._scope) or account
        return self._report("rotate-key", "rotated", client, account, changed=True, previous_thumbprint=previous)

    def deactivate(self) -> AccountReport:
        """End the account. Raises `UsageError` if nobody agrees."""
        client, account = self._find()
        if account.status != "valid":
            return self._report("deactivate", "deactivated", client, account)
        if not self._agree(account.url):
            raise UsageError(f"the account {account.url} was not deactivated", fix="answer yes, or give --yes")
        ended = deactivate(client, self._scope, account)
        self._scope.step(f"deactivated the account {account.url}")
        return self._report("deactivate", "deactivated", client, ended, changed=True)

    # --- inside ---

    def _make_key(self) -> bool:
        key_file = KeyFile.of(self._authority.account_key)
        if key_file is None or not key_file.missing:
            return False
        return key_file.create(key_to_pem(generate_key()))

    def _open(self) -> AcmeClient:
        return self._services.authorities.opened(self._name, self._scope)

    def _find(self) -> tuple[AcmeClient, Account]:
        """The account of the key, also one that is deactivated. Raises `AccountError` if there is none."""
        client = self._open()
        digest = thumbprint(client.signer.jwk)
        ended = self._services.accounts().deactivated(client.directory_url, digest)
        try:
            account = look_up(client, self._scope)
        except AccountError as error:  # some CAs say no more of an account that is over than "unauthorized"
            if ended is None or problem_kind(error) != "unauthorized":
                raise
            account = None
        if account is None:
            if ended is None:
                self._services.accounts().forget(client.directory_url, digest)
                raise AccountError(
                    f"the key in {self._authority.account_key} has no account at {client.host}",
                    fix="register it: ci-acme account register",
                )
            account = Account(ended, "deactivated")
        return client, account

    def _valid(self, account: Account) -> Account:
        if account.status != "valid":
            raise AccountError(
                f"the account {account.url or 'of this key'} is {account.status}",
                fix=f"set account_key of {self._name} to a fresh key, and register that",
            )
        return account

    def _report(
        self,
        command: str,
        action: str,
        client: AcmeClient,
        account: Account,
        *,
        changed: bool = False,
        previous_thumbprint: str | None = None,
    ) -> AccountReport:
        """The result; the state learns what the CA has shown."""
        digest = thumbprint(client.signer.jwk)
        accounts = self._services.accounts()
        url = account.url or accounts.deactivated(client.directory_url, digest)
        if url:
            gone = account.status != "valid"
            accounts.remember(client.directory_url, digest, url, deactivated=gone)
        return AccountReport(
            command=command,
            action=action,
            changed=changed,
            authority=self._name,
            directory=client.directory_url,
            url=url,
            status=account.status,
            contact=tuple(address.removeprefix("mailto:") for address in account.contact),
            terms_of_service=client.directory(self._scope).terms_of_service,
            terms_agreed=account.terms_agreed,
            external_account=account.bound,
            key=self._authority.account_key,
            key_type=key_type(client.signer.jwk),
            thumbprint=digest,
            previous_thumbprint=previous_thumbprint,
        )
