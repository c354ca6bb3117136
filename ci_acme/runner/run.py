"""One run over some certificates of a config, side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ci_acme.core.report import Outcome, Result
from ci_acme.dataclass import dataclass
from ci_acme.errors import CiAcmeError, Interrupted, UsageError
from ci_acme.hosts import detect_ci
from ci_acme.model.events import Observer, Warned
from ci_acme.ports import Clock, Deadline
from ci_acme.runner.certificate import process
from ci_acme.runner.jobs import Job, make_jobs
from ci_acme.runner.services import Services

if TYPE_CHECKING:
    from ci_acme.config.schema import Config
    from ci_acme.core.account import AccountReport, RevokeReport
    from ci_acme.core.alerts import Report
    from ci_acme.core.checks import CheckLine
    from ci_acme.core.inventory import Row
    from ci_acme.core.permissions import Grant
    from ci_acme.runner.leftovers import Leftover
    from ci_acme.runner.retiring import Teardown
    from ci_acme.runner.revoking import Wanted

Done = TypeVar("Done")
SIDE_BY_SIDE = 8
"""Certificates worked on at once."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line decides. `timeout` is in seconds for the whole run."""

    command: str = "issue"
    force: bool = False
    dry_run: bool = False
    allow_new_account: bool = False
    timeout: float = 900.0


