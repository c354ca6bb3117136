"""What stores and CAs do to a run: each failure has its exit status and its fix, and leaves the old certificate."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store
from tests.servers.pebble import Pebble

pytestmark = pytest.mark.servers
NAMES = [f"www.{ZONE}"]


def test_a_store_that_cannot_be_written_costs_no_order(lab: Lab) -> None:
    (lab.directory / "certs").write_text("a file where the directory should be")
    ran = lab.issue()
    assert ran.status == 2
    assert ran.certificate["error"]["code"] in {"store.read", "store.not_writable"}
    assert ran.certificate["error"]["fix"]
    assert lab.seen() == 0


def test_one_store_of_two_fails_and_gets_the_certificate_without_an_order(lab: Lab) -> None:
    lab.web["stores"].append({"provider": "file", "directory": "more"})
    (lab.directory / "more").write_text("in the way")
    first = lab.issue()
    assert first.status == 6, first.stderr
    result = first.certificate
    assert [store["action"] for store in result["stores"]] == ["written", "failed"]
    check_store(lab.store, NAMES)
    orders = lab.orders()
    still = lab.issue()
    assert still.status == 6
    (lab.directory / "more").unlink()
    second = lab.issue()
    assert second.status == 0, second.stderr
    assert second.certificate["action"] == "delivered"
    assert [store["action"] for store in second.certificate["stores"]] == ["kept", "delivered"]
    assert check_store(lab.directory / "more" / "web", NAMES) == check_store(lab.store, NAMES)
    assert lab.orders() == orders
    assert lab.issue().certificate["action"] == "kept"


@pytest.mark.parametrize("what", ["garbage", "no key", "another key", "nothing", "no metadata"])
def test_whatever_the_store_holds_ends_in_a_good_certificate(lab: Lab, what: str) -> None:
    assert lab.issue().status == 0
    if what == "garbage":
        (lab.store / "cert.pem").write_bytes(b"\x00\xffnot a certificate")
    elif what == "no key":
        (lab.store / "privkey.pem").unlink()
    elif what == "another key":
        (lab.store / "privkey.pem").write_bytes((lab.directory / ".ci-acme" / "account.pem").read_bytes())
    elif what == "no metadata":
        (lab.store / "metadata.json").write_text("{")
    else:
        shutil.rmtree(lab.store)
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert ran.certificate["action"] in {"issued", "renewed"}
    assert "file:certs/web" in ran.certificate["reason"]
    check_store(lab.store, NAMES)
    assert lab.issue().certificate["action"] == "kept"


def test_other_names_and_another_ca_are_reasons(lab: Lab, tmp_path: Path) -> None:
    assert lab.issue().status == 0
    lab.web["names"] = [f"www.{ZONE}", f"api.{ZONE}"]
    more = lab.issue().certificate
    assert more["action"] == "renewed"
    assert f"lacks api.{ZONE}" in more["reason"]
    (tmp_path / "ca2").mkdir()
    with Pebble(tmp_path / "ca2", dns_server=lab.bind.address) as second:
        lab.config["authorities"]["pebble"].update(directory=second.directory_url, ca_bundle=str(second.ca_bundle))
        moved = lab.issue().certificate
    assert moved["action"] == "issued"
    assert lab.pebble.directory_url in moved["reason"]


def test_an_expired_certificate_is_renewed(make_lab: MakeLab) -> None:
    lab = make_lab(validity=2)
    assert lab.issue().status == 0
    expiry = check_store(lab.store, NAMES).not_valid_after_utc
    while datetime.now(timezone.utc) <= expiry:
        threading.Event().wait(0.1)
    ran = lab.issue()
    assert ran.status == 0
    assert ran.certificate["action"] == "renewed"
    assert "expired" in ran.certificate["reason"]


def test_an_account_is_not_registered_silently_in_ci(lab: Lab) -> None:
    ran = lab.issue(environ={"CI": "true"})
    assert ran.status == 2
    assert "--allow-new-account" in ran.certificate["error"]["fix"]
    assert lab.pebble.request_counts()["/sign-me-up"] == 0
    assert lab.issue("--allow-new-account", environ={"CI": "true"}).status == 0
    assert lab.issue("--force", environ={"CI": "true"}).status == 0


def test_terms_are_agreed_to_by_the_user(lab: Lab) -> None:
    lab.config["authorities"]["pebble"]["agree_terms"] = False
    url = lab.pebble.directory_url
    assert url.startswith("https://127.0.0.1:")  # a CA on this machine is a sandbox: nobody's terms
    assert lab.issue().status == 0


def test_a_ca_that_is_not_there(lab: Lab) -> None:
    assert lab.issue().status == 0
    lab.pebble.stop()
    ran = lab.issue("--force", "--timeout", "5")
    assert ran.status == 5
    assert ran.certificate["error"]["code"] == "ca.unreachable"
    assert f"127.0.0.1:{lab.pebble.port}" in ran.certificate["error"]["message"]
    check_store(lab.store, NAMES)
    assert lab.issue().certificate["action"] == "kept"


def test_a_ca_that_hangs_ends_with_the_deadline(lab: Lab) -> None:
    with hanging() as port:
        lab.config["authorities"]["pebble"]["directory"] = f"https://127.0.0.1:{port}/dir"
        ran = lab.issue("--timeout", "3")
    assert ran.status == 5
    assert ran.certificate["error"]["code"] in {"ca.unreachable", "ca.timeout"}


def test_a_ca_that_is_not_trusted(lab: Lab) -> None:
    del lab.config["authorities"]["pebble"]["ca_bundle"]
    ran = lab.issue()
    assert ran.status == 5
    assert "ca_bundle" in ran.certificate["error"]["fix"]


def test_a_name_that_the_ca_refuses(make_lab: MakeLab) -> None:
    lab = make_lab(domain_blocklist=[f"blocked.{ZONE}"])
    lab.web["names"] = [f"blocked.{ZONE}"]
    ran = lab.issue()
    assert ran.status == 5
    assert ran.certificate["error"]["code"] == "ca.order"
    assert f"blocked.{ZONE}" in json.dumps(ran.certificate["error"])
    assert lab.bind.leftovers() == []


def test_external_account_binding(make_lab: MakeLab) -> None:
    hmac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    lab = make_lab(eab={"kid-1": hmac})
    refused = lab.issue()
    assert refused.status == 2
    assert "external_account" in refused.certificate["error"]["fix"]
    lab.config["authorities"]["pebble"]["external_account"] = {"key_id": "kid-1", "hmac_key": "env:EAB_HMAC"}
    ran = lab.issue(environ={"EAB_HMAC": hmac})
    assert ran.status == 0, ran.stderr
    assert hmac not in ran.stdout + ran.stderr


def test_a_store_for_production_takes_no_certificate_that_nobody_trusts(lab: Lab) -> None:
    lab.web["stores"] = [
        {"provider": "file", "directory": "live", "accept": "production"},
        {"provider": "file", "directory": "certs"},
    ]
    ran = lab.issue()
    assert ran.status == 6, ran.stderr
    refused, taken = ran.certificate["stores"]
    assert (refused["action"], taken["action"]) == ("failed", "written")
    assert "accepts production certificates only" in refused["error"]["message"]
    assert not (lab.directory / "live" / "web").exists()
    assert lab.issue().status == 6
    root = lab.directory / "trusted.pem"
    root.write_text(lab.pebble.root())
    ran = lab.issue(environ={"SSL_CERT_FILE": str(root)})
    assert ran.status == 0, ran.stderr
    assert [store["action"] for store in ran.certificate["stores"]] == ["delivered", "kept"]
    assert lab.orders() == 1


def test_a_staging_ca_is_refused_for_a_production_store_before_an_order(lab: Lab) -> None:
    lab.config["authorities"]["pebble"].update(directory="letsencrypt-staging")
    lab.web["stores"][0]["accept"] = "production"
    ran = lab.run("plan", "--output", "json")
    assert ran.certificate["action"] == "refused", ran.stderr
    assert "trusted by nobody" in ran.certificate["error"]["message"]


def test_pkcs12_beside_pem_needs_no_new_order(lab: Lab) -> None:
    assert lab.issue().status == 0
    lab.web["stores"][0]["formats"] = ["pem", "pkcs12"]
    ran = lab.issue()
    assert ran.certificate["action"] == "delivered", ran.stderr
    assert "bundle.p12" in ran.certificate["reason"]
    key, certificate, more = pkcs12.load_key_and_certificates((lab.store / "bundle.p12").read_bytes(), b"")
    assert certificate == check_store(lab.store, NAMES)
    assert key is not None
    assert more
    assert lab.orders() == 1
    assert lab.issue().certificate["action"] == "kept"


def test_a_state_that_cannot_be_written_is_a_warning_and_a_damaged_one_an_error(lab: Lab) -> None:
    (lab.directory / "in-the-way").write_text("")
    lab.config["state"] = "sqlite:in-the-way/state.db"
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert "warning" in ran.stderr
    (lab.directory / "damaged.db").write_bytes(b"this is not a database" * 500)
    lab.config["state"] = "sqlite:damaged.db"
    orders = lab.orders()
    ran = lab.issue("--force")
    assert ran.status == 2
    assert ran.certificate["error"]["code"] == "state.unusable"
    assert lab.orders() == orders
    check_store(lab.store, NAMES)


@contextmanager
def hanging() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=50)) as server:
        yield server.getsockname()[1]
