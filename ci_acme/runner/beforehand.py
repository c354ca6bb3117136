"""What is known against an order before anything is asked of a CA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci_acme.core.plan import Action
from ci_acme.core.quirks import Ca, known_ca
from ci_acme.core.requirements import KnownRefusal, refusal
from ci_acme.model.events import Warned
from ci_acme.runner.jobs import Job, label_of

if TYPE_CHECKING:
    from ci_acme.runner.services import Services


def judge_beforehand(job: Job, action: Action, services: Services) -> None:
    """Refuse an order that its first CA is known not to serve; a certificate that is kept only gets a warning.

    Raises `KnownRefusal`.
    """
    ca = known_ca(job.spec.directory)
    error = refusal(job.spec, ca, services.clock.now()) or _unwelcome(job, ca)
    if error is None:
        return
    if action in {Action.ISSUE, Action.RENEW}:
        raise error
    text = f"the next order will be refused: {error.message}; {error.fix}"
    services.notify(Warned(job.spec.name, text))


def _unwelcome(job: Job, ca: Ca) -> KnownRefusal | None:
    """A staging CA whose certificate a store would not take."""
    store = next((store for store in job.stores if job.accepted_by(store) == "production"), None)
    if not ca.staging or store is None:
        return None
    return KnownRefusal(
        f"{label_of(store)} accepts production certificates only, and {ca.title} is trusted by nobody",
        fix=f"use a production CA as authority of {job.spec.name}, or say accept: any in the store",
    )
