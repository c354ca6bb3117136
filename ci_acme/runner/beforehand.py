"""What is known against an order before anything is asked of a CA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci_acme.core.plan import Action
from ci_acme.core.quirks import known_ca
from ci_acme.core.requirements import refusal
from ci_acme.model.events import Warned
from ci_acme.runner.jobs import Job

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def judge_beforehand(job: Job, action: Action, services: Services) -> None:
    """Refuse an order that its first CA is known not to serve; a certificate that is kept only gets a warning.

    Raises `KnownRefusal`.
    """
    error = refusal(job.spec, known_ca(job.spec.directory), services.clock.now())
    if error is None:
        return
    if action in {Action.ISSUE, Action.RENEW}:
        raise error
    text = f"the next order will be refused: {error.message}; {error.fix}"
    services.notify(Warned(job.spec.name, text))
