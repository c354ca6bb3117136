"""The fakes themselves: the judge finds what is wrong, and the answers are those that Google has been seen to give."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds.api import Call
from tests.clouds.google import Judge
from tests.clouds.google_dns import GoogleDns

RECORDINGS = os.environ.get("CI_ACME_RECORDINGS")
ZONE = "fullm3tal.tk"


def ask(url: str, method: str = "GET", body: Any = None, token: str = "good") -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


@pytest.fixture
def dns() -> Iterator[GoogleDns]:
    with GoogleDns() as dns:
        dns.zone("zone", ZONE)
        yield dns


# --- the judge


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"additions": [{"name": "a.", "type": "TXT", "ttl": "60", "rrdatas": ["x"]}]}, None),
        ({"additions": [{"name": "a.", "type": "TXT", "ttl": "soon"}]}, "no integer"),
        ({"additions": [{"name": "a.", "value": "x"}]}, "no field value"),
        ({"additions": {"name": "a."}}, "not a list"),
        ({"status": "finished"}, "none of"),
        ({"kind": "dns#change"}, "read-only"),
    ],
)
def test_the_judge_finds_what_is_wrong_with_a_request(body: Any, problem: str | None) -> None:
    judge = Judge("dns.v1")
    call = Call("POST", "/dns/v1/projects/p/managedZones/z/changes", body=json.dumps(body).encode())
    found = judge.find(call)
    assert found is not None
    said = judge.request(found[0], call)
    assert (problem is None) == (said == [])
    assert problem is None or problem in said[0]


def test_the_judge_knows_paths_verbs_and_parameters() -> None:
    judge = Judge("dns.v1", "secretmanager.v1")
    path = "/v1/projects/p/secrets/s/versions/1:access"
    assert judge.find(Call("POST", path)) is None
    assert judge.find(Call("GET", path.replace(":access", ":unheard"))) is None
    found = judge.find(Call("GET", path))
    assert found is not None
    assert found[1] == ("p", "s", "1")
    assert judge.request(found[0], Call("GET", path, {"version": ["1"]}))
    assert not judge.request(found[0], Call("GET", path, {"alt": ["json"]}))


def test_the_judge_looks_at_our_answers_as_well() -> None:
    judge = Judge("secretmanager.v1")
    found = judge.find(Call("GET", "/v1/projects/p/secrets/s/versions/1:access"))
    assert found is not None
    good = {"name": "x", "payload": {"data": "eA==", "dataCrc32c": "1"}}
    assert judge.response(found[0], good) == []
    for bad in (
        {"payload": {"data": "no base64!"}},
        {"payload": {"data": "eA==", "dataCrc32c": 1}},
        {"version": "1"},
    ):
        assert judge.response(found[0], bad)


def test_a_request_that_is_wrong_fails_the_test_in_which_it_is_made() -> None:
    def make() -> None:
        with GoogleDns() as dns:
            dns.zone("zone", ZONE)
            ask(f"{dns.url}/dns/v1/projects/p/managedZones?suffix=x")

    with pytest.raises(AssertionError, match="unknown query parameter"):
        make()


def test_no_token_is_no_entry(dns: GoogleDns) -> None:
    status, document = ask(f"{dns.url}/dns/v1/projects/p/managedZones", token="bad")
    assert (status, document["error"]["errors"][0]["reason"]) == (401, "authError")


# --- cloud dns


def change(dns: GoogleDns, **body: Any) -> tuple[int, Any]:
    return ask(f"{dns.url}/dns/v1/projects/p/managedZones/zone/changes", "POST", body)


def record_set(
    *rrdatas: str, ttl: int = 60, name: str = f"_acme-challenge.{ZONE}.", kind: str = "TXT"
) -> dict[str, Any]:
    return {"name": name, "type": kind, "ttl": ttl, "rrdatas": list(rrdatas)}


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"additions": [record_set('"b"')]}, 409, "alreadyExists"),
        ({"deletions": [record_set('"b"')]}, 412, "conditionNotMet"),
        ({"deletions": [record_set('"a"', ttl=61)]}, 412, "conditionNotMet"),
        ({"deletions": [record_set('"a"', name=f"x.{ZONE}.")]}, 404, "notFound"),
        ({"additions": [record_set("x.", kind="CNAME")]}, 400, "cnameResourceRecordSetConflict"),
        ({"additions": [record_set('"a"', name="x.elsewhere.test.")]}, 400, "invalid"),
        ({"additions": [record_set("two words", name=f"x.{ZONE}.")]}, 400, "invalid"),
        ({"additions": [record_set(f'"{"x" * 256}"', name=f"x.{ZONE}.")]}, 400, "invalid"),
    ],
)
def test_a_change_is_made_as_a_whole_or_not_at_all(dns: GoogleDns, body: Any, status: int, reason: str) -> None:
    dns.put("zone", f"_acme-challenge.{ZONE}", "TXT", 60, '"a"')
    good = record_set('"good"', name=f"good.{ZONE}.")
    body = {**body, "additions": [good, *body.get("additions", [])]}
    found, document = change(dns, **body)
    assert (found, document["error"]["errors"][0]["reason"]) == (status, reason)
    assert list(dns.sets["zone"]) == [(f"_acme-challenge.{ZONE}.", "TXT")]


def test_zones_are_served_over_dns(dns: GoogleDns) -> None:
    with SandboxDns([ZONE]) as server:
        dns.server = server
        assert change(dns, additions=[record_set('"one"', "two", ttl=30)])[0] == 200
        assert server.values(f"_acme-challenge.{ZONE}") == ["one", "two"]
        assert change(dns, deletions=[record_set('"one"', '"two"', ttl=30)])[0] == 200
        assert server.values(f"_acme-challenge.{ZONE}") == []


# --- recorded exchanges


@pytest.mark.skipif(RECORDINGS is None, reason="CI_ACME_RECORDINGS names no folder of recorded exchanges")
def test_answers_are_as_google_s_were() -> None:
    """Every recorded request is made of the fake, from the state that the recording began with."""
    compared = 0
    for path in sorted(Path(RECORDINGS or "", "googleclouddns").rglob("*.yaml")):
        exchanges = [
            item
            for item in yaml.safe_load(path.read_text(encoding="utf-8"))["interactions"]
            if "/dns/v1/" in item["request"]["uri"]
        ]
        with GoogleDns() as dns:
            listed = answer_of(exchanges[0])["managedZones"]
            for zone in listed:
                dns.zone(zone["name"], zone["dnsName"].rstrip("."), id=zone["id"])
            seed(dns, listed[0]["name"], exchanges)
            for exchange in exchanges:
                compared += compare(dns, exchange)
    assert compared > 100


def answer_of(exchange: Mapping[str, Any]) -> Any:
    return json.loads(exchange["response"]["body"]["string"])


def seed(dns: GoogleDns, zone: str, exchanges: list[Any]) -> None:
    """The first whole listing, with the changes that were made before it undone."""
    before: list[Any] = []
    for exchange in exchanges:
        request = exchange["request"]
        if request["method"] == "POST":
            before.append(json.loads(request["body"]))
        elif request["uri"].endswith("/rrsets"):
            sets = {(item["name"], item["type"]): item for item in answer_of(exchange)["rrsets"]}
            for body in reversed(before):
                for item in body.get("additions", []):
                    sets.pop((item["name"], item["type"]), None)
                for item in body.get("deletions", []):
                    sets[item["name"], item["type"]] = item
            for item in sets.values():
                dns.put(zone, item["name"].rstrip("."), item["type"], item["ttl"], *item["rrdatas"])
            return


def compare(dns: GoogleDns, exchange: Mapping[str, Any]) -> int:
    request, wanted = exchange["request"], answer_of(exchange)
    parts = urlsplit(request["uri"])
    url = f"{dns.url}{parts.path}" + (f"?{parts.query}" if parts.query else "")
    body = json.loads(request["body"]) if request["body"] else None
    status, found = ask(url, request["method"], body)
    assert status == exchange["response"]["status"]["code"], found
    assert list(found) == [key for key in wanted if key in found], "in the same order"
    assert set(wanted) == set(found)
    for key, value in wanted.items():
        if key == "managedZones":
            assert {"kind", "name", "dnsName", "id", "nameServers"} <= set(value[0]) & set(found[key][0])
        elif key == "rrsets":
            assert sorted(found[key], key=str) == sorted(value, key=str)
        elif key not in {"id", "startTime"}:
            assert found[key] == value
    return 1
