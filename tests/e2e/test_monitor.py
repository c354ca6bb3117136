"""`monitor` over real stores, real records and a real CA: quiet when all is well, and each alert seen."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ci_acme.core.alerts import MONITOR_SCHEMA
from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.ct import FakeCertSpotter, FakeCrtSh, Logged, Logs
from tests.e2e.lab import ZONE, Lab, Ran, check_store
from tests.e2e.test_clock import run_ahead

pytestmark = pytest.mark.servers
DAY = 86400


def watched(lab: Lab, *arguments: str, ahead: int = 0, status: int) -> dict[str, Any]:
    """The document of a monitor, which leaves stores, state and CA as they were."""
    before = (lab.seen(), _files(lab))
    line = ("monitor", "--output", "json", *arguments)
    ran: Ran = run_ahead(lab, ahead, *line) if ahead else lab.run(*line)
    assert (ran.status, ran.document["exit_code"]) == (status, status), ran.stdout + ran.stderr
    assert (lab.seen(), _files(lab)) == before, "it only looks"
    assert ran.document["schema"] == MONITOR_SCHEMA == "ci-acme/monitor/1"
    assert lab.bind.leftovers() == []
    return ran.document


def _files(lab: Lab) -> dict[str, bytes]:
    found = [path for path in (lab.directory / "certs").rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in found}


def alerts(document: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(one["code"], one["severity"], one["certificate"]) for one in document["alerts"]]


def test_before_anything_was_issued(lab: Lab) -> None:
    document = watched(lab, status=9)
    assert alerts(document) == [("drift.missing", "critical", "web"), ("source.empty", "notice", None)]
    assert not (lab.directory / ".ci-acme").exists(), "looking makes no state"
    assert document["firing"] == 1


def test_all_is_well_then_it_is_overdue_then_it_ends(lab: Lab) -> None:
    lab.web.update(owner="team-web", renew="0.33")
    assert lab.issue().status == 0
    (row,) = lab.run("inventory", "--output", "json").document["certificates"]
    document = watched(lab, "--metrics", "metrics.txt", status=0)
    assert document["alerts"] == []
    assert document["certificates"] == [row]
    assert document["looked_at"] == {"certificates": 1, "stores": 1, "records": 3, "ct": None, "endpoints": None}
    ran = lab.run("monitor")
    assert ran.stdout.startswith("no alert: looked at 1 certificates")

    begin, due, end = (datetime.fromisoformat(row[key]) for key in ("not_before", "renew_after", "not_after"))
    until_due = int((due - datetime.now(timezone.utc)).total_seconds())
    assert watched(lab, ahead=until_due + DAY, status=0)["alerts"] == [], "the next run renews it"
    document = watched(lab, "--metrics", "late.txt", ahead=until_due + 3 * DAY, status=9)
    (alert,) = document["alerts"]
    assert (alert["alert"], alert["code"], alert["severity"]) == ("expiry", "expiry.overdue", "warning")
    assert (alert["owner"], alert["since"]) == ("team-web", row["renew_after"])
    assert "ci-acme issue web" in alert["fix"]
    life = int((end - begin).total_seconds())
    near = until_due + int((end - due).total_seconds()) - life // 20
    assert alerts(watched(lab, ahead=near, status=9)) == [("expiry.soon", "critical", "web")]
    assert alerts(watched(lab, ahead=near + life // 10, status=9)) == [("expiry.expired", "critical", "web")]

    samples = parse(lab, "metrics.txt")
    who = (("certificate", "web"), ("domain", f"www.{ZONE}"), ("owner", "team-web"))
    assert samples["ci_acme_certificate_not_after_timestamp_seconds", who] == end.timestamp()
    assert samples["ci_acme_certificate_renewal_timestamp_seconds", who] == due.timestamp()
    assert samples["ci_acme_alerts", (("alert", "expiry"), ("severity", "warning"))] == 0
    samples = parse(lab, "late.txt")
    assert samples["ci_acme_alerts", (("alert", "expiry"), ("severity", "warning"))] == 1


def parse(lab: Lab, name: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, by a real parser of OpenMetrics."""
    families = list(text_string_to_metric_families((lab.directory / name).read_text()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_stores_that_drift(lab: Lab) -> None:
    lab.web["stores"].append({"provider": "file", "directory": "copy"})
    lab.config["monitor"] = {"spike": {"repeats": 10}}
    assert lab.issue().status == 0
    assert watched(lab, status=0)["alerts"] == []
    old = lab.directory / "old"
    shutil.copytree(lab.directory / "copy", old)
    assert lab.issue("--force").status == 0
    shutil.rmtree(lab.directory / "copy")
    shutil.copytree(old, lab.directory / "copy")
    document = watched(lab, status=9)
    (alert,) = document["alerts"]
    assert (alert["code"], alert["subject"]) == ("drift.other", "file:copy/web")
    assert alert["details"]["serial"] != document["certificates"][0]["serial"]
    shutil.rmtree(lab.directory / "certs")
    shutil.copytree(old, lab.directory / "certs")
    assert alerts(watched(lab, status=9)) == [("drift.older", "warning", "web")], "both are rolled back"
    shutil.rmtree(lab.directory / "copy")
    assert ("drift.missing", "warning", "web") in alerts(watched(lab, status=9))
    lab.web.update(names=[f"other.{ZONE}"], key="ec-p384")
    found = {code for code, _, _ in alerts(watched(lab, status=9))}
    assert found == {"drift.names", "drift.key", "drift.missing"}
    lab.web.update(names=[f"www.{ZONE}"], key="ec-p256")
    assert lab.issue("--force").status == 0
    assert watched(lab, status=0)["alerts"] == []


def test_renewals_that_fail(lab: Lab) -> None:
    assert lab.issue().status == 0
    name = f"new.{ZONE}"  # Pebble takes one authorization in a hundred for valid, where it knows the name
    lab.config["certificates"]["new"] = {"names": [name], "stores": [{"provider": "file", "directory": "certs"}]}
    secret = lab.config["dns"][0]["tsig_secret"]
    lab.config["dns"][0]["tsig_secret"] = "env:OTHER_SECRET"
    assert lab.issue("new").status == 4
    document = watched(lab, status=9)
    assert ("renewal.failed", "notice", "new") in alerts(document), "once is a notice"
    assert lab.issue("new").status == 4
    document = watched(lab, "--metrics", "metrics.txt", status=9)
    failed = next(one for one in document["alerts"] if one["code"] == "renewal.failed")
    assert (failed["severity"], failed["certificate"]) == ("critical", "new"), "there is none to go on with"
    assert failed["details"]["count"] == 2
    assert failed["details"]["error"] == "dns.credentials"
    assert {one["certificate"] for one in document["alerts"]} == {"new"}, "web is well"
    samples = parse(lab, "metrics.txt")
    assert samples["ci_acme_certificate_failed_orders", (("certificate", "new"),)] == 2
    assert alerts(watched(lab, "web", status=0)) == []
    lab.config["dns"][0]["tsig_secret"] = secret
    assert lab.issue("new").status == 0
    assert watched(lab, status=0)["alerts"] == []


def test_the_same_names_again_and_again(lab: Lab) -> None:
    for _ in range(3):
        assert lab.issue("--force").status == 0
    document = watched(lab, status=9)
    (alert,) = document["alerts"]
    assert (alert["alert"], alert["code"], alert["certificate"]) == ("spike", "spike.repeated", "web")
    lab.config["monitor"] = {"ignore": "spike"}
    assert watched(lab, status=0)["alerts"] == []


def test_a_state_that_is_broken_is_an_alert_and_hides_nothing(lab: Lab) -> None:
    assert lab.issue().status == 0
    state = lab.directory / ".ci-acme" / "state.db"
    for path in state.parent.glob("state.db-*"):
        path.unlink()
    state.write_bytes(b"garbage" * 1000)
    shutil.rmtree(lab.directory / "certs")
    found = alerts(watched(lab, status=9))
    assert found == [("drift.missing", "critical", "web"), ("source.state", "warning", None)]


def test_other_environments_and_those_that_have_ended(lab: Lab) -> None:
    lab.web["stores"][0]["directory"] = "certs/pr-7"
    assert lab.issue().status == 0
    (old,) = lab.run("inventory", "--output", "json").document["certificates"]
    lab.web.update(names=[f"pr-8.{ZONE}"], stores=[{"provider": "file", "directory": "certs/pr-8"}])
    assert lab.issue("--force").status == 0
    assert lab.run("retire").status == 0
    document = watched(lab, ahead=200 * DAY, status=0)
    assert [row["state"] for row in document["certificates"]] == ["retired"], "what was torn down misses nothing"
    lab.config["monitor"] = {"others": True}
    document = watched(lab, ahead=200 * DAY, status=9)
    (alert,) = document["alerts"]
    assert (alert["code"], alert["subject"], alert["since"]) == ("expiry.expired", f"www.{ZONE}", old["not_after"])
    assert "retire" in alert["fix"]
    assert alerts(watched(lab, "web", ahead=200 * DAY, status=0)) == []


class Denying(FakeApi):
    """A Vault that lets nobody in."""

    def handle(self, call: Call) -> Answer:
        return Answer.of({"errors": ["permission denied"]}, 403)


def test_a_store_that_cannot_be_read_is_an_alert_and_hides_no_other(lab: Lab) -> None:
    lab.config["certificates"]["api"] = {"names": [f"api.{ZONE}"], "stores": [{"provider": "file", "directory": "api"}]}
    assert lab.issue().status == 0
    with Denying() as vault:
        lab.variables["VAULT_TOKEN"] = "t0ken"
        lab.web["stores"].append({"provider": "vault", "address": vault.url, "path": "secret/web"})
        document = watched(lab, "--metrics", "metrics.txt", status=9)
        assert alerts(document) == [("source.store", "warning", "web")]
        assert document["certificates"][0]["state"] == "partial"
        assert parse(lab, "metrics.txt")["ci_acme_source_errors", (("source", "store"),)] == 1
        del lab.variables["VAULT_TOKEN"]
        shutil.rmtree(lab.directory / "api")
        assert alerts(watched(lab, status=9)) == [
            ("drift.missing", "critical", "api"),
            ("source.store", "warning", "web"),
        ]


def test_in_a_job_of_github(lab: Lab) -> None:
    output, summary = lab.directory / "output", lab.directory / "summary"
    job = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    ran = lab.run("monitor", "--report", "report.json", "--dotenv", "ci-acme.env", environ=job)
    assert ran.status == 9
    assert "::error title=ci-acme%3A web,file=ci-acme.yaml,line=" in ran.stderr
    assert "### ci-acme monitor: 1 alert" in summary.read_text()
    assert "| critical | drift.missing | web |" in summary.read_text()
    text = output.read_text()
    assert "\n1\n" in text.partition("alerts<<")[2]
    report = json.loads((lab.directory / "report.json").read_text())
    assert report["alerts"][0]["code"] == "drift.missing"
    assert "CI_ACME_ALERTS=1\n" in (lab.directory / "ci-acme.env").read_text()


def test_metrics_that_cannot_be_written_do_not_hide_the_findings(lab: Lab) -> None:
    ran = lab.run("monitor", "--metrics", "nowhere/metrics.txt")
    assert ran.status == 2
    assert "drift" in ran.stdout
    assert "--metrics nowhere/metrics.txt" in ran.stderr


# --- CT logs and servers ---


def test_certificates_in_the_ct_logs_that_nobody_asked_for(lab: Lab) -> None:
    now = datetime.now(timezone.utc)
    assert lab.issue().status == 0
    leaf = check_store(lab.store, [f"www.{ZONE}"])
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    mine = Logged(
        (f"www.{ZONE}",),
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        leaf.issuer.rfc4514_string(),
        hashlib.sha256(leaf.tbs_certificate_bytes).hexdigest(),
        hashlib.sha256(spki).hexdigest(),
        hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
        f"{leaf.serial_number:032x}",
    )
    times = {"not_before": now + timedelta(minutes=1), "not_after": leaf.not_valid_after_utc}
    stranger = Logged((f"*.{ZONE}",), **times, tbs_sha256="e" * 64, pubkey_sha256="f" * 64, serial="0bad0bad")
    neighbour = Logged((f"api.{ZONE}",), **times, tbs_sha256="d" * 64, pubkey_sha256="c" * 64, serial="0ddd0ddd")
    logs = Logs([mine])
    with FakeCertSpotter(logs, token="ct-t0ken") as spotter, FakeCrtSh(logs) as crt_sh:
        sections = ({"api": spotter.url, "token": "env:CT_TOKEN"}, {"api": crt_sh.url, "form": "crt.sh"})
        lab.variables["CT_TOKEN"] = "ct-t0ken"
        for section in sections:
            lab.config["monitor"] = {"ct": section}
            document = watched(lab, status=0)
            assert document["looked_at"]["ct"] >= 1
        logs.issuances += [stranger, neighbour]
        for section in sections:
            lab.config["monitor"] = {"ct": section}
            document = watched(lab, status=9)
            (alert,) = document["alerts"]
            assert (alert["alert"], alert["code"], alert["severity"]) == (
                "unknown-issuance",
                "issuance.unknown",
                "critical",
            )
            assert alert["details"]["names"] == [f"*.{ZONE}"], "it can stand for www; api is no name of ours"
        lab.config["monitor"]["ct"]["domains"] = [ZONE]
        assert len(watched(lab, status=9)["alerts"]) == 2
        lab.config["monitor"]["ct"].update(known=["0bad0bad", "0ddd0ddd"])
        assert watched(lab, status=0)["alerts"] == []
        lab.config["monitor"] = {"ct": sections[0]}
        lab.variables["CT_TOKEN"] = "wr0ng-t0ken"
        shutil.rmtree(lab.directory / "certs")
        assert alerts(watched(lab, status=9)) == [("drift.missing", "critical", "web"), ("source.ct", "warning", None)]
        ran = lab.run("monitor")
        assert "t0ken" not in ran.stdout + ran.stderr


@contextmanager
def serving(directory: Path) -> Iterator[int]:
    """A TLS server on loopback that serves what a directory held when it started."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "fullchain.pem", directory / "privkey.pem")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                    context.wrap_socket(client, server_side=True).close()
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)  # else it goes on to accept
        thread.join(5)


def test_servers_that_serve_something_else(lab: Lab) -> None:
    assert lab.issue().status == 0
    with serving(lab.store) as port:
        endpoint = {"address": f"127.0.0.1:{port}", "name": f"www.{ZONE}"}
        lab.config["monitor"] = {"endpoints": [endpoint]}
        (served,) = watched(lab, "--metrics", "metrics.txt", status=0)["endpoints"]
        assert (served["certificate"], served["matches"]) == ("web", True)
        assert parse(lab, "metrics.txt")["ci_acme_endpoint_match", (("address", served["address"]),)] == 1
        assert lab.issue("--force").status == 0
        document = watched(lab, status=0)
        assert alerts(document) == [("endpoint.other", "notice", "web")], "it has a day to load the new one"
        assert alerts(watched(lab, ahead=2 * DAY, status=9)) == [("endpoint.other", "warning", "web")]
    assert alerts(watched(lab, status=9)) == [("source.endpoint", "warning", None)]
