"""Another key for an account: the new one is on disk before the CA hears of it, and a killed run is brought to its end.

The order is: the new key durable beside the old one, the CA's word, the new key in the old one's place, the state.
Whichever step a process dies at, one of the two files holds the key that works, and the next run asks the CA which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.jws import thumbprint
from ci_acme.ca.keys import generate_key, key_to_pem
from ci_acme.ca.lifecycle import key_type
from ci_acme.ca.rollover import change_key, is_final, key_change_url, which_account
from ci_acme.ca.scope import Scope
from ci_acme.connect import is_loopback
from ci_acme.errors import AccountError, CaProtocolError, CiAcmeError, Interrupted, SecretError, StateError
from ci_acme.model.material import KeyType
from ci_acme.runner.key_file import SCHEME, KeyFile

if TYPE_CHECKING:
    from ci_acme.runner.services import Services

ATTEMPTS: Final = 3
PAUSE: Final = 2.0
"""Seconds before a key change whose fate is not known is asked for again."""


def refuse_shared_key(name: str, digest: str, services: Services) -> None:
    """An account key serves one CA only. Raises `AccountError` if this one is, or may be, another CA's.

    Two directories of one company (staging and production) are two CAs. A key belongs to the directory that it was
    first used with, by any config of the same state. A CA on this machine is a sandbox that comes and goes: it binds
    no key.
    """
    refuse_key_named_twice(name, services)
    directory = services.authority(name).directory_url
    if is_loopback(urlsplit(directory).hostname or ""):
        return
    bound = services.accounts().claim(directory, digest)
    if bound is not None:
        named = [other for other, section in services.config.authorities.items() if section.directory_url == bound]
        owner = f"{bound}, the authority {named[0]}" if named else bound
        raise _shared(name, f"it is the key of an account at {owner}", services)


def refuse_key_named_twice(name: str, services: Services) -> None:
    """What of `refuse_shared_key` can be seen in the config alone."""
    here = services.authority(name)
    for other, section in services.config.authorities.items():
        if section.account_key == here.account_key and section.directory_url != here.directory_url:
            raise _shared(name, f"the authority {other} ({section.directory_url}) has it, too", services)


def rotate(name: str, services: Services, scope: Scope) -> tuple[AcmeClient, str, str]:
    """Give the account of an authority a new key; returns its client, its URL, and the thumbprint of the old key.

    Raises `AccountError` (no file, no account), `CaError` (the CA has no key change: nothing is changed), `LeaseHeld`.
    """
    reference = services.authority(name).account_key
    key_file = KeyFile.of(reference)
    if key_file is None:
        raise _not_a_file(reference)
    if key_file.missing:
        raise AccountError(f"there is no account key at {reference}", fix="register first: ci-acme account register")
    with key_file.only_one():
        rotation = _Rotation(name, key_file, services, scope)
        refuse_shared_key(name, rotation.old_digest, services)
        new, url = rotation.settle() or rotation.change()
        return new, url, rotation.old_digest


def settle(name: str, key_file: KeyFile, services: Services, scope: Scope) -> None:
    """After a rotation that was killed: put its key in place if the CA has taken it. Raises what `rotate` raises."""
    _Rotation(name, key_file, services, scope).settle()


class _Rotation:
    """From the key in use to the next one."""

    def __init__(self, name: str, key_file: KeyFile, services: Services, scope: Scope) -> None:
        self._name = name
        self._file = key_file
        self._services = services
        self._scope = scope
        reference = key_file.reference
        self._old = services.authorities.bare(name, services.read_secret(reference), reference)
        self.old_digest = thumbprint(self._old.signer.jwk)

    def settle(self) -> tuple[AcmeClient, str] | None:
        """The new client and the account's URL if the CA has taken a key that an earlier run left; else None.

        What is no key is left alone.
        """
        try:
            new = self._next()
        except (AccountError, SecretError) as error:
            self._scope.warn(error.message)
            return None
        url = None if new is None else which_account(self._old, new, self._scope)
        if new is None or url is None:
            return None
        self._put_in_place(new, url)
        self._scope.step(f"ended a key rotation of an earlier run: {self._file.reference} has the key of {url} again")
        return new, url

    def change(self) -> tuple[AcmeClient, str]:
        """The new client and the account's URL, after the CA has taken a new key."""
        account = self._old.find_account(self._scope)
        if account is None:
            raise AccountError(
                f"the key in {self._file.reference} has no account at {self._old.host}",
                fix="register it: ci-acme account register",
            )
        key_change_url(self._old, self._scope)  # before anything is written
        self._file.stage(key_to_pem(generate_key(KeyType(key_type(self._old.signer.jwk)))))
        new = self._next()
        assert new is not None
        self._ask(new, account)
        self._put_in_place(new, account)
        self._scope.step(f"{self._old.host} has taken a new key for {account}")
        return new, account

    def _next(self) -> AcmeClient | None:
        """A client by the next key, None if there is none. Raises `AccountError` or `SecretError` for what is none."""
        pem = self._file.staged()
        if pem is None:
            return None
        try:
            return self._services.authorities.bare(self._name, pem, f"{SCHEME}{self._file.next}")
        except AccountError as error:
            raise AccountError(error.message, fix=f"move {self._file.next} away: the next key goes there") from None

    def _ask(self, new: AcmeClient, account: str) -> None:
        """Return when the CA knows the account by the new key; a 200 alone is not believed (Pebble has a false one).

        Raises if it has not taken the key, or if that cannot be known. A request that was lost on its way may still
        arrive, so the key that it names is kept.
        """
        doubtful: CiAcmeError | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                self._scope.pause(self._old.clock, PAUSE, "to change the key again", self._old.host)
            failure: CiAcmeError = CaProtocolError(f"{self._old.host} answered 200 and does not know the new key")
            try:
                change_key(self._old, self._scope, account, new.signer)
            except Interrupted:
                raise
            except CiAcmeError as error:
                failure = error
            if self._taken(new, account, failure):
                return
            if is_final(failure) and doubtful is None:
                self._file.discard()
                raise failure
            doubtful = failure
        assert doubtful is not None
        raise self._unknown(doubtful)

    def _taken(self, new: AcmeClient, account: str, failure: CiAcmeError) -> bool:
        try:
            found = new.find_account(self._scope)
        except Interrupted:
            raise
        except CiAcmeError:
            raise self._unknown(failure) from None
        if found is not None and found != account:
            raise AccountError(
                f"the key in {self._file.next} has an account of its own, {found}", fix=f"move {self._file.next} away"
            )
        return found is not None

    def _unknown(self, failure: CiAcmeError) -> CiAcmeError:
        return type(failure)(
            f"{failure.message}; whether the CA has taken the new key is not known, so {self._file.next} keeps it",
            fix="run ci-acme account rotate-key again: it asks the CA which key works, and finishes",
            details=failure.details,
        )

    def _put_in_place(self, new: AcmeClient, url: str) -> None:
        self._file.promote()
        try:
            accounts, digest = self._services.accounts(), thumbprint(new.signer.jwk)
            accounts.claim(new.directory_url, digest)
            accounts.remember(new.directory_url, digest, url)
            accounts.forget(new.directory_url, self.old_digest)
        except StateError as error:
            self._scope.warn(f"the state does not know the new key yet: {error.message}; the next run asks the CA")


def _not_a_file(reference: str) -> AccountError:
    example = reference.partition(":")[2] if reference.startswith("env:") else "KEY"
    return AccountError(
        f"the account key is in {reference}, where ci-acme cannot write the new one",
        fix=f"write the key to a file (printenv {example} > account.pem, mode 0600), rotate that with "
        "--account-key file:account.pem, and store the new content of the file as the secret",
    )


def _shared(name: str, why: str, services: Services) -> AccountError:
    section = services.authority(name)
    return AccountError(
        f"the account key {section.account_key} of the authority {name} ({section.directory_url}) "
        f"cannot be used there: {why}; a key serves one CA only",
        fix=f"give {name} a key of its own, as account_key: file:.ci-acme/account-{name}.pem",
    )
