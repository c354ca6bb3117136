"""The contract suite of stores: what `ports.CertificateStore` promises, as tests.

In the tests of a store, with pytest:

    class TestMyStore(StoreContract):
        def open_store(self) -> CertificateStore: ...           # a new object for the same, initially absent target
        def failing_writes(self) -> AbstractContextManager: ...  # the store cannot be written meanwhile
        def put_beside(self, name, data) / beside(self, name): ...  # optional: a user's own data in the target
        def denied(self), lost_reply(self), metadata_rights(self), plant_foreign(self), writes(self): ...  # optional

Each test has a target of its own, so `open_store` takes it from a fixture of the test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import ClassVar
from unittest import SkipTest

from ci_acme.clock import SystemClock
from ci_acme.dataclass import replace
from ci_acme.errors import CiAcmeError, DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import PendingOrder, RenewalMemory
from ci_acme.ports import Absent, CertificateStore, Deadline, Present, Retired, Unusable
from ci_acme.testing.material import belongs_together, make_bundle, make_metadata


def soon(seconds: float = 60.0) -> Deadline:
    """A deadline on the real clock."""
    return Deadline(SystemClock(), seconds)


class StoreContract:
    """Subclass it for a store; every test method must pass.

    `chain_is_secret`: the platform gives the chain only together with the key, so that `read` tells none.
    """

    chain_is_secret: ClassVar[bool] = False

    def open_store(self) -> CertificateStore:
        """A new object for the same target, which nothing has written to before this test."""
        raise NotImplementedError

    def failing_writes(self) -> AbstractContextManager[None]:
        """Within, nothing can be written."""
        raise NotImplementedError

    def put_beside(self, name: str, data: bytes) -> bool:
        """Put a user's own data into the target; False if the store has no such thing."""
        del name, data
        return False

    def beside(self, name: str) -> bytes | None:
        """What `put_beside` put there; None if it is gone."""
        del name
        return None

    def denied(self) -> AbstractContextManager[None] | None:
        """Within, the credentials are good for nothing; None where that has no meaning."""
        return None

    def lost_reply(self) -> AbstractContextManager[None] | None:
        """Within, the next write is carried out and its answer is lost; None where that has no meaning."""
        return None

    def metadata_rights(self) -> AbstractContextManager[None] | None:
        """Within, secrets cannot be read and metadata can; None where the platform does not tell them apart."""
        return None

    def plant_foreign(self) -> bool:
        """Put something that is not ours under the target; False if that cannot be."""
        return False

    def writes(self) -> int | None:
        """How many changes the platform has seen so far; None if nobody counts."""
        return None

    # --- reading and writing -----------------------------------------------------------------------------------------

    def test_an_untouched_target_is_absent(self) -> None:
        store = self.open_store()
        assert store.read(deadline=soon()) == Absent()
        assert store.read_bundle(deadline=soon()) is None

    def test_a_probe_leaves_nothing(self) -> None:
        store = self.open_store()
        store.probe(deadline=soon())
        assert store.read(deadline=soon()) == Absent()

    def test_what_is_published_is_read_by_others(self) -> None:
        bundle = make_bundle()
        metadata = make_metadata(bundle)
        version = self.open_store().publish(bundle, metadata, deadline=soon())
        self.assert_holds(bundle)
        state = self.open_store().read(deadline=soon())
        assert isinstance(state, Present)
        assert state.metadata == metadata
        assert state.version == version

    def test_publishing_again_is_success(self) -> None:
        bundle = make_bundle()
        metadata = make_metadata(bundle)
        first = self.open_store().publish(bundle, metadata, deadline=soon())
        assert isinstance(first, (str, type(None)))
        self.open_store().publish(bundle, metadata, deadline=soon())
        self.assert_holds(bundle)

    def test_a_new_bundle_replaces_the_old_one(self) -> None:
        for _ in range(3):
            bundle = make_bundle()
            self.open_store().publish(bundle, make_metadata(bundle), deadline=soon())
            self.assert_holds(bundle)

    def test_a_chain_may_be_empty(self) -> None:
        bundle = replace(make_bundle(), chain=b"")
        self.open_store().publish(bundle, make_metadata(bundle), deadline=soon())
        self.assert_holds(bundle)

    def test_annotating_changes_the_metadata_only(self) -> None:
        bundle = make_bundle()
        metadata = make_metadata(bundle)
        version = self.open_store().publish(bundle, metadata, deadline=soon())
        memory = RenewalMemory(url="https://ca.example/renewal/1", failures=2)
        newer = metadata.with_renewal(memory, metadata.renew_after - timedelta(days=1))
        self.open_store().annotate(newer, deadline=soon())
        state = self.open_store().read(deadline=soon())
        assert isinstance(state, Present)
        assert (state.metadata, state.version) == (newer, version)
        self.assert_holds(bundle)

    # --- failures ----------------------------------------------------------------------------------------------------

    def test_a_failed_write_keeps_the_old_bundle(self) -> None:
        old, new = make_bundle(), make_bundle()
        self.open_store().publish(old, make_metadata(old), deadline=soon())
        store = self.open_store()
        with self.failing_writes():
            error = self._failure_of_publish(store, new)
        assert isinstance(error, DeliveryError)
        assert error.message
        assert error.fix
        self.assert_holds(old)
        self.open_store().publish(new, make_metadata(new), deadline=soon())
        self.assert_holds(new)

    def test_a_failed_first_write_leaves_nothing(self) -> None:
        bundle = make_bundle()
        store = self.open_store()
        with self.failing_writes():
            assert self._failure_of_publish(store, bundle) is not None
        assert self.open_store().read(deadline=soon()) == Absent()

    def test_an_error_shows_no_key(self) -> None:
        bundle = make_bundle()
        with self.failing_writes():
            error = self._failure_of_publish(self.open_store(), bundle)
        assert error is not None
        said = f"{error!r} {error.as_dict()!r} {error.__cause__!r}".encode()
        lines = bundle.key.reveal().splitlines()[1:-1]
        assert lines
        assert not any(line in said for line in lines)

    def test_a_lost_reply_is_no_failure(self) -> None:
        old, new = make_bundle(), make_bundle()
        self.open_store().publish(old, make_metadata(old), deadline=soon())
        with _needed(self.lost_reply(), "no answer can be lost"):
            self.open_store().publish(new, make_metadata(new), deadline=soon())
        self.assert_holds(new)

    def test_without_rights_everything_says_what_to_grant(self) -> None:
        bundle = make_bundle()
        self.open_store().publish(bundle, make_metadata(bundle), deadline=soon())
        store = self.open_store()
        with _needed(self.denied(), "there are no rights to lack"):
            failures = [
                _failure(StoreReadError, lambda: store.read(deadline=soon())),
                _failure(StoreNotWritable, lambda: store.probe(deadline=soon())),
                _failure(DeliveryError, lambda: store.publish(bundle, make_metadata(bundle), deadline=soon())),
                _failure(DeliveryError, lambda: store.retire(purge=False, deadline=soon())),
            ]
        assert all(error.fix for error in failures)
        self.assert_holds(bundle)

    def test_metadata_rights_are_enough_to_keep(self) -> None:
        bundle = make_bundle()
        metadata = make_metadata(bundle)
        self.open_store().publish(bundle, metadata, deadline=soon())
        with _needed(self.metadata_rights(), "the platform has no right for metadata alone"):
            state = self.open_store().read(deadline=soon())
        assert isinstance(state, Present)
        assert state.metadata == metadata

    def test_the_same_again_writes_nothing(self) -> None:
        bundle = make_bundle()
        metadata = make_metadata(bundle)
        self.open_store().publish(bundle, metadata, deadline=soon())
        before = self.writes()
        _require(before is not None, "nobody counts writes")
        self.open_store().publish(bundle, metadata, deadline=soon())
        assert self.writes() == before

    def test_two_writers_do_not_interleave(self) -> None:
        bundles = [make_bundle() for _ in range(4)]
        barrier = threading.Barrier(len(bundles))
        failures: list[CiAcmeError] = []

        def write(bundle: Bundle) -> None:
            store = self.open_store()
            barrier.wait()
            try:
                store.publish(bundle, make_metadata(bundle), deadline=soon())
            except DeliveryError as error:  # somebody else was faster, and says so
                failures.append(error)

        threads = [threading.Thread(target=write, args=(bundle,)) for bundle in bundles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failures) < len(bundles), failures
        state = self.open_store().read(deadline=soon())
        assert isinstance(state, Present)
        assert state.metadata is not None
        self.assert_holds(next(one for one in bundles if make_metadata(one).sha256 == state.metadata.sha256))

    # --- teardown ----------------------------------------------------------------------------------------------------

    def test_retiring_twice_is_success(self) -> None:
        bundle = make_bundle()
        self.open_store().publish(bundle, make_metadata(bundle), deadline=soon())
        assert self.open_store().retire(purge=False, deadline=soon()) is Retired.REMOVED
        assert isinstance(self.open_store().read(deadline=soon()), Absent)
        assert self.open_store().read_bundle(deadline=soon()) is None
        assert self.open_store().retire(purge=False, deadline=soon()) is Retired.ABSENT

    def test_create_and_retire_three_times_in_a_row(self) -> None:
        for purge in (False, False, True):
            bundle = make_bundle()
            self.open_store().probe(deadline=soon())
            self.open_store().publish(bundle, make_metadata(bundle), deadline=soon())
            self.assert_holds(bundle)
            assert self.open_store().retire(purge=purge, deadline=soon()) is Retired.REMOVED

    def test_what_is_not_ours_is_not_retired(self) -> None:
        _require(self.plant_foreign(), "nothing foreign can be under the target")
        state = self.open_store().read(deadline=soon())
        assert isinstance(state, Unusable) or (isinstance(state, Present) and state.metadata is None)
        _failure(DeliveryError, lambda: self.open_store().retire(purge=False, deadline=soon()))
        assert not isinstance(self.open_store().read(deadline=soon()), Absent)

    # --- users and readers -------------------------------------------------------------------------------------------

    def test_what_a_user_put_beside_survives(self) -> None:
        first, second = make_bundle(), make_bundle()
        self.open_store().publish(first, make_metadata(first), deadline=soon())
        _require(self.put_beside("notes", b"mine"), "users have nothing of their own in the store")
        self.open_store().publish(second, make_metadata(second), deadline=soon())
        assert self.beside("notes") == b"mine"
        self.assert_holds(second)

    def test_a_reader_never_sees_a_mix(self) -> None:
        bundles = [make_bundle() for _ in range(8)]
        self.open_store().publish(bundles[0], make_metadata(bundles[0]), deadline=soon())
        reader = _Reader(self.open_store())
        reader.start()
        for bundle in bundles * 3:
            self.open_store().publish(bundle, make_metadata(bundle), deadline=soon())
        reader.finish()
        assert reader.problems == []
        assert reader.seen > 0

    # --- orders under way --------------------------------------------------------------------------------------------

    def test_a_staged_order_is_found_by_the_next_run(self) -> None:
        store = self.open_store()
        _require(store.capabilities.holds_pending, "the store keeps no order under way")
        bundle = make_bundle()
        order = _pending(bundle)
        assert store.staged(deadline=soon()) is None
        store.stage(order, deadline=soon())
        assert self.open_store().staged(deadline=soon()) == order
        assert self.open_store().read(deadline=soon()) == Absent()
        downloaded = replace(order, certificate=bundle.fullchain)
        self.open_store().stage(downloaded, deadline=soon())
        assert self.open_store().staged(deadline=soon()) == downloaded

    def test_a_staged_order_does_not_show_beside_a_bundle(self) -> None:
        store = self.open_store()
        _require(store.capabilities.holds_pending, "the store keeps no order under way")
        old, new = make_bundle(), make_bundle()
        store.publish(old, make_metadata(old), deadline=soon())
        store.stage(_pending(new), deadline=soon())
        self.assert_holds(old)
        store.publish(new, make_metadata(new), deadline=soon())
        self.assert_holds(new)

    def test_unstaging_forgets_and_may_be_repeated(self) -> None:
        store = self.open_store()
        _require(store.capabilities.holds_pending, "the store keeps no order under way")
        store.unstage(deadline=soon())
        store.stage(_pending(make_bundle()), deadline=soon())
        for _ in range(2):
            self.open_store().unstage(deadline=soon())
            assert self.open_store().staged(deadline=soon()) is None

    # --- helpers -----------------------------------------------------------------------------------------------------

    def assert_holds(self, bundle: Bundle) -> None:
        """The target holds exactly this bundle, for a new reader."""
        store = self.open_store()
        state = store.read(deadline=soon())
        assert isinstance(state, Present), state
        if state.certificate is None:
            assert state.metadata is not None
            assert state.metadata.sha256 == make_metadata(bundle).sha256
        else:
            chain = b"" if self.chain_is_secret else bundle.chain
            assert (state.certificate, state.chain) == (bundle.certificate, chain)
        if store.capabilities.returns_key:
            assert store.read_bundle(deadline=soon()) == bundle

    def _failure_of_publish(self, store: CertificateStore, bundle: Bundle) -> CiAcmeError | None:
        try:
            store.publish(bundle, make_metadata(bundle), deadline=soon())
        except CiAcmeError as error:
            return error
        return None


