"""The command `revoke`: which certificate, by which key, and what the stores are told so that it is renewed."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.inspect import describe, key_matches, split_pem
from ci_acme.ca.problems import problem_kind
from ci_acme.ca.revocation import KEY_COMPROMISE, reason_name, revoke_by_account, revoke_by_key
from ci_acme.ca.scope import Scope
from ci_acme.config.secrets import read_secret
from ci_acme.core.account import Revocation, RevokeReport
from ci_acme.core.report import StoreOutcome
from ci_acme.dataclass import dataclass, field, replace
from ci_acme.errors import (
    AccountError,
    CaError,
    CaTimeout,
    CaUnreachable,
    CiAcmeError,
    DeliveryError,
    RateLimited,
    SecretError,
    StoreReadError,
    UsageError,
)
from ci_acme.model.events import Warned
from ci_acme.model.material import CertificateFacts
from ci_acme.model.records import Metadata
from ci_acme.model.secret import Secret
from ci_acme.ports import CertificateStore, Present
from ci_acme.runner.jobs import Job, make_jobs
from ci_acme.runner.recalled import by_name, by_serial

if TYPE_CHECKING:
    from ci_acme.runner.services import Services

MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be revoked: one of `name`, `certificate` (a file) and `serial` (hexadecimal); the others are None.

    `reason` is a code of RFC 5280, `key` a file with the certificate's private key, `authority` whom to ask.
    """

    name: str | None = None
    certificate: Path | None = None
    serial: str | None = None
    reason: int | None = None
    key: Path | None = None
    authority: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """A certificate in a store."""

    job: Job
    store: CertificateStore
    metadata: Metadata | None


@dataclass(slots=True)
class _Target:
    """A certificate to revoke, and every place where the config's stores hold it; `authority` if that is known."""

    pem: bytes
    facts: CertificateFacts
    places: list[_Place] = field(default_factory=list[_Place])
    authority: str | None = None

    @property
    def name(self) -> str | None:
        """Its name in the config."""
        return self.places[0].job.spec.name if self.places else None


def revoke(wanted: Wanted, services: Services) -> RevokeReport:
    """Revoke what is wanted. Raises `UsageError` if that is nothing, `StoreReadError` if no store can be read."""
    if wanted.authority is not None and wanted.authority not in services.config.authorities:
        raise UsageError(f"there is no authority {wanted.authority!r} in the config", fix="correct --ca")
    targets = _targets(wanted, services)
    return RevokeReport([_Work(target, wanted, services).run() for target in targets])


def revoke_stored(job: Job, reason: int | None, services: Services) -> Revocation:
    """Revoke the certificate that the stores of a job hold. Raises `StoreReadError`, `UsageError` if none does."""
    found = _in_stores([job.spec.name], services)
    if not found:
        raise UsageError(
            f"no store of {job.spec.name} gives its certificate back, so that it cannot be revoked",
            fix="revoke it by its file: ci-acme revoke --certificate FILE; or retire without --revoke",
        )
    return _Work(found[0], Wanted(name=job.spec.name, reason=reason), services).run()


# --- which certificates ---


def _targets(wanted: Wanted, services: Services) -> list[_Target]:
    if wanted.name is not None:
        if wanted.name not in services.config.certificates:
            known = ", ".join(services.config.certificates)
            raise UsageError(f"there is no certificate {wanted.name!r} in the config", fix=f"use one of: {known}")
        found = _in_stores([wanted.name], services) or _recalled_by_name(wanted.name, services)
        what = f"no certificate in the stores of {wanted.name}, and the inventory has none"
    elif wanted.serial is not None:
        number = _serial(wanted.serial)
        found = [one for one in _in_stores(None, services) if int(one.facts.serial, 16) == number]
        found = found or [_Target(one.pem, one.facts, authority=one.authority) for one in by_serial(number, services)]
        what = f"no certificate with the serial number {number:x} in any store of the config or in the ledger"
    else:
        assert wanted.certificate is not None
        return [_from_file(wanted.certificate, services)]
    if not found:
        raise UsageError(f"there is {what}", fix="give the certificate itself: --certificate FILE")
    return found


def _recalled_by_name(name: str, services: Services) -> list[_Target]:
    names = services.config.spec(name).names
    return [_Target(one.pem, one.facts, authority=one.authority) for one in by_name(name, names, services)]


