"""What the stores of Amazon Web Services share."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from ci_acme.errors import CiAcmeError
from ci_acme.model.material import Bundle, KeyType
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.shapes import Shape, estimate
from ci_acme.storing import Refused, Store
from ci_acme_providers.aws import patience, session, store_faults
from ci_acme_providers.aws.config import AwsAccess
from ci_acme_providers.aws.store_faults import AwsFault
from ci_acme_providers.aws.store_tags import shape_name

_ROUNDS: Final = 12
_PAUSE: Final = 0.2
_LONGEST: Final = 5.0


class AwsStore(Store):
    """A client that is made on first use, and errors that say what to grant."""

    SERVICE: ClassVar[str]

    def __init__(self, access: AwsAccess, context: ProviderContext) -> None:
        super().__init__(context)
        self._access = access
        self._made: Any = None

    @property
    def region(self) -> str:
        """The region that is asked; empty before the first call."""
        return "" if self._made is None else str(self._made.meta.region_name)

    def _call(self, operation: str, /, **arguments: Any) -> Mapping[str, Any]:
        if self._made is None:
            self._made = session.client(self.SERVICE, self._access, self.context)
        return store_faults.call(self._made, self._access, operation, arguments)

    @contextmanager
    def _tidying(self) -> Generator[None, None, None]:
        """What is left over is a nuisance and no failure: the certificate serves, and the next write removes it."""
        try:
            yield
        except AwsFault as fault:
            text = f"tags of an older certificate are left at {self.target}: {fault.action} failed with {fault.code}"
            self.context.warn(text)

    def explain(self, error: Exception, verb: str) -> Refused | None:
        """What AWS has refused."""
        del verb
        return store_faults.explained(error)

    @contextmanager
    def errors(self, kind: type[CiAcmeError], verb: str, deadline: Deadline) -> Generator[None]:
        """As in `Store`; calls inside end with the deadline."""
        with super().errors(kind, verb, deadline), patience.within(deadline):
            yield


def rounds(deadline: Deadline, action: str) -> Iterator[int]:
    """Attempts with growing pauses between them. Raises `AwsFault` once they or the time are used up."""
    pause = _PAUSE
    for number in range(_ROUNDS):
        yield number
        if deadline.remaining() <= pause:
            break
        deadline.clock.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - it spreads writers, and guards nothing
        pause = min(pause * 2, _LONGEST)
    raise AwsFault("Conflict", action, "others change it all the time, or AWS does not show what was written")


# --- values


def token_of(bundle: Bundle, shape: Shape, password: Secret | None) -> str:
    """64 hex digits that are the same for the same content, and tell nothing to who does not have the key."""
    parts = (shape_name(shape).encode(), bundle.certificate, bundle.chain, password.reveal() if password else b"")
    text = b"".join(hashlib.sha256(part).digest() for part in parts)
    return hmac.new(bundle.key.reveal(), text, hashlib.sha256).hexdigest()


# --- sizes, known before an order is spent


def most_bytes(context: ProviderContext, shape: Shape) -> int:
    """Bytes that a bundle takes at most, for the largest key where the key type is not known."""
    return estimate(shape, context.key or KeyType.RSA_4096, max(1, len(context.names)))


# --- tags


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as most of AWS's APIs take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tag_map(tags: Any) -> dict[str, str]:
    """The inverse of `tag_list`."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in tags or ()}