class Run:
    """A run. `abort` may be called from any thread to end what blocks on the network; the clock says why.

    `on_secret` hears every secret as it is read, so that a CI system can hide it.
    """

    def __init__(
        self,
        config: Config,
        options: RunOptions,
        *,
        clock: Clock,
        notify: Observer,
        environ: Mapping[str, str],
        on_secret: Callable[[bytes], None] | None = None,
    ) -> None:
        self.id = os.urandom(8).hex()
        self._options = options
        self._clock = clock
        self._started = clock.now()
        self._begun = clock.monotonic()
        self._ci = detect_ci(environ)
        self._config = config
        self._services = Services(
            config,
            run_id=self.id,
            clock=clock,
            notify=notify,
            environ=environ,
            deadline=Deadline(clock, options.timeout),
            may_register=options.allow_new_account or self._ci is None,
            force=options.force,
            dry_run=options.dry_run,
            on_secret=on_secret,
        )

    def abort(self) -> None:
        """End blocked network calls at once."""
        self._services.abort()

    def issue(self, names: Sequence[str]) -> Result:
        """Make the named certificates (default: all) valid in their stores; or, in a dry run, say what would happen.

        Raises `UsageError` for an unknown name and `ConfigError` for a provider that cannot be used. Everything that
        goes wrong with one certificate is in its outcome.
        """
        jobs = make_jobs(self._config, _select(names, list(self._config.certificates)), self._services)
        try:
            outcomes = self._work(jobs, lambda job: process(job, self._services))
            suggestions = self._forecast(jobs, outcomes) if self._options.dry_run else []
            self._services.sweep()
        finally:
            self._services.close()
        return self._result(outcomes, suggestions)

    def check(self, names: Sequence[str], trust_policy: str | None = None) -> list[CheckLine]:
        """Preflight of the named certificates: a list of findings; nothing is ordered or written.

        `trust_policy` is a file with the trust policy of an AWS role, to be judged by the job's identity token.
        """
        from ci_acme.runner.checks import check

        jobs = make_jobs(self._config, _select(names, list(self._config.certificates)), self._services)
        try:
            return check(jobs, self._services, trust_policy)
        finally:
            self._services.close()

    def inventory(self) -> list[Row]:
        """Every certificate of the config as its stores have it, and those that only the ledger knows."""
        from ci_acme.runner.listing import inventory

        jobs = make_jobs(self._config, list(self._config.certificates), self._services)
        try:
            return inventory(jobs, self._services)
        finally:
            self._services.close()

    def monitor(self, names: Sequence[str]) -> Report:
        """The alerts about the named certificates (default: all, and all else that `monitor` in the config wants)."""
        from ci_acme.config.monitoring import Monitor
        from ci_acme.runner.monitoring import glance, judge

        jobs = make_jobs(self._config, _select(names, list(self._config.certificates)), self._services)
        settings = self._config.monitor
        try:
            seen = self._work(jobs, lambda job: glance(job, self._services))
            wanted = settings if isinstance(settings, Monitor) else Monitor()
            return judge(seen, self._services, wanted, everything=not names)
        finally:
            self._services.close()

    def permissions(self, names: Sequence[str], *, online: bool) -> tuple[list[Grant], dict[str, list[str]]]:
        """What every provider of the named certificates (default: all) has to be granted, and CAA records by zone.

        Not `online`, no CNAME is followed and no CA is asked for the name that CAA records have.
        """
        from ci_acme.runner.permitting import permissions

        jobs = make_jobs(self._config, _select(names, list(self._config.certificates)), self._services)
        try:
            return permissions(jobs, self._services, online=online)
        finally:
            self._services.close()

    def cleanup(self) -> list[Leftover]:
        """Replay the journal of earlier runs: remove the challenge values that they left, and orders that are done.

        Raises `StateError` if the state cannot be used: nobody knows then what is left.
        """
        from ci_acme.runner.abandoned import end_abandoned
        from ci_acme.runner.leftovers import forget_delivered, replay

        try:
            self._services.sure_state()
            found = replay(self._services)
            try:
                forget_delivered(
                    make_jobs(self._config, list(self._config.certificates), self._services), self._services
                )
                end_abandoned(self._services, opening=True)
            except Interrupted:
                raise
            except CiAcmeError as error:  # a store out of reach; there is nothing to lose
                self._services.notify(Warned("", f"orders of earlier runs were not looked at: {error.message}"))
            return found
        finally:
            self._services.close()

    def account(self, action: str, authority: str | None, agree: Callable[[str], bool]) -> AccountReport:
        """What `ci-acme account ACTION` does with the account of an authority (default: of the only one).

        `agree` is asked before terms are agreed to and before an account is deactivated. Raises `CiAcmeError`.
        """
        from ci_acme.runner.accounts import AccountWork, only_authority

        try:
            return AccountWork(only_authority(self._services, authority), self._services, agree).run(action)
        finally:
            self._services.close()

    def revoke(self, wanted: Wanted) -> RevokeReport:
        """Revoke certificates. Raises `UsageError` if none is found; what goes wrong with one is in its outcome."""
        from ci_acme.runner.revoking import revoke

        try:
            return revoke(wanted, self._services)
        finally:
            self._services.close()

    def retire(self, names: Sequence[str], wanted: Teardown) -> Result:
        """Remove the named certificates (default: all) from their stores, and what earlier runs left in the DNS."""
        from ci_acme.runner.retiring import retire, sweep_records

        jobs = make_jobs(self._config, _select(names, list(self._config.certificates)), self._services)
        try:
            outcomes = self._work(jobs, lambda job: retire(job, self._services, wanted))
            try:
                sweep_records(self._services)
            except Interrupted:
                raise
            except CiAcmeError as error:
                self._services.notify(Warned("", f"records that earlier runs left were not removed: {error.message}"))
        finally:
            self._services.close()
        return self._result(outcomes, [])

    def _work(self, jobs: list[Job], work: Callable[[Job], Done]) -> list[Done]:
        if len(jobs) == 1:
            return [work(jobs[0])]
        from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

        with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(jobs)), thread_name_prefix="certificate") as pool:
            futures: list[Future[Done]] = [pool.submit(work, job) for job in jobs]
            pending = set(futures)
            while pending:  # a bounded wait, so that signals are handled on every platform
                _, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            return [future.result() for future in futures]

    def _forecast(self, jobs: list[Job], outcomes: list[Outcome]) -> list[dict[str, Any]]:
        """What a plan would cost of the CAs' limits."""
        from ci_acme.runner.forecast import add_forecast

        return add_forecast(jobs, outcomes, self._services)

    def _result(self, outcomes: list[Outcome], suggestions: list[dict[str, Any]]) -> Result:
        return Result(
            command=self._options.command,
            run_id=self.id,
            ci=self._ci,
            started=self._started,
            seconds=self._clock.monotonic() - self._begun,
            certificates=outcomes,
            suggestions=suggestions,
        )


def _select(names: Sequence[str], known: list[str]) -> list[str]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"there is no certificate {unknown[0]!r} in the config", fix=f"use one of: {', '.join(known)}")
    return list(dict.fromkeys(names)) or known
