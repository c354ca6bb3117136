"""A store on a read-only and on a full file system, in a mount namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.lab import Lab

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are of Linux"),
]


def in_namespace(lab: Lab, script: str) -> dict[str, str]:
    """Run a shell script with a mount namespace; what it says as `name=value` lines."""
    lab.write()
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    program = f'ci_acme() {{ "{sys.executable}" -P -m ci_acme "$@"; }}\nset -e\n{script}'
    ran = subprocess.run(
        [*unshare, "sh", "-c", program],
        cwd=lab.directory,
        env=lab.environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return dict(line.split("=", 1) for line in ran.stdout.splitlines() if "=" in line.split(" ")[0])


def error(path: Path) -> dict[str, str]:
    (certificate,) = json.loads(path.read_text())["certificates"]
    found: dict[str, str] = certificate["error"]
    return found


ISSUE = "ci_acme issue --output json --force > result.json 2> log.txt || status=$?"


def test_a_read_only_store_costs_no_order_and_keeps_the_old_certificate(lab: Lab) -> None:
    assert lab.issue().status == 0
    orders = lab.orders()
    said = in_namespace(
        lab,
        f"""
        mount --bind certs certs; mount -o remount,ro,bind certs
        status=0; {ISSUE}
        echo status=$status; echo serial=$(sha256sum < certs/web/cert.pem)
        """,
    )
    assert said["status"] == "2"
    assert error(lab.directory / "result.json")["code"] == "store.not_writable"
    assert "read-only" in error(lab.directory / "result.json")["message"].lower()
    assert lab.orders() == orders
    assert lab.issue().certificate["action"] == "kept"


@pytest.mark.parametrize("free", [0, 8])
def test_a_full_disk_costs_no_order_and_keeps_the_old_certificate(lab: Lab, free: int) -> None:
    said = in_namespace(
        lab,
        f"""
        mkdir certs; mount -t tmpfs -o size=1m tmpfs certs
        status=0; {ISSUE}
        echo first=$status; before=$(sha256sum < certs/web/fullchain.pem)
        dd if=/dev/zero of=certs/filler bs=1k 2>/dev/null || true
        truncate -s -{free}k certs/filler
        status=0; {ISSUE}
        echo full=$status; cp result.json full.json
        [ "$before" = "$(sha256sum < certs/web/fullchain.pem)" ] && echo same=yes
        rm certs/filler
        status=0; {ISSUE}
        echo again=$status; ls -A certs | tr '\\n' ' ' | sed 's/^/left=/'
        """,
    )
    assert (said["first"], said["full"], said["same"], said["again"]) == ("0", "2", "yes", "0")
    found = error(lab.directory / "full.json")
    assert found["code"] == "store.not_writable"
    assert "space" in (found["message"] + found["fix"]).lower()
    assert said["left"].split() == ["web"]
    assert lab.orders() == 2


def test_a_disk_that_fills_up_while_the_ca_works_loses_nothing(lab: Lab) -> None:
    """The room is reserved before the order is finalized: the certificate arrives although nothing is free any more."""

    said = in_namespace(
        lab,
        """
        mkdir certs; mount -t tmpfs -o size=1m tmpfs certs
        (while [ ! -e certs/.web.pending ]; do :; done; dd if=/dev/zero of=certs/filler bs=1k 2>/dev/null || true) &
        status=0; ci_acme issue --output json > result.json 2> log.txt || status=$?
        wait; echo status=$status; ls certs/web | tr '\\n' ' ' | sed 's/^/files=/'; echo
        rm -f certs/filler
        status=0; ci_acme issue --output json > second.json 2> log2.txt || status=$?
        echo second=$status
        """,
    )
    if (
        said["status"] != "0"
    ):  # it filled up between the reservation's end and the last file: 6, and the next run delivers
        assert said["status"] == "6"
    assert said["second"] == "0"
    assert lab.orders() == 1
