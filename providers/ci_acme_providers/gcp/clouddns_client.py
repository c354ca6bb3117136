"""Cloud DNS through Google's own client (google-cloud-dns), on our connections.

The client knows no retry, no filter and no deadline: of its layers the connection is used, which writes and reads the
requests and makes exceptions of errors. `_http` is its documented seam for another transport.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ci_acme.dataclass import dataclass
from ci_acme.wire import Reply, Request
from ci_acme_providers.gcp.api import Api, Call
from ci_acme_providers.gcp.faults import Refusal
from ci_acme_providers.gcp.session import GoogleSession


def open_api(session: GoogleSession) -> Api:
    """The API of Cloud DNS; paths are below `dns/v1`. The client is imported and made at the first call."""
    return Api(session, _Sender(session))


class _Sender:
    """One call through `google.cloud.dns`."""

    def __init__(self, session: GoogleSession) -> None:
        self._session = session
        self._connections: dict[str, Any] = {}

    def __call__(self, call: Call, token: str, timeout: float) -> Any:
        from google.api_core import exceptions

        try:
            document = self._connection(token).api_request(
                method=call.method,
                path=f"/{call.path}",
                query_params=dict(call.params),
                data=dict(call.body) if call.body is not None else None,
                timeout=timeout,
            )
        except exceptions.GoogleAPICallError as error:
            raise _refusal(error) from None
        except ValueError:
            raise Refusal(502, None) from None  # a proxy's page in place of JSON
        return document if isinstance(document, dict) else {}

    def _connection(self, token: str) -> Any:
        """The client's connection for a token: each token has its own, so that threads do not share a header."""
        found = self._connections.get(token)
        if found is None:
            from google.auth.credentials import AnonymousCredentials
            from google.cloud import dns

            anonymous: Any = AnonymousCredentials
            make: Any = dns.Client
            client = make(
                project="-",  # paths name their project
                credentials=anonymous(),
                _http=_Http(self._session, token),
                client_options={"api_endpoint": self._session.endpoint("dns")},
            )
            found = client._connection  # the one layer that takes query parameters
            self._connections = {token: found}
        return found


class _Http:
    """What the client asks of a `requests.Session`."""

    def __init__(self, session: GoogleSession, token: str) -> None:
        self._session = session
        self._token = token

    def request(self, method: str, url: str, headers: Mapping[str, str], data: str | None, timeout: float) -> Any:
        """Raises `ci_acme.wire.Unreachable`."""
        head = {**headers, "Accept-Encoding": "identity", "Authorization": f"Bearer {self._token}"}
        request = Request(method, url, head, data.encode() if data else None)
        return _Answer(self._session.wire.send(request, timeout=timeout), _Asked(method, url))


@dataclass(frozen=True, slots=True)
class _Asked:
    method: str
    url: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the client reads of a `requests.Response`."""

    reply: Reply
    request: _Asked

    @property
    def status_code(self) -> int:
        return self.reply.status

    @property
    def content(self) -> bytes:
        return self.reply.body

    @property
    def text(self) -> str:
        return self.reply.body.decode(errors="replace")

    @property
    def headers(self) -> Mapping[str, str]:
        return self.reply.headers

    def json(self) -> Any:
        return json.loads(self.reply.body)


def _refusal(error: Any) -> Refusal:
    """The error document again, out of the client's exception."""
    response = getattr(error, "response", None)
    document: Any = None
    if isinstance(response, _Answer):
        try:
            document = response.json()
        except ValueError:
            document = None
    return Refusal(int(error.code or 500), document)
