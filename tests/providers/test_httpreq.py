"""`httpreq`: what is sent, and what its server's answers mean."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from ci_acme.clock import SystemClock
from ci_acme.dns.publish import NOTHING_WRITTEN
from ci_acme.errors import DnsCredentialsError, DnsError, DnsRefused, DnsUnreachable, SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Concurrency, Deadline, PermissionRequest, ProviderContext, TxtValue, Zone
from ci_acme.sandbox.dns import SandboxDns
from ci_acme_providers.hooks.config import HttpreqSettings
from ci_acme_providers.hooks.httpreq import Httpreq
from ci_acme_providers.hooks.permissions import policies
from tests.clouds.api import Answer, commit_then, lose_call, lose_reply, refuse
from tests.clouds.httpreq import PASSWORD, USER, HttpreqApi
from tests.providers.support import soon

ZONE = Zone("httpreq.test", "httpreq.test")
NAME = "_acme-challenge.www.httpreq.test"
SECRETS = {"env:USERNAME": USER, "env:PASSWORD": PASSWORD, "env:OTHER": "another", "env:COLON": "a:b"}


@pytest.fixture
def api() -> Iterator[HttpreqApi]:
    with SandboxDns([ZONE.name]) as dns, HttpreqApi(dns, ZONE.name) as server:
        yield server


def adapter(api: HttpreqApi, **settings: Any) -> Httpreq:
    given = {"endpoint": api.endpoint, "username": "env:USERNAME", "password": "env:PASSWORD", **settings}
    parsed = HttpreqSettings.model_validate({"zone": ZONE.name, **given})
    return Httpreq(parsed, ProviderContext(lambda name: Secret(SECRETS[name].encode()), SystemClock()))


def test_what_is_sent_is_what_lego_sends(api: HttpreqApi) -> None:
    provider = adapter(api, endpoint=f"{api.endpoint}/")
    placements = provider.ensure(ZONE, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    provider.release(placements, deadline=soon())
    proof = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for call, action in zip(api.calls, ("present", "cleanup"), strict=True):
        assert (call.method, call.target) == ("POST", f"/hooks/{action}")
        assert call.json == {"fqdn": f"{NAME}.", "value": "value"}
        assert call.headers["accept"] == "application/json"
        assert call.headers["authorization"] == f"Basic {proof}"


def test_without_a_user_nothing_is_proven(api: HttpreqApi) -> None:
    api.user = None
    provider = adapter(api, username=None, password=None)
    provider.ensure(ZONE, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert "authorization" not in api.calls[0].headers
    assert api.dns.values(NAME) == ["value"]


@pytest.mark.parametrize(
    "fault",
    [lose_reply, lose_call, commit_then(Answer(503)), refuse(Answer(429, headers={"Retry-After": "1"}))],
    ids=["lost reply", "lost call", "503 after it was done", "throttled"],
)
def test_a_request_without_an_answer_is_sent_again(api: HttpreqApi, fault: Any) -> None:
    provider = adapter(api)
    api.fail(lambda call: call.path.endswith("/present"), fault)
    placements = provider.ensure(ZONE, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    assert api.dns.values(NAME) == ["value"]
    api.fail(lambda call: call.path.endswith("/cleanup"), fault)
    provider.release(placements, deadline=soon())
    assert api.dns.values(NAME) == []


def test_per_value_is_a_promise_of_the_server(api: HttpreqApi) -> None:
    assert adapter(api).capabilities.concurrency is Concurrency.OPAQUE
    assert adapter(api, per_value=True).capabilities.concurrency is Concurrency.PER_VALUE


def test_many_writers_at_a_server_that_keeps_the_promise(api: HttpreqApi) -> None:
    def write(number: int) -> None:
        adapter(api, per_value=True).ensure(ZONE, [TxtValue(NAME, f"value-{number}")], ttl=60, deadline=soon())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(api.dns.values(NAME)) == 40


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401), DnsCredentialsError),
        (Answer(403), DnsCredentialsError),
        (Answer(404), DnsRefused),
        (Answer(422, b"not that name"), DnsRefused),
        (Answer(500, b"bad"), DnsError),
    ],
)
def test_refusals_are_told_with_a_fix_and_without_the_password(
    api: HttpreqApi, answer: Answer, kind: type[DnsError]
) -> None:
    api.fail(lambda _: True, refuse(answer), times=20)
    with pytest.raises(DnsError) as raised:
        adapter(api).ensure(ZONE, [TxtValue(NAME, "value")], ttl=60, deadline=soon())
    error = raised.value
    assert type(error) is kind
    assert str(answer.status) in error.message
    assert error.fix
    assert PASSWORD not in json.dumps(error.as_dict())


def test_a_refusal_after_a_success_never_says_that_nothing_was_written(api: HttpreqApi) -> None:
    values = [TxtValue(NAME, "value"), TxtValue("_acme-challenge.elsewhere.test", "value")]
    with pytest.raises(DnsError) as raised:
        adapter(api).ensure(ZONE, values, ttl=60, deadline=soon())
    assert not isinstance(raised.value, NOTHING_WRITTEN)
    assert api.dns.values(NAME) == ["value"]


def test_a_server_that_is_not_there(api: HttpreqApi) -> None:
    with SandboxDns([ZONE.name]) as dns, HttpreqApi(dns, ZONE.name) as gone:
        endpoint = gone.endpoint
    with pytest.raises(DnsUnreachable, match="httpreq"):
        adapter(api, endpoint=endpoint).ensure(
            ZONE, [TxtValue(NAME, "value")], ttl=60, deadline=Deadline(SystemClock(), 0.5)
        )


def test_check_posts_nothing_and_hears_a_wrong_password(api: HttpreqApi) -> None:
    adapter(api).check_access(ZONE, [NAME], deadline=soon())
    assert [(call.method, call.path) for call in api.calls] == [("GET", "/hooks/present")]
    with pytest.raises(DnsCredentialsError):
        adapter(api, password="env:OTHER").check_access(ZONE, [NAME], deadline=soon())


def test_a_user_with_a_colon_cannot_be_sent(api: HttpreqApi) -> None:
    with pytest.raises(SecretError, match="colon"):
        adapter(api, username="env:COLON").check_access(ZONE, [NAME], deadline=soon())
    assert api.calls == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "RAW"}, "token and key authorization"),
        ({"endpoint": "http://dns.example.com"}, "https"),
        ({"endpoint": "ftp://dns.example.com", "plain": True}, "https"),
        ({"endpoint": "https://user:password@dns.example.com"}, "must"),
        ({"username": "env:U"}, "belong together"),
        ({"username": "me", "password": "env:P"}, "reference"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as raised:
        HttpreqSettings.model_validate({"zone": ZONE.name, "endpoint": "https://dns.example.com", **settings})
    assert "password@" not in str(raised.value)


@pytest.mark.parametrize(
    "settings", [{"endpoint": "http://dns.example.com", "plain": True}, {"endpoint": "http://[::1]"}]
)
def test_http_where_it_is_allowed(settings: dict[str, Any]) -> None:
    HttpreqSettings.model_validate({"zone": ZONE.name, **settings})


def test_permissions_name_the_requests() -> None:
    settings = HttpreqSettings(zone=ZONE.name, endpoint="https://dns.example.com/")
    (document,) = policies(PermissionRequest(settings, names=(NAME,), zone=ZONE.name))
    assert "POST https://dns.example.com/present" in document.text
    assert f"{NAME}." in document.text