def _in_stores(names: Sequence[str] | None, services: Services) -> list[_Target]:
    """The different certificates in the stores of the named certificates, None: of all."""
    found: dict[str, _Target] = {}
    errors: list[StoreReadError] = []
    jobs = make_jobs(services.config, names or list(services.config.certificates), services)
    pairs = [(job, store) for job in jobs for store in job.stores]
    for job, store in pairs:
        try:
            state = store.read(deadline=services.deadline)
            if isinstance(state, Present):
                pem = state.certificate or _with_key(store, services)
                facts = describe(pem)
                target = found.setdefault(facts.sha256, _Target(pem, facts))
                target.places.append(_Place(job, store, state.metadata))
        except StoreReadError as error:
            errors.append(error)
            services.notify(Warned(job.spec.name, error.message))
        except ValueError as error:
            services.notify(Warned(job.spec.name, f"{store.provider}:{store.target} is passed over: {error}"))
    if errors and not found and names is not None:
        raise errors[0]
    return list(found.values())


def _with_key(store: CertificateStore, services: Services) -> bytes:
    """The certificate of a store that gives it only together with its key. Raises `ValueError`."""
    bundle = store.read_bundle(deadline=services.deadline)
    if bundle is None:
        raise ValueError("it does not give its certificate back; name a file with it: --certificate FILE")
    return bundle.certificate


def _from_file(path: Path, services: Services) -> _Target:
    """The first certificate of a file, PEM or DER, with the places where the stores hold it."""
    fix = "name the file of a certificate, PEM or DER"
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES)
        pem = split_pem(data)[0] if b"-----BEGIN" in data else _der_to_pem(data)
        facts = describe(pem)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", fix=fix) from None
    except ValueError as error:
        raise UsageError(f"{path} is no certificate: {error}", fix=fix) from None
    stored = next((one for one in _in_stores(None, services) if one.facts.sha256 == facts.sha256), None)
    return stored or _Target(pem, facts)


def _der_to_pem(data: bytes) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        return x509.load_der_x509_certificate(data).public_bytes(Encoding.PEM)
    except ValueError:  # it speaks of Rust
        raise ValueError("neither PEM nor DER") from None


def _serial(text: str) -> int:
    digits = text.strip().lower().removeprefix("0x").replace(":", "").replace(" ", "")
    try:
        return int(digits, 16)
    except ValueError:
        raise UsageError(f"{text!r} is no serial number", fix="give it in hexadecimal") from None


def _is_refusal(error: CiAcmeError) -> bool:
    """Whether the CA says that it is not for us to revoke this."""
    return problem_kind(error) in {"unauthorized", "malformed", "accountDoesNotExist"}


# --- one certificate ---


