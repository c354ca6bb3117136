"""What stands in a generation, and how it is written, read back and judged."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from ci_acme.model.keypair import is_key_of, is_whole
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.secret import Secret
from ci_acme.ports import Absent, Present, StoreState, Unusable
from ci_acme.storing import metadata_of
from ci_acme_providers.files import pem
from ci_acme_providers.files.disk import (
    Access,
    NotAFile,
    Snapshot,
    access_of,
    create_file,
    grant,
    snapshot,
    sync_directory,
)

KEY: Final = "privkey.pem"
CERTIFICATE: Final = "cert.pem"
CHAIN: Final = "chain.pem"
FULLCHAIN: Final = "fullchain.pem"
METADATA: Final = "metadata.json"
PKCS12: Final = "bundle.p12"
OURS: Final = frozenset({KEY, CERTIFICATE, CHAIN, FULLCHAIN, METADATA, PKCS12})
PRIVATE: Final = frozenset({KEY, PKCS12})

DIRECTORY_MODE: Final = 0o755
"""Of a new target: what is public in it may be read by the services that need it; the key guards itself."""

_GROUP_READABLE: Final = (0o640, 0o440)


def write_generation(path: Path, files: Mapping[str, bytes], old: Path) -> None:
    """Fill the new, private directory `path` durably, as the successor of `old`, if that exists.

    Takes over the old one's owner, mode and extended attributes, the owners of its files, and (as hard links or
    copies of symlinks) the files that a user put there.
    """
    predecessor = access_of(old)
    for name, data in files.items():
        create_file(path / name, data, _file_access(old / name, predecessor, private=name in PRIVATE))
    if predecessor is not None:
        _carry_over(old, path)
        _copy_attributes(old, path)
    _open_up(path, predecessor)
    sync_directory(path)


def verify(path: Path, files: Mapping[str, bytes]) -> None:
    """Read everything back. Raises `OSError` if a file is not what was written."""
    with snapshot(path) as generation:
        for name, data in files.items():
            if generation.read(name) != data:
                raise OSError(0, "what was read back is not what was written", str(path / name))


def metadata_text(metadata: Metadata) -> bytes:
    """The bytes of metadata.json."""
    return json.dumps(metadata.to_json(), indent=2).encode() + b"\n"


def judge(generation: Snapshot, *, pkcs12: bool) -> StoreState:
    """What a generation holds. What is private is read only if it was changed since, by who may read it.

    Raises `OSError`.
    """
    try:
        return _judge(generation, pkcs12=pkcs12)
    except NotAFile as error:
        return Unusable(str(error))


def _judge(generation: Snapshot, *, pkcs12: bool) -> StoreState:
    certificate = generation.read(CERTIFICATE)
    sizes = {name: generation.size(name) for name in (KEY, PKCS12, FULLCHAIN, CHAIN)}
    if certificate is None:
        there = sorted(name for name, size in sizes.items() if size is not None)
        return Unusable(f"{CERTIFICATE} is missing beside {', '.join(there)}") if there else Absent()
    sha256, der = pem.fingerprint(certificate), pem.certificate_der(certificate)
    if sha256 is None or der is None:
        return Unusable(f"{CERTIFICATE} holds no PEM certificate")
    if not sizes[KEY]:
        return Unusable(f"{KEY} is {'missing' if sizes[KEY] is None else 'empty'}")
    key = _if_changed(generation, KEY)
    if key is not None and not is_key_of(key, der):
        return Unusable(f"{KEY} is not the key of {CERTIFICATE}")
    chain = chain_of(generation, certificate)
    if isinstance(chain, str):
        return Unusable(chain)
    expected = (FULLCHAIN, CHAIN, PKCS12) if pkcs12 else (FULLCHAIN, CHAIN)
    missing = [name for name in expected if sizes[name] is None]
    lacks = f"{', '.join(missing)} missing" if missing else None
    bundle = _if_changed(generation, PKCS12) if pkcs12 else None
    if bundle is not None and not is_whole(bundle):
        lacks = f"{PKCS12} damaged"
    return Present(certificate, chain, _metadata(generation, sha256), sha256, lacks)


def _if_changed(generation: Snapshot, name: str) -> bytes | None:
    """What a private file holds if it was written after the certificate, which we write later; None if it was not.

    None too if it may not be read, as by who only looks. Raises `OSError`.
    """
    if generation.modified(name) <= generation.modified(CERTIFICATE):
        return None
    try:
        return generation.read(name)
    except PermissionError:
        return None


def chain_of(generation: Snapshot, certificate: bytes) -> bytes | str:
    """The certificates above the leaf, from whichever file has them; a reason as text if that cannot be known."""
    chain, fullchain = generation.read(CHAIN), generation.read(FULLCHAIN)
    if fullchain is None:
        return chain if chain is not None else f"{CHAIN} and {FULLCHAIN} are missing"
    rest = pem.after(fullchain, certificate)
    if rest is None:
        return f"{FULLCHAIN} does not begin with {CERTIFICATE}"
    if chain is not None and not pem.same_text(chain, rest):
        return f"{FULLCHAIN} is not {CERTIFICATE} followed by {CHAIN}"
    return rest if chain is None else chain


def load_bundle(generation: Snapshot) -> Bundle | None:
    """Key and chain of one generation; None if it has no usable ones. Raises `OSError`."""
    try:
        key, certificate = generation.read(KEY), generation.read(CERTIFICATE)
        if not key or certificate is None or pem.certificate_der(certificate) is None:
            return None
        chain = chain_of(generation, certificate)
    except NotAFile:
        return None
    return Bundle(Secret(key), certificate, chain) if isinstance(chain, bytes) else None


def _metadata(generation: Snapshot, sha256: str) -> Metadata | None:
    metadata = metadata_of(generation.read(METADATA))
    return metadata if metadata is not None and metadata.sha256 == sha256 else None


def _file_access(predecessor: Path, directory: Access | None, *, private: bool) -> Access:
    """Owner and group of the file before, else of the directory before; the mode is ours.

    A key is 0600. Only where an operator let its group read it and nobody else (0640, 0440) it stays 0640.
    """
    before = access_of(predecessor)
    heir = before or directory or Access(0)
    if not private:
        return Access(0o644, heir.uid, heir.gid)
    grouped = before is not None and before.mode in _GROUP_READABLE
    return Access(0o640 if grouped else 0o600, heir.uid, heir.gid)


def _carry_over(old: Path, new: Path) -> None:
    """Give the next generation a user's own files; what cannot be linked is moved when the old one is discarded."""
    for entry in old.iterdir():
        if entry.name in OURS:
            continue
        with suppress(OSError):
            if entry.is_symlink():
                (new / entry.name).symlink_to(entry.readlink())
            elif entry.is_file():
                (new / entry.name).hardlink_to(entry)


