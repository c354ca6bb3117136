"""The contract suite that every `DnsProvider` must pass.

Use it from a test module of pytest: derive a class and give it a fixture `rig`.

    class TestMine(DnsProviderContract):
        @pytest.fixture
        def rig(self) -> DnsRig: ...

The suite writes below `rig.zone` only, at names that no other test uses, and looks at the server through the rig, never
through the provider. It needs the server to show a change at once after `wait_in_sync`.

What a provider's `capabilities` disclaim is not asked of it: many writers at once of one that is neither `PER_VALUE`
nor `CAS`, the TTL and the judgement of credentials of an `OPAQUE` one, removal of one with `can_remove=False`, more
values than `max_values`.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

from ci_acme.clock import SystemClock
from ci_acme.errors import DnsCredentialsError, DnsError, ZoneNotFound
from ci_acme.ports import Clock, Concurrency, Deadline, DnsProvider, Placement, TxtValue, Zone

__all__ = ["DnsProviderContract", "DnsRig"]

_SECONDS: Final = 60.0


class DnsRig(Protocol):
    """A server with one zone, and ways to see and change it without the provider under test."""

    @property
    def zone(self) -> str:
        """The apex of a zone that the good credentials may change.

        A rig MAY have `fresh_name() -> str` for a provider that cannot write at any name in it: one that it can.
        """
        ...

    def provider(self, *, good: bool = True) -> DnsProvider:
        """A new adapter, as another process would make it; with `good=False` its secret is wrong."""
        ...

    def values(self, name: str) -> Mapping[str, int]:
        """The TXT values that the server has at a name now, each with its TTL."""
        ...

    def plant(self, name: str, value: str, ttl: int) -> None:
        """Add a value as a neighbour would, keeping what is there."""
        ...


class DnsProviderContract:
    """The tests. A subclass gives the fixture `rig`; the class attributes fit them to a provider.

    `seconds` bounds one call of the provider. `writers` is how many threads write at once. `names` is how many names
    one call is made with.
    """

    seconds: ClassVar[float] = _SECONDS
    writers: ClassVar[int] = 8
    names: ClassVar[int] = 100
    clock: ClassVar[Clock] = SystemClock()

    # --- one writer

    def test_ensure_makes_values_visible_and_release_removes_them(self, rig: DnsRig) -> None:
        """Two values at one name, as an apex and its wildcard need them."""
        name = _name(rig)
        provider, zone = self._open(rig, name)
        placements = self._ensure(provider, zone, [TxtValue(name, "one"), TxtValue(name, "two")])
        _same(set(rig.values(name)), {"one", "two"}, "both values are served after ensure")
        _same([(p.name, p.value) for p in placements], [(name, "one"), (name, "two")], "a receipt for each value")
        provider.release(placements, deadline=self._deadline())
        _left(provider, rig, name, set())

    def test_ttl_is_that_of_the_call(self, rig: DnsRig) -> None:
        """A record of ours gets the TTL that the config wants."""
        name = _name(rig)
        provider, zone = self._open(rig, name)
        placements = self._ensure(provider, zone, [TxtValue(name, "value")], ttl=77)
        _served(provider, rig, name, {"value": 77})
        provider.release(placements, deadline=self._deadline())

    def test_ensure_twice_is_once(self, rig: DnsRig) -> None:
        """A value that is there is success, not an error and not a twin."""
        name = _name(rig)
        provider, zone = self._open(rig, name)
        placements: Sequence[Placement] = ()
        for _ in range(2):
            placements = self._ensure(provider, zone, [TxtValue(name, "value")])
            _same(list(rig.values(name)), ["value"], "one record after ensure")
        provider.release(placements, deadline=self._deadline())

    def test_release_twice_and_of_nothing_is_success(self, rig: DnsRig) -> None:
        """What is absent is released."""
        name = _name(rig)
        provider, zone = self._open(rig, name)
        placements = self._ensure(provider, zone, [TxtValue(name, "value")])
        for _ in range(2):
            provider.release(placements, deadline=self._deadline())
        provider.release([Placement(zone, name, "never there", created=True)], deadline=self._deadline())
        _left(provider, rig, name, set())

    def test_release_works_in_another_process(self, rig: DnsRig) -> None:
        """All that release needs is in the receipt, which survives as JSON."""
        name = _name(rig)
        provider, zone = self._open(rig, name)
        placements = self._ensure(provider, zone, [TxtValue(name, "value")])
        receipts = [_through_json(placement) for placement in placements]
        rig.provider().release(receipts, deadline=self._deadline())
        _left(provider, rig, name, set())

    def test_a_hundred_names_at_once(self, rig: DnsRig) -> None:
        """One call takes whatever a certificate can need."""
        names = [_name(rig) for _ in range(self.names)]
        provider, zone = self._open(rig, names[0])
        placements = self._ensure(provider, zone, [TxtValue(name, f"value of {name}") for name in names])
        for name in names[::9]:
            _same(set(rig.values(name)), {f"value of {name}"}, "every name has its value")
        provider.release(placements, deadline=self._deadline())
        for name in names[::9]:
            _left(provider, rig, name, set())

    # --- neighbours

    def test_foreign_value_and_its_ttl_survive(self, rig: DnsRig) -> None:
        """A neighbour's value outlives ensure and release, with the TTL that it had."""
        name = _name(rig)
        rig.plant(name, "foreign", 900)
        provider, zone = self._open(rig, name)
        placements = self._ensure(provider, zone, [TxtValue(name, "ours", ttl=900)])
        _served(provider, rig, name, {"foreign": 900, "ours": 900})
        provider.release(placements, deadline=self._deadline())
        _left(provider, rig, name, {"foreign"})
        if provider.capabilities.can_remove:
            _served(provider, rig, name, {"foreign": 900})

    def test_adopted_value_is_never_released(self, rig: DnsRig) -> None:
        """`created=False` means that it belongs to somebody else."""
        name = _name(rig)
        rig.plant(name, "adopted", 300)
        provider, zone = self._open(rig, name)
        provider.release([Placement(zone, name, "adopted", created=False)], deadline=self._deadline())
        _same(set(rig.values(name)), {"adopted"}, "the adopted value stays")

    def test_concurrent_writers_keep_every_value(self, rig: DnsRig) -> None:
        """40 writers at one name, each with an adapter of its own: 40 values; then half of them leave.

        Fewer where a name holds fewer: as many as there is room for beside the neighbour's value.
        """
        name = _name(rig)
        rig.plant(name, "foreign", 300)
        provider, zone = self._open(rig, name)
        room = provider.capabilities.max_values
        writers = self.writers if provider.capabilities.concurrency in _SHARED else 1
        values = [f"value-{number}" for number in range(40 if room is None else min(40, room - 1))]
        placed: dict[str, Sequence[Placement]] = {}

        def write(value: str) -> None:
            provider = rig.provider()
            placed[value] = self._ensure(provider, zone, [TxtValue(name, value, ttl=300)])

        _in_threads(writers, values, write)
        _same(set(rig.values(name)), {"foreign", *values}, f"every value of {len(values)} concurrent writers")
        _in_threads(
            writers, values[::2], lambda value: rig.provider().release(placed[value], deadline=self._deadline())
        )
        _left(provider, rig, name, {"foreign", *values[1::2]})
        for value in values[1::2]:
            rig.provider().release(placed[value], deadline=self._deadline())
        _left(provider, rig, name, {"foreign"})

    # --- zones and credentials

    def test_find_zone(self, rig: DnsRig) -> None:
        """The zone is found with and without help, for names that do not exist."""
        name = _name(rig, "deep.")
        for apex in (rig.zone, None):
            zones = rig.provider().zones_for(name, apex, deadline=self._deadline())
            _same([zone.name for zone in zones], [rig.zone], f"the zones of a name below it, apex {apex}")

    def test_find_zone_elsewhere(self, rig: DnsRig) -> None:
        """A name that is in no zone of the provider is an error, not a guess."""
        name = f"_acme-challenge.{secrets.token_hex(8)}.invalid"
        try:
            found = rig.provider().zones_for(name, None, deadline=self._deadline())
        except ZoneNotFound:
            return
        _same(list(found), [], "the zones of a name that is nowhere")

    def test_check_access_changes_nothing(self, rig: DnsRig) -> None:
        """The preflight leaves the zone as it was."""
        name, taken = _name(rig), _name(rig)
        rig.plant(taken, "foreign", 300)
        provider, zone = self._open(rig, name)
        provider.check_access(zone, [name, taken], deadline=self._deadline())
        _same(dict(rig.values(name)), {}, "the free name")
        _same(dict(rig.values(taken)), {"foreign": 300}, "the name that was taken")

    def test_wrong_credentials(self, rig: DnsRig) -> None:
        """They are told as such, before and at the change, and nothing is written."""
        name = _name(rig)
        _, zone = self._open(rig, name)
        provider = rig.provider(good=False)
        opaque = provider.capabilities.concurrency is Concurrency.OPAQUE
        attempts: list[Callable[[], Any]] = [lambda: self._ensure(provider, zone, [TxtValue(name, "value")])]
        if provider.capabilities.can_remove:
            placement = Placement(zone, name, "value", created=True)
            attempts.append(lambda: provider.release([placement], deadline=self._deadline()))
        if not opaque:
            attempts.append(lambda: provider.check_access(zone, [name], deadline=self._deadline()))
        for attempt in attempts:
            error = _raises(DnsError if opaque else DnsCredentialsError, attempt)
            assert isinstance(error, DnsError)
            assert error.fix, "the error says what to do"
        _same(set(rig.values(name)), set(), "nothing was written")

    def test_where_shows_no_secret(self, rig: DnsRig) -> None:
        """`where` and the reprs are for people."""
        provider = rig.provider()
        assert provider.where, "where changes go has a name"

    # --- helpers

    def _deadline(self) -> Deadline:
        return Deadline(self.clock, self.seconds)

    def _open(self, rig: DnsRig, name: str) -> tuple[DnsProvider, Zone]:
        provider = rig.provider()
        return provider, provider.zones_for(name, rig.zone, deadline=self._deadline())[0]

    def _ensure(
        self, provider: DnsProvider, zone: Zone, values: Sequence[TxtValue], ttl: int = 60
    ) -> Sequence[Placement]:
        placements = provider.ensure(zone, values, ttl=ttl, deadline=self._deadline())
        provider.wait_in_sync(placements, deadline=self._deadline())
        return placements


