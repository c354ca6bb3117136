"""Whatever a CA answers, a run ends in time, in a certificate or in an error that a user can read.

Hypothesis throws the dice that spoil a CA's replies, so that a case that fails is made small and kept. `make malformed`
runs 10,000 of them (`CI_ACME_MALFORMED`), the usual tests a share.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_acme.ca.account import Account
from ci_acme.ca.client import AcmeClient
from ci_acme.ca.http import HttpResponse, HttpsPool, split_url
from ci_acme.ca.keys import LocalSigner, generate_key
from ci_acme.ca.lifecycle import deactivate, look_up, update_contacts
from ci_acme.ca.lost import LostOrders
from ci_acme.ca.order import OrderRequest, obtain, resume
from ci_acme.ca.revocation import revoke_by_account
from ci_acme.ca.rollover import change_key, is_final
from ci_acme.connect import Dialer
from ci_acme.errors import CaTimeout, CiAcmeError, InternalError
from ci_acme.model.events import Event
from tests.ca.malform import Tape, on_the_wire, spoil
from tests.ca.support import BASE, Fake, FakeCa, FakeClock, NoDns, problem, response

CASES = int(os.environ.get("CI_ACME_MALFORMED", "1200"))
NAMES = ("a.example.com", "*.b.example.com")
KEY, LEAF_KEY = generate_key(), generate_key()
DEADLINE = 300.0
ENOUGH = 3000
"""Requests; a run of two names takes 13."""
KINDS = ["dir", "nonce", "account", "order", "authz", "chall", "poll", "finalize", "cert"]
SEVERAL = {"authz", "chall", "poll"}
"""Asked for more than once in a run."""

Spoil = Callable[[HttpResponse], HttpResponse]
WINDOW = {"suggestedWindow": {"start": "2027-02-01T00:00:00Z", "end": "2027-02-03T00:00:00Z"}, "explanationURL": BASE}


class MisledCa(FakeCa):
    """Knows what a real CA answers to requests that its own wrong URLs lead to."""

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> HttpResponse:
        split_url(url)  # as the real connections do
        self.clock.time += 0.2
        assert len(self.log) < ENOUGH, f"{len(self.log)} requests"
        try:
            return super().request(method, url, headers=headers, body=body, timeout=timeout)
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError):
            return self._with_nonce(problem("malformed", 404, "no such resource"))

    def _acct(self, path: str, payload: Any) -> HttpResponse:
        return response(200, {"status": "valid", "contact": [], "orders": f"{BASE}/orders", **(payload or {})})

    def _orders(self, path: str, payload: Any) -> HttpResponse:
        return response(200, {"orders": [f"{BASE}/order/1"]}, Link=f'<{BASE}/orders>;rel="next"')

    def _revoke(self, path: str, payload: Any) -> HttpResponse:
        return response(200)

    def _key(self, path: str, payload: Any) -> HttpResponse:
        return response(200)

    def _ari(self, path: str, payload: Any) -> HttpResponse:
        return response(200, WINDOW, Retry_After="21600")


class OneByOne(AcmeClient):
    """Without threads, so that a seed is a case."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return [function(item) for item in items]


def hostile() -> Fake:
    clock, signer = FakeClock(), LocalSigner(KEY)
    ca = MisledCa(clock, signer)
    client = OneByOne(f"{BASE}/dir", signer, http=ca, clock=clock)
    client.use_account(f"{BASE}/acct/1")
    return Fake(clock, ca, client)


def issue(world: Fake) -> None:
    replaces = "aki.serial" if world.ca.meta.get("replaces") else None
    profile = "short" if world.ca.script["dir"] else None
    request = OrderRequest(NAMES, LEAF_KEY, profile, replaces, preferred_chain="No Such Root")
    solver = NoDns()
    try:
        issued = obtain(world.client, request, solver, scope=world.scope(DEADLINE), on_order=lambda url: None)
    finally:
        assert len(solver.cleanups) == 1
    assert issued.facts.names == tuple(sorted(NAMES))
    assert {challenge.identifier for challenge in solver.solved} <= set(NAMES)


def register(world: Fake) -> None:
    world.client._account = None
    world.client.register(world.scope(DEADLINE), terms_agreed=True, contact=["ops@example.com"])
    issue(world)


def go_on(world: Fake) -> None:
    world.ca.valid_authorizations = True
    order = world.client.new_order(world.scope(DEADLINE), NAMES)
    resume(world.client, order.url, OrderRequest(NAMES, LEAF_KEY), scope=world.scope(DEADLINE))


def renewal(world: Fake) -> None:
    world.client.renewal_info(world.scope(DEADLINE), "aki.serial")


def show(world: Fake) -> None:
    account = look_up(world.client, world.scope(DEADLINE))
    assert account is None or len(json.dumps([account.url, account.status, account.contact])) < 400_000


