"""`account` and `revoke` as a user runs them, at a CA that has everything."""

from __future__ import annotations

import base64
import json
import os
import pty
import select
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, Ran, check_store
from tests.servers.pebble import Pebble

pytestmark = pytest.mark.servers
NAMES = [f"www.{ZONE}"]
HMAC = base64.urlsafe_b64encode(bytes(range(64))).rstrip(b"=").decode()


def account(lab: Lab, action: str, *arguments: str, status: int = 0, **environ: str) -> dict[str, Any]:
    """`ci-acme account ACTION --output json`."""
    ran = lab.run("account", action, "--output", "json", *arguments, environ=environ)
    assert ran.status == status, ran.stderr
    document = ran.document
    assert document["schema"] == ("ci-acme/account/1" if status == 0 else "ci-acme/result/1")
    assert document["exit_code"] == status
    return document


def key_of(lab: Lab) -> bytes:
    return (lab.directory / ".ci-acme" / "account.pem").read_bytes()


def revoke(lab: Lab, *arguments: str, status: int = 0) -> Ran:
    ran = lab.run("revoke", "--output", "json", *arguments)
    assert ran.status == status, ran.stderr
    assert ran.document["exit_code"] == status
    return ran


def state_at_ca(lab: Lab, certificate: x509.Certificate) -> str:
    return str(lab.pebble.certificate_status(certificate.serial_number)["Status"])


def test_the_life_of_an_account(lab: Lab) -> None:
    lab.config["authorities"]["pebble"]["agree_terms"] = False
    refused = account(lab, "register", status=2)["error"]
    assert refused["code"] == "config.account"
    assert refused["details"]["terms_of_service"] in refused["message"]
    assert lab.pebble.request_counts()["/sign-me-up"] == 0
    made = account(lab, "register", "--agree-terms")
    assert (made["action"], made["changed"], made["contact"]) == ("registered", True, ["ops@example.com"])
    assert account(lab, "register") == {**made, "action": "found", "changed": False, "terms_agreed": None}
    shown = account(lab, "show", CI="true")
    assert (shown["url"], shown["status"], shown["key"]["type"]) == (made["url"], "valid", "ec-p256")
    updated = account(lab, "update", "--email", "a@example.com,b@example.com")
    assert updated["contact"] == ["a@example.com", "b@example.com"]
    before = key_of(lab)
    rotated = account(lab, "rotate-key")
    assert rotated["url"] == made["url"]
    assert rotated["key"]["previous_thumbprint"] == made["key"]["thumbprint"] != rotated["key"]["thumbprint"]
    assert key_of(lab) != before
    ran = lab.issue(environ={"CI": "true"})
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES)
    assert account(lab, "deactivate", status=2)["error"]["fix"] == "give --yes"
    assert account(lab, "deactivate", "--yes")["status"] == "deactivated"
    again = account(lab, "deactivate", "--yes")
    assert (again["changed"], again["status"], again["url"]) == (False, "deactivated", made["url"])
    assert lab.issue("--force").certificate["error"]["code"] == "config.account"


def test_an_account_registered_in_ci_serves_runs_in_ci(lab: Lab) -> None:
    ran = lab.run("account", "register", environ={"CI": "true"})
    assert ran.status == 0, ran.stderr
    assert "pebble: registered" in ran.stdout
    assert "keep it as a secret" in ran.stderr
    lab.config["authorities"]["pebble"]["account_key"] = "env:ACCOUNT_KEY"
    secret = key_of(lab).decode()
    shutil.rmtree(lab.directory / ".ci-acme")
    for command in (["issue"], ["account", "show"], ["account", "rotate-key"], ["revoke", "web"]):
        ran = lab.run(*command, "--log-level", "debug", environ={"CI": "true", "ACCOUNT_KEY": secret})
        assert ran.status == (2 if "rotate-key" in command else 0), ran.stderr
        assert secret.splitlines()[1] not in ran.stdout + ran.stderr
    assert lab.pebble.request_counts()["/rollover-account-key"] == 0


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_external_account_binding(make_lab: MakeLab, alg: str) -> None:
    lab = make_lab(eab={"kid-1": HMAC})
    assert "external_account" in account(lab, "register", status=2)["error"]["fix"]
    options = ["--eab-key-id", "kid-1", "--eab-hmac-key", "env:EAB_HMAC", "--eab-alg", alg]
    made = account(lab, "register", *options, EAB_HMAC=HMAC)
    assert made["external_account"] is True
    assert HMAC not in json.dumps(made)


