"""What `read` makes of directories that something else has written, broken or half removed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.errors import StoreReadError
from ci_acme.ports import Absent, Present, Unusable
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.files import pem
from tests.stores.support import run_driver, soon, store_in

BUNDLE, OTHER = make_bundle("one.example"), make_bundle("other.example")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    store_in(tmp_path).publish(BUNDLE, make_metadata(BUNDLE), deadline=soon())
    return tmp_path / "test"


def read(target: Path, **settings: object) -> object:
    return store_in(target.parent, **settings).read(deadline=soon())


BROKEN: dict[str, Callable[[Path], object]] = {
    "privkey.pem is missing": lambda t: (t / "privkey.pem").unlink(),
    "privkey.pem is empty": lambda t: (t / "privkey.pem").write_bytes(b""),
    "privkey.pem is not the key of cert.pem": lambda t: change(t / "privkey.pem", OTHER.key.reveal()),
    "cert.pem is missing beside chain.pem, fullchain.pem, privkey.pem": lambda t: (t / "cert.pem").unlink(),
    "cert.pem holds no PEM certificate": lambda t: (t / "cert.pem").write_bytes(b"garbage \xff\x00"),
    "cert.pem has more than 1048576 bytes": lambda t: (t / "cert.pem").write_bytes(b"x" * 2_000_000),
    "cert.pem is not a regular file": lambda t: replace_by_fifo(t / "cert.pem"),
    "fullchain.pem does not begin with cert.pem": lambda t: (t / "cert.pem").write_bytes(OTHER.certificate),
    "fullchain.pem is not cert.pem followed by chain.pem": lambda t: (t / "chain.pem").write_bytes(OTHER.certificate),
}


def change(path: Path, data: bytes) -> None:
    """As somebody does later: clocks of file systems have ticks."""
    path.write_bytes(data)
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.skipif(sys.platform == "win32", reason="fifos")
@pytest.mark.parametrize("reason", BROKEN)
def test_what_is_unusable_has_a_reason_and_is_replaced(target: Path, reason: str) -> None:
    BROKEN[reason](target)
    assert read(target) == Unusable(reason)
    store_in(target.parent).publish(OTHER, make_metadata(OTHER), deadline=soon())
    assert isinstance(read(target), Present)


@pytest.mark.parametrize("data", [b"garbage", BUNDLE.key.reveal()[:150], BUNDLE.certificate])
def test_what_is_no_whole_key_is_unusable(target: Path, data: bytes) -> None:
    change(target / "privkey.pem", data)
    assert read(target) == Unusable("privkey.pem is not the key of cert.pem")


def test_a_key_that_was_only_written_anew_is_the_key(target: Path) -> None:
    key = load_pem_private_key(BUNDLE.key.reveal(), None)
    other_form = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    change(
        target / "privkey.pem",
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + other_form,
    )
    assert isinstance(read(target), Present)


def test_a_bundle_that_is_damaged_is_lacking(tmp_path: Path) -> None:
    store_in(tmp_path, formats=["pem", "pkcs12"]).publish(BUNDLE, make_metadata(BUNDLE), deadline=soon())
    target = tmp_path / "test"
    assert isinstance(state := read(target, formats=["pem", "pkcs12"]), Present)
    assert state.lacks is None
    change(target / "bundle.p12", (target / "bundle.p12").read_bytes()[:-1])
    assert isinstance(state := read(target, formats=["pem", "pkcs12"]), Present)
    assert state.lacks == "bundle.p12 damaged"


def test_a_chain_that_nothing_has_is_unusable(target: Path) -> None:
    (target / "chain.pem").unlink()
    (target / "fullchain.pem").unlink()
    assert read(target) == Unusable("chain.pem and fullchain.pem are missing")


@pytest.mark.parametrize("name", ["chain.pem", "fullchain.pem"])
def test_what_can_be_derived_is_lacking_only(target: Path, name: str) -> None:
    (target / name).unlink()
    state = read(target)
    assert isinstance(state, Present)
    assert state.lacks == f"{name} missing"
    bundle = store_in(target.parent).read_bundle(deadline=soon())
    assert bundle is not None
    assert pem.same_text(bundle.fullchain, BUNDLE.fullchain)
    store_in(target.parent).publish(bundle, make_metadata(BUNDLE), deadline=soon())
    assert isinstance(again := read(target), Present)
    assert again.lacks is None


def test_a_format_that_was_added_is_lacking(target: Path) -> None:
    state = read(target, formats=["pem", "pkcs12"])
    assert isinstance(state, Present)
    assert state.lacks == "bundle.p12 missing"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"schema": "other"}', b"[" * 100_000, b"\xff"])
def test_metadata_that_cannot_be_read_is_none(target: Path, text: bytes) -> None:
    (target / "metadata.json").write_bytes(text)
    state = read(target)
    assert isinstance(state, Present)
    assert state.metadata is None


def test_metadata_of_another_certificate_is_none(target: Path) -> None:
    import json

    (target / "metadata.json").write_text(json.dumps(make_metadata(OTHER).to_json()))
    state = read(target)
    assert isinstance(state, Present)
    assert state.metadata is None


def test_a_directory_without_anything_of_ours_is_absent(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    assert read(tmp_path / "test") == Absent()
    (tmp_path / "test" / "README").write_text("here be certificates")
    assert read(tmp_path / "test") == Absent()


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks")
def test_files_behind_symlinks_are_read_through_them(target: Path, tmp_path: Path) -> None:
    """The layout that other clients leave: a directory of links."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for path in list(target.iterdir()):
        path.rename(archive / path.name)
        path.symlink_to(archive / path.name)
    assert isinstance(read(target), Present)
    store_in(tmp_path).publish(OTHER, make_metadata(OTHER), deadline=soon())
    assert not (target / "privkey.pem").is_symlink()
    assert (archive / "cert.pem").read_bytes() == BUNDLE.certificate


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks")
def test_a_loop_of_links_is_an_error_with_a_fix(target: Path) -> None:
    (target / "cert.pem").unlink()
    (target / "cert.pem").symlink_to("cert.pem")
    with pytest.raises(StoreReadError, match="symbolic links") as caught:
        read(target)
    assert "symbolic link" in caught.value.fix


@pytest.mark.skipif(sys.platform == "win32", reason="users and modes")
def test_an_unprivileged_user_is_told_what_is_missing(tmp_path: Path) -> None:
    assert run_driver("unprivileged_driver", str(tmp_path)).stdout == "done\n"


def test_the_key_is_not_read_unless_it_was_changed(target: Path) -> None:
    opened: list[str] = []
    hook = opened.append
    sys.addaudithook(lambda event, args: hook(str(args[0])) if event == "open" and hook else None)
    assert isinstance(read(target), Present)
    found = list(opened)
    hook = None
    assert any("cert.pem" in path for path in found)
    assert not any("privkey" in path for path in found)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_pem_never_fails(before: bytes, inside: bytes) -> None:
    text = before + b"-----BEGIN CERTIFICATE-----\n" + inside + b"\n-----END CERTIFICATE-----\n"
    assert pem.fingerprint(text) is None or len(pem.fingerprint(text) or "") == 64
    assert pem.certificate_der(before + BUNDLE.certificate) == pem.certificate_der(BUNDLE.certificate)
