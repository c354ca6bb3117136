"""The servers of the tests do what the other tests rely on."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from pathlib import Path

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
import pytest

from tests.servers import process
from tests.servers.bind import KEY, OTHER_KEY, SECRET, Bind
from tests.servers.pebble import Pebble
from tests.servers.ports import free_ports
from tests.servers.postgres import Postgres
from tests.servers.powerdns import API_KEY, PowerDns
from tests.servers.tools import find

pytestmark = pytest.mark.servers


def test_bind_takes_signed_updates_of_txt_only(servers_directory: Path) -> None:
    with Bind(servers_directory, {"example.test": ['keep TXT "from the start"']}) as bind:
        bind.update("example.test", add=['_acme-challenge 60 TXT "one"', '_acme-challenge 60 TXT "two"'])
        assert bind.txt("_acme-challenge.example.test") == ["one", "two"]
        bind.update("example.test", delete=['_acme-challenge 60 TXT "one"'])
        assert bind.leftovers() == [("_acme-challenge.example.test", '"two"')]
        with pytest.raises(AssertionError, match="REFUSED"):
            bind.update("example.test", add=["www 60 A 192.0.2.1"])
        assert bind.update_count() == 3
        bind.restart()
        assert bind.txt("_acme-challenge.example.test") == ["two"]


def test_bind_keeps_the_zones_of_two_keys_apart(bind: Bind) -> None:
    with pytest.raises(AssertionError, match="REFUSED"):
        bind.update("second.test", add=['apart 60 TXT "x"'], key=KEY)
    bind.update("second.test", add=['apart 60 TXT "x"'], key=OTHER_KEY)
    bind.update("second.test", delete=['apart 60 TXT "x"'], key=OTHER_KEY)


def test_bind_follows_a_cname_into_its_other_zone_for_pebble(servers_directory: Path) -> None:
    zones = {"example.test": ["_acme-challenge CNAME here.second.test."], "second.test": ['here TXT "found"']}
    query = dns.message.make_query("_acme-challenge.example.test", "TXT")
    with Bind(servers_directory / "1", zones) as bind:
        answer = dns.query.tcp(query, bind.host, port=bind.port, timeout=5)
        assert [rrset.rdtype.name for rrset in answer.answer] == ["CNAME", "TXT"]
    with Bind(servers_directory / "2", zones, recursion=False) as bind:
        answer = dns.query.tcp(query, bind.host, port=bind.port, timeout=5)
        assert "TXT" not in [rrset.rdtype.name for rrset in answer.answer]
        assert bind.query("www.elsewhere.test").rcode() == dns.rcode.REFUSED


def test_two_servers_share_a_port_on_two_addresses(servers_directory: Path) -> None:
    with (
        Bind(servers_directory / "1", {"example.test": ["a TXT one"]}) as first,
        PowerDns(
            servers_directory / "2", {"example.test": ['a TXT "two"']}, host="127.0.0.2", port=first.port
        ) as second,
    ):
        assert (first.port, first.txt("a.example.test"), second.txt("a.example.test")) == (
            second.port,
            ["one"],
            ["two"],
        )


def test_pebble_speaks_https_and_its_requests_are_counted(pebble: Pebble) -> None:
    before = pebble.request_counts()["/dir"]
    context = ssl.create_default_context(cafile=str(pebble.ca_bundle))
    request = urllib.request.Request(pebble.directory_url, headers={"User-Agent": "test"})
    with urllib.request.urlopen(request, context=context, timeout=5) as response:
        assert b"renewalInfo" in response.read()
    pebble.wait_for_requests("/dir", before + 1)
    assert ("GET", "/dir") in pebble.requests()
    assert "BEGIN CERTIFICATE" in pebble.root()
    assert "BEGIN CERTIFICATE" in pebble.intermediate()


def test_pebble_has_profiles_and_account_binding(servers_directory: Path) -> None:
    profiles = {"short": {"description": "six days", "validityPeriod": 518400}}
    with Pebble(servers_directory, profiles=profiles, eab={"kid-1": "c2VjcmV0"}, nonce_reject=50) as pebble:
        context = ssl.create_default_context(cafile=str(pebble.ca_bundle))
        request = urllib.request.Request(pebble.directory_url, headers={"User-Agent": "test"})
        with urllib.request.urlopen(request, context=context, timeout=5) as response:
            meta = json.load(response)["meta"]
        assert meta["externalAccountRequired"] is True
        assert meta["profiles"] == {"short": "six days"}
        assert "reject 50% of good nonces" in pebble.log()


def test_certbot_issues_from_pebble_over_bind(bind: Bind, pebble: Pebble, tmp_path: Path) -> None:
    """The judge of the laboratory is a client that is not ours."""
    host, port = bind.address.split(":")
    credentials = tmp_path / "rfc2136.ini"
    settings = {"server": host, "port": port, "name": KEY, "secret": SECRET, "algorithm": "HMAC-SHA256"}
    credentials.write_text("".join(f"dns_rfc2136_{key} = {value}\n" for key, value in settings.items()))
    credentials.chmod(0o600)
    directories = [f"--{kind}-dir={tmp_path / kind}" for kind in ("config", "work", "logs")]
    command = [find("certbot"), "certonly", "-n", "--agree-tos", "--register-unsafely-without-email"]
    command += ["--server", pebble.directory_url, *directories, "--dns-rfc2136", "-d", "certbot.example.test"]
    command += ["--dns-rfc2136-credentials", str(credentials), "--dns-rfc2136-propagation-seconds", "0"]
    environment = {"REQUESTS_CA_BUNDLE": str(pebble.ca_bundle), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert bind.txt("_acme-challenge.certbot.example.test") == []


def test_powerdns_takes_updates_and_has_the_api(powerdns: PowerDns) -> None:
    keyring = dns.tsigkeyring.from_text({KEY: SECRET})
    update = dns.update.UpdateMessage(
        "example.test", keyring=keyring, keyname=dns.name.from_text(KEY), keyalgorithm="hmac-sha256"
    )
    update.add("_acme-challenge.up", 60, "TXT", '"value"')
    assert dns.query.tcp(update, powerdns.host, port=powerdns.port, timeout=5).rcode() == dns.rcode.NOERROR
    assert powerdns.txt("_acme-challenge.up.example.test") == ["value"]
    assert ("_acme-challenge.up.example.test", "TXT", '"value"') in powerdns.zone_dump("example.test")
    url = f"{powerdns.api_url}/api/v1/servers/localhost/zones/example.test."
    request = urllib.request.Request(url, headers={"X-API-Key": API_KEY})
    with urllib.request.urlopen(request, timeout=5) as response:
        assert b"_acme-challenge.up.example.test." in response.read()


def test_postgres_has_databases_for_tests(postgres: Postgres) -> None:
    url = postgres.create_database("of_this_test")
    done = subprocess.run(
        [find("psql"), "-X", "-t", "-A", "-d", url, "-c", "SELECT 6 * 7"], capture_output=True, check=True
    )
    assert done.stdout.strip() == b"42"


def test_a_server_that_cannot_start_says_why(servers_directory: Path) -> None:
    with pytest.raises(process.ServerFailed, match=r"example\.test\.zone failed"):
        Bind(servers_directory, {"example.test": ["broken record ("]}).start()
    assert not process.LIVE or all(server.directory != servers_directory for server in process.LIVE)


def test_a_port_that_is_taken_is_no_failure(servers_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Pebble(servers_directory / "1") as first:
        choices = iter([[first.port, first.management_port], free_ports(2)])
        monkeypatch.setattr("tests.servers.pebble.free_ports", lambda *_: next(choices))
        with Pebble(servers_directory / "2") as second:
            assert second.port != first.port
            assert second.root() != first.root()


def test_free_ports_are_different_and_not_those_in_use(bind: Bind) -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert bind.port not in ports
