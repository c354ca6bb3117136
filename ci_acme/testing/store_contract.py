"""The contract suite of stores: what `ports.CertificateStore` promises, as tests.

In the tests of a store, with pytest:

    class TestMyStore(StoreContract):
        def open_store(self) -> CertificateStore: ...           # a new object for the same, initially absent target
        def failing_writes(self) -> AbstractContextManager: ...  # the store cannot be written meanwhile
        def put_beside(self, name, data) / beside(self, name): ...  # optional: a user's own data in the target

Each test has a target of its own, so `open_store` takes it from a fixture of the test.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from unittest import SkipTest

from ci_acme.clock import SystemClock
from ci_acme.errors import CiAcmeError, DeliveryError
from ci_acme.model.material import Bundle
from ci_acme.model.records import PendingOrder, RenewalMemory
from ci_acme.ports import Absent, CertificateStore, Deadline, Present
from ci_acme.testing.material import belongs_together, make_bundle, make_metadata


def soon(seconds: float = 60.0) -> Deadline:
    """A deadline on the real clock."""
    return Deadline(SystemClock(), seconds)


class StoreContract:
    """Subclass it for a store; every test method must pass."""

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
        assert (state.certificate, state.chain) == (bundle.certificate, bundle.chain)
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


def _pending(bundle: Bundle) -> PendingOrder:
    return PendingOrder(
        spec_digest="0" * 64,
        authority="https://ca.example/directory",
        account="https://ca.example/account/1",
        order="https://ca.example/order/1",
        key=bundle.key,
    )
