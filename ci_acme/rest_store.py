"""What the stores behind REST APIs add to `ci_acme.storing`: the network's words, and answers that are none."""

from __future__ import annotations

from ci_acme.rest import Answer
from ci_acme.storing import Refused, Store
from ci_acme.wire import Unreachable


class RestStore(Store):
    """Base of a store that is asked with `ci_acme.rest`."""

    def explain(self, error: Exception, verb: str) -> Refused | None:
        """No answer."""
        del verb
        if not isinstance(error, Unreachable):
            return None
        return Refused(str(error), fix="check the address, the network and the server")


def expected(who: str, found: object) -> object:
    """What an answer has to hold. Raises `Refused` for None: something on the way (a proxy) has answered instead."""
    if found is None:
        raise Refused(f"an answer of {who} is not what its API says", fix="check the address, and proxies on the way")
    return found


def is_done(answer: Answer) -> bool:
    """Whether an API has said that it has done something: not a page of a proxy, whatever its status."""
    return answer.ok and (answer.status == 204 or isinstance(answer.document, dict))
