"""Orders under way in the state, and private keys sealed there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.state.engine import ANY, Engine
from ci_acme.state.journal import Journal
from ci_acme.state.orders import LIFE_SECONDS, Orders, OrderUnderWay
from ci_acme.state.sealing import LEAST_BYTES, seal, unseal
from tests.state.support import ZONE, placed, sqlite_engine, txt

FIRST = OrderUnderWay("d1", "https://ca.example/a/1", "https://ca.example/o/1", "run-1", 1000.0)
STATE_KEY = Secret(b"k" * LEAST_BYTES)


@pytest.fixture
def engine(tmp_path: Path) -> Generator[Engine]:
    with closing(sqlite_engine(tmp_path / "state.db")) as made:
        yield made


def test_an_order_is_found_by_its_request_and_account_only(engine: Engine) -> None:
    orders = Orders(engine)
    assert not orders.any()
    orders.keep(FIRST)
    assert orders.any()
    assert orders.find("d1", FIRST.account) == FIRST
    assert orders.find("d2", FIRST.account) is None
    assert orders.find("d1", "https://ca.example/a/2") is None
    sealed = replace(FIRST, order="https://ca.example/o/2", sealed=bytes(range(256)))
    orders.keep(sealed)
    assert orders.find("d1", FIRST.account) == sealed


def test_only_the_order_itself_is_forgotten(engine: Engine) -> None:
    orders = Orders(engine)
    orders.keep(FIRST)
    orders.forget("d1", FIRST.account, "https://ca.example/o/0")
    orders.delivered("d1", "https://ca.example/o/0")
    assert orders.any()
    orders.forget("d1", FIRST.account, FIRST.order)
    orders.forget("d1", FIRST.account, FIRST.order)
    assert not orders.any()
    orders.keep(FIRST)
    orders.delivered("d1", FIRST.order)
    assert not orders.any()


def test_an_order_that_no_ca_remembers_is_dropped(engine: Engine) -> None:
    orders = Orders(engine)
    orders.keep(FIRST)
    orders.expire(FIRST.made + LIFE_SECONDS - 1)
    assert orders.any()
    orders.expire(FIRST.made + LIFE_SECONDS + 1)
    assert not orders.any()


@pytest.mark.parametrize("garbage", [b"", b"null", b"{}", b'{"sealed": 3}', b"\xff", b'{"made": "x"}'])
def test_what_cannot_be_understood_is_no_order(engine: Engine, garbage: bytes) -> None:
    orders = Orders(engine)
    orders.keep(FIRST)
    (key,) = engine.list("order/")
    engine.write(key, garbage, expect=ANY)
    assert orders.find("d1", FIRST.account) is None
    orders.expire(1e12)
    orders.delivered("d1", FIRST.order)


def test_a_stream_of_values_that_were_there_before_is_dropped(engine: Engine) -> None:
    journal = Journal(engine, "run-1")
    journal.tidy()
    journal.intend("e", ZONE, txt("a", "b"))
    journal.placed("e", [placed("a", created=False), placed("b")])
    journal.tidy()
    assert [item.value for item in journal.open_items()] == ["b"]
    Journal(engine, "run-2").placed("e", [placed("a", created=False)])
    assert len(list(engine.streams("journal/"))) == 2
    Journal(engine, "run-2").tidy()
    assert list(engine.streams("journal/")) == ["journal/run-1"]


@given(content=st.binary(max_size=3000), purpose=st.text(max_size=70))
def test_what_is_sealed_comes_back(content: bytes, purpose: str) -> None:
    sealed = seal(STATE_KEY, Secret(content), purpose, reference="env:K")
    assert content not in sealed or len(content) < 4
    assert unseal(STATE_KEY, sealed, purpose) == Secret(content)
    assert seal(STATE_KEY, Secret(content), purpose, reference="env:K") != sealed


@given(place=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7), cut=st.integers(min_value=1))
def test_a_seal_that_was_touched_does_not_open(place: int, bit: int, cut: int) -> None:
    sealed = bytearray(seal(STATE_KEY, Secret(b"a private key"), "d1", reference="env:K"))
    shorter = bytes(sealed[: -(cut % len(sealed) or 1)])
    sealed[place % len(sealed)] ^= 1 << bit
    assert unseal(STATE_KEY, bytes(sealed), "d1") is None
    assert unseal(STATE_KEY, shorter, "d1") is None


def test_a_seal_opens_for_its_purpose_and_secret_only() -> None:
    sealed = seal(STATE_KEY, Secret(b"a private key"), "d1", reference="env:K")
    assert unseal(STATE_KEY, sealed, "d2") is None
    assert unseal(Secret(b"j" * LEAST_BYTES), sealed, "d1") is None


def test_a_weak_state_key_seals_nothing() -> None:
    with pytest.raises(SecretError, match=r"env:K .*32") as raised:
        seal(Secret(b"hunter2"), Secret(b"x"), "d1", reference="env:K")
    assert "hunter2" not in str(raised.value) + raised.value.fix
