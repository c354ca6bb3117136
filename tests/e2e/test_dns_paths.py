"""Ways to publish a record and to know that it is there: two providers at once, and no port 53."""

from __future__ import annotations

import pytest

from ci_acme.dns.question import Server
from tests.dns.doh import Doh
from tests.dns.servers import forward
from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store
from tests.servers.bind import KEY, OTHER_KEY, OTHER_SECRET, SECRET, Bind

pytestmark = pytest.mark.servers
CHALLENGE = f"_acme-challenge.www.{ZONE}"


def test_the_result_says_how_the_record_was_seen(lab: Lab) -> None:
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert ran.certificate["dns"] == {"propagation": "authoritative"}
    assert "dns" not in lab.issue().certificate, "a kept certificate needs no record"


def test_two_primaries_of_one_zone(lab: Lab) -> None:
    keys = {KEY: SECRET, OTHER_KEY: OTHER_SECRET}
    with Bind(lab.directory.parent / "other-primary", {ZONE: []}, keys=keys) as other:
        further = {"provider": "rfc2136", "server": other.address, "tsig_name": OTHER_KEY}
        lab.config["dns"][0]["also"] = [{**further, "tsig_secret": "env:OTHER_SECRET"}]
        lab.config["resolver"]["nameservers"].append(other.address)
        checked = lab.run("check", "--output", "json")
        assert f"{lab.bind.address} and {other.address}" in checked.stdout
        ran = lab.issue()
        assert ran.status == 0, ran.stderr
        assert ran.certificate["requests"]["dns_changes"] == 4
        for server in (lab.bind, other):
            assert server.leftovers() == []
            assert server.address in ran.stderr
        lab.config["dns"][0]["also"][0]["tsig_secret"] = "env:TSIG_SECRET"
        lab.web["names"] = [f"next.{ZONE}"]  # Pebble may reuse the authorization of the other
        failed = lab.issue()
        assert failed.status == 4
        assert failed.certificate["error"]["code"] == "dns.credentials"
        assert lab.bind.leftovers() == []
    check_store(lab.store, [f"www.{ZONE}"])


def test_without_port_53_a_resolver_over_https_is_asked(make_lab: MakeLab) -> None:
    lab = make_lab()
    server = Server(lab.bind.host, lab.bind.port)
    with Doh(server) as doh:
        # Nobody listens where the delegation leads to, as behind a firewall.
        doh.answer = lambda wire: forward(wire, server).replace(bytes((127, 0, 0, 1)), bytes((127, 0, 0, 9)))
        lab.config["resolver"]["nameservers"] = [doh.endpoint]
        lab.config["dns"][0]["propagation_wait"] = 0.2
        ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert ran.certificate["dns"] == {"propagation": "doh"}
    assert doh.endpoint in ran.stderr
    assert any(question.startswith(CHALLENGE) for question in doh.asked)
    assert lab.bind.leftovers() == []
    check_store(lab.store, [f"www.{ZONE}"])
