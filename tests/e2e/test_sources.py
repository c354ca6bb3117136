"""Several CAs for one certificate: the next serves when the one before is down or out of quota, and never otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_acme.sandbox import SandboxCa
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store
from tests.servers.bind import OTHER_KEY, Bind

pytestmark = pytest.mark.servers
NAMES = [f"www.{ZONE}"]


class TwoCas(Lab):
    """Sandbox CAs `first` and `second`, in this order."""

    first: SandboxCa
    second: SandboxCa


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[TwoCas]:
    for name in ("bind", "one", "two", "work"):
        (tmp_path / name).mkdir()
    with (
        Bind(tmp_path / "bind", {ZONE: []}) as bind,
        SandboxCa(dns_server=bind.address, directory=tmp_path / "one") as first,
        SandboxCa(dns_server=bind.address, directory=tmp_path / "two") as second,
    ):
        lab = TwoCas(tmp_path / "work", first, bind)  # type: ignore[arg-type] - what `Lab` reads of a CA is the same
        lab.first, lab.second = first, second
        lab.config["authorities"] = {
            name: {"directory": ca.directory_url, "agree_terms": True, "ca_bundle": str(ca.ca_bundle)}
            for name, ca in (("first", first), ("second", second))
        }
        lab.web["authority"] = ["first", "second"]
        yield lab


def out_of_order(ca: SandboxCa, kind: str) -> None:
    ca.faults.unavailable(kind, times=None)


def out_of_quota(ca: SandboxCa, kind: str) -> None:
    ca.faults.rate_limit(kind, times=None, retry_after=7200)


def dead(ca: SandboxCa, kind: str) -> None:
    ca.faults.cut_before(kind, times=None)


def silent(ca: SandboxCa, kind: str) -> None:
    ca.faults.hang(kind, times=None)


@pytest.mark.parametrize("kind", ["newOrder", "finalize", "certificate"])
@pytest.mark.parametrize("trouble", [out_of_order, out_of_quota, dead])
def test_the_next_ca_serves(lab: TwoCas, kind: str, trouble: Callable[[SandboxCa, str], None]) -> None:
    trouble(lab.first, kind)
    ran = lab.issue("--timeout", "20")
    assert ran.status == 0, ran.stderr
    result = ran.certificate
    assert result["action"] == "issued"
    assert result["authority"] == "second"
    assert "first" in result["reason"]
    assert any("first" in warning for warning in result["warnings"])
    assert result["requests"]["acme"] > 8
    check_store(lab.store, NAMES)
    assert json.loads((lab.store / "metadata.json").read_text())["authority"] == lab.second.directory_url
    assert lab.second.log.counts([201])["newOrder"] == 1
    assert lab.bind.leftovers() == []


@pytest.mark.parametrize("kind", ["directory", "newAccount"])
def test_a_ca_that_is_down_from_the_start(lab: TwoCas, kind: str) -> None:
    silent(lab.first, kind)
    ran = lab.issue("--timeout", "12")
    assert ran.status == 0, ran.stderr
    assert ran.certificate["authority"] == "second"


def test_what_a_fallback_issued_is_kept_and_the_first_ca_is_asked_when_it_is_due(lab: TwoCas) -> None:
    out_of_quota(lab.first, "newOrder")
    assert lab.issue().status == 0
    lab.first.faults.clear()
    before = len(lab.first.log.entries)
    kept = lab.issue().certificate
    assert (kept["action"], kept["authority"]) == ("kept", "second")
    assert len(lab.first.log.entries) == before
    renewed = lab.issue("--force").certificate
    assert (renewed["action"], renewed["authority"]) == ("renewed", "first")
    assert json.loads((lab.store / "metadata.json").read_text())["authority"] == lab.first.directory_url
    assert lab.issue().certificate["authority"] == "first"


def test_both_out_of_quota_is_exit_8_and_names_both(lab: TwoCas) -> None:
    out_of_quota(lab.first, "newOrder")
    out_of_quota(lab.second, "newOrder")
    ran = lab.issue()
    assert ran.status == 8
    error = ran.certificate["error"]
    assert error["details"]["retry_at"]
    (other,) = error["details"]["fallbacks"]
    assert (other["authority"], other["code"]) == ("second", "ca.rate_limited")
    assert f"127.0.0.1:{lab.second.port}" in error["fix"]


@pytest.mark.parametrize("what", ["profile", "names"])
def test_a_refusal_does_not_switch(lab: TwoCas, what: str) -> None:
    if what == "profile":
        lab.first.faults.refuse_profiles = True
        lab.web["profile"] = "shortlived"
    else:
        lab.web["names"] = [f"www.{ZONE}", "www.elsewhere.test"]
    ran = lab.issue()
    assert ran.status in {4, 5}
    assert lab.second.log.entries == []


def test_a_failed_challenge_does_not_switch(lab: TwoCas, tmp_path: Path) -> None:
    (tmp_path / "three").mkdir()
    with SandboxCa(dns_server="127.0.0.1:1", directory=tmp_path / "three") as blind:
        lab.config["authorities"]["first"].update(directory=blind.directory_url, ca_bundle=str(blind.ca_bundle))
        ran = lab.issue("--timeout", "30")
    assert ran.status == 4
    assert ran.certificate["error"]["code"] == "dns.challenge"
    assert lab.second.log.entries == []


def test_a_fallback_without_what_it_needs_is_not_tried(lab: TwoCas, tmp_path: Path) -> None:
    (tmp_path / "three").mkdir()
    with SandboxCa(dns_server=lab.bind.address, directory=tmp_path / "three", external_account_required=True) as bound:
        lab.config["authorities"]["second"].update(directory=bound.directory_url, ca_bundle=str(bound.ca_bundle))
        out_of_quota(lab.first, "newOrder")
        ran = lab.issue()
    assert ran.status == 8
    assert "external" in json.dumps(ran.certificate["error"]["details"]["fallbacks"])
    assert bound.log.counts()["newOrder"] == 0


def test_a_fallback_that_lacks_the_profile_is_not_tried(lab: TwoCas) -> None:
    lab.config["authorities"]["second"]["profile"] = "unheard-of"
    out_of_quota(lab.first, "newOrder")
    ran = lab.issue()
    assert ran.status == 8
    assert "unheard-of" in json.dumps(ran.certificate["error"])
    assert lab.second.log.counts()["newOrder"] == 0


def test_what_a_fallback_issued_and_no_store_took_is_delivered_without_an_order(lab: TwoCas) -> None:
    out_of_quota(lab.first, "newOrder")
    out_of_order(lab.second, "certificate")
    assert lab.issue("--timeout", "20").status == 8
    assert lab.second.log.counts([201])["newOrder"] == 1
    lab.first.faults.clear()
    lab.second.faults.clear()
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert ran.certificate["authority"] == "second"
    assert lab.second.log.counts([201])["newOrder"] == 1
    assert lab.first.log.counts([201])["newOrder"] == 0
    check_store(lab.store, NAMES)


@pytest.fixture
def apart(make_lab: MakeLab, tmp_path: Path) -> Iterator[Lab]:
    """Two CAs that CAA records tell apart: the sandbox and Pebble; `ca` is the sandbox."""
    lab = make_lab()
    (tmp_path / "sandbox").mkdir()
    with SandboxCa(dns_server=lab.bind.address, directory=tmp_path / "sandbox") as ca:
        section = {"directory": ca.directory_url, "agree_terms": True, "ca_bundle": str(ca.ca_bundle)}
        lab.config["authorities"]["sandbox"] = section
        lab.ca = ca  # type: ignore[attr-defined]
        yield lab


def permit_only(lab: Lab, issuer: str) -> None:
    lab.bind.update(ZONE, add=[f'@ 60 CAA 0 issue "{issuer}"'], key=OTHER_KEY)


def test_caa_does_not_switch(apart: Lab) -> None:
    permit_only(apart, "ci-acme-sandbox.invalid")
    apart.web["authority"] = ["pebble", "sandbox"]
    ran = apart.issue()
    assert ran.status == 5
    assert ran.certificate["error"]["code"] == "ca.caa"
    assert apart.ca.log.entries == []  # type: ignore[attr-defined]
    assert apart.orders() == 0


def test_a_fallback_that_caa_forbids_is_passed_over_before_it_hears_of_us(apart: Lab) -> None:
    """What is told is when the first CA will work again, and not how to let in another one."""
    permit_only(apart, "ci-acme-sandbox.invalid")
    apart.web["authority"] = ["sandbox", "pebble"]
    out_of_quota(apart.ca, "newOrder")  # type: ignore[attr-defined]
    ran = apart.issue()
    assert ran.status == 8, ran.stderr
    error = ran.certificate["error"]
    assert error["details"]["retry_at"]
    (other,) = error["details"]["fallbacks"]
    assert other["authority"] == "pebble"
    assert f'{ZONE} CAA 0 issue "ci-acme-sandbox.invalid" does not permit' in other["message"]
    assert apart.pebble.request_counts()["/sign-me-up"] == 0
    assert apart.orders() == 0
