"""The main job on Pebble and BIND: a config in, a verified certificate in a store out."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store

pytestmark = pytest.mark.servers


def hosts(count: int) -> list[str]:
    return [f"host-{number:03}.{ZONE}" for number in range(count)]


NAMES = {
    1: [f"www.{ZONE}"],
    2: [f"app.{ZONE}", f"*.app.{ZONE}"],
    10: hosts(10),
    100: hosts(100),
}


@pytest.mark.parametrize("reject", [0, 5, 50])
@pytest.mark.parametrize("count", NAMES)
def test_any_number_of_names_at_any_rate_of_bad_nonces(make_lab: MakeLab, count: int, reject: int) -> None:
    lab = make_lab(nonce_reject=reject)
    lab.web["names"] = NAMES[count]
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES[count])
    result = ran.certificate
    assert result["action"] == "issued"
    assert result["names"] == sorted(NAMES[count])
    assert result["error"] is None
    assert lab.bind.leftovers() == []
    assert lab.bind.update_count() == 2 == result["requests"]["dns_changes"]
    assert lab.orders() >= 1
    if reject == 0:
        assert lab.orders() == 1
        assert result["requests"]["acme"] == lab.seen()


def test_requests_of_a_known_account(lab: Lab) -> None:
    assert lab.issue().status == 0
    lab.web["names"] = NAMES[10]
    before = lab.seen()
    assert lab.issue().status == 0
    used = lab.pebble.requests()[before:]
    nonces = [path for _, path in used if path == "/nonce-plz"]
    assert len(used) - len(nonces) <= 2 * 10 + 7
    assert len(nonces) <= 9
    assert lab.pebble.request_counts()["/sign-me-up"] == 1


def test_a_ready_order_takes_six_requests_and_no_dns(make_lab: MakeLab) -> None:
    lab = make_lab(authz_reuse=100)
    assert lab.issue().status == 0
    before, changes = lab.seen(), lab.bind.update_count()
    ran = lab.issue("--force", environ={"TSIG_SECRET": ""})
    assert ran.status == 0, ran.stderr
    assert ran.certificate["action"] == "renewed"
    assert len(lab.pebble.requests()[before:]) <= 6 + lab.pebble.misses_a_certid()
    assert lab.bind.update_count() == changes


def test_the_second_run_keeps_and_asks_for_renewal_information_once(lab: Lab) -> None:
    first = lab.issue()
    before = lab.seen()
    second, third = lab.issue(), lab.issue()
    assert [second.certificate["action"], third.certificate["action"]] == ["kept", "kept"]
    assert second.document["changed"] is False
    assert first.certificate["sha256"] == second.certificate["sha256"] == third.certificate["sha256"]
    assert len(lab.pebble.requests()[before:]) == 1
    assert [run.certificate["requests"]["acme"] for run in (second, third)] == [1, 0]
    assert set(third.certificate["seconds"]) == {"total", "dns", "acme", "stores"}
    metadata = json.loads((lab.store / "metadata.json").read_text())
    window = metadata["renewal"]
    assert window["start"] <= window["chosen"] <= window["end"]
    assert third.certificate["renew_after"] == window["chosen"]


def test_what_ari_says_is_done_and_the_new_order_replaces_the_old_certificate(lab: Lab) -> None:
    first = lab.issue().certificate
    now = datetime.now(timezone.utc)
    past = {
        "suggestedWindow": {
            "start": (now - timedelta(hours=2)).isoformat(),
            "end": (now - timedelta(hours=1)).isoformat(),
        },
        "explanationURL": "https://status.example.com/incident",
    }
    lab.pebble.set_renewal_info((lab.store / "cert.pem").read_text(), json.dumps(past))
    ran = lab.issue()
    assert ran.certificate["action"] == "renewed", ran.stderr
    assert ran.certificate["serial"] != first["serial"]
    assert ran.certificate["spki_sha256"] != first["spki_sha256"]
    assert "https://status.example.com/incident" in ran.stderr
    assert "replaces" in lab.pebble.log() or lab.orders() == 2


def test_u_labels_are_stored_and_shown_as_a_labels(lab: Lab) -> None:
    lab.web["names"] = [f"bücher.{ZONE}"]
    ran = lab.issue()
    assert ran.certificate["names"] == [f"xn--bcher-kva.{ZONE}"], ran.stderr
    check_store(lab.store, [f"xn--bcher-kva.{ZONE}"])


@pytest.mark.parametrize("key", ["ec-p384", "rsa-2048"])
def test_key_types(lab: Lab, key: str) -> None:
    lab.web["key"] = key
    assert lab.issue().certificate["key"] == key
    check_store(lab.store, [f"www.{ZONE}"])
    assert lab.issue().certificate["action"] == "kept"
    lab.web["key"] = "ec-p256"
    changed = lab.issue().certificate
    assert changed["action"] == "renewed"
    assert key in changed["reason"]


def test_profiles_are_checked_before_an_order(make_lab: MakeLab) -> None:
    profiles = {
        "classic": {"description": "The old one", "validityPeriod": 7776000},
        "shortlived": {"description": "Six days", "validityPeriod": 576000},
    }
    lab = make_lab(profiles=profiles)
    authority = lab.config["authorities"]["pebble"]
    authority["profile"] = "shortlived"
    result = lab.issue().certificate
    life = datetime.fromisoformat(result["not_after"].replace("Z", "+00:00")) - datetime.fromisoformat(
        result["not_before"].replace("Z", "+00:00")
    )
    assert life < timedelta(days=7)
    assert result["profile"] == "shortlived"
    authority["profile"] = "tlsclient"
    orders = lab.orders()
    refused = lab.issue()
    assert refused.status == 5
    assert "Six days" in json.dumps(refused.certificate["error"])
    assert lab.orders() == orders


def test_plan_changes_nothing_and_tells(lab: Lab) -> None:
    before = lab.seen()
    ran = lab.run("plan", "--output", "json")
    assert ran.status == 0
    assert ran.certificate["action"] == "would-issue"
    assert ran.certificate["cost"]["orders"] == 1
    assert lab.seen() == before
    assert not (lab.directory / "certs").exists()
    assert not (lab.directory / ".ci-acme").exists()
    lab.issue()
    assert lab.issue("--dry-run").certificate["action"] == "would-keep"
    assert lab.run("plan", "--output", "json", environ={"CI": "true"}).certificate["action"] == "would-keep"


def test_many_certificates_in_one_run(lab: Lab) -> None:
    store = {"provider": "file", "directory": "certs"}
    lab.config["certificates"] = {f"c{n}": {"names": [name], "stores": [store]} for n, name in enumerate(hosts(20))}
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert [c["action"] for c in ran.document["certificates"]] == ["issued"] * 20
    for number, name in enumerate(hosts(20)):
        check_store(lab.directory / "certs" / f"c{number}", [name])
    assert lab.bind.leftovers() == []
    assert lab.bind.update_count() < 40
    assert lab.pebble.request_counts()["/sign-me-up"] == 1
    some = lab.issue("c3", "c5")
    assert [c["name"] for c in some.document["certificates"]] == ["c3", "c5"]
    assert {c["action"] for c in some.document["certificates"]} == {"kept"}


def test_the_form_without_a_file(lab: Lab) -> None:
    arguments = [
        "issue", "--domain", f"www.{ZONE}", "--domain", f"*.www.{ZONE}", "--dns", "rfc2136",
        "--dns-option", f"server={lab.bind.address}", "--dns-option", "tsig_name=ci-acme",
        "--store", "file:certs", "--ca", lab.pebble.directory_url, "--ca-bundle", str(lab.pebble.ca_bundle),
        "--email", "ops@example.com", "--resolver", lab.bind.address, "--output", "json",
    ]  # fmt: skip
    environ = {"CI_ACME_RFC2136_TSIG_SECRET": lab.environment()["TSIG_SECRET"]}
    ran = lab.run(*arguments, environ=environ)
    assert ran.status == 0, ran.stderr
    check_store(lab.directory / "certs" / f"www.{ZONE}", [f"www.{ZONE}", f"*.www.{ZONE}"])
    assert lab.run(*arguments, environ=environ).certificate["action"] == "kept"


def test_check_orders_nothing_and_finds_what_is_wrong(lab: Lab) -> None:
    good = lab.run("check", "--output", "json")
    assert good.status == 0, good.stdout
    lab.config["dns"][0]["tsig_secret"] = "env:OTHER_SECRET"
    bad = lab.run("check", "--output", "json")
    assert bad.status == 9
    (error,) = [line for line in bad.document["findings"] if line["level"] == "error"]
    assert error["code"] == "dns.credentials"
    assert error["fix"]
    assert lab.orders() == 0
    assert lab.bind.leftovers() == []
