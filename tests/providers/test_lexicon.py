"""`lexicon`: the real library on a fake of PowerDNS; quiet, bounded, and believed only as far as a listing shows."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import ValidationError

from ci_acme.clock import SystemClock
from ci_acme.dns.publish import NOTHING_WRITTEN
from ci_acme.errors import (
    CiAcmeError,
    DnsCredentialsError,
    DnsError,
    DnsRefused,
    DnsUnreachable,
    Interrupted,
    NotAvailable,
    ZoneNotFound,
)
from ci_acme.model.secret import Secret
from ci_acme.ports import Concurrency, Deadline, PermissionRequest, Placement, ProviderContext, TxtValue, Zone
from ci_acme.sandbox.dns import SandboxDns
from ci_acme_providers.lexicon.adapter import Lexicon
from ci_acme_providers.lexicon.config import LexiconSettings
from ci_acme_providers.lexicon.faults import masked
from ci_acme_providers.lexicon.permissions import policies
from ci_acme_providers.lexicon.session import make_client
from tests.clouds.api import Answer, refuse
from tests.clouds.powerdns import KEY, PowerDnsApi
from tests.providers.support import SteppedClock, soon

ZONE = Zone("lexicon.test", "lexicon.test")
NAME = "_acme-challenge.www.lexicon.test"
Operation = Callable[..., Any]


class Lab:
    """A server that lexicon's PowerDNS provider speaks to, and that provider's class."""

    def __init__(self, api: PowerDnsApi) -> None:
        from lexicon._private.providers import powerdns

        self.api = api
        self.module: Any = powerdns
        self.warnings: list[str] = []

    def adapter(self, key: str = KEY, clock: SystemClock | None = None, **settings: Any) -> Lexicon:
        given = {
            "zone": ZONE.name,
            "lexicon_provider": "powerdns",
            "options": {"pdns_server": self.api.url},
            "secrets": {"auth_token": "env:KEY"},
            **settings,
        }
        context = ProviderContext(lambda _: Secret(key.encode()), clock or SteppedClock(), warn=self.warnings.append)
        return Lexicon(LexiconSettings.model_validate(given), context)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with SandboxDns([ZONE.name]) as dns, PowerDnsApi(dns, {ZONE.name: "Native"}) as api:
        yield Lab(api)


def ensure(provider: Lexicon, *values: str, deadline: Deadline | None = None) -> list[Placement]:
    items = [TxtValue(NAME, value) for value in values]
    return list(provider.ensure(ZONE, items, ttl=60, deadline=deadline or soon()))


def replace(lab: Lab, monkeypatch: pytest.MonkeyPatch, method: str, by: Callable[[Operation], Operation]) -> None:
    """Let a method of lexicon's provider misbehave; `by` gets the real one."""
    monkeypatch.setattr(lab.module.Provider, method, by(getattr(lab.module.Provider, method)))


# --- values


def test_values_come_and_go(lab: Lab) -> None:
    lab.api.put(NAME, "foreign", ttl=900)
    provider = lab.adapter()
    placements = ensure(provider, "one", "two")
    assert [placement.created for placement in placements] == [True, True]
    assert lab.api.at(NAME) == {"foreign": 900, "one": 900, "two": 900}
    provider.release(placements, deadline=soon())
    assert lab.api.at(NAME) == {"foreign": 900}
    assert provider.capabilities.concurrency is Concurrency.BLIND


def test_what_is_there_is_adopted_and_not_sent(lab: Lab) -> None:
    lab.api.put(NAME, "value")
    (placement,) = ensure(lab.adapter(), "value")
    assert not placement.created
    assert all(call.method == "GET" for call in lab.api.calls)


def test_each_value_gets_its_ttl(lab: Lab) -> None:
    other = "_acme-challenge.other.lexicon.test"
    lab.adapter().ensure(ZONE, [TxtValue(NAME, "a"), TxtValue(other, "b", 120)], ttl=60, deadline=soon())
    assert lab.api.at(NAME) == {"a": 60}
    assert lab.api.at(other) == {"b": 120}


def test_a_value_that_is_lost_is_written_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = ["once", "twice"]

    def forgetful(create: Operation) -> Operation:
        def method(provider: Any, rtype: str, name: str, content: str) -> Any:
            result = create(provider, rtype, name, content)
            if lost:
                lost.pop()
                lab.api.drop(NAME, content)
            return result

        return method

    replace(lab, monkeypatch, "create_record", forgetful)
    (placement,) = ensure(lab.adapter(), "value")
    assert placement.created
    assert lab.api.at(NAME) == {"value": 60}


def test_a_value_that_is_never_kept_is_an_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(lab, monkeypatch, "create_record", lambda _: lambda *_: True)
    with pytest.raises(DnsError, match="did not keep the value") as raised:
        ensure(lab.adapter(), "value")
    assert not isinstance(raised.value, NOTHING_WRITTEN)


