"""What `check` says of the job's identity token: whom it speaks for, and which trust policy would let it in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_acme.core.checks import CheckLine
from ci_acme.core.trust import immutable_subject, judge, policies, subject_of
from ci_acme.errors import UsageError
from ci_acme.hosts.oidc import any_token, claims_of
from ci_acme.ports import Deadline

if TYPE_CHECKING:
    from ci_acme.runner.services import Services

_SECONDS = 20.0


def check_identity(services: Services, trust_policy: str | None) -> Iterator[CheckLine]:
    """Nothing where there is no token and no policy to judge. Raises `SecretError`, `UsageError`."""
    policy = None if trust_policy is None else _read(trust_policy)
    token = any_token("sts.amazonaws.com", services.environ, deadline=Deadline(services.clock, _SECONDS))
    if token is None:
        if policy is not None:
            fix = "run it in the job whose token shall be let in; on GitHub with permissions: id-token: write"
            yield CheckLine("error", "token", "trust policy", "this job has no identity token to judge it by", fix)
        return
    claims = claims_of(token.reveal().decode("ascii", errors="ignore"))
    subject = subject_of(claims)
    yield CheckLine("ok", "token", subject, f"is the subject; issuer {claims.get('iss')}, audience {claims.get('aud')}")
    fixed = immutable_subject(claims)
    if fixed is not None:
        text = f"a repository of this name could be somebody else's one day; with its numbers: {fixed}"
        yield CheckLine("ok", "token", subject, text)
    for document in policies(claims):
        yield CheckLine("ok", "trust", document.title, document.text)
    for mistake in [] if policy is None else judge(policy, claims):
        yield CheckLine("error", "trust", str(trust_policy), mistake.message, mistake.fix, f"trust.{mistake.kind}")


def _read(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", fix="correct --trust-policy") from None
    except ValueError:
        raise UsageError(f"{path} is no JSON document", fix="give the trust policy of the AWS role as JSON") from None
