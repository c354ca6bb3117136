"""The identity token of a CI job (OpenID Connect): fetched or found afresh whenever one is needed.

GitHub and Azure Pipelines mint one on request; GitLab, CircleCI, Bitbucket and others put them into variables, one for
each audience. A token is taken for what its platform says it is: who trusts it verifies it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline

_VARIABLE: Final = re.compile(r"(ID_TOKEN|OIDC_TOKEN|JWT)", re.IGNORECASE)
_FILES: Final = ("CI_ACME_ID_TOKEN_FILE",)
_JWT: Final = re.compile(r"[\w-]{4,}\.[\w-]{4,}\.[\w-]{4,}\Z")


def identity_token(audience: str, environ: Mapping[str, str], *, deadline: Deadline) -> Secret:
    """A token for the audience. Raises `SecretError` with what to grant."""
    url, bearer = environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"), environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if url and bearer:
        return _from_github(url, bearer, audience, deadline)
    url, bearer = environ.get("SYSTEM_OIDCREQUESTURI"), environ.get("SYSTEM_ACCESSTOKEN")
    if url and bearer:
        return _from_azure(url, bearer, environ, audience, deadline)
    found = dict(_tokens(environ))
    for token in found.values():
        if audience in _audiences(token):
            return Secret(token.encode())
    raise SecretError(_missing(audience, found, environ), fix=_advice(audience, environ))


def any_token(audience: str, environ: Mapping[str, str], *, deadline: Deadline) -> Secret | None:
    """A token that says who the job is, if there is one: for the audience where it can be chosen, else for any."""
    if environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") and environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        return identity_token(audience, environ, deadline=deadline)
    found = dict(_tokens(environ))
    fitting = (token for token in found.values() if audience in _audiences(token))
    token = next(fitting, next(iter(found.values()), None))
    return None if token is None else Secret(token.encode())


def audiences(environ: Mapping[str, str]) -> dict[str, str]:
    """For whom the tokens in variables are: the first audience of each, by the name of the variable."""
    return {name: _audiences(token)[0] for name, token in _tokens(environ) if name in environ and _audiences(token)}


def claims_of(token: str) -> Mapping[str, Any]:
    """What a token says, unverified; empty if it is none."""
    try:
        body = token.split(".")[1]
        document = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, IndexError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _from_github(url: str, bearer: str, audience: str, deadline: Deadline) -> Secret:
    separator = "&" if "?" in url else "?"
    target = f"{url}{separator}audience={quote(audience, safe='')}"
    fix = "give the job permissions: id-token: write"
    return _ask("GET", target, bearer, deadline, member="value", who="GitHub", fix=fix)


def _from_azure(url: str, bearer: str, environ: Mapping[str, str], audience: str, deadline: Deadline) -> Secret:
    connection = environ.get("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "")
    target = f"{url}?api-version=7.1" + (f"&serviceConnectionId={quote(connection)}" if connection else "")
    fix = f"let the job use System.AccessToken and the service connection (audience {audience})"
    return _ask("POST", target, bearer, deadline, member="oidcToken", who="Azure Pipelines", fix=fix)


def _ask(method: str, url: str, bearer: str, deadline: Deadline, *, member: str, who: str, fix: str) -> Secret:
    from ci_acme.rest import RestClient
    from ci_acme.wire import Unreachable

    base, _, rest = url.partition("?")
    client = RestClient(base, headers={"Authorization": f"Bearer {bearer}"})
    try:
        answer = client.send(method, f"?{rest}", deadline=deadline)
    except Unreachable as error:
        raise SecretError(f"{who} gives no identity token: {error}", fix="run the job again") from None
    finally:
        client.close()
    token = answer.document.get(member) if isinstance(answer.document, dict) else None
    if not answer.ok or not isinstance(token, str) or not token:
        raise SecretError(f"{who} gives no identity token (status {answer.status})", fix=fix)
    return Secret(token.encode())


def _tokens(environ: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for name in _FILES:
        path = environ.get(name)
        if path:
            try:
                yield name, Path(path).read_text(encoding="ascii").strip()
            except (OSError, UnicodeDecodeError):
                raise SecretError(f"the file that {name} names cannot be read", fix=f"correct {name}") from None
    for name, value in sorted(environ.items()):
        if _VARIABLE.search(name) and _JWT.match(value.strip()):
            yield name, value.strip()


def _audiences(token: str) -> tuple[str, ...]:
    audience = claims_of(token).get("aud")
    return tuple(audience) if isinstance(audience, list) else (str(audience),)


def _missing(audience: str, found: Mapping[str, str], environ: Mapping[str, str]) -> str:
    if not found:
        return f"this job has no identity token (OIDC) for the audience {audience}"
    others = "; ".join(f"{name} is for {', '.join(_audiences(token))}" for name, token in found.items())
    return f"this job has no identity token (OIDC) for the audience {audience}: {others}"


def _advice(audience: str, environ: Mapping[str, str]) -> str:
    if environ.get("GITHUB_ACTIONS") == "true":
        return "give the job permissions: id-token: write (a pull request of a fork cannot have it)"
    if environ.get("GITLAB_CI"):
        return f"add to the job: id_tokens: {{CI_ACME_ID_TOKEN: {{aud: {audience}}}}}"
    return (
        f"put a token of your CI system for the audience {audience} into CI_ACME_ID_TOKEN, or name its file in "
        "CI_ACME_ID_TOKEN_FILE"
    )
