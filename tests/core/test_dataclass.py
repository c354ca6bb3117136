"""Our dataclass behaves as the library's, in all that the program uses of it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme import dataclass as ours

BOTH = pytest.mark.parametrize("kind", [ours, dataclasses], ids=["ours", "library"])


def make(kind: Any, *, frozen: bool = True, eq: bool = True) -> Any:
    class Base:
        KNOWN: ClassVar[int] = 1
        name: str
        size: int = 3

    Base.__annotations__ = {"KNOWN": "ClassVar[int]", "name": "str", "size": "int"}
    decorate = kind.dataclass(frozen=frozen, eq=eq)
    base = decorate(Base)

    class More(base):  # type: ignore[valid-type,misc]
        items: list[int] = kind.field(default_factory=list)
        secret: str = kind.field(default="s", repr=False)
        note: str = kind.field(default="n", compare=False)

    return decorate(More)


@BOTH
def test_construction(kind: ModuleType) -> None:
    made = make(kind)
    one = made("a", items=[1])
    assert (one.name, one.size, one.items, one.secret, one.note, one.KNOWN) == ("a", 3, [1], "s", "n", 1)
    assert made("a").items is not made("a").items
    assert [field.name for field in kind.fields(made)] == ["name", "size", "items", "secret", "note"]
    assert made.__match_args__ == ("name", "size", "items", "secret", "note")


@BOTH
@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), (("a", 1, [], "s", "n", 6), {}), (("a",), {"name": "b"}), (("a",), {"what": 1})]
)
def test_wrong_arguments(kind: ModuleType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        make(kind)(*args, **kwargs)


@BOTH
def test_frozen(kind: ModuleType) -> None:
    one = make(kind)("a")
    with pytest.raises(AttributeError):
        one.name = "b"
    with pytest.raises(AttributeError):
        del one.name
    two = make(kind, frozen=False)("a")
    two.name = "b"
    assert two.name == "b"


@BOTH
def test_equality_and_hash(kind: ModuleType) -> None:
    made = make(kind)
    assert made("a", note="x") == made("a", note="y")
    assert made("a") != made("b")
    assert made("a") != make(kind)("a")
    with pytest.raises(TypeError):
        hash(make(kind, frozen=False)("a"))
    assert make(kind, frozen=False, eq=False)("a") != make(kind, frozen=False, eq=False)("a")


@BOTH
def test_representation(kind: ModuleType) -> None:
    assert repr(make(kind)("a", 4)).endswith("More(name='a', size=4, items=[], note='n')")


@BOTH
def test_copies(kind: ModuleType) -> None:
    made = make(kind)
    one = made("a", items=[1])
    assert kind.replace(one, size=9) == made("a", 9, [1])  # type: ignore[attr-defined]
    assert kind.asdict(one) == {"name": "a", "size": 3, "items": [1], "secret": "s", "note": "n"}  # type: ignore[attr-defined]
    assert copy.copy(one) == copy.deepcopy(one) == one
    match one:
        case made(name, size):
            assert (name, size) == ("a", 3)


@given(st.lists(st.tuples(st.text(), st.integers(), st.lists(st.integers()))))
def test_the_same_values_are_equal_and_hash_alike(values: list[tuple[str, int, list[int]]]) -> None:
    mine, library = make(ours), make(dataclasses)
    for name, size, items in values:
        assert mine(name, size, items) == mine(name, size, items)
        assert ours.asdict(mine(name, size, items)) == dataclasses.asdict(library(name, size, items))


def test_the_library_takes_ours_for_its_own() -> None:
    one = make(ours)("a", items=[1])
    assert dataclasses.is_dataclass(one)
    assert dataclasses.replace(one, size=9) == make_same(one, size=9)
    assert dataclasses.asdict(one) == ours.asdict(one)
    assert [field.name for field in dataclasses.fields(one)] == [field.name for field in ours.fields(one)]


def make_same(one: Any, **changes: Any) -> Any:
    return ours.replace(one, **changes)


@BOTH
def test_a_field_that_is_no_argument(kind: Any) -> None:
    class Work:
        name: str
        todo: list[str] = kind.field(init=False)
        done: list[str] = kind.field(init=False, default_factory=list)

        def __post_init__(self) -> None:
            self.todo = [self.name]

    made: Any = kind.dataclass(Work)
    assert made("a").todo == ["a"]
    assert kind.replace(made("a"), name="b").todo == ["b"]
    assert repr(made("a")).endswith("Work(name='a', todo=['a'], done=[])")
    with pytest.raises(TypeError):
        made("a", ["b"])


def test_a_mutable_default_is_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):

        @ours.dataclass
        class Wrong:
            items: list[int] = []  # noqa: RUF012


@ours.dataclass(frozen=True, slots=True)
class Plain:
    """At module level, for pickle."""

    name: str
    size: int = 1


def test_pickle_and_positional_order() -> None:
    assert pickle.loads(pickle.dumps(Plain("a", 2))) == Plain("a", 2)
    assert hash(Plain("a")) == hash(Plain("a", 1))
