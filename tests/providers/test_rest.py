"""The REST client: patience, doubt, and nothing secret in words."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import ConfigError, Interrupted, Terminated
from ci_acme.ports import Deadline
from ci_acme.rest import RestClient, api_url, member, require_https
from ci_acme.wire import Unreachable
from tests.clouds.api import Answer, Call, FakeApi, commit_then, lose_call, lose_reply, refuse
from tests.providers.support import SteppedClock

TOKEN = "tok-3f1c9a"


class Echo(FakeApi):
    """Counts what was carried out."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Call] = []
        self.hang = threading.Event()

    def handle(self, call: Call) -> Answer:
        if call.path == "/hang":
            self.hang.wait(20)
        self.done.append(call)
        if call.path == "/text":
            return Answer(200, b"<html>")
        return Answer.of({"path": call.path, "sent": call.body.decode(), "query": call.target})


@pytest.fixture
def api() -> Iterator[Echo]:
    with Echo() as echo:
        yield echo
        echo.hang.set()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


def any_call(_: Call) -> bool:
    return True


def ask(api: Echo, clock: SystemClock, seconds: float = 60, **more: Any) -> Any:
    client = RestClient(api.url, headers={"Authorization": f"Bearer {TOKEN}"})
    return client.send("POST", "/things?x=1", body={"a": 1}, deadline=Deadline(clock, seconds), **more)


def test_a_request_is_sent_as_it_is(api: Echo, clock: SteppedClock) -> None:
    answer = ask(api, clock, headers={"X-More": "1"})
    assert (answer.status, answer.ok, answer.again) == (200, True, False)
    assert answer.document == {"path": "/things", "sent": '{"a":1}', "query": "/things?x=1"}
    head = api.calls[0].headers
    assert (head["authorization"], head["content-type"], head["x-more"]) == (
        f"Bearer {TOKEN}",
        "application/json",
        "1",
    )
    assert not clock.slept


def test_an_answer_without_json_has_no_document(api: Echo, clock: SteppedClock) -> None:
    answer = RestClient(api.url).send("GET", "/text", deadline=Deadline(clock, 5))
    assert answer.document is None
    assert answer.body == b"<html>"


def test_retry_after_in_seconds_is_kept(api: Echo, clock: SteppedClock) -> None:
    api.fail(any_call, refuse(Answer.of({}, 429, **{"Retry-After": "7"})))
    answer = ask(api, clock)
    assert answer.ok
    assert not answer.again, "429 says that nothing was done"
    assert len(clock.slept) == 1
    assert 7 <= clock.slept[0] <= 8


def test_retry_after_as_a_date_is_kept(api: Echo, clock: SteppedClock) -> None:
    until = format_datetime(clock.now() + timedelta(seconds=20), usegmt=True)
    api.fail(any_call, refuse(Answer.of({}, 429, **{"Retry-After": until})))
    assert ask(api, clock).ok
    assert 18 <= clock.slept[0] <= 21


@pytest.mark.parametrize("asked", ["soon", "Thu, 99 Foo 2020 25:00:00 GMT", "-5", "٣"])
def test_a_retry_after_that_makes_no_sense_is_backed_off(api: Echo, clock: SteppedClock, asked: str) -> None:
    api.fail(any_call, refuse(Answer(429, b"", {"Retry-After": asked.encode().decode("latin-1")})))
    assert ask(api, clock).ok
    assert 0 < clock.slept[0] <= 0.2


def test_a_date_that_has_passed_does_not_make_it_hammer(api: Echo, clock: SteppedClock) -> None:
    api.fail(any_call, refuse(Answer.of({}, 429, **{"Retry-After": "Thu, 01 Jan 1998 00:00:00 GMT"})), times=6)
    assert ask(api, clock).ok
    assert all(pause > 0 for pause in clock.slept)
    assert sum(clock.slept[3:]) > 0.3


def test_a_throttle_storm_is_waited_out_within_the_deadline(api: Echo, clock: SteppedClock) -> None:
    api.fail(any_call, refuse(Answer.of({}, 429)), times=25)
    assert ask(api, clock, 300).ok
    assert len(api.done) == 1


def test_waiting_ends_with_the_deadline(api: Echo, clock: SteppedClock) -> None:
    api.fail(any_call, refuse(Answer.of({"id": "too_many"}, 429, **{"Retry-After": "600"})))
    answer = ask(api, clock, 60)
    assert (answer.status, answer.document) == (429, {"id": "too_many"})
    assert not clock.slept


@pytest.mark.parametrize("status", [500, 502, 503, 504, 522])
def test_a_failure_of_the_server_is_tried_again_and_leaves_doubt(api: Echo, clock: SteppedClock, status: int) -> None:
    api.fail(any_call, commit_then(Answer(status, b"<html>")))
    answer = ask(api, clock)
    assert answer.ok
    assert answer.again
    assert len(api.done) == 2


def test_a_server_that_keeps_failing_is_given_up_before_the_deadline(api: Echo, clock: SteppedClock) -> None:
    api.fail(any_call, refuse(Answer(500, b"no")), times=99)
    answer = ask(api, clock, 3600)
    assert answer.status == 500
    assert len(api.calls) == 8
    assert sum(clock.slept) < 40


