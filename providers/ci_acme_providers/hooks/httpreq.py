"""`httpreq`: a web server of the user's publishes and removes each value, by lego's protocol.

POST `ENDPOINT/present` and `ENDPOINT/cleanup` with `{"fqdn": "NAME.", "value": "VALUE"}`; 2xx is success. What it does
with other values at the name is its own affair, unless the config says `per_value`. A request without an answer is sent
again: the same one twice has to be as good as once.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, DnsUnreachable, SecretError
from ci_acme.ports import Concurrency, Deadline, DnsCapabilities, Placement, ProviderContext, TxtValue, Zone
from ci_acme.rest import Answer, RestClient
from ci_acme.wire import Unreachable
from ci_acme_providers.hooks.calls import Caller, zone_of
from ci_acme_providers.hooks.config import HttpreqSettings


class Httpreq:
    """`DnsProvider` by requests to a server of the user's."""

    def __init__(self, settings: HttpreqSettings, context: ProviderContext) -> None:
        self._settings = settings
        self._context = context
        self._caller = Caller()
        self._client = RestClient(settings.endpoint, ca_bundle=settings.ca_bundle, plain=settings.plain)
        self._headers: Mapping[str, str] | None = None

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(Concurrency.PER_VALUE if self._settings.per_value else Concurrency.OPAQUE)

    @property
    def where(self) -> str:
        return urlsplit(self._settings.endpoint).netloc

    def zones_for(self, name: str, apex: str | None, *, deadline: Deadline) -> Sequence[Zone]:
        return [zone_of(self._settings, name, apex)]

    def ensure(self, zone: Zone, values: Sequence[TxtValue], *, ttl: int, deadline: Deadline) -> Sequence[Placement]:
        self._caller.present(values, lambda name, value: self._post("present", name, value, deadline), deadline)
        return [Placement(zone, value.name, value.value, created=True) for value in values]

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        return None

    def release(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        ours = [placement for placement in placements if placement.created]
        self._caller.cleanup(ours, lambda name, value: self._post("cleanup", name, value, deadline), deadline)

    def check_access(self, zone: Zone, names: Sequence[str], *, deadline: Deadline) -> None:
        """That the server answers and knows us: a GET, which the protocol has no use for; only 401 tells something."""
        answer = self._send("GET", "present", None, deadline)
        if answer.status == 401:
            raise self._fault(answer, "present", "")

    def _post(self, action: str, name: str, value: str, deadline: Deadline) -> None:
        answer = self._send("POST", action, {"fqdn": f"{name}.", "value": value}, deadline)
        if not answer.ok:
            raise self._fault(answer, action, name)

    def _send(self, method: str, action: str, body: Mapping[str, str] | None, deadline: Deadline) -> Answer:
        headers = self._authorization()
        try:
            return self._client.send(method, f"/{action}", deadline=deadline, body=body, headers=headers)
        except Unreachable as error:
            raise DnsUnreachable(
                f"httpreq: {error}", fix="check endpoint of the DNS entry, and that this machine may reach it"
            ) from None

    def _authorization(self) -> Mapping[str, str]:
        """The header of basic authentication (RFC 7617), if the config has it. Raises `SecretError`."""
        if self._headers is None:
            settings = self._settings
            self._headers = {}
            if settings.username is not None and settings.password is not None:
                user, password = (self._context.secrets(one).reveal() for one in (settings.username, settings.password))
                if b":" in user:
                    raise SecretError(
                        f"the user at {settings.username} has a colon, which basic authentication cannot send",
                        fix="store the user alone",
                    )
                token = base64.b64encode(user + b":" + password).decode("ascii")
                self._headers = {"Authorization": f"Basic {token}"}
        return self._headers

    def _fault(self, answer: Answer, action: str, name: str) -> DnsError:
        where = f"{self.where} answers {answer.status} to {action}" + (f" {name}." if name else "")
        details = {"endpoint": self.where, "action": action, "name": name, "status": answer.status}
        if answer.status in {401, 403}:
            known = self._settings.username is not None
            fix = (
                "check what username and password refer to, and that this user may change the record"
                if known
                else "give username and password to the DNS entry, or let the server take our requests"
            )
            return DnsCredentialsError(f"httpreq: {where}", fix=fix, details=details)
        if answer.status in {404, 405}:
            fix = f"correct endpoint of the DNS entry: POST to ENDPOINT/{action} has to be there"
            return DnsRefused(f"httpreq: {where}", fix=fix, details=details)
        kind = DnsRefused if 400 <= answer.status < 500 else DnsError
        return kind(f"httpreq: {where}", fix="look into that server's log: it says why", details=details)
