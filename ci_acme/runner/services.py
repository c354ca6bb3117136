"""What the certificates of a run share: accounts and connections, the DNS engine, state. Everything is made on use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ci_acme import registry
from ci_acme.config.secrets import read_secret
from ci_acme.errors import CiAcmeError, Interrupted, StateError
from ci_acme.hosts import may_have_identity
from ci_acme.model.events import Event, Observer, Step, Warned
from ci_acme.model.secret import Secret, without_secrets
from ci_acme.ports import ChallengeSolver, Clock, Deadline, DnsJournal, DnsProvider, ProviderContext, SecretSource
from ci_acme.spec import Kind

if TYPE_CHECKING:
    from ci_acme.ca.scope import Scope
    from ci_acme.config.schema import Authority, Config
    from ci_acme.dns.background import Background
    from ci_acme.dns.engine import DnsEngine, DnsEntry
    from ci_acme.runner.authorities import Authorities
    from ci_acme.runner.connections import Connections
    from ci_acme.runner.leftovers import Announcement
    from ci_acme.runner.quota import Quota
    from ci_acme.settings import DnsSettings
    from ci_acme.state.accounts import Accounts
    from ci_acme.state.engine import Engine
    from ci_acme.state.leases import Leases

_IDENTITY_PATIENCE: Final = 2.0
"""Seconds that the records wait for a proof of who asked."""
_IDENTITY_SECONDS: Final = 20.0
"""For one answer of a platform that gives tokens or secrets."""


class Services:
    """Shared by the threads of a run."""

    def __init__(
        self,
        config: Config,
        *,
        run_id: str,
        clock: Clock,
        notify: Observer,
        environ: Mapping[str, str],
        deadline: Deadline,
        may_register: bool,
        force: bool,
        dry_run: bool,
        on_secret: Callable[[bytes], None] | None = None,
    ) -> None:
        self.config = config
        self.run_id = run_id
        self.clock = clock
        self.warnings: dict[str, list[str]] = {}
        self._observer = notify
        self.deadline = deadline
        self.may_register = may_register
        self.force = force
        self.dry_run = dry_run
        self.environ = environ
        self._lock = threading.RLock()
        self._connections: Connections | None = None
        self._authorities: Authorities | None = None
        self._dns: DnsEngine | None = None
        self._state: Engine | None = None
        self._announcement: Announcement | None = None
        self._peeked: Engine | None = None
        self._quota: Quota | None = None
        self._asking = threading.Lock()
        self._proven: dict[str, str] | None = None
        self._asker: Background[dict[str, str] | None] | None = None
        self._on_secret = on_secret
        self._secrets: dict[tuple[str, str], Secret] = {}

    def notify(self, event: Event) -> None:
        """The observer of the run; what certificates are warned of is kept for the result, by their names."""
        if isinstance(event, Warned):
            event = Warned(event.certificate, without_secrets(event.text))
            self.warnings.setdefault(event.certificate, []).append(event.text)
        self._observer(event)

    def read_secret(self, reference: str) -> Secret:
        """A secret by its reference, at the last moment."""
        secret = read_secret(reference, self.environ, self.elsewhere)
        if self._on_secret is not None:
            self._on_secret(secret.reveal())
        return secret

    def elsewhere(self, scheme: str, rest: str) -> Secret:
        """A secret that a platform keeps, asked for once a run. Raises `SecretError`, `NotAvailable`."""
        with self._lock:
            if (scheme, rest) not in self._secrets:
                source: SecretSource = registry.load_adapter(registry.find(Kind.SECRETS, scheme))
                deadline = self.deadline.within(_IDENTITY_SECONDS)
                self._secrets[scheme, rest] = source(rest, self.context(), deadline=deadline)
            return self._secrets[scheme, rest]

    def context(self, certificate: str = "") -> ProviderContext:
        """What an adapter is made with; `certificate` is the name of the one that a store is for."""

        def warn(text: str) -> None:
            self.notify(Warned(certificate, text))

        return ProviderContext(
            secrets=self.read_secret,
            clock=self.clock,
            certificate=certificate,
            run=self.run_id,
            environ=self.environ,
            identity=self._identity,
            warn=warn,
        )

    def look_who_asks(self) -> None:
        """Begin to verify the job's identity token beside other work, if it has one; at once, and never raises."""
        with self._lock:
            if self._asker is None and may_have_identity(self.environ):
                from ci_acme.dns.background import Background
                from ci_acme.hosts.verified import verified_identity

                def look(clock: Clock) -> dict[str, str] | None:
                    deadline = Deadline(clock, _IDENTITY_SECONDS)
                    return verified_identity(self.environ, clock.now().timestamp(), deadline=deadline)

                self._asker = Background(look, self.clock, "identity")

    def who_asked(self) -> dict[str, str]:
        """Who asked, for the records: what the CI system says, and, with `oidc_` before their names, proven claims."""
        from ci_acme.hosts.identity import who_asked

        said = who_asked(self.environ)
        with self._asking:
            asker, self._asker = self._asker, None  # it is waited for once, by whichever certificate is done first
            if asker is not None:
                with suppress(CiAcmeError):
                    if asker.ended(self.deadline.within(_IDENTITY_PATIENCE)):
                        self._proven = asker.result()
        proven = self._proven
        return said | {f"oidc_{name}": value for name, value in (proven or {}).items()}

    def _identity(self, audience: str) -> Secret:
        from ci_acme.hosts.oidc import identity_token

        token = identity_token(audience, self.environ, deadline=self.deadline.within(_IDENTITY_SECONDS))
        if self._on_secret is not None:
            self._on_secret(token.reveal())
        return token

    def authority(self, name: str) -> Authority:
        """The config section of a CA."""
        return self.config.authorities[name]

    @property
    def connections(self) -> Connections:
        """The connections of this run to CAs."""
        with self._lock:
            if self._connections is None:
                from ci_acme.runner.connections import Connections

                self._connections = Connections(self)
            return self._connections

    @property
    def authorities(self) -> Authorities:
        """The CAs of this run, with their accounts."""
        with self._lock:
            if self._authorities is None:
                from ci_acme.runner.authorities import Authorities

                self._authorities = Authorities(self)
            return self._authorities

    def scope(self, certificate: str) -> Scope:
        """A piece of work at a CA for a certificate."""
        from ci_acme.ca.scope import Scope

        return Scope(self.deadline, certificate, self.notify)

    def solver(self, certificate: str) -> ChallengeSolver:
        """A solver for one order."""
        return self.dns.solver(certificate, self.notify)

    @property
    def dns(self) -> DnsEngine:
        """The DNS engine of this run."""
        with self._lock:
            if self._dns is None:
                from ci_acme.config.schema import PUBLIC_DOH
                from ci_acme.dns.engine import DnsEngine

                resolver = self.config.resolver
                self._dns = DnsEngine(
                    [self._dns_entry(settings) for settings in self.config.dns],
                    nameservers=(resolver and resolver.nameservers) or (),
                    clock=self.clock,
                    journal=self._journal(),
                    lease=self.lease,
                    doh=PUBLIC_DOH if resolver is None else resolver.fallback,
                    trust=Path(resolver.ca_bundle) if resolver and resolver.ca_bundle else None,
                )
            return self._dns

    def _dns_entry(self, settings: DnsSettings) -> DnsEntry:
        from ci_acme.dns.engine import DnsEntry

        return DnsEntry(settings, self._provider_maker(settings), tuple(map(self._dns_entry, settings.also)))

    def provider(self, entry: str) -> DnsProvider | None:
        """The provider of a config's DNS entry by its label: the zone, `ZONE#N` for the Nth of its `also`.

        None if the config has no such entry.
        """
        zone, _, number = entry.partition("#")
        for settings in self.config.dns:
            if settings.zone == zone:
                every = (settings, *settings.also)
                place = int(number) if number.isdigit() else 0
                return self._provider_maker(every[place])() if place < len(every) else None
        return None

    def lease(self, key: str, certificate: str, *, what: str, deadline: Deadline) -> AbstractContextManager[object]:
        """A `dns.publish.Lease` in this run's state."""
        from ci_acme.runner.flight import lease_for_change

        return lease_for_change(key, self, certificate, what=what, deadline=deadline)

    def state(self) -> Engine:
        """The state, announced as in use by this run; if it cannot be used, one that forgets, and a warning."""
        with self._lock:
            if self._state is None:
                from ci_acme.runner.leftovers import Announcement
                from ci_acme.state.engine import usable_state

                self._state, warning = usable_state(self.config.state, clock=self.clock)
                if warning is not None:
                    self.notify(Warned("", warning))
                self._announcement = Announcement(self._state, self)
                self._announcement.make()
            return self._state

    def sure_state(self) -> Engine:
        """The state, for a command that is nothing without it. Raises `StateError` also where `state` would warn."""
        with self._lock:
            if self._state is None:
                from ci_acme.state.engine import open_state

                engine = open_state(self.config.state, clock=self.clock)
                try:
                    engine.check()
                finally:
                    engine.close()
            return self.state()

    def peek(self) -> Engine:
        """The state to look at, with nothing written to it; if it cannot be read, an empty one and a warning."""
        with self._lock:
            if self._state is not None:
                return self._state
            if self._peeked is None:
                from ci_acme.state.engine import open_state
                from ci_acme.state.memory import MemoryEngine

                self._peeked = open_state(self.config.state, clock=self.clock)
                try:
                    self._peeked.read("peek")
                except StateError as error:
                    self.notify(Warned("", f"what earlier runs remembered is not known: {error.message}; {error.fix}"))
                    self._peeked.close()
                    self._peeked = MemoryEngine()
            return self._peeked

    @property
    def quota(self) -> Quota:
        """The CAs' rate limits."""
        with self._lock:
            if self._quota is None:
                from ci_acme.runner.quota import Quota

                self._quota = Quota(self)
            return self._quota

    def accounts(self) -> Accounts:
        """The account URLs of earlier runs."""
        from ci_acme.state.accounts import Accounts

        return Accounts(self.state())

    def leases(self) -> Leases:
        """Who works on what."""
        return self.leases_on(self.clock)

    def leases_on(self, clock: Clock) -> Leases:
        """The same for waits on another clock: a shielded one, for cleaning up."""
        from ci_acme.state.leases import Leases

        state, announcement = self.state(), self._announcement
        assert announcement is not None
        return Leases(state, clock, beat=announcement.repeat)

    def warn_once(self, text: str) -> None:
        """Warn of what concerns the whole run."""
        with self._lock:
            told = text in self.warnings.get("", ())
        if not told:
            self.notify(Warned("", text))

    def sweep(self) -> None:
        """After an order: remove the challenge values that runs which are over have left. Never raises."""
        if self._dns is None or self.dry_run:
            return
        from ci_acme.runner.abandoned import end_abandoned
        from ci_acme.runner.leftovers import replay

        try:
            self.clock.check()
        except Interrupted:
            return  # the next run does it
        try:
            for one in replay(self, wanted=False):
                if one.error is None:
                    self.notify(Step("", f"removed a challenge record that run {one.item.run} left at {one.item.name}"))
                else:
                    self.notify(Warned("", f"a challenge record may be left at {one.item.name}: {one.error.message}"))
            end_abandoned(self, opening=False)
        except Interrupted:
            return
        except CiAcmeError as error:
            self.notify(Warned("", f"records that earlier runs left were not removed: {error.message}"))

    def abort(self) -> None:
        """End blocked network calls; from any thread."""
        connections = self._connections
        if connections is not None:
            connections.abort()

    def close(self) -> None:
        """Close connections and state."""
        with self._lock:
            if self._connections is not None:
                self._connections.close()
            if self._dns is not None:
                self._dns.close()
            if self._peeked is not None:
                self._peeked.close()
            if self._state is not None:
                from ci_acme.runner.leftovers import withdraw

                with suppress(CiAcmeError):  # then the next run finds out that this one is over
                    withdraw(self._state, self)
                self._state.close()

    def _journal(self) -> DnsJournal:
        from ci_acme.runner.leftovers import RunJournal

        return RunJournal(self.state(), self)

    def _provider_maker(self, settings: object) -> Callable[[], DnsProvider]:
        def make() -> DnsProvider:
            name = getattr(settings, "provider", "")
            adapter = registry.load_adapter(registry.find(Kind.DNS, name))
            provider: DnsProvider = adapter(settings, self.context())
            return provider

        return make
