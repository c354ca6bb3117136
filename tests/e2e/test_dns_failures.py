"""What name servers and neighbours do to a run."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from contextlib import closing

import dns.exception
import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.lab import ZONE, Lab, check_store, finish
from tests.servers.bind import Bind
from tests.servers.ports import free_ports

pytestmark = pytest.mark.servers
CHALLENGE = f"_acme-challenge.www.{ZONE}"


def test_a_cname_into_another_zone_with_another_key(make_lab: MakeLab) -> None:
    lab = make_lab(["_acme-challenge.www CNAME www.delegated.second.test."])
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    check_store(lab.store, [f"www.{ZONE}"])
    assert lab.bind.leftovers() == []


def test_a_cname_loop_is_told_with_its_chain(make_lab: MakeLab) -> None:
    lab = make_lab([f"_acme-challenge.www CNAME a.{ZONE}.", f"a CNAME _acme-challenge.www.{ZONE}."])
    ran = lab.issue()
    assert ran.status == 4
    assert ran.certificate["error"]["code"] == "dns.delegation"
    assert f"a.{ZONE}" in ran.certificate["error"]["message"]
    assert lab.orders() == 0


@pytest.mark.parametrize(
    ("records", "name", "code"),
    [
        ([], "www.elsewhere.test", "dns.zone"),
        (["_acme-challenge.www CNAME _acme-challenge.nowhere.invalid."], f"www.{ZONE}", "dns.delegation"),
    ],
)
def test_a_challenge_without_a_place_costs_no_order(
    make_lab: MakeLab, records: list[str], name: str, code: str
) -> None:
    lab = make_lab(records)
    lab.web["names"] = [f"fine.{ZONE}", name]
    ran = lab.issue()
    assert ran.status == 4
    assert ran.certificate["error"]["code"] == code
    assert lab.orders() == 0
    assert lab.bind.leftovers() == []


def test_a_foreign_value_survives_with_its_ttl(make_lab: MakeLab) -> None:
    lab = make_lab(['_acme-challenge.www 333 TXT "somebody-elses"'])
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert lab.bind.txt(CHALLENGE) == ["somebody-elses"]
    (rrset,) = lab.bind.query(CHALLENGE).answer
    assert rrset.ttl == 333


def test_two_runs_at_once_for_one_challenge_name(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.config["certificates"] = {
        name: {"names": [domain], "stores": [{"provider": "file", "directory": "certs"}]}
        for name, domain in (("apex", f"pr.{ZONE}"), ("wild", f"*.pr.{ZONE}"))
    }
    assert lab.issue("apex").status == 0
    runs = [lab.start("issue", "--force", "--output", "json", name) for name in ("apex", "wild") * 2]
    for ran in [finish(run) for run in runs]:
        assert ran.status == 0, ran.stderr
    assert lab.bind.leftovers() == []
    check_store(lab.directory / "certs" / "apex", [f"pr.{ZONE}"])
    check_store(lab.directory / "certs" / "wild", [f"*.pr.{ZONE}"])


@pytest.mark.parametrize(
    ("section", "code"),
    [
        ({"tsig_secret": "env:OTHER_SECRET"}, "dns.credentials"),
        ({"tsig_name": "nobody"}, "dns.credentials"),
        ({"tsig_name": "other", "tsig_secret": "env:OTHER_SECRET"}, "dns.refused"),
    ],
)
def test_wrong_credentials_leave_the_old_certificate(lab: Lab, section: dict[str, str], code: str) -> None:
    old = lab.issue().certificate
    lab.config["dns"][0].update(section)
    lab.web["names"] = [f"new.{ZONE}"]
    ran = lab.issue()
    assert ran.status == 4
    assert ran.certificate["error"]["code"] == code
    assert ran.certificate["error"]["fix"]
    assert ran.certificate["action"] == "failed"
    assert check_store(lab.store, [f"www.{ZONE}"]).serial_number == int(old["serial"], 16)
    assert lab.bind.leftovers() == []


@pytest.mark.parametrize(
    ("section", "code", "orders"),
    [
        ({"tsig_secret": "env:OTHER_SECRET"}, "dns.credentials", 0),
        ({"tsig_name": "nobody"}, "dns.credentials", 0),
        ({"tsig_secret": "env:NOT_THERE"}, "config.secret", 0),
        ({"server": "127.0.0.1:9", "tsig_secret": "env:OTHER_SECRET"}, "dns.unreachable", 1),
        ({"tsig_name": "other", "tsig_secret": "env:OTHER_SECRET"}, "dns.refused", 1),
    ],
)
def test_wrong_credentials_cost_no_order_if_the_server_says_so(
    lab: Lab, section: dict[str, str], code: str, orders: int
) -> None:
    """Whether a good key may change a name is known only by changing it."""
    good = dict(lab.config["dns"][0])
    lab.config["dns"][0].update(section)
    ran = lab.issue()
    assert ran.certificate["error"]["code"] == code
    assert ran.certificate["error"]["fix"]
    assert lab.orders() == orders
    lab.config["dns"][0] = good
    assert lab.issue().status == 0
    assert lab.bind.update_count() >= 2


def test_silent_name_servers_cost_one_order_however_often_it_is_tried(lab: Lab) -> None:
    """The order might have been ready without a challenge; once it is there, the next runs go on with it."""
    address = lab.config["dns"][0]["server"]
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        silence = f"127.0.0.1:{silent.getsockname()[1]}"
        lab.config["dns"][0]["server"] = lab.config["dns"][1]["server"] = silence
        lab.config["resolver"]["nameservers"] = [silence]
        for _ in range(2):
            ran = lab.issue("--timeout", "40")
            assert ran.status == 4, ran.stderr
            assert ran.certificate["error"]["code"] == "dns.unreachable"
    assert lab.orders() == 1
    lab.config["dns"][0]["server"] = lab.config["dns"][1]["server"] = address
    lab.config["resolver"]["nameservers"] = [address]
    assert lab.issue().status == 0
    assert lab.orders() == 1


def test_names_that_the_ca_may_still_know_are_ordered_with_wrong_credentials(make_lab: MakeLab) -> None:
    lab = make_lab(authz_reuse=100)
    assert lab.issue().status == 0
    shutil.rmtree(lab.store)
    ran = lab.issue(environ={"TSIG_SECRET": lab.environment()["OTHER_SECRET"]})
    assert ran.status == 0, ran.stderr
    check_store(lab.store, [f"www.{ZONE}"])
    assert "ordering all the same" in ran.certificate["warnings"][0]


def test_no_zone_of_the_config_serves_the_name(lab: Lab) -> None:
    lab.web["names"] = ["www.elsewhere.test"]
    ran = lab.issue()
    assert ran.status == 4
    assert ran.certificate["error"]["code"] == "dns.zone"
    assert ZONE in ran.certificate["error"]["message"] + ran.certificate["error"]["fix"]


def test_a_dead_name_server_beside_a_good_one_is_a_warning(lab: Lab) -> None:
    (dead,) = free_ports(1, "127.0.0.1")
    lab.config["resolver"]["nameservers"].append(f"127.0.0.1:{dead}")
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert f"127.0.0.1:{dead}" in ran.stderr
    assert any(f"127.0.0.1:{dead}" in warning for warning in ran.certificate["warnings"])


def test_a_silent_name_server_beside_a_good_one_is_a_warning(lab: Lab) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        lab.config["resolver"]["nameservers"].append(f"127.0.0.1:{silent.getsockname()[1]}")
        ran = lab.issue()
    assert ran.status == 0, ran.stderr
    assert str(lab.config["resolver"]["nameservers"][1]) in ran.stderr


def test_a_lagging_name_server_is_waited_for(lab: Lab) -> None:
    """The second server gets the value late; the challenge is answered only then, and never fails."""
    with Bind(lab.directory.parent / "lagging", {ZONE: []}) as lagging:
        lab.config["resolver"]["nameservers"].append(lagging.address)
        process = lab.start("issue", "--output", "json")
        values = lab.bind.wait_for_txt(CHALLENGE)
        time.sleep(1.5)
        assert "/chalZ/" not in lab.pebble.request_counts()
        lagging.update(ZONE, add=[f'_acme-challenge.www 60 TXT "{values[0]}"'])
        ran = finish(process)
    assert ran.status == 0, ran.stderr
    assert lab.pebble.request_counts()["/chalZ/"] == 1


def test_a_name_server_that_never_gets_the_value_is_named(lab: Lab) -> None:
    names, lab.web["names"] = lab.web["names"], [f"old.{ZONE}"]  # others: Pebble may reuse an authorization
    old = lab.issue().certificate
    lab.web["names"] = names
    with Bind(lab.directory.parent / "stale", {ZONE: []}) as stale:
        lab.config["resolver"]["nameservers"].append(stale.address)
        lab.config["dns"][0]["propagation_timeout"] = 2
        ran = lab.issue("--force")
    assert ran.status == 4
    error = ran.certificate["error"]
    assert error["code"] == "dns.propagation"
    assert stale.address in json.dumps(error)
    assert lab.pebble.request_counts()["/chalZ/"] == 1
    assert lab.bind.leftovers() == []
    assert check_store(lab.store, [f"old.{ZONE}"]).serial_number == int(old["serial"], 16)


def test_the_only_name_server_is_dead(lab: Lab) -> None:
    lab.bind.stop()
    ran = lab.issue()
    assert ran.status == 4
    assert ran.certificate["error"]["code"] == "dns.unreachable"
    assert lab.bind.address in ran.certificate["error"]["message"]


def test_neighbours_come_and_go_while_we_work(lab: Lab) -> None:
    """Twenty values of others are written and removed at our challenge name during ten orders."""
    stop = threading.Event()
    written: list[str] = []

    def update(**change: list[str]) -> None:
        """A busy name server may fail or be late; the same change again is the same as once."""
        for _ in range(10):
            try:
                lab.bind.update(ZONE, **change)
            except (AssertionError, dns.exception.Timeout, OSError):
                time.sleep(0.2)
            else:
                return
        raise AssertionError("the name server takes no change of the neighbour")

    def neighbour() -> None:
        number = 0
        while not stop.is_set() and number < 400:
            number += 1
            record = f'_acme-challenge.www 60 TXT "neighbour-{number}"'
            update(add=[record])
            written.append(f"neighbour-{number}")
            if number % 3 == 0:
                update(delete=[record])
                written.remove(f"neighbour-{number}")
            time.sleep(0.06)

    thread = threading.Thread(target=neighbour)
    thread.start()
    try:
        for _ in range(3):
            assert lab.issue("--force").status == 0
    finally:
        stop.set()
        thread.join()
    assert sorted(lab.bind.txt(CHALLENGE)) == sorted(written)