_SHARED: Final = (Concurrency.PER_VALUE, Concurrency.CAS)
"""What writers that do not know of each other may use at once."""
_OWN_TTL: Final = (Concurrency.OPAQUE, Concurrency.RING)
"""What gives records a TTL of its own."""


def _name(rig: DnsRig, above: str = "") -> str:
    fresh: Callable[[], str] | None = getattr(rig, "fresh_name", None)
    return f"_acme-challenge.{above}{secrets.token_hex(6)}.{rig.zone}" if fresh is None else fresh()


def _served(provider: DnsProvider, rig: DnsRig, name: str, wanted: Mapping[str, int]) -> None:
    """Exactly these values, with their TTL if the provider sets it."""
    found = dict(rig.values(name))
    if provider.capabilities.concurrency in _OWN_TTL:
        _same(set(found), set(wanted), "the values")
    else:
        _same(found, dict(wanted), "the values and their TTL")


def _left(provider: DnsProvider, rig: DnsRig, name: str, wanted: set[str]) -> None:
    """After a release: exactly these values; of a provider that cannot remove, these at least."""
    found = set(rig.values(name))
    _same(found if provider.capabilities.can_remove else found & wanted, wanted, "what is left after release")


def _same(found: object, wanted: object, what: str) -> None:
    assert found == wanted, f"{what}: wanted {wanted!r}, found {found!r}"


def _raises(kind: type[Exception], call: Callable[[], Any]) -> Exception:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def _through_json(placement: Placement) -> Placement:
    text = json.dumps(
        {
            "zone": [placement.zone.id, placement.zone.name],
            "name": placement.name,
            "value": placement.value,
            "created": placement.created,
            "ref": placement.ref,
        }
    )
    fields = json.loads(text)
    return Placement(Zone(*fields["zone"]), fields["name"], fields["value"], fields["created"], fields["ref"])


def _in_threads(count: int, items: Sequence[str], work: Callable[[str], object]) -> None:
    """Do the work for all items in `count` threads. Raises the first error."""
    todo = list(items)
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        while not errors:
            try:
                work(todo.pop())
            except IndexError:
                return
            except Exception as error:  # it is raised in the test's thread
                errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
