"""`expect`, `lifetime`, profiles, names limits: refused before an order where it is known, checked before storing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, SandboxLab, check_store

pytestmark = pytest.mark.servers
NAMES = [f"www.{ZONE}"]


@pytest.fixture
def lab(sandbox_lab: SandboxLab) -> SandboxLab:
    return sandbox_lab


def at_letsencrypt(lab: Lab, **certificate: Any) -> None:
    """Nothing in these tests may reach it."""
    lab.config["authorities"] = {"le": {"directory": "letsencrypt", "agree_terms": True}}
    lab.web.update(certificate)


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"expect": {"eku": ["serverAuth", "clientAuth"]}}, ["clientAuth", "2026-07-08", "private CA"]),
        ({"lifetime": "7d"}, ["lifetime", "shortlived"]),
        ({"not_before": "-1h"}, ["takes no not_before"]),
        ({"profile": "tlsserver", "names": [f"n{i}.{ZONE}" for i in range(26)]}, ["26 names", "25 at most", "classic"]),
        ({"expect": {"max_lifetime": "47d"}}, ["90 days", "47 days", "profile"]),
    ],
)
@pytest.mark.parametrize("command", ["plan", "issue"])
def test_what_a_ca_is_known_not_to_give_is_refused_without_a_request(
    lab: SandboxLab, command: str, certificate: dict[str, Any], words: list[str]
) -> None:
    at_letsencrypt(lab, **certificate)
    ran = lab.run(command, "--output", "json", environ={"HTTPS_PROXY": "http://127.0.0.1:1"})
    assert ran.status == 5
    result = ran.certificate
    assert result["action"] == "refused"
    assert result["error"]["code"] == "ca.order"
    said = result["error"]["message"] + result["error"]["fix"]
    assert all(word in said for word in words), said
    assert result["requests"]["acme"] == 0


def test_check_says_what_will_be_refused(lab: SandboxLab) -> None:
    lab.web["expect"] = {"eku": ["clientAuth"]}
    at_letsencrypt(lab)
    ran = lab.run("check", "--output", "json", environ={"HTTPS_PROXY": "http://127.0.0.1:1"})
    assert ran.status == 9
    assert "clientAuth" in ran.stdout


def test_a_certificate_that_is_not_as_expected_is_not_stored_nor_ordered_again(lab: SandboxLab) -> None:
    lab.web["expect"] = {"eku": ["serverAuth", "clientAuth"], "max_lifetime": "47d"}
    ran = lab.issue()
    assert ran.status == 5
    error = ran.certificate["error"]
    assert error["code"] == "ca.certificate"
    assert "clientAuth" in error["message"]
    assert "90 days" in error["message"]
    assert not (lab.store / "cert.pem").exists()
    assert lab.issue().certificate["error"]["code"] == "ca.certificate"
    assert lab.orders() == 1, "the same order answers the same question"
    assert lab.issue("--force").status == 5
    assert lab.orders() == 2
    lab.web["expect"] = {"eku": "serverAuth", "max_lifetime": "90d", "min_lifetime": "90d"}
    assert lab.issue().status == 0
    check_store(lab.store, NAMES)


def test_the_chain_that_is_expected_is_chosen(lab: SandboxLab) -> None:
    root = x509.load_pem_x509_certificate(lab.ca.alternate_root.read_bytes())
    name = root.subject.rfc4514_string().split("CN=")[1].split(",")[0]
    lab.web["expect"] = {"chain": name}
    assert lab.issue().status == 0
    *_, top = x509.load_pem_x509_certificates((lab.store / "fullchain.pem").read_bytes())
    assert top.issuer == root.subject
    lab.web["expect"] = {"chain": top.fingerprint(SHA256()).hex(":").upper()}
    assert lab.issue("--force").status == 0
    lab.web["expect"] = {"chain": "Some Other Root"}
    ran = lab.issue("--force")
    assert ran.status == 5
    assert "Some Other Root" in ran.certificate["error"]["message"]


def test_a_lifetime_is_asked_for(lab: SandboxLab) -> None:
    lab.web.update(lifetime="3d12h", expect={"max_lifetime": "4d"})
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    leaf = check_store(lab.store, NAMES)
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert abs(life - timedelta(days=3, hours=12)) < timedelta(minutes=5)
    assert lab.issue().certificate["action"] == "kept"


def test_a_kept_certificate_is_not_failed_for_what_is_refused_later(lab: SandboxLab) -> None:
    assert lab.issue().status == 0
    metadata = lab.store / "metadata.json"
    metadata.write_text(
        metadata.read_text().replace(lab.ca.directory_url, "https://acme-v02.api.letsencrypt.org/directory")
    )
    at_letsencrypt(lab, lifetime="7d", renew="1d")
    ran = lab.issue(environ={"HTTPS_PROXY": "http://127.0.0.1:1"})
    assert ran.status == 0, ran.stderr
    assert ran.certificate["action"] == "kept"
    assert "lifetime" in ran.certificate["warnings"][0]


def test_a_beginning_in_the_past_is_asked_for_and_the_certificate_is_kept(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.web["not_before"] = "-3h"
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    leaf = check_store(lab.store, NAMES)
    early = datetime.now(timezone.utc) - leaf.not_valid_before_utc
    assert timedelta(hours=3) <= early < timedelta(hours=3, minutes=2)
    assert ran.certificate["warnings"] == []
    assert lab.issue().certificate["action"] == "kept"
    lab.web["not_before"] = "-180m"
    assert lab.issue().certificate["action"] == "kept", "the same time in other words"
    assert lab.orders() == 1
    lab.web["lifetime"] = "2d"
    assert lab.issue().certificate["action"] == "kept", "both count from the next order on"
    assert lab.issue("--force").status == 0
    leaf = check_store(lab.store, NAMES)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=2)
    assert lab.issue().certificate["action"] == "kept"


def test_a_certificate_that_would_be_renewed_by_every_run_is_not_stored(make_lab: MakeLab) -> None:
    """The CA gives 95 hours, of which the config wants 48 to be over."""
    lab = make_lab(validity=95 * 3600)  # of one day, Pebble's renewal window would have begun before the certificate
    lab.web["not_before"] = "-48h"
    for _ in range(2):
        ran = lab.issue()
        assert ran.status == 5, ran.stderr
        assert "shorten not_before" in ran.certificate["error"]["fix"]
    assert lab.orders() == 1
    lab.web["not_before"] = "-2h"
    assert lab.issue().certificate["action"] == "issued"
    assert lab.issue().certificate["action"] == "kept"
