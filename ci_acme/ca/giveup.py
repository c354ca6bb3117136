"""What becomes of an order that nobody will finish (RFC 8555 section 7.5.2).

A CA bounds how many authorizations of an account may be pending; each would count for days.
"""

from __future__ import annotations

from collections.abc import Sequence

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.parallel import parallel
from ci_acme.ca.scope import Scope
from ci_acme.errors import CiAcmeError

WIDTH = 8


def give_up(client: AcmeClient, authorizations: Sequence[str], scope: Scope) -> bool:
    """Deactivate what is pending of these authorizations, as far as the scope's time goes. Never raises `CiAcmeError`.

    True if none is pending any more. An authorization that is valid stays: it may serve a later order. So does one that
    the CA is validating just now: that ends by itself, one way or the other, and what Pebble is told meanwhile makes it
    answer nothing any more (it forgets to unlock the challenge).
    """

    def deactivate(url: str) -> bool:
        if scope.deadline.expired:
            return False
        try:
            (authorization,) = client.authorizations(scope, [url])
            validating = any(challenge.status == "processing" for challenge in authorization.challenges)
            if authorization.status == "pending" and not validating:
                client.deactivate(scope, url)
        except CiAcmeError:
            return False
        return True

    return all(parallel(deactivate, authorizations, width=WIDTH))