@pytest.mark.parametrize("status", [301, 400, 403, 404, 409, 501])
def test_any_other_answer_is_final(api: Echo, clock: SteppedClock, status: int) -> None:
    api.fail(any_call, refuse(Answer.of({}, status)))
    assert ask(api, clock).status == status
    assert len(api.calls) == 1


@pytest.mark.parametrize("fault", [lose_call, lose_reply])
def test_a_cut_connection_is_tried_again_and_leaves_doubt(api: Echo, clock: SteppedClock, fault: Any) -> None:
    api.fail(any_call, fault)
    answer = ask(api, clock)
    assert answer.ok
    assert answer.again


def test_what_is_sent_once_is_not_repeated_after_a_lost_answer(api: Echo, clock: SteppedClock) -> None:
    api.fail(any_call, lose_reply)
    with pytest.raises(Unreachable, match="closed before a whole answer"):
        ask(api, clock, once=True)
    assert len(api.done) == 1
    api.fail(any_call, commit_then(Answer(503, b"")))
    assert ask(api, clock, once=True).status == 503
    assert len(api.done) == 2
    api.fail(any_call, refuse(Answer.of({}, 429)))
    assert ask(api, clock, once=True).ok
    assert len(api.done) == 3


def test_without_retry_even_throttling_is_final(api: Echo, clock: SteppedClock) -> None:
    api.fail(any_call, refuse(Answer.of({}, 429)))
    assert ask(api, clock, retry=False).status == 429


def test_a_server_that_does_not_answer_is_left_at_the_deadline(api: Echo) -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable, match="no answer in time"):
        RestClient(api.url).send("GET", "/hang", deadline=Deadline(SystemClock(), 0.3))
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(("terminated", "kind"), [(False, Interrupted), (True, Terminated)])
def test_an_interrupt_ends_a_wait_for_an_answer(api: Echo, *, terminated: bool, kind: type[Interrupted]) -> None:
    clock = SystemClock()
    threading.Timer(0.2, lambda: clock.stop(terminated=terminated)).start()
    started = time.monotonic()
    with pytest.raises(kind):
        RestClient(api.url).send("GET", "/hang", deadline=Deadline(clock, 20))
    assert time.monotonic() - started < 3


def test_an_interrupt_ends_a_pause(api: Echo) -> None:
    clock = SystemClock()
    api.fail(any_call, refuse(Answer.of({}, 429, **{"Retry-After": "15"})))
    threading.Timer(0.2, clock.stop).start()
    started = time.monotonic()
    with pytest.raises(Interrupted):
        ask(api, clock)
    assert time.monotonic() - started < 3
    with pytest.raises(Interrupted):
        ask(api, clock)
    assert len(api.calls) == 1, "nothing is sent after the interrupt"
    assert ask(api, clock.shielded()).ok, "but for cleaning up"


def test_each_try_is_authorised_anew(api: Echo, clock: SteppedClock) -> None:
    signed: list[tuple[str, str, bytes | None]] = []

    def authorise(method: str, url: str, body: bytes | None) -> dict[str, str]:
        signed.append((method, url, body))
        return {"X-Signature": f"{len(signed)}"}

    api.fail(any_call, refuse(Answer.of({}, 429)))
    RestClient(api.url, authorise=authorise).send("PUT", "/a?b=c", body={}, deadline=Deadline(clock, 9))
    assert signed == [("PUT", f"{api.url}/a?b=c", b"{}")] * 2
    assert [call.headers["x-signature"] for call in api.calls] == ["1", "2"]


def test_no_secret_is_in_an_error_or_a_repr(clock: SteppedClock) -> None:
    client = RestClient("http://127.0.0.1:9/v1", headers={"Authorization": f"Bearer {TOKEN}"})
    with pytest.raises(Unreachable) as caught:
        client.send("GET", "/x?signature=hunter2", deadline=Deadline(clock, 1))
    for text in (str(caught.value), repr(caught.value), repr(client), client.host):
        assert "hunter2" not in text
        assert TOKEN not in text


@pytest.mark.parametrize(
    "url", ["http://api.example.com", "ftp://127.0.0.1", "api.example.com", "http://127.example.com"]
)
def test_a_credential_is_never_sent_in_the_clear(url: str) -> None:
    with pytest.raises(ConfigError, match="not an https URL"):
        RestClient(url)
    with pytest.raises(ValueError, match="must be an https URL"):
        api_url(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="password") as caught:
        require_https("https://user:hunter2@api.example.com/x?token=hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="without user") as refused:
        api_url("https://user:hunter2@api.example.com")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://api.example.com/v4", "http://127.0.0.1:80", "http://localhost:1/a", "http://[::1]:1"]
)
def test_https_and_loopback_are_fine(url: str) -> None:
    assert api_url(url + "/") == url
    RestClient(url).close()
    require_https("http://internal.example", plain=True)


def test_forty_threads_share_one_client(api: Echo) -> None:
    client = RestClient(api.url)
    deadline = Deadline(SystemClock(), 20)
    seen: list[str] = []

    def work(number: int) -> None:
        seen.append(client.send("GET", f"/{number}", deadline=deadline).document["path"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(f"/{number}" for number in range(40))


def test_member_finds_what_is_there() -> None:
    document = {"a": [{"b": 1}]}
    assert member(document, "a", 0, "b") == 1
    assert member(document, "a", -1) == {"b": 1}
    for path in (("a", 1), ("a", "b"), ("x",), ("a", 0, "b", "c")):
        assert member(document, *path) is None
