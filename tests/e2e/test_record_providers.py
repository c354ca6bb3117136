"""A whole run over each provider with a REST API: a process, a CA that validates over DNS, a neighbour in the zone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.api import Answer, lose_reply, refuse
from tests.clouds.records import open_dns
from tests.clouds.rigs import RIGS, ZONE
from tests.e2e.lab import Lab, check_store
from tests.servers.bind import Bind
from tests.servers.pebble import Pebble

pytestmark = pytest.mark.servers
NAMES = [f"app.{ZONE}", f"*.app.{ZONE}", f"www.{ZONE}"]
SHARED = f"_acme-challenge.app.{ZONE}"


@pytest.fixture(scope="module")
def name_server() -> Iterator[SandboxDns]:
    with open_dns(ZONE) as server:
        yield server


@pytest.fixture(scope="module")
def authority(name_server: SandboxDns, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with Pebble(tmp_path_factory.mktemp("pebble"), dns_server=name_server.address) as pebble:
        yield pebble


@pytest.fixture(params=RIGS, ids=lambda kind: kind.name)
def rig(request: pytest.FixtureRequest, name_server: SandboxDns) -> Iterator[Any]:
    with request.param.fake(name_server) as api:
        made = request.param(api)
        made.prepare()
        yield made
        for zone in api.zones:
            for name in {record.name for record in zone.records}:
                name_server.remove(name, "TXT")


@pytest.fixture
def lab(rig: Any, authority: Pebble, name_server: SandboxDns, tmp_path: Path) -> Lab:
    """The name server stands in the place of BIND."""
    stand_in = cast("Bind", SimpleNamespace(address=name_server.address, zones=()))
    lab = Lab(tmp_path, authority, stand_in)
    lab.config["dns"] = [rig.entry()]
    lab.web["names"] = NAMES
    return lab


def test_a_certificate_is_issued_beside_a_neighbour_and_nothing_is_left(rig: Any, lab: Lab) -> None:
    rig.plant(SHARED, "neighbour", 900)
    ran = lab.issue(environ=rig.good)
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES)
    assert ran.certificate["requests"]["dns_changes"] == 2
    assert [(record.name, record.value, record.ttl) for record in rig.api.zone(ZONE).records] == [
        (SHARED, "neighbour", 900)
    ]
    assert dict(rig.values(SHARED)) == {"neighbour": 900}
    for secret in set(rig.good.values()) - {"app"}:
        assert secret not in ran.stdout + ran.stderr


def test_a_run_survives_lost_answers_to_its_first_change_and_its_first_removal(rig: Any, lab: Lab) -> None:
    rig.api.fail(lambda call: call.method == "POST" and call.path.endswith(rig.change), lose_reply)
    rig.api.fail(
        lambda call: call.method == "DELETE" or b"deletes" in call.body or call.path.endswith("/remove_records"),
        lose_reply,
    )
    ran = lab.issue(environ=rig.good)
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES)
    assert rig.api.zone(ZONE).records == []


def test_check_finds_wrong_credentials_and_changes_nothing(rig: Any, lab: Lab) -> None:
    good = lab.run("check", "--output", "json", environ=rig.good)
    assert good.status == 0, good.stdout + good.stderr
    bad = lab.run("check", "--output", "json", environ=rig.bad)
    assert bad.status != 0
    assert "dns.credentials" in bad.stdout
    assert rig.api.zone(ZONE).records == []
    for secret in set(rig.bad.values()) - {"app"}:
        assert secret not in bad.stdout + bad.stderr


def test_wrong_credentials_cost_no_order(rig: Any, lab: Lab) -> None:
    orders = lab.orders()
    ran = lab.issue(environ=rig.bad)
    assert ran.status == 4, ran.stderr
    assert ran.certificate["error"]["code"] == "dns.credentials"
    assert lab.orders() == orders
    assert lab.issue(environ=rig.good).status == 0


def test_a_refused_change_is_told_and_leaves_nothing(rig: Any, lab: Lab) -> None:
    refusal = Answer.of({"message": "no", "error": {"code": "forbidden"}, "errors": [{"code": 10000}]}, 403)
    rig.api.fail(lambda call: call.method == "POST" and call.path.endswith(rig.change), refuse(refusal), times=99)
    ran = lab.issue(environ=rig.good)
    assert ran.status == 4, ran.stderr
    error = ran.certificate["error"]
    assert error["code"] == "dns.refused"
    assert "grant" in error["fix"] or "Read & Write" in error["fix"]
    assert json.dumps(error)
    assert rig.api.zone(ZONE).records == []
