"""The same few runs at every CA that can be had here: what is right at one of them must be right at all."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ci_acme.sandbox import SandboxCa
from tests.e2e.lab import ZONE, Lab, check_store
from tests.servers.a2c import Acme2Certifier
from tests.servers.bind import Bind
from tests.servers.pebble import Pebble
from tests.servers.step_ca import StepCa

pytestmark = pytest.mark.servers
KEY_ID, HMAC_KEY = "kid-1", base64.urlsafe_b64encode(b"0123456789abcdef0123456789abcdef").decode().rstrip("=")


@dataclass(frozen=True)
class Kind:
    """A CA: how it is started, with external accounts if so told, and what it offers."""

    start: Callable[[Path, str, bool], Any]
    renewal_info: bool = True
    external_accounts: bool = True
    key_change: bool = True
    times: bool = True


def start_pebble(directory: Path, dns: str, external: bool) -> Pebble:
    return Pebble(directory, dns_server=dns, eab={KEY_ID: HMAC_KEY} if external else None)


def start_sandbox(directory: Path, dns: str, external: bool) -> SandboxCa:
    key = base64.urlsafe_b64decode(HMAC_KEY + "=")
    accounts = {KEY_ID: key} if external else None
    return SandboxCa(
        dns_server=dns, directory=directory, external_accounts=accounts, external_account_required=external
    )


def start_acme2certifier(directory: Path, dns: str, external: bool) -> Acme2Certifier:
    return Acme2Certifier(directory, dns_server=dns, eab={KEY_ID: HMAC_KEY} if external else None)


KINDS = {
    "pebble": Kind(start_pebble),
    "sandbox": Kind(start_sandbox),
    "step-ca": Kind(
        lambda directory, dns, external: StepCa(directory, dns_server=dns),
        renewal_info=False,
        external_accounts=False,
        key_change=False,
    ),
    "acme2certifier": Kind(start_acme2certifier, times=False),
}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with Bind(tmp_path_factory.mktemp("bind"), {ZONE: []}) as bind:
        yield bind


@pytest.fixture(scope="module", params=sorted(KINDS))
def ca(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, names: Bind) -> Iterator[Any]:
    kind = KINDS[request.param]
    with kind.start(tmp_path_factory.mktemp("ca"), names.address, False) as server:
        server.kind = kind
        yield server


@pytest.fixture
def lab(ca: Any, names: Bind, tmp_path: Path) -> Lab:
    return Lab(tmp_path, ca, names)


@pytest.mark.parametrize(
    "wanted",
    [["one"], ["both", "*.both"], [f"n{number}.ten" for number in range(10)]],
    ids=["1", "wildcard", "10"],
)
def test_a_certificate_for(lab: Lab, wanted: list[str]) -> None:
    lab.web["names"] = [f"{name}.{ZONE}" for name in wanted]
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    check_store(lab.store, lab.web["names"])
    assert lab.bind.leftovers() == []


def test_times_that_are_asked_for_are_had_or_said(ca: Any, lab: Lab) -> None:
    lab.web.update(names=[f"times.{ZONE}"], not_before="-2h", lifetime="20h")
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    leaf = check_store(lab.store, lab.web["names"])
    early = datetime.now(timezone.utc) - leaf.not_valid_before_utc
    had = timedelta(hours=2) <= early < timedelta(hours=2, minutes=5)
    assert had is ca.kind.times
    assert had is not any("was asked for a certificate from" in warning for warning in ran.certificate["warnings"])
    assert lab.issue().certificate["action"] == "kept"


def test_a_kept_and_a_renewed_certificate(ca: Any, lab: Lab) -> None:
    lab.web["names"] = [f"renewed.{ZONE}"]
    assert lab.issue().status == 0
    first = check_store(lab.store, lab.web["names"])
    kept = lab.issue()
    assert (kept.status, kept.certificate["action"]) == (0, "kept"), kept.stdout
    assert kept.certificate["requests"]["acme"] == (1 if ca.kind.renewal_info else 0)
    renewed = lab.issue("--force")
    assert renewed.status == 0, renewed.stderr
    assert "ordered without naming" not in renewed.stderr or Pebble.misses_certid(first.serial_number)
    assert check_store(lab.store, lab.web["names"]).serial_number != first.serial_number


def test_the_life_of_an_account(ca: Any, lab: Lab) -> None:
    """What is asked for twice is success twice; a key that the CA does not change is said, and works on."""
    for arguments in (["register"], ["update"], ["update"], ["show"]):
        assert lab.run("account", *arguments).status == 0
    for _ in range(2):
        rotated = lab.run("account", "rotate-key")
        assert rotated.status == (0 if ca.kind.key_change else 5), rotated.stderr
        assert ca.kind.key_change or "nothing was changed" in rotated.stderr
    lab.web["names"] = [f"life.{ZONE}"]
    assert lab.issue(environ={"CI": "true"}).status == 0
    for _ in range(2):
        revoked = lab.run("revoke", "web", "--reason", "superseded")
        assert revoked.status == 0, revoked.stderr
    for _ in range(2):
        ended = lab.run("account", "deactivate", "--yes")
        assert ended.status == 0, ended.stderr
    assert "deactivated" in lab.run("account", "show").stdout
    refused = lab.issue("--force")
    assert refused.status == 2, refused.stdout
    assert refused.certificate["error"]["code"] == "config.account"


def test_a_refused_challenge_is_exit_4_with_what_the_ca_saw(
    request: pytest.FixtureRequest, ca: Any, names: Bind, tmp_path: Path
) -> None:
    """The CA asks another name server than we write to."""
    with (
        Bind(tmp_path / "stale", {ZONE: []}) as stale,
        ca.kind.start(tmp_path / "ca", stale.address, False) as misled,
    ):
        (tmp_path / "work").mkdir()
        lab = Lab(tmp_path / "work", misled, names)
        ran = lab.issue("--timeout", "40")
    assert ran.status == 4, ran.stderr
    assert ran.certificate["error"]["code"] == "dns.challenge"
    assert f"www.{ZONE}" in ran.certificate["error"]["message"]
    assert names.leftovers() == []


@pytest.mark.parametrize("kind", [name for name, kind in sorted(KINDS.items()) if kind.external_accounts])
def test_an_external_account(kind: str, names: Bind, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with KINDS[kind].start(tmp_path / "ca", names.address, True) as server:
        lab = Lab(tmp_path / "work", server, names)
        refused = lab.issue()
        assert refused.status == 2, refused.stderr
        assert "external_account" in refused.certificate["error"]["fix"]
        authority = lab.config["authorities"]["pebble"]
        authority["external_account"] = {"key_id": KEY_ID, "hmac_key": "env:HMAC_KEY"}
        ran = lab.issue(environ={"HMAC_KEY": HMAC_KEY})
        assert ran.status == 0, ran.stderr
        assert isinstance(check_store(lab.store, [f"www.{ZONE}"]), x509.Certificate)
