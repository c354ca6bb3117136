"""What the stores of Google Cloud share: who asks, what a refusal means, and how long a conflict is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ci_acme.ports import Deadline, ProviderContext
from ci_acme.storing import Refused, Store
from ci_acme_providers.gcp.api import backoff
from ci_acme_providers.gcp.config import GoogleAccess
from ci_acme_providers.gcp.faults import NoReply, Refusal, explained
from ci_acme_providers.gcp.session import GoogleSession


class GoogleStore(Store):
    """Base of both. `NEEDS` has the permissions for each verb of `errors`.

    `OVERTAKEN` are the canonical codes, beside HTTP's 409 and 412, of a change before which another came.
    """

    NEEDS: ClassVar[Mapping[str, Sequence[str]]]
    OVERTAKEN: ClassVar[frozenset[str]]

    def __init__(self, access: GoogleAccess, context: ProviderContext) -> None:
        super().__init__(context)
        self.session = GoogleSession(access, context)

    @property
    def resource(self) -> str:
        """What permissions are granted on: `the secret web-tls`."""
        raise NotImplementedError

    def explain(self, error: Exception, verb: str) -> Refused | None:
        """What Google has refused, with the permissions to grant."""
        return explained(error, self.NEEDS[verb], self.resource)

    def require_held(self, missing: Sequence[str], where: str) -> None:
        """Raises `Refused` if permissions are missing."""
        if missing:
            raise Refused(
                f"{', '.join(missing)} missing",
                fix=f"grant {', '.join(missing)} {where} to the identity that runs ci-acme "
                "(ci-acme permissions prints the role)",
                details={"missing": list(missing)},
            )

    def wait_after(self, error: Refusal | NoReply, attempt: int, deadline: Deadline) -> None:
        """Wait before the next look, after a conflict or an answer that was lost; raises the error of anything else."""
        pause = backoff(attempt)
        overtaken = isinstance(error, Refusal) and (error.status in self.OVERTAKEN or error.code in {409, 412})
        if not (overtaken or error.doubtful) or deadline.remaining() <= pause:
            raise error
        deadline.clock.sleep(pause)