class _Reader(threading.Thread):
    """Reads all the time and notes whatever is not one whole bundle."""

    def __init__(self, store: CertificateStore) -> None:
        super().__init__(daemon=True)
        self.problems: list[str] = []
        self.seen = 0
        self._store = store
        self._stop_now = threading.Event()

    def run(self) -> None:
        while True:
            self._look()
            if self._stop_now.is_set():
                return

    def finish(self) -> None:
        """Read once more, and stop."""
        self._stop_now.set()
        self.join(60)

    def _look(self) -> None:
        state = self._store.read(deadline=soon())
        if not isinstance(state, Present) or state.metadata is None or state.lacks:
            self.problems.append(repr(state))
            return
        self.seen += 1
        if not self._store.capabilities.returns_key:
            return
        bundle = self._store.read_bundle(deadline=soon())
        if bundle is None or not belongs_together(bundle.key.reveal(), bundle.certificate):
            self.problems.append("a bundle that does not belong together")


def _require(condition: bool, otherwise: str) -> None:  # noqa: FBT001  # it is an assertion
    """Skip the test, visibly, where the store does not promise what it is about."""
    if not condition:
        raise SkipTest(otherwise)


def _needed(within: AbstractContextManager[None] | None, otherwise: str) -> AbstractContextManager[None]:
    if within is None:
        raise SkipTest(otherwise)
    return within


def _failure(kind: type[CiAcmeError], call: Callable[[], object]) -> CiAcmeError:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def _pending(bundle: Bundle) -> PendingOrder:
    return PendingOrder(
        spec_digest="0" * 64,
        authority="https://ca.example/directory",
        account="https://ca.example/account/1",
        order="https://ca.example/order/1",
        key=bundle.key,
    )
