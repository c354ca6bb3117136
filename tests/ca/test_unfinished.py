"""Orders that a run leaves: gone on with, given up, or lost and found."""

from __future__ import annotations

from typing import Any

import pytest

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.giveup import give_up
from ci_acme.ca.keys import generate_key
from ci_acme.ca.lost import LostOrders
from ci_acme.ca.messages import Order
from ci_acme.ca.order import Issued, OrderRequest, obtain, resume
from ci_acme.errors import (
    CaUnreachable,
    ChallengeFailed,
    CiAcmeError,
    DeliveryError,
    DnsPropagationTimeout,
    DnsUnreachable,
    Interrupted,
    StateError,
)
from tests.ca.support import NoDns, Session, fake
from tests.ca.test_pebble import Open, Start
from tests.servers.pebble import Pebble
from tests.servers.ports import free_port

NAMES = ("*.u.example.com", "u.example.com")
pytestmark = pytest.mark.servers


class Dying(NoDns):
    """Ends before anything is answered."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def solve(self, *_: Any, **__: Any) -> None:
        raise self.error


def leave(session: Session, error: BaseException, names: tuple[str, ...] = NAMES) -> tuple[str, list[Order]]:
    """Make an order and die with `error`: its URL, and what was given up."""
    made: list[str] = []
    given_up: list[Order] = []
    with pytest.raises(type(error)):
        obtain(
            session.client,
            OrderRequest(names, generate_key()),
            Dying(error),
            scope=session.scope(),
            on_order=lambda url: None,
            on_made=made.append,
            on_given_up=given_up.append,
        )
    (url,) = made
    return url, given_up


def go_on(session: Session, url: str, names: tuple[str, ...] = NAMES) -> tuple[Issued | None, list[str]]:
    held: list[str] = []
    request = OrderRequest(names, generate_key())
    issued = resume(session.client, url, request, scope=session.scope(), solver=NoDns(), on_order=held.append)
    return issued, held


def pending(client: AcmeClient, session: Session, order: Order) -> list[str]:
    return [one.status for one in client.authorizations(session.scope(), order.authorizations)]


@pytest.mark.parametrize(
    "error", [CaUnreachable("x"), StateError("x"), DeliveryError("x"), DnsUnreachable("x"), RuntimeError("a defect")]
)
def test_an_order_that_did_nothing_wrong_is_gone_on_with(
    pebble: Pebble, open_session: Open, error: BaseException
) -> None:
    session = open_session(pebble)
    url, given_up = leave(session, error)
    assert given_up == []
    issued, held = go_on(session, url)
    assert issued is not None
    assert issued.order_url == url
    assert held == [url]  # the key is durable before it is finalized


@pytest.mark.parametrize("error", [Interrupted("x"), DnsPropagationTimeout("x"), ChallengeFailed("x")])
def test_an_order_that_failed_is_given_up(pebble: Pebble, open_session: Open, error: CiAcmeError) -> None:
    session = open_session(pebble)
    url, (order,) = leave(session, error)
    other = session.client.over(session.pool, session.clock)
    before = len(session.records)
    assert give_up(other, order.authorizations, session.scope())
    assert len(session.records) - before <= 3 * len(NAMES)  # for each name a look and the end, and perhaps a nonce
    assert pending(session.client, session, order) == ["deactivated", "deactivated"]
    assert give_up(other, order.authorizations, session.scope())
    assert go_on(session, url) == (None, [])


def test_what_cannot_be_given_up_is_said_and_no_error(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    _, (order,) = leave(session, Interrupted("x"))
    assert not give_up(session.client, order.authorizations, session.scope(0))
    session.pool.abort()
    assert not give_up(session.client, order.authorizations, session.scope())


def test_a_name_that_fails_in_an_order_gone_on_with_is_an_error(start_pebble: Start, open_session: Open) -> None:
    """A new order in the same run would fail in the same way, and cost one more of the CA's patience."""
    session = open_session(start_pebble(dns_server=f"127.0.0.1:{free_port()}"))
    url, _ = leave(session, CaUnreachable("x"), ("f.example.com",))
    with pytest.raises(ChallengeFailed):
        go_on(session, url, ("f.example.com",))


def test_an_order_that_was_given_up_is_not_gone_on_with() -> None:
    world = fake()
    order = world.client.new_order(world.scope(), NAMES)
    world.ca.authorizations = dict.fromkeys(NAMES, "deactivated")
    issued = resume(world.client, order.url, OrderRequest(NAMES, generate_key()), scope=world.scope(), solver=NoDns())
    assert issued is None
    assert any("cannot be used" in text for text in world.warnings())


def test_a_lost_order_is_found_once(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    lost = LostOrders()
    urls = {leave(session, CaUnreachable("x"), (f"n{number}.lost.example.com",))[0] for number in range(5)}
    wanted = frozenset({"n4.lost.example.com"})
    assert lost.claim(session.client, frozenset({"other.example.com"}), None, session.scope()) is None
    before = len(session.records)
    found = lost.claim(session.client, wanted, None, session.scope())
    assert found is not None
    assert found.url in urls
    assert found.status == "pending"
    assert lost.claim(session.client, wanted, None, session.scope()) is None
    assert len(session.records) == before  # it was asked once


def test_a_lost_order_of_another_profile_is_none_of_ours(pebble: Pebble, open_session: Open) -> None:
    session = open_session(pebble)
    session.client.new_order(session.scope(), NAMES, profile="default")
    assert LostOrders().claim(session.client, frozenset(NAMES), "shortlived", session.scope()) is None
    assert LostOrders().claim(session.client, frozenset(NAMES), "default", session.scope()) is not None


def test_a_ca_that_lists_no_orders_has_none() -> None:
    world = fake()
    world.ca._acct = world.ca._account  # type: ignore[attr-defined]
    assert LostOrders().claim(world.client, frozenset(NAMES), None, world.scope()) is None
    assert world.ca.kinds().count("acct") == 1