def change(world: Fake) -> None:
    scope, account = world.scope(DEADLINE), Account(f"{BASE}/acct/1", "valid")
    update_contacts(world.client, scope, account, ["ops@example.com"])
    deactivate(world.client, scope, account)


def rotate(world: Fake) -> None:
    change_key(world.client, world.scope(DEADLINE), f"{BASE}/acct/1", LocalSigner(LEAF_KEY))


def find_lost(world: Fake) -> None:
    world.ca.valid_authorizations = True
    world.client.new_order(world.scope(DEADLINE), NAMES)
    LostOrders().claim(world.client, frozenset(NAMES), None, world.scope(DEADLINE))


def revoke(world: Fake) -> None:
    revoke_by_account(world.client, world.scope(DEADLINE), b"der", 1)


WORK: dict[str, Callable[[Fake], None]] = dict.fromkeys(KINDS, issue) | {
    "account": register,
    "acct": change,
    "key": rotate,
    "orders": find_lost,
    "revoke": revoke,
    "ari": renewal,
}
OTHER_WORK = {"account": show, "acct": find_lost, "poll": go_on, "cert": go_on, "finalize": go_on}
"""What asks for the same."""


def play(kind: str, dice: random.Random, wire: Callable[[random.Random], Spoil] | None = None) -> None:
    world = hostile()
    spoiled: Spoil = (lambda reply: spoil(dice, reply)) if wire is None else wire(dice)
    world.ca.meta |= {"caaIdentities": ["ca.example"], "termsOfService": BASE, "externalAccountRequired": False}
    world.ca.meta["replaces"] = dice.random() < 0.2
    spared = dice.choice([0, 0, 1]) if kind in SEVERAL else 0
    planned = [spoiled] * dice.choice([1, 2, ENOUGH])
    world.ca.script[kind] = [None] * spared + planned
    begun = world.clock.time
    work = OTHER_WORK[kind] if kind in OTHER_WORK and dice.random() < 0.3 else WORK[kind]
    try:
        work(world)
    except CiAcmeError as error:
        check(error)
    assert len(world.ca.script[kind]) < len(planned), "no reply was malformed"
    for event in world.events:
        readable(str(getattr(event, "text", "")))
    assert world.clock.time - begun <= 2 * DEADLINE + 90
    assert_quiet(world.events)


def check(error: CiAcmeError) -> None:
    assert not isinstance(error, InternalError)
    assert type(error).code != "internal"
    assert is_final(error) in {True, False}
    assert error.message
    readable(error.message)
    readable(error.fix)
    assert len(json.dumps(error.as_dict())) < 400_000
    if isinstance(error, CaTimeout):
        assert error.fix


def readable(text: str) -> None:
    """One line that any terminal, log and encoding takes."""
    text.encode("utf-8")
    assert len(text) < 4000, len(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text), text


def assert_quiet(events: list[Event]) -> None:
    assert len(events) < ENOUGH


DICE = st.lists(st.integers(0, 2**32 - 1), max_size=60).map(Tape)


def cases(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many cases of each kind, however slow."""
    return settings(max_examples=-(-count // len(WORK)), deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", sorted(WORK))
@cases(CASES)
@given(dice=DICE)
def test_a_malformed_reply(kind: str, dice: random.Random) -> None:
    play(kind, dice)


# the same on a socket


class Wire:
    """A server on loopback that answers any request with the bytes that it is told, and closes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.answer = b""
        self.pool = HttpsPool()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                try:
                    sock.settimeout(5)
                    sock.recv(65536)
                    sock.sendall(self.answer)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass
                except OSError:
                    continue

    def spoiling(self, dice: random.Random) -> Spoil:
        def through(reply: HttpResponse) -> HttpResponse:
            if dice.random() < 0.3:
                reply = spoil(dice, reply)
            self.answer = on_the_wire(dice, reply)
            return self.fetch(dice.choice(["GET", "POST", "HEAD"]))

        return through

    def fetch(self, method: str, headers: Mapping[str, str] = {}) -> HttpResponse:
        return self.pool.request(method, f"{self.url}/x", headers=headers, body=None, timeout=20)

    def close(self) -> None:
        self.pool.close()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    resolve = Dialer.resolve

    def at_home(self: Dialer, host: str, port: int, ends: float) -> list[Any]:
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return resolve(self, host, port, ends)

    monkeypatch.setattr(Dialer, "resolve", at_home)
    server = Wire()
    yield server
    server.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", sorted(WORK))
@cases(CASES // 6)
@given(dice=DICE)
def test_malformed_bytes(kind: str, wire: Wire, dice: random.Random) -> None:
    play(kind, dice, wire.spoiling)
