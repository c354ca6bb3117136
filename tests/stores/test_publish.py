"""What publishing leaves on the disk: names, modes, owners, users' files, symlinks."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from ci_acme.errors import CiAcmeError, ConfigError, DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.records import PendingOrder
from ci_acme.ports import Absent, Present
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.files.slot import Slot
from tests.stores.support import PEM_FILES, bundle_by_handle, hidden, soon, store_in, visible

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes, owners and symlinks")

BUNDLE = make_bundle("one.example")
OTHER = make_bundle("other.example")
ORDER = PendingOrder("0" * 64, "https://ca.example/d", "https://ca.example/a", "https://ca.example/o", BUNDLE.key)


def publish(directory: Path, bundle: object = BUNDLE, **settings: object) -> None:
    store_in(directory, **settings).publish(bundle, make_metadata(bundle), deadline=soon())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> object:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    publish(tmp_path, formats=["pem", "pkcs12"])
    target = tmp_path / "test"
    assert {path.name for path in target.iterdir()} == PEM_FILES | {"bundle.p12"}
    private = {"privkey.pem", "bundle.p12"}
    assert {path.name: mode(path) for path in target.iterdir()} == {
        name: 0o600 if name in private else 0o644 for name in PEM_FILES | private
    }
    assert mode(target) == 0o755
    assert visible(tmp_path) == ["test"]


def test_what_is_staged_is_private(tmp_path: Path, umask: int) -> None:
    store_in(tmp_path).stage(ORDER, deadline=soon())
    pending = tmp_path / ".test.pending"
    assert mode(pending) == 0o700
    assert {mode(path) for path in pending.iterdir()} == {0o600}


def test_no_file_of_ours_is_ever_wider_than_it_ends(tmp_path: Path) -> None:
    """At every call that a run makes, whatever exists already has no more bits than in the end."""
    os.umask(os.umask(0))
    seen: set[tuple[str, int]] = set()

    def look(frame: object, event: str, function: object) -> None:
        if event == "c_return" and getattr(function, "__module__", None) == "posix":
            sys.setprofile(None)
            for folder, _, names in os.walk(tmp_path):
                seen.update((name, mode(Path(folder) / name)) for name in names)
            sys.setprofile(look)

    before = os.umask(0)
    sys.setprofile(look)
    try:
        store_in(tmp_path).stage(ORDER, deadline=soon())
        publish(tmp_path)
    finally:
        sys.setprofile(None)
        os.umask(before)
    keys = {bits for name, bits in seen if name == "privkey.pem"}
    assert keys == {0o600}


@pytest.mark.parametrize("bits", [0o700, 0o750, 0o2750, 0o711])
def test_the_directory_keeps_an_operators_mode(tmp_path: Path, bits: int) -> None:
    publish(tmp_path)
    (tmp_path / "test").chmod(bits)
    publish(tmp_path, OTHER)
    assert mode(tmp_path / "test") == bits


@pytest.mark.parametrize(("before", "after"), [(0o640, 0o640), (0o440, 0o640), (0o644, 0o600), (0o666, 0o600)])
def test_a_key_stays_readable_for_its_group_only_if_that_was_meant(tmp_path: Path, before: int, after: int) -> None:
    publish(tmp_path)
    (tmp_path / "test" / "privkey.pem").chmod(before)
    publish(tmp_path, OTHER)
    assert mode(tmp_path / "test" / "privkey.pem") == after


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_owners_are_kept(tmp_path: Path) -> None:
    publish(tmp_path)
    target = tmp_path / "test"
    os.chown(target, 1234, 2345)
    os.chown(target / "privkey.pem", 1234, 3456)
    publish(tmp_path, OTHER)
    assert owner(target) == (1234, 2345)
    assert owner(target / "privkey.pem") == (1234, 3456)
    os.chown(target / "privkey.pem", 0, 0)
    (target / "chain.pem").unlink()
    publish(tmp_path, BUNDLE)
    assert owner(target / "chain.pem") == (1234, 2345)


def owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


def test_users_files_of_every_kind_survive(tmp_path: Path) -> None:
    target = tmp_path / "test"
    target.mkdir()
    (target / "dhparam.pem").write_text("mine")
    (target / "link").symlink_to("dhparam.pem")
    (target / "dangling").symlink_to("/nowhere")
    (target / "hooks").mkdir()
    (target / "hooks" / "reload").write_text("too")
    os.mkfifo(target / "fifo")
    inode = (target / "dhparam.pem").stat().st_ino
    for bundle in (BUNDLE, OTHER):
        publish(tmp_path, bundle)
        assert bundle_by_handle(target) == bundle
        assert {path.name for path in target.iterdir()} - PEM_FILES == {
            "dhparam.pem",
            "link",
            "dangling",
            "hooks",
            "fifo",
        }
    assert (target / "dhparam.pem").stat().st_ino == inode
    assert (target / "link").readlink() == Path("dhparam.pem")
    assert (target / "hooks" / "reload").read_text() == "too"
    assert visible(tmp_path) == ["test"]


def test_a_format_that_is_not_asked_for_any_more_goes(tmp_path: Path) -> None:
    publish(tmp_path, formats=["pem", "pkcs12"])
    publish(tmp_path, OTHER)
    assert not (tmp_path / "test" / "bundle.p12").exists()


def test_a_symlinked_target_is_used_through_the_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "real"
    elsewhere.mkdir(parents=True)
    certs = tmp_path / "certs"
    certs.mkdir()
    (certs / "test").symlink_to(elsewhere)
    for bundle in (BUNDLE, OTHER):
        store_in(certs).stage(ORDER, deadline=soon())
        publish(certs, bundle)
        assert isinstance(store_in(certs).read(deadline=soon()), Present)
        assert store_in(certs).staged(deadline=soon()) == ORDER
        store_in(certs).unstage(deadline=soon())
    assert (certs / "test").is_symlink()
    assert bundle_by_handle(elsewhere) == OTHER
    assert visible(certs) == ["test"]
    assert visible(elsewhere.parent) == ["real"]


def test_no_planted_symlink_is_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("room", "order.json", "privkey.pem", "keep"):
        (victim / name).write_text("theirs")
    certs = tmp_path / "certs"
    certs.mkdir()
    for planted in (".test.pending", ".test.new-0123456789abcdef", ".test.pending-old-0123456789abcdef"):
        (certs / planted).symlink_to(victim)
    store = store_in(certs)
    assert store.staged(deadline=soon()) is None
    publish(certs)
    store.stage(ORDER, deadline=soon())
    assert store.staged(deadline=soon()) == ORDER
    store.unstage(deadline=soon())
    assert visible(certs) == ["test"]
    assert {path.name: path.read_text() for path in victim.iterdir()} == dict.fromkeys(
        ("room", "order.json", "privkey.pem", "keep"), "theirs"
    )


def test_a_planted_lock_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".test.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(DeliveryError, match=r"\.test\.lock") as caught:
        publish(tmp_path)
    assert "symbolic link" in caught.value.fix
    assert not (tmp_path / "victim").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes files of others")
def test_an_order_that_another_user_planted_is_not_believed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.stage(ORDER, deadline=soon())
    os.chown(tmp_path / ".test.pending", 1234, 1234)
    assert store.staged(deadline=soon()) is None


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", ".hidden"])
def test_a_name_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        store_in(tmp_path, name)


def test_a_name_that_looks_like_a_temporary_one_is_left_alone(tmp_path: Path) -> None:
    near = [".test.new-123", ".test.new-0123456789ABCDEF", ".testing.new-0123456789abcdef", "test.new-0123456789abcdef"]
    for name in near:
        (tmp_path / name).mkdir()
    publish(tmp_path)
    assert visible(tmp_path) == sorted([*near, "test"])


def test_a_probe_leaves_nothing_and_makes_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    store_in(directory).probe(deadline=soon())
    assert visible(directory) == []
    publish(directory)
    store_in(directory).probe(deadline=soon())
    assert visible(directory) == ["test"]
    assert {path.name for path in (directory / "test").iterdir()} == PEM_FILES


@pytest.mark.parametrize("where", ["certs", "certs/test", "parent"])
def test_a_file_in_the_way_is_said_and_left(tmp_path: Path, where: str) -> None:
    directory = tmp_path / "parent" / "certs" if where == "parent" else tmp_path / "certs"
    obstacle = tmp_path / where
    obstacle.parent.mkdir(exist_ok=True)
    obstacle.write_text("mine")
    store = store_in(directory)
    acts = {
        StoreNotWritable: lambda: store.probe(deadline=soon()),
        DeliveryError: lambda: publish(directory),
        StoreReadError: lambda: store.read(deadline=soon()),
    }
    for kind, act in acts.items():
        with pytest.raises(CiAcmeError) as caught:
            act()
        assert type(caught.value) is kind
        assert str(directory) in caught.value.message
        assert "file" in caught.value.fix
    assert obstacle.read_text() == "mine"
    assert store.staged(deadline=soon()) is None


def test_annotating_another_certificate_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    with pytest.raises(DeliveryError, match="another certificate"):
        store_in(tmp_path).annotate(make_metadata(OTHER), deadline=soon())
    with pytest.raises(DeliveryError):
        store_in(tmp_path / "nothing").annotate(make_metadata(OTHER), deadline=soon())
    assert bundle_by_handle(tmp_path / "test") == BUNDLE
    assert not hidden(tmp_path)


def test_a_relative_directory_is_shown_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = store_in(Path("certs"))
    assert store.target == "certs/test"
    assert store.read(deadline=soon()) == Absent()
    publish(Path("certs"))
    assert bundle_by_handle(tmp_path / "certs" / "test") == BUNDLE


def test_a_rehearsal_changes_nothing_even_where_it_succeeds(tmp_path: Path) -> None:
    """An empty directory stands for a file system that renames onto full ones."""
    publish(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    Slot(tmp_path / "test", ".test.", None).rehearse(empty)
    assert bundle_by_handle(tmp_path / "test") == BUNDLE
    assert visible(tmp_path) == ["test"]