def _copy_attributes(old: Path, new: Path) -> None:
    """ACLs and labels, as far as the system has them and permits it."""
    if not hasattr(os, "listxattr"):
        return
    with suppress(OSError):
        for name in os.listxattr(old):
            with suppress(OSError):
                os.setxattr(new, name, os.getxattr(old, name))


def _open_up(path: Path, predecessor: Access | None) -> None:
    """The final mode of the directory: the last step, so that nobody else was inside before."""
    inherited = stat.S_IMODE(path.stat().st_mode) & stat.S_ISGID
    access = predecessor or Access(DIRECTORY_MODE | inherited)
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        grant(descriptor, path, access)
    finally:
        os.close(descriptor)


def is_ours(path: Path) -> bool:
    """Whether metadata of ci-acme stand in the directory, whatever certificate they are of."""
    try:
        return metadata_of((path / METADATA).read_bytes()) is not None
    except OSError:
        return False


def remove(path: Path) -> None:
    """Remove our files, the key first and the metadata, which say that it is ours, last; then an empty directory."""
    for name in sorted(OURS - {METADATA}, key=lambda name: name not in PRIVATE):
        (path / name).unlink(missing_ok=True)
    sync_directory(path)
    (path / METADATA).unlink(missing_ok=True)
    with suppress(OSError):  # a user's files are in it
        path.rmdir()