class _Work:
    """One certificate from valid to revoked, and its stores marked."""

    def __init__(self, target: _Target, wanted: Wanted, services: Services) -> None:
        self._target = target
        self._wanted = wanted
        self._services = services
        self._scope: Scope = services.scope(target.name or "")
        reason = None if wanted.reason is None else reason_name(wanted.reason)
        self._outcome = Revocation(target.name, target.facts, reason)
        self._der = b64decode(b"".join(split_pem(target.pem)[0].splitlines()[1:-1]))
        self._refusals: list[CiAcmeError] = []

    def run(self) -> Revocation:
        """The outcome, with the error in it if there is one."""
        outcome, target = self._outcome, self._target
        now = self._services.clock.now()
        try:
            self._services.clock.check()
            if target.facts.not_after <= now:
                outcome.action = "expired"
                return outcome
            outcome.action = "revoked" if self._revoke() else "already-revoked"
            outcome.revoked_at = next((p.metadata.revoked for p in target.places if p.metadata), None) or now
            outcome.stores = [self._mark(place) for place in target.places]
            outcome.error = next((store.error for store in outcome.stores if store.error), None)
            outcome.next = self._next()
        except CiAcmeError as error:
            outcome.error = error
        return outcome

    def _revoke(self) -> bool:
        """By an account, else by the certificate's own key. False if it was revoked before."""
        candidates = self._candidates()
        if self._wanted.key is not None:
            self._own_key()  # a wrong file is said before the CA is asked
        for by, attempt in (("account", self._by_account), ("certificate key", self._by_key)):
            for name in candidates:
                answer = self._try(attempt, name, guessed=len(candidates) > 1)
                if answer is not None:
                    self._outcome.authority, self._outcome.by = name, by
                    return answer
        raise self._refusal(candidates)

    def _candidates(self) -> list[str]:
        """The authorities to ask, in order: the one that is named, the one that issued it, all."""
        config = self._services.config
        if self._wanted.authority is not None:
            return [self._wanted.authority]
        if self._target.authority is not None:
            return [self._target.authority]
        issuers = {place.metadata.authority for place in self._target.places if place.metadata}
        if not issuers:
            placed = [place.job.spec.authority for place in self._target.places]
            return placed[:1] or list(config.authorities)
        found = [name for name, section in config.authorities.items() if section.directory_url in issuers]
        if not found:
            raise AccountError(
                f"the certificate is of {', '.join(sorted(issuers))}, which no authority of the config is",
                fix="add the authority to the config, or name another one with --ca",
            )
        return found

    def _try(self, attempt: Callable[[str], bool | None], name: str, *, guessed: bool) -> bool | None:
        """The answer of one authority; None if it does not let us, which is remembered.

        `guessed`: it is one of several, so that its trouble is no reason not to ask the others.
        """
        try:
            return attempt(name)
        except (AccountError, SecretError) as error:
            self._refusals.append(error)
        except (CaError, RateLimited) as error:
            if not guessed and not _is_refusal(error):
                raise
            self._refusals.append(error)
        return None

    def _by_account(self, name: str) -> bool | None:
        client = self._services.authorities.opened(name, self._scope)
        if client.account is None and client.find_account(self._scope) is None:
            raise AccountError(
                f"the key in {self._services.authority(name).account_key} has no account at {client.host}",
                fix="give the job the account's key, or the certificate's own with --key FILE",
            )
        return revoke_by_account(client, self._scope, self._der, self._wanted.reason)

    def _by_key(self, name: str) -> bool | None:
        key = self._own_key()
        if key is None:
            return None
        client: AcmeClient = self._services.authorities.bare(name, key, "the certificate's own key")
        return revoke_by_key(client, self._scope, self._der, self._wanted.reason)

    def _own_key(self) -> Secret | None:
        """The certificate's private key: of the file that is named, else of a store. Raises `UsageError`."""
        if self._wanted.key is not None:
            key = read_secret(f"file:{self._wanted.key}")
            if not key_matches(key, self._target.pem):
                raise UsageError(
                    f"{self._wanted.key} does not hold the private key of the certificate {self._target.facts.serial}",
                    fix="give the key that belongs to it, as unencrypted PEM",
                )
            return key
        return next(self._stored_keys(), None)

    def _stored_keys(self) -> Iterator[Secret]:
        for place in self._target.places:
            if not place.store.capabilities.returns_key:
                continue
            try:
                bundle = place.store.read_bundle(deadline=self._services.deadline)
            except StoreReadError as error:
                self._scope.warn(error.message)
                continue
            if bundle is not None and key_matches(bundle.key, self._target.pem):
                yield bundle.key

    def _refusal(self, candidates: list[str]) -> CiAcmeError:
        """Nobody could: the first trouble, as whoever has it may be the one, else what the first one said."""
        asked = ", ".join(candidates)
        if not self._refusals:
            return AccountError(f"no account at {asked} can revoke it", fix="give the certificate's key: --key FILE")
        trouble = [error for error in self._refusals if isinstance(error, CaUnreachable | CaTimeout | RateLimited)]
        first = (trouble or self._refusals)[0]
        return type(first)(
            f"the certificate {self._target.facts.serial} was not revoked at {asked}: {first.message}",
            fix=first.fix
            if trouble
            else "revoke with the account that ordered it (--ca, account_key), or with its own key (--key FILE)",
            details=first.details,
        )

    # --- what remains to be done ---

    def _mark(self, place: _Place) -> StoreOutcome:
        """Tell a store that its certificate is revoked. Without metadata it is not kept anyway."""
        store, metadata = place.store, place.metadata
        if metadata is None or metadata.revoked is not None:
            return StoreOutcome(store.provider, store.target, "marked" if metadata else "kept")
        try:
            store.annotate(replace(metadata, revoked=self._outcome.revoked_at), deadline=self._services.deadline)
        except DeliveryError as error:
            told = DeliveryError(
                f"the certificate is revoked, and {store.provider}:{store.target} could not be told: {error.message}",
                fix=f"run ci-acme issue --force {place.job.spec.name}",
                details=error.details,
            )
            return StoreOutcome(store.provider, store.target, "failed", error=told)
        return StoreOutcome(store.provider, store.target, "marked")

    def _next(self) -> str | None:
        name = self._target.name
        if self._wanted.reason == KEY_COMPROMISE:
            command = f"ci-acme issue --force {name}" if name else "ci-acme issue --force NAME"
            return f"run `{command}` now, which makes a new key, and replace the old key wherever it was copied to"
        return f"the next `ci-acme issue` makes a new certificate for {name}" if name else None