@pytest.mark.parametrize("result", [False, None])
def test_false_is_a_failure(lab: Lab, monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    replace(lab, monkeypatch, "create_record", lambda _: lambda *_: result)
    with pytest.raises(DnsError, match="did not add the value") as raised:
        ensure(lab.adapter(), "value")
    assert not isinstance(raised.value, NOTHING_WRITTEN)
    replace(lab, monkeypatch, "delete_record", lambda _: lambda *_: result)
    lab.api.put(NAME, "value")
    with pytest.raises(DnsError, match="did not remove the value"):
        lab.adapter().release([Placement(ZONE, NAME, "value", created=True)], deadline=soon())


def test_values_of_others_that_went_too_are_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.api.put(NAME, "ours", "theirs")
    replace(
        lab, monkeypatch, "delete_record", lambda delete: lambda p, i, rtype, name, _: delete(p, i, rtype, name, None)
    )
    lab.adapter().release([Placement(ZONE, NAME, "ours", created=True)], deadline=soon())
    assert any("removed values of others" in warning for warning in lab.warnings)


@pytest.mark.parametrize("content", ['"quo" "ted"', ["listed", "quoted"], '"quoted"'])
def test_contents_as_providers_list_them(lab: Lab, monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    replace(lab, monkeypatch, "list_records", lambda _: lambda *_: [{"content": content}, {"content": None}, {}])
    (placement,) = ensure(lab.adapter(), "quoted")
    assert not placement.created


# --- quiet, and without the network


@pytest.mark.parametrize(
    "zone", ["lexicon.test", "a.b.c.lexicon.test", "test", "co.uk", "github.io", "xn--bcher-kva.de"]
)
def test_the_domain_is_the_zone_and_no_list_is_fetched(
    zone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import tldextract

    def refuse_to(*_: Any, **__: Any) -> None:
        pytest.fail("the public suffix list would be fetched")

    monkeypatch.setattr(tldextract, "TLDExtract", refuse_to)
    monkeypatch.setenv("HOME", str(tmp_path))
    client = make_client({"provider_name": "powerdns", "domain": zone, "delegated": zone})
    assert client.config.resolve("lexicon:domain") == zone
    assert list(tmp_path.iterdir()) == []


def test_the_environment_is_not_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEXICON_POWERDNS_AUTH_TOKEN", KEY)
    with pytest.raises(DnsError):
        lab.adapter(secrets={}).check_access(ZONE, [NAME], deadline=soon())


def test_nothing_is_logged_and_nothing_is_printed(
    lab: Lab, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    exec("def create_loudly(): print('loud')", vars(lab.module))
    with caplog.at_level(logging.DEBUG):
        ensure(lab.adapter(), "value")
        lab.module.create_loudly()
        logging.getLogger("lexicon._private.providers.powerdns").error("token %s", KEY)
    assert [record for record in caplog.records if record.name.startswith(("lexicon", "urllib3"))] == []
    assert KEY not in caplog.text
    assert capfd.readouterr() == ("", "")


# --- bounded


def test_a_request_that_hangs_ends_at_the_deadline_and_writes_nothing_later(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def hanging(list_records: Operation) -> Operation:
        def method(*arguments: Any) -> Any:
            go.wait(30)
            return list_records(*arguments)

        return method

    replace(lab, monkeypatch, "list_records", hanging)
    provider = lab.adapter(clock=SystemClock())
    with pytest.raises(DnsUnreachable, match="did not come to an end"):
        ensure(provider, "value", deadline=Deadline(SystemClock(), 0.3))
    go.set()
    provider.check_access(ZONE, [NAME], deadline=Deadline(SystemClock(), 10))
    assert lab.api.at(NAME) == {}, "it was called off, and the next one waited for its end"


def test_an_interrupt_is_heard(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    replace(lab, monkeypatch, "list_records", lambda _: lambda *_: go.wait(30) and [])
    clock = SystemClock()
    threading.Timer(0.2, clock.stop).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted):
        ensure(lab.adapter(clock=clock), "value", deadline=Deadline(clock, 30))
    assert time.monotonic() - begun < 5
    go.set()


# --- trouble


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(lab: Lab, status: int) -> None:
    lab.api.fail(lambda call: call.method == "PATCH", refuse(Answer(status, b"busy")), times=2)
    lab.api.fail(lambda call: call.method == "GET", refuse(Answer(status, b"busy")), times=2)
    (placement,) = ensure(lab.adapter(), "value")
    assert placement.created
    assert lab.api.at(NAME) == {"value": 60}


def test_a_reply_that_was_lost_makes_nobody_elses_value(lab: Lab) -> None:
    lab.api.fail(lambda call: call.method == "PATCH", lambda call, do: do(call) and None)
    (placement,) = ensure(lab.adapter(), "value")
    assert placement.created


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, DnsCredentialsError),
        (403, DnsCredentialsError),
        (404, ZoneNotFound),
        (422, DnsRefused),
        (500, DnsUnreachable),
    ],
)
def test_statuses(lab: Lab, status: int, kind: type[CiAcmeError]) -> None:
    lab.api.fail(lambda _: True, refuse(Answer(status, b"no")), times=100)
    with pytest.raises(CiAcmeError) as raised:
        lab.adapter().check_access(ZONE, [NAME], deadline=soon())
    assert type(raised.value) is kind
    assert raised.value.details["status"] == status
    assert raised.value.fix


def test_a_refusal_of_the_second_value_does_not_say_that_nothing_was_written(lab: Lab) -> None:
    patches: list[object] = []

    def second(call: Any) -> bool:
        if call.method == "PATCH":
            patches.append(call)
        return len(patches) == 2

    lab.api.fail(second, refuse(Answer(401, b"no")))
    with pytest.raises(DnsError, match="credentials") as raised:
        ensure(lab.adapter(), "one", "two")
    assert not isinstance(raised.value, NOTHING_WRITTEN)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("No domain found", ZoneNotFound), ("Domain x not found", ZoneNotFound), ("bad login", DnsCredentialsError)],
)
def test_one_exception_for_two_things(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, text: str, kind: type[CiAcmeError]
) -> None:
    from lexicon.exceptions import AuthenticationError

    def authenticate(_: Any) -> None:
        raise AuthenticationError(text)

    replace(lab, monkeypatch, "authenticate", lambda _: authenticate)
    with pytest.raises(kind):
        lab.adapter().check_access(ZONE, [NAME], deadline=soon())


