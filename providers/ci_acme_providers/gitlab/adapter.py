"""The store `gitlab-variables`: CI/CD variables of a project or a group.

There is no check-and-set. A variable's description is written together with its value, and holds the mark that the
companion, another variable, speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from ci_acme import shapes
from ci_acme.companion import Companion, CompanionStore, Seen
from ci_acme.errors import SecretError
from ci_acme.ports import Deadline, ProviderContext, StoreCapabilities
from ci_acme.rest import Answer, RestClient, member
from ci_acme.rest_store import expected, is_done
from ci_acme.storing import Refused
from ci_acme_providers.gitlab.config import GitlabSettings
from ci_acme_providers.gitlab.faults import exists_already, refusal

MAX_BYTES: Final = 128 * 1024 - 512
"""What Linux passes to a process as one environment variable. GitLab itself sets no limit for projects and groups."""

_MARK: Final = re.compile(r"written by ci-acme: ([0-9a-f]+)\Z")
_OTHER: Final = "-"
"""The mark of a variable that has none of ours."""


class GitlabStore(CompanionStore):
    """A `ports.CertificateStore` on CI/CD variables. The last writer wins."""

    PROVIDER = "gitlab-variables"

    def __init__(self, settings: GitlabSettings, context: ProviderContext) -> None:
        most = MAX_BYTES if settings.type == "env_var" else None
        super().__init__(settings, context, name=settings.name, adopt=settings.adopt, most=most)
        self._settings = settings
        environ = context.environ
        self._project = settings.project or (None if settings.group else environ.get("CI_PROJECT_ID")) or ""
        api = settings.api or environ.get("CI_API_V4_URL") or "https://gitlab.com/api/v4"
        self._client = RestClient(api)

    @property
    def target(self) -> str:
        """`group/project/TLS`, with the scope where it is not `*`."""
        scope = self._settings.environment_scope
        where = f"{self._settings.group or self._project or '?'}/{self._settings.name}"
        return where if scope == "*" else f"{where} ({scope})"

    @property
    def capabilities(self) -> StoreCapabilities:
        """Variables are seen by all jobs: no order under way is kept there. What is not hidden comes back."""
        returns = self.content.shape.returns_bundle and not self._settings.hidden
        return StoreCapabilities(holds_pending=False, returns_key=returns, max_bytes=self.content.most)

    def look(self, deadline: Deadline) -> Seen:
        """The companion, and the variables: GitLab has no way to ask for a variable without its value."""
        found = self._get(self.companion_name, deadline)
        text = member(found, "value")
        companion = Companion.from_text(text) if isinstance(text, str) else None
        marks: dict[str, str] = {}
        values: dict[str, str] = {}
        for name in self.all_names(companion):
            variable = self._get(name, deadline)
            if variable is None:
                continue
            mark = _MARK.match(str(member(variable, "description")))
            marks[name] = mark[1] if mark else _OTHER
            value = member(variable, "value")
            if isinstance(value, str):
                values[name] = value
        shown = values if len(values) == len(marks) else None
        taken = found is not None and companion is None
        return Seen(companion, marks, taken=taken, leaf=self._leaf(values, companion), values=shown)

    def put_values(self, values: Mapping[str, str], mark: str, deadline: Deadline) -> None:
        """Change each variable, or make it."""
        settings = self._settings
        for name, value in values.items():
            body = {
                "key": name,
                "value": value,
                "variable_type": settings.type,
                "protected": settings.protected,
                "masked": settings.masked,
                "raw": True,  # `$` in it is no reference
                "environment_scope": settings.environment_scope,
                "description": f"written by ci-acme: {mark}",
            }
            self._put(name, body, {"masked_and_hidden": True} if settings.hidden else {}, deadline)

    def put_companion(self, text: str, deadline: Deadline) -> None:
        """Change the variable, or make it."""
        body = {
            "key": self.companion_name,
            "value": text,
            "raw": True,
            "environment_scope": self._settings.environment_scope,
            "description": f"what ci-acme keeps in {self.name}",
        }
        self._put(self.companion_name, body, {}, deadline)

    def remove(self, name: str, deadline: Deadline) -> None:
        """Delete the variable of our scope."""
        self._send("DELETE", self._at(name), deadline, missing=True)

    def remove_companion(self, deadline: Deadline) -> None:
        """Delete it."""
        self.remove(self.companion_name, deadline)

    def check(self, deadline: Deadline) -> None:
        """Look at the token's scopes, if it tells them: reading variables has shown the role already."""
        for name in self.names():
            variable = self._get(name, deadline)
            if self._settings.hidden and variable is not None and member(variable, "hidden") is not True:
                raise Refused(
                    f"{name} is not hidden, which cannot be changed",
                    fix=f"delete {name} once, or set hidden: false in the store",
                )
        answer = self._request("GET", "/personal_access_tokens/self", deadline)
        scopes = member(answer.document, "scopes")
        if answer.ok and isinstance(scopes, list) and "api" not in scopes:
            raise Refused(
                f"the token has the scopes {', '.join(map(str, scopes))}, with which it may not write",
                fix=f"use {grant(self._settings)}",
            )

    def _leaf(self, values: Mapping[str, str], companion: Companion | None) -> str | None:
        """The SHA-256 of the certificate in the values, where our shape shows it; an empty text for what is no such
        thing, or has the key of another.
        """
        claims = [] if companion is None else [companion.current, companion.following]
        other_shape = any(claim is not None and claim.shape != self.content.shape.fingerprint for claim in claims)
        if set(self.names()) - set(values) or not self.content.shape.shows_certificate:
            return None
        try:
            fields = self.fields_of(values)
            public = shapes.public_part(fields, self.content.shape)
            together = shapes.belongs_together(fields, self.content.shape)
        except ValueError:
            public, together = None, False
        if public is None or not together:
            return None if other_shape else ""
        return shapes.fingerprint(public[0])

    # --- requests

    def _get(self, name: str, deadline: Deadline) -> Any:
        answer = self._send("GET", self._at(name), deadline, missing=True)
        if not answer.ok:
            return None
        expected("GitLab", member(answer.document, "key"))
        return answer.document

    def _put(self, name: str, body: Mapping[str, Any], at_first: Mapping[str, Any], deadline: Deadline) -> None:
        changed = {key: value for key, value in body.items() if key != "key"}
        if self._send("PUT", self._at(name), deadline, changed, missing=True).status != 404:
            return
        made = self._send("POST", f"{self._base()}/variables", deadline, {**body, **at_first}, exists=True)
        if not made.ok:  # by another run, or by us with the answer lost
            self._send("PUT", self._at(name), deadline, changed)

    def _base(self) -> str:
        if self._settings.group is not None:
            return f"/groups/{quote(self._settings.group, safe='')}"
        if not self._project:
            raise Refused("it is not known whose variable is meant", fix="set project or group of the store")
        return f"/projects/{quote(self._project, safe='')}"

    def _at(self, name: str) -> str:
        scope = quote(self._settings.environment_scope, safe="")
        return f"{self._base()}/variables/{name}?filter%5Benvironment_scope%5D={scope}"

    def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Any = None,
        *,
        missing: bool = False,
        exists: bool = False,
    ) -> Answer:
        """A request; that there is no such variable is an answer where `missing`, that there is one where `exists`."""
        answer = self._request(method, path, deadline, body)
        no_such = answer.status == 404 and "Variable" in str(member(answer.document, "message"))
        if is_done(answer) or (missing and no_such) or (exists and exists_already(answer)):
            return answer
        verb = {"GET": "read", "DELETE": "delete"}.get(method, "write")
        raise refusal(answer, f"{verb} a variable of {self._base()[1:]}", grant(self._settings))

    def _request(self, method: str, path: str, deadline: Deadline, body: Any = None) -> Answer:
        token = self.context.secrets(self._settings.token).reveal().strip()
        if not token.isascii() or len(token.split()) != 1:
            raise SecretError("the token for GitLab is not one word of ASCII", fix="store the token alone, in one line")
        head = {"PRIVATE-TOKEN": token.decode("ascii")}
        return self._client.send(method, path, deadline=deadline, body=body, headers=head)


def grant(settings: GitlabSettings) -> str:
    """The least token that can write."""
    if settings.group is not None:
        return f"a group access token of {settings.group} with the role Owner and the scope api"
    return "a project access token with the role Maintainer and the scope api"