def test_a_sandbox_may_be_replaced_by_another(lab: Lab, tmp_path: Path) -> None:
    """CAs on this machine come and go: the account key goes with the config, and the certificate is of another CA."""
    assert lab.issue().status == 0
    (tmp_path / "ca2").mkdir()
    with Pebble(tmp_path / "ca2", dns_server=lab.bind.address) as second:
        lab.config["authorities"]["pebble"].update(directory=second.directory_url, ca_bundle=str(second.ca_bundle))
        moved = lab.issue()
    assert moved.status == 0, moved.stderr
    assert lab.pebble.directory_url in moved.certificate["reason"]


# revocation


def test_revoked_by_name_and_renewed(lab: Lab) -> None:
    assert lab.issue().status == 0
    leaf = check_store(lab.store, NAMES)
    document = revoke(lab, "web", "--reason", "keyCompromise").document
    (one,) = document["certificates"]
    assert (document["schema"], document["changed"]) == ("ci-acme/revoke/1", True)
    assert (one["action"], one["by"], one["reason"]) == ("revoked", "account", "keyCompromise")
    assert "issue --force web" in one["next"]
    assert state_at_ca(lab, leaf) == "Revoked"
    again = revoke(lab, "web").document
    assert (again["changed"], again["certificates"][0]["action"]) == (False, "already-revoked")
    plan = lab.run("plan")
    assert "web: would-renew" in plan.stdout
    assert f"was revoked at {one['revoked_at']}" in plan.stdout
    assert lab.issue().certificate["action"] == "renewed"
    renewed = check_store(lab.store, NAMES)
    assert renewed.public_key() != leaf.public_key()
    assert lab.issue().certificate["action"] == "kept"


def test_revoked_by_file_serial_and_its_own_key(lab: Lab) -> None:
    assert lab.issue().status == 0
    first = check_store(lab.store, NAMES)
    (one,) = revoke(lab, "--serial", f"{first.serial_number:x}").document["certificates"]
    assert (one["action"], one["name"]) == ("revoked", "web")
    assert lab.issue().status == 0
    second = check_store(lab.store, NAMES)
    for name in ("cert.pem", "privkey.pem"):
        shutil.copy(lab.store / name, lab.directory / name)
    shutil.rmtree(lab.store)
    (lab.directory / ".ci-acme" / "account.pem").unlink()
    failed = revoke(lab, "--certificate", "cert.pem", status=2).document["certificates"][0]
    assert "--key" in failed["error"]["fix"]
    text = lab.run("revoke", "--certificate", "cert.pem", "--key", "privkey.pem", "--reason", "4")
    assert text.status == 0, text.stderr
    assert "revoked, serial" in text.stdout
    assert "by the certificate key (superseded)" in text.stdout
    assert state_at_ca(lab, first) == state_at_ca(lab, second) == "Revoked"


def test_what_no_store_holds_any_more_is_had_again_from_the_ca(lab: Lab) -> None:
    """By its serial number from the ledger, by its name from the inventory."""
    assert lab.issue().status == 0
    first = check_store(lab.store, NAMES)
    assert lab.issue("--force").status == 0
    second = check_store(lab.store, NAMES)
    (one,) = revoke(lab, "--serial", f"{first.serial_number:x}", "--reason", "1").document["certificates"]
    assert (one["action"], one["by"], one["authority"]) == ("revoked", "account", "pebble")
    assert (state_at_ca(lab, first), state_at_ca(lab, second)) == ("Revoked", "Valid")
    assert lab.issue().certificate["action"] == "kept"
    shutil.rmtree(lab.store)
    (one,) = revoke(lab, "web").document["certificates"]
    assert one["action"] == "revoked"
    assert state_at_ca(lab, second) == "Revoked"
    lab.web["names"] = [f"other.{ZONE}"]
    assert "the inventory has none" in revoke(lab, "web", status=2).document["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "not clear what to revoke"),
        (["web", "--serial", "1"], "not clear what to revoke"),
        (["web", "--reason", "boredom"], "keyCompromise"),
        (["wbe"], "web"),
        (["--serial", "12"], "--certificate"),
        (["--certificate", "nowhere.pem"], "nowhere.pem"),
    ],
)
def test_what_cannot_be_revoked_is_exit_2(lab: Lab, arguments: list[str], words: str) -> None:
    ran = lab.run("revoke", *arguments)
    assert ran.status == 2
    assert words in ran.stderr
    assert lab.seen() == 0


# a person


def on_a_terminal(lab: Lab, *arguments: str, answer: str) -> tuple[int, str]:
    """Run with a terminal for stdin and stderr, and answer the question that comes."""
    lab.write()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ci_acme", *arguments],
        cwd=lab.directory, env=lab.environment(), stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown, answered = "", False
    poll = select.poll()  # select knows no descriptor above 1023
    poll.register(ours)
    try:
        while poll.poll(60_000):
            try:
                shown += os.read(ours, 4096).decode()
            except OSError:
                break
            if "[y/N]" in shown and not answered:
                os.write(ours, answer.encode() + b"\n")
                answered = True
        return process.wait(60), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("answer", ["y", "yes", "", "n", "perhaps"])