def test_what_an_exception_quotes_is_masked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cret/with+signs"

    def authenticate(_: Any) -> None:
        response = requests.Response()
        response.status_code = 400
        raise requests.HTTPError(
            f"400 for url: https://api.example.com/v1?token={secret} sent {secret!r}", response=response
        )

    replace(lab, monkeypatch, "authenticate", lambda _: authenticate)
    with pytest.raises(DnsRefused) as raised:
        lab.adapter(key=secret).check_access(ZONE, [NAME], deadline=soon())
    text = json.dumps(raised.value.as_dict())
    assert secret not in text
    assert "https://api.example.com/v1?***" in text


@pytest.mark.parametrize("spelling", ["a b/c+d", "a%20b%2Fc%2Bd", "a+b%2Fc%2Bd", "YSBiL2MrZA=="])
def test_spellings_of_a_secret(spelling: str) -> None:
    assert masked(f"<{spelling}>", [b"a b/c+d"]) == "<***>"


def test_a_server_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(DnsUnreachable, match="does not answer"):
        lab.adapter(options={"pdns_server": "http://127.0.0.1:9"}).check_access(ZONE, [NAME], deadline=soon(2))


def test_a_provider_that_lexicon_does_not_have(lab: Lab) -> None:
    provider = lab.adapter(lexicon_provider="nosuchprovider")
    with pytest.raises(NotAvailable, match="nosuchprovider") as raised:
        provider.check_access(ZONE, [NAME], deadline=soon())
    assert "pip install" in raised.value.fix


def test_without_the_library(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lexicon.client", None)
    with pytest.raises(NotAvailable) as raised:
        lab.adapter().check_access(ZONE, [NAME], deadline=soon())
    assert "ci-acme[lexicon]" in raised.value.fix


# --- zones, settings, permissions


def test_zones(lab: Lab) -> None:
    def zone(apex: str | None, **settings: Any) -> str:
        return lab.adapter(**settings).zones_for(NAME, apex, deadline=soon())[0].name

    assert zone(None) == "lexicon.test"
    assert zone("www.lexicon.test") == "www.lexicon.test"
    assert zone("www.lexicon.test", zone_id="Lexicon.test.") == "lexicon.test"
    for settings in ({"zone": "."}, {"zone_id": "example.org"}):
        with pytest.raises(ZoneNotFound):
            zone(None, **settings)


def test_what_we_have_ourselves_is_told_once(lab: Lab) -> None:
    lab.adapter()
    (warning,) = lab.warnings
    assert "provider: powerdns" in warning


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lexicon_provider": "route53"}, "provider: route53"),
        ({"lexicon_provider": "googleclouddns"}, "provider: google-cloud-dns"),
        ({"lexicon_provider": "azure"}, "provider: azure-dns"),
        ({"lexicon_provider": "auto"}, "name it"),
        ({"lexicon_provider": "../x"}, "pattern"),
        ({"options": {"auth_token": "abc"}}, "under secrets"),
        ({"options": {"api_key": "abc"}}, "under secrets"),
        ({"options": {"user": "a"}, "secrets": {"user": "env:U"}}, "as well"),
        ({"secrets": {"auth_token": "abc"}}, "reference"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as raised:
        LexiconSettings.model_validate({"zone": ZONE.name, "lexicon_provider": "gandi", **settings})
    assert "abc" not in str(raised.value)


def test_permissions_say_what_is_done() -> None:
    settings = LexiconSettings(zone=ZONE.name, lexicon_provider="gandi")
    (document,) = policies(PermissionRequest(settings, names=(NAME,), zone=ZONE.name))
    assert f"{NAME}." in document.text
    assert "gandi" in document.text
