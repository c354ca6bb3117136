"""Nothing secret leaves its place: no key, no TSIG secret, in whatever is printed or written, whatever goes wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import Lab, Ran
from tests.servers.bind import OTHER_SECRET, SECRET

pytestmark = pytest.mark.servers
_OURS = {"privkey.pem", "account.pem", "bundle.p12", "ci-acme.yaml"}
"""Where keys belong, and the config that the test itself writes."""


def forms(pem: bytes) -> Iterator[bytes]:
    """A private key as it could be written: lines of its PEM, its DER, its scalar in hex and as a number."""
    yield from (line for line in pem.splitlines() if len(line) > 30 and b"-----" not in line)
    key = load_pem_private_key(pem, None)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    yield der
    yield base64.urlsafe_b64encode(der).rstrip(b"=")
    numbers = key.private_numbers()  # type: ignore[union-attr]
    secret = numbers.private_value if hasattr(numbers, "private_value") else numbers.d  # type: ignore[union-attr]
    yield f"{secret:x}".encode()
    yield str(secret).encode()
    yield base64.urlsafe_b64encode(secret.to_bytes((secret.bit_length() + 7) // 8, "big")).rstrip(b"=")


def keys(lab: Lab) -> list[bytes]:
    """The private keys that there are: of the account, of the certificate, of an order under way."""
    found = [path.read_bytes() for path in lab.directory.rglob("*.pem") if "key" in path.name or "account" in path.name]
    for path in lab.directory.rglob("order.json"):
        found.append(json.loads(path.read_text())["key"].encode())
    return found


def places(lab: Lab) -> Iterator[tuple[str, bytes]]:
    """Every file of the run that is no place for a key."""
    for path in lab.directory.rglob("*"):
        if path.is_file() and path.name not in _OURS and "pending" not in str(path):
            yield str(path), path.read_bytes()


def look(lab: Lab, ran: Ran, temporary: Path) -> None:
    secrets = {form for pem in keys(lab) for form in forms(pem)} | {SECRET.encode(), OTHER_SECRET.encode()}
    assert len(secrets) > 8, "there is something to find"
    texts = [("stdout", ran.stdout.encode()), ("stderr", ran.stderr.encode()), *places(lab)]
    texts += [(str(path), path.read_bytes()) for path in temporary.rglob("*") if path.is_file()]
    for place, text in texts:
        assert [secret for secret in secrets if secret in text] == [], place


def nothing(lab: Lab) -> None:
    del lab


def wrong_tsig(lab: Lab) -> None:
    lab.config["dns"][0]["tsig_secret"] = "env:OTHER_SECRET"


def broken_tsig(lab: Lab) -> None:
    lab.variables["TSIG_SECRET"] = SECRET + "!"


def dead_dns(lab: Lab) -> None:
    lab.config["dns"][0].update(server="127.0.0.1:9", propagation_timeout=1)
    lab.config["resolver"]["nameservers"] = ["127.0.0.1:9"]


def a_key_for_a_key(lab: Lab) -> None:
    """The certificate's key where the account's belongs: refused, and not shown."""
    lab.config["authorities"]["pebble"]["account_key"] = f"file:{lab.store}/privkey.pem"


def a_secret_where_none_belongs(lab: Lab) -> None:
    lab.config["dns"][0]["tsig_secret"] = SECRET
    lab.config["authorities"]["pebble"]["account_key"] = SECRET


def a_store_that_is_a_file(lab: Lab) -> None:
    lab.web["stores"].append({"provider": "file", "directory": "blocked"})
    (lab.directory / "blocked").write_text("in the way")


def pkcs12(lab: Lab) -> None:
    lab.web["stores"][0].update(formats=["pem", "pkcs12"])


@pytest.mark.parametrize(
    "fault",
    [
        nothing,
        wrong_tsig,
        broken_tsig,
        dead_dns,
        a_key_for_a_key,
        a_secret_where_none_belongs,
        a_store_that_is_a_file,
        pkcs12,
    ],
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_said_or_written(
    make_lab: MakeLab, tmp_path: Path, fault: Callable[[Lab], None], form: str
) -> None:
    lab = make_lab()
    lab.config["state_key"] = "env:STATE_KEY"
    lab.variables["STATE_KEY"] = "a-passphrase-of-the-state-that-nobody-shall-see"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    lab.variables["TMPDIR"] = str(temporary)
    assert lab.issue().status == 0
    fault(lab)
    lab.web["names"] = [f"other.{lab.web['names'][0].partition('.')[2]}"]
    ran = lab.run("issue", "--log-level", "debug", "--log-format", form, "--output", "json")
    look(lab, ran, temporary)
    for command in (["check"], ["plan"], ["inventory"], ["config", "show"], ["permissions", "--offline"], ["retire"]):
        ran = lab.run(*command, "--log-level", "debug")
        look(lab, ran, temporary)
        assert lab.variables["STATE_KEY"] not in ran.stdout + ran.stderr