def test_a_person_is_asked_about_terms_and_about_the_end(lab: Lab, answer: str) -> None:
    lab.config["authorities"]["pebble"]["agree_terms"] = False
    yes = answer.startswith("y")
    status, shown = on_a_terminal(lab, "account", "register", answer=answer)
    assert "terms of service are at data:" in shown  # Pebble's
    assert status == (0 if yes else 2)
    assert lab.run("account", "register", "--agree-terms").status == 0
    status, shown = on_a_terminal(lab, "account", "deactivate", answer=answer)
    assert "No key will ever work again" in shown
    assert status == (0 if yes else 2)
    assert account(lab, "show")["status"] == ("deactivated" if yes else "valid")


def test_an_account_that_the_ca_has_lost_is_registered_anew(lab: Lab) -> None:
    """A test CA was reset: the remembered account is unknown there, and the key has no other."""
    assert lab.issue().status == 0
    first, key = account(lab, "show")["url"], key_of(lab)
    lab.pebble.reset()
    refused = lab.issue("--force", environ={"CI": "true"})
    assert refused.status == 2
    assert refused.certificate["error"]["code"] == "config.account"
    assert "--allow-new-account" in refused.certificate["error"]["fix"]
    registered = lab.pebble.request_counts()["/sign-me-up"]
    ran = lab.issue("--force")
    assert ran.status == 0, ran.stderr
    assert any(f"does not know the account {first} any more" in text for text in ran.certificate["warnings"])
    assert lab.pebble.request_counts()["/sign-me-up"] == registered + 2, "looked for once, registered once"
    check_store(lab.store, NAMES)
    assert key_of(lab) == key
    before = lab.pebble.request_counts()["/sign-me-up"]
    again = lab.issue("--force")
    assert again.status == 0, again.stderr
    assert lab.pebble.request_counts()["/sign-me-up"] == before, "the new account is remembered"
    assert again.certificate["warnings"] == [] or lab.pebble.misses_a_certid()


def test_a_lost_account_is_registered_anew_in_ci_where_that_is_allowed(lab: Lab) -> None:
    assert lab.issue("--allow-new-account", environ={"CI": "true"}).status == 0
    lab.pebble.reset()
    ran = lab.issue("--force", "--allow-new-account", environ={"CI": "true"})
    assert ran.status == 0, ran.stderr


def checked(lab: Lab, *, status: int, **environ: str) -> dict[str, Any]:
    """The line of `check` about the account, and nothing of it has changed anything."""
    before = lab.pebble.log().count("accounts in memory")
    ran = lab.run("check", "--output", "json", environ=environ)
    assert ran.status == status, ran.stdout
    assert lab.pebble.log().count("accounts in memory") == before
    lines = [line for line in ran.document["findings"] if line["area"] == "ca" and "answers" not in line["message"]]
    (line,) = [line for line in lines if "account" in line["message"]]
    result: dict[str, Any] = line
    return result


def test_check_asks_the_ca_for_the_account(lab: Lab) -> None:
    assert "made and registered by the first issue" in checked(lab, status=0)["message"]
    made = account(lab, "register")
    assert made["url"] in checked(lab, status=0, CI="true")["message"]
    shutil.rmtree(lab.directory / ".ci-acme" / "state", ignore_errors=True)
    for rest in (lab.directory / ".ci-acme").glob("state.db*"):
        rest.unlink()
    assert made["url"] in checked(lab, status=0)["message"], "no state is needed"
    account(lab, "deactivate", "--yes")
    for known in (True, False):
        line = checked(lab, status=9)
        assert (line["level"], line["code"]) == ("error", "config.account")
        assert "is deactivated" in line["message"]
        assert "a fresh key" in line["fix"]
        assert (made["url"] in line["message"]) is known
        for rest in (lab.directory / ".ci-acme").glob("state.db*"):
            rest.unlink()


def test_check_says_that_a_key_has_no_account(lab: Lab) -> None:
    account(lab, "register")
    lab.pebble.reset()
    assert "the first issue registers it" in checked(lab, status=0)["message"]
    line = checked(lab, status=9, CI="true")
    assert "registers none" in line["message"]
    assert "--allow-new-account" in line["fix"]


def test_check_goes_around_a_rotation_that_was_killed(lab: Lab) -> None:
    account(lab, "register")
    path = lab.directory / ".ci-acme" / "account.pem"
    shutil.copy(path, path.with_name("account.pem.new"))
    line = checked(lab, status=0)
    assert (line["level"], line["code"]) == ("warning", "")
    assert "interrupted" in line["message"]
    assert path.with_name("account.pem.new").exists()
