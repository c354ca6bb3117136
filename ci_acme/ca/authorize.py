"""Proving control of an order's names by dns-01, and explaining a proof that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ci_acme.ca.challenges import to_solve
from ci_acme.ca.client import AcmeClient
from ci_acme.ca.messages import DNS, SOLVED, AcmeChallenge, Authorization, Order
from ci_acme.ca.problems import PREFIX, Problem, error_for, join_some
from ci_acme.ca.scope import Scope
from ci_acme.errors import CaProtocolError, CaTimeout, ChallengeFailed, CiAcmeError, OrderRefused
from ci_acme.ports import Challenge, ChallengeSolver

FIRST_POLL: Final = 0.01
GROWTH: Final = 1.4
SLOWEST_POLL: Final = 3.0
LONGEST_RETRY_AFTER: Final = 60.0
"""Some CAs ask for a day while an order takes seconds."""
WORTH_TELLING: Final = 1.0
"""Seconds of waiting from which on it is told."""
LOOK_INTO: Final = 3.0
"""Seconds of waiting after which the authorizations themselves are looked at; twice as many each next time."""
PASSING: Final = frozenset({"dns", "connection", "serverInternal"})
"""Problem types of a challenge that may be gone a moment later: a timeout, SERVFAIL, a perspective that lagged."""
MAX_ANSWERS: Final = 3
"""How often one challenge is answered: a CA may leave it pending with an error and try again only when asked."""


class Pace:
    """The pauses between two looks at an order: a first short one, then longer; the CA's Retry-After wins."""

    def __init__(self, client: AcmeClient) -> None:
        self._client = client
        self._begun = client.clock.monotonic()
        # With the CA far away a look costs a round trip anyway: it is not worth more than one in two.
        self._pause = max(FIRST_POLL, min(client.latency or 0.0, 0.5))

    def wait(self, scope: Scope, retry_after: float | None, what: str) -> None:
        """Pause once. Raises `CaTimeout` when the scope's time is over, `Interrupted`."""
        pause = self._pause
        self._pause = min(self._pause * GROWTH, SLOWEST_POLL)
        if retry_after:
            pause = min(retry_after, LONGEST_RETRY_AFTER)
        if self._waited >= WORTH_TELLING:
            scope.waiting(what, self._client.host, self._waited)
        scope.pause(self._client.clock, pause, what, self._client.host)
        if scope.deadline.expired:
            raise CaTimeout(
                f"{self._client.host} did not come to an end with {what} in {self._waited:.0f} s",
                fix="run again: the order is gone on with",
            )

    @property
    def _waited(self) -> float:
        return self._client.clock.monotonic() - self._begun


