"""The whole product with the providers that reach further: PowerDNS, acme-dns, a hook, a web server, lexicon.

The names are in a zone at BIND, whose challenge name is an alias into a zone of the provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.acmedns import AcmeDnsApi
from tests.clouds.httpreq import PASSWORD, USER, HttpreqApi
from tests.e2e.lab import ZONE, Lab, check_store, finish
from tests.servers.bind import KEY, Bind
from tests.servers.hook import VARIABLES, hook_environment, write_hook
from tests.servers.pebble import Pebble
from tests.servers.powerdns import API_KEY, PowerDns

pytestmark = pytest.mark.servers
FAR = "far.test"
ALIAS = f"_acme-challenge.www.{FAR}"
ANYTHING = {ZONE: f'grant "{KEY}" zonesub ANY;'}
NAMES = [f"www.{ZONE}", f"*.www.{ZONE}"]


@dataclass
class Bridge:
    """A provider with its zone: the entry of the config, its secrets, where the zone is served, what is left in it."""

    entry: dict[str, Any]
    variables: dict[str, str]
    address: str
    left: Callable[[], list[str]]
    alias: str = ALIAS


def powerdns(stack: ExitStack, directory: Path) -> Bridge:
    server = stack.enter_context(PowerDns(directory, {FAR: []}))
    entry = {"provider": "powerdns", "url": server.api_url, "api_key": "env:PDNS_KEY"}
    return Bridge(entry, {"PDNS_KEY": API_KEY}, server.address, lambda: server.txt(ALIAS))


def lexicon(stack: ExitStack, directory: Path) -> Bridge:
    bridge = powerdns(stack, directory)
    options = {"pdns_server": bridge.entry["url"]}
    bridge.entry = {
        "provider": "lexicon",
        "lexicon_provider": "powerdns",
        "options": options,
        "secrets": {"auth_token": "env:PDNS_KEY"},
    }
    return bridge


def hook(stack: ExitStack, directory: Path) -> Bridge:
    bind = stack.enter_context(Bind(directory, {FAR: []}))
    entry = {"provider": "hook", "program": str(write_hook(directory)), "environment": list(VARIABLES)}
    variables = {name: hook_environment(bind, FAR)[name] for name in VARIABLES}
    return Bridge(entry, variables, bind.address, lambda: bind.txt(ALIAS))


def httpreq(stack: ExitStack, directory: Path) -> Bridge:
    dns = stack.enter_context(SandboxDns([FAR]))
    api = stack.enter_context(HttpreqApi(dns, FAR))
    entry = {"provider": "httpreq", "endpoint": api.endpoint, "username": "env:HOOK_USER", "password": "env:HOOK_PASS"}
    return Bridge(entry, {"HOOK_USER": USER, "HOOK_PASS": PASSWORD}, dns.address, lambda: dns.values(ALIAS))


def acme_dns(stack: ExitStack, directory: Path) -> Bridge:
    dns = stack.enter_context(SandboxDns([FAR]))
    api = stack.enter_context(AcmeDnsApi(dns, FAR))
    made = api.register()
    entry = {
        "provider": "acme-dns",
        "url": api.url,
        "nameserver": dns.address,
        "username": "env:ACME_DNS_USER",
        "password": "env:ACME_DNS_PASS",
        "subdomain": made.subdomain,
    }
    variables = {"ACME_DNS_USER": made.username, "ACME_DNS_PASS": made.password}
    return Bridge(entry, variables, dns.address, lambda: api.values(made), made.full_domain)


MAKERS = {"powerdns": powerdns, "lexicon": lexicon, "hook": hook, "httpreq": httpreq, "acme-dns": acme_dns}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def make_lab(stack: ExitStack, tmp_path: Path, bridge: Bridge) -> Lab:
    """BIND, Pebble and a config for the bridge."""
    for name in ("bind", "pebble", "work"):
        (tmp_path / name).mkdir()
    records = [f"_acme-challenge.www CNAME {bridge.alias}."]
    bind = stack.enter_context(
        Bind(tmp_path / "bind", {ZONE: records}, policies=ANYTHING, forwards={FAR: bridge.address})
    )
    pebble = stack.enter_context(Pebble(tmp_path / "pebble", dns_server=bind.address))
    lab = Lab(tmp_path / "work", pebble, bind)
    lab.config["dns"] = [{"zone": FAR, **bridge.entry}]
    lab.config["resolver"]["nameservers"] = [bind.address, bridge.address]
    lab.variables |= bridge.variables
    lab.web["names"] = NAMES
    return lab


@pytest.mark.parametrize("provider", MAKERS)
def test_a_certificate_by_way_of_an_alias(stack: ExitStack, tmp_path: Path, provider: str) -> None:
    bridge = MAKERS[provider](stack, tmp_path / "far")
    lab = make_lab(stack, tmp_path, bridge)
    checked = lab.run("check")
    assert checked.status == 0, checked.stderr + checked.stdout
    assert bridge.left() == [], "check writes nothing"
    ran = lab.issue()
    assert ran.status == 0, ran.stderr
    check_store(lab.store, NAMES)
    assert ran.certificate["requests"]["dns_changes"] == 2
    assert len(bridge.left()) == (2 if provider == "acme-dns" else 0)
    assert lab.bind.leftovers() == []
    for value in (API_KEY, PASSWORD, bridge.variables.get("ACME_DNS_PASS", API_KEY)):
        assert value not in ran.stdout + ran.stderr + checked.stdout + checked.stderr


def test_runs_that_share_the_state_keep_each_others_values_on_a_server_without_extend(
    stack: ExitStack, tmp_path: Path
) -> None:
    """Six processes at one name, each with a certificate of its own: whole record sets are written in turn."""
    bridge = powerdns(stack, tmp_path / "far")
    lab = make_lab(stack, tmp_path, bridge)
    hosts = [f"host-{number}" for number in range(6)]
    lab.bind.update(ZONE, add=[f"_acme-challenge.{host} 60 CNAME {ALIAS}." for host in hosts])
    store = lab.web["stores"]
    lab.config["certificates"] = {host: {"names": [f"{host}.{ZONE}"], "stores": store} for host in hosts}
    assert lab.run("account", "register").status == 0
    runs = [lab.start("issue", "--output", "json", host) for host in hosts]
    for host, ran in zip(hosts, [finish(run) for run in runs], strict=True):
        assert ran.status == 0, ran.stderr
        check_store(lab.directory / "certs" / host, [f"{host}.{ZONE}"])
    assert bridge.left() == []


@pytest.mark.parametrize("provider", ["powerdns", "hook", "acme-dns"])
def test_wrong_credentials_are_told_by_check_or_by_the_run(stack: ExitStack, tmp_path: Path, provider: str) -> None:
    bridge = MAKERS[provider](stack, tmp_path / "far")
    secret = list(bridge.variables)[-1]
    wrong = bridge.variables[secret][::-1] if provider != "hook" else bridge.variables[secret].swapcase()
    lab = make_lab(stack, tmp_path, bridge)
    ran = lab.issue(environ={secret: wrong})
    assert ran.status == 4, ran.stderr
    assert ran.certificate["error"]["code"] == ("dns.failed" if provider == "hook" else "dns.credentials")
    assert bridge.left() == []
    assert wrong not in ran.stdout + ran.stderr


@pytest.mark.parametrize("zone", [FAR, ZONE])
def test_a_missing_alias_is_told_with_the_record(stack: ExitStack, tmp_path: Path, zone: str) -> None:
    """Whether the entry is for the acme-dns server's domain, as it should, or for the zone of the names."""
    bridge = acme_dns(stack, tmp_path / "far")
    target, bridge.alias = bridge.alias, "elsewhere"
    bridge.entry |= {"zone": zone, "full_domain": target}
    lab = make_lab(stack, tmp_path, bridge)
    lab.web["names"] = [f"api.{ZONE}"]
    for ran in (lab.run("check"), lab.issue()):
        assert f"_acme-challenge.api.{ZONE}. CNAME {target}." in ran.stdout + ran.stderr