class Authorizer:
    """Makes a pending order ready. `dns_seconds` is how long the solver took, without the time for answers."""

    def __init__(
        self,
        client: AcmeClient,
        solver: ChallengeSolver,
        scope: Scope,
        *,
        kind: str = DNS,
        preauthorized: bool = False,
    ) -> None:
        self._kind = kind
        self._preauthorized = preauthorized
        self._client = client
        self._solver = solver
        self._scope = scope
        self._answers: dict[str, int] = {}
        self._answering = 0.0
        self.dns_seconds = 0.0

    @property
    def answered(self) -> bool:
        """Whether the CA was told to look at any challenge."""
        return bool(self._answers)

    def prove(self, order: Order) -> None:
        """Publish the values of all names that are not proven yet, and answer each as soon as it is there."""
        todo: dict[Challenge, tuple[Authorization, AcmeChallenge]] = {}
        unproven: list[str] = []
        for authorization in self._client.authorizations(self._scope, order.authorizations):
            if authorization.identifier not in order.names:
                raise CaProtocolError(
                    f"the CA wants a proof for {authorization.identifier}, which was not asked for",
                    fix="ask the CA's operator",
                )
            if authorization.status == "valid":
                continue
            if self._preauthorized:
                unproven.append(authorization.identifier)
                continue
            challenge = self._usable(authorization)
            todo[to_solve(self._client, self._scope, authorization, challenge)] = (authorization, challenge)
        if unproven:
            raise self._not_in_console(unproven)
        if not todo:
            return

        def ready(challenges: Sequence[Challenge]) -> None:
            begun = self._client.clock.monotonic()
            self._client.map(lambda item: self._answer(*todo[item]), challenges)
            self._answering += self._client.clock.monotonic() - begun

        begun = self._client.clock.monotonic()
        self._solver.solve(list(todo), ready, deadline=self._scope.deadline)
        self.dns_seconds = self._client.clock.monotonic() - begun - self._answering
        self._scope.step(f"answered {len(todo)} challenge{'s' if len(todo) > 1 else ''}")

    def wait(self, order: Order) -> Order:
        """The order when it is pending no longer. Raises `ChallengeFailed` for each name that was not accepted."""
        clock = self._client.clock
        pace = Pace(self._client)
        patience = LOOK_INTO
        look = clock.monotonic() + patience
        while order.status == "pending":
            pace.wait(self._scope, order.retry_after, "the validation of the names")
            order = self._client.order(self._scope, order.url, known=order)
            if order.status == "pending" and clock.monotonic() >= look:
                self._look_into(order)
                patience *= 2
                look = clock.monotonic() + patience
        if order.status == "invalid":
            raise self._explained(order)
        return order

    def _not_in_console(self, names: Sequence[str]) -> OrderRefused:
        shown = join_some(sorted(names))
        return OrderRefused(
            f"{self._client.host} has not validated {shown}, and preauthorized says that it does so by itself",
            fix=f"validate the names in the console of {self._client.host} for this account, or set preauthorized: "
            "false and add a dns: entry, to answer challenges",
            details={"names": sorted(names), "account": self._client.account},
        )

    def _usable(self, authorization: Authorization) -> AcmeChallenge:
        if authorization.status != "pending":
            raise _failure([(authorization, None)], self._client.host)
        challenge = authorization.challenge(self._kind)
        if challenge is None:
            offered = ", ".join(item.type for item in authorization.challenges) or "none"
            raise ChallengeFailed(
                f"{self._client.host} offers no {self._kind} challenge for {authorization.identifier} "
                f"(offered: {offered})",
                fix=_other_challenge(authorization),
            )
        if challenge.status == "invalid":
            raise _failure([(authorization, challenge.error)], self._client.host)
        return challenge

    def _answer(self, authorization: Authorization, challenge: AcmeChallenge) -> None:
        if challenge.status == "pending":
            self._answers[challenge.url] = self._answers.get(challenge.url, 0) + 1
            self._client.answer(self._scope, authorization, challenge)

    def _look_into(self, order: Order) -> None:
        """Answer again what a CA left pending with an error (RFC 8555 section 8.2), and end a wait that is in vain."""
        failed: list[tuple[Authorization, Problem | None]] = []
        for authorization in self._client.authorizations(self._scope, order.authorizations):
            challenge = authorization.challenge(self._kind) if authorization.status == "pending" else None
            if challenge is not None and challenge.status == "pending" and challenge.error is not None:
                if self._answers.get(challenge.url, 0) >= MAX_ANSWERS:
                    failed.append((authorization, challenge.error))
                else:
                    self._scope.warn(f"{authorization.identifier}: {challenge.error.describe()}; asking again")
                    self._answer(authorization, challenge)
            elif authorization.status not in {"pending", "valid"}:
                failed.append((authorization, _error_of(authorization)))
        if failed:
            raise _failure(failed, self._client.host)

    def _explained(self, order: Order) -> CiAcmeError:
        """Only here the authorizations are fetched again: the order itself does not say which names failed."""
        failed = [
            (authorization, _error_of(authorization))
            for authorization in self._client.authorizations(self._scope, order.authorizations)
            if authorization.status not in {"valid", "pending"}
        ]
        if failed:
            return _failure(failed, self._client.host)
        if order.error is not None:
            return error_for(order.error, what="accept the order", where=self._client.host)
        return OrderRefused(f"{self._client.host} made the order invalid without a reason", fix="run again later")


def is_passing(error: ChallengeFailed) -> bool:
    """Whether every name failed for good because the CA could not ask the DNS, and none for what it saw there."""
    challenges = error.details.get("challenges") or []
    if any(item["status"] != "invalid" for item in challenges):
        return False
    kinds = {((item.get("problem") or {}).get("type") or "").removeprefix(PREFIX) for item in challenges}
    return bool(kinds) and kinds <= PASSING


def _other_challenge(authorization: Authorization) -> str:
    usable = [item.type for item in authorization.challenges if item.type in SOLVED]
    if usable:
        return f"set challenge of the authority to {' or '.join(usable)}"
    return "use a CA or a CA policy that allows a DNS challenge; ci-acme solves no other"


def _error_of(authorization: Authorization) -> Problem | None:
    return next((item.error for item in authorization.challenges if item.error is not None), None)


def _failure(failed: Sequence[tuple[Authorization, Problem | None]], host: str) -> CiAcmeError:
    """One error for all names; its fix is that of the first problem."""
    said: list[str] = []
    details: list[dict[str, Any]] = []
    for authorization, problem in failed:
        reason = problem.describe() if problem else f"its authorization is {authorization.status}"
        said.append(f"{authorization.identifier}: {reason}")
        shown = problem.to_json() if problem else None
        details.append({"identifier": authorization.identifier, "status": authorization.status, "problem": shown})
    problems = [problem for _, problem in failed if problem is not None]
    fix = "run again"
    if problems:
        first = error_for(problems[0], what="validate", where=host)
        fix = first.fix if isinstance(first, ChallengeFailed) else FIX_VALUE
        if all(problem.kind == "caa" for problem in problems):
            return OrderRefused(
                f"{host} may not issue: {join_some(said)}", fix=first.fix, details={"challenges": details}
            )
    return ChallengeFailed(f"{host} did not accept {join_some(said)}", fix=fix, details={"challenges": details})


FIX_VALUE: Final = (
    "compare the TXT record that the CA saw with the one that was written: another zone, view or name server answers"
)
