"""Certificates of CT logs against ours: how they are joined, and whose they are."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.serving import PATIENCE, judge_served
from ci_acme.core.transparency import (
    Issuance,
    Known,
    common_name,
    concerns,
    concerns_name,
    known_certificates,
    plain_serial,
    unknown,
)
from ci_acme.core.watch import Watched
from tests.core.test_watch import Event, event, facts, row, spec, view

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def issuance(**changes: Any) -> Issuance:
    known = {"id": "1", "names": ("www.example.com",), "issuer": "CN=R3,O=Let's Encrypt,C=US"}
    times = {"not_before": NOW - DAY, "not_after": NOW + 89 * DAY}
    return Issuance(**{**known, **times, **changes})


def recorded(**said: Any) -> Event:
    return event(NOW - DAY, "certificate", issuer="CN=R3,O=Let's Encrypt,C=US", **said)


def codes(found: list[Issuance], known: Known, domains: tuple[str, ...] = ()) -> list[str]:
    return [alert.code for alert in unknown(found, known, ["www.example.com"], domains, NOW - 30 * DAY)]


def ours(*events: Event, more: str = "") -> Known:
    return known_certificates([], events, [], more)


def test_the_join_is_the_hash_of_the_tbs_certificate() -> None:
    known = ours(recorded(tbs_sha256="ab", sha256="cd", spki_sha256="ef", serial="0a"))
    assert codes([issuance(tbs_sha256="ab", spki_sha256="ef")], known) == []
    assert codes([issuance(tbs_sha256="99", spki_sha256="ef")], known) == ["issuance.same_key"]
    assert codes([issuance(tbs_sha256="99", spki_sha256="98", serial="0a")], known) == ["issuance.unknown"], (
        "whoever has a CA chooses serial numbers"
    )
    assert codes([issuance(sha256="cd")], known) == []


def test_what_was_recorded_without_that_hash_is_known_by_its_key() -> None:
    known = ours(recorded(sha256="cd", spki_sha256="ef", serial="0a"))
    assert codes([issuance(tbs_sha256="ab", spki_sha256="ef")], known) == []
    assert codes([issuance(tbs_sha256="ab", spki_sha256="ee")], known) == ["issuance.unknown"]
    assert codes([issuance(tbs_sha256="ab", spki_sha256="ff")], known_certificates([], [], ["ff"], "")) == []


def test_an_index_without_hashes_is_joined_by_serial_and_issuer() -> None:
    known = ours(recorded(serial="0a1b"))
    assert codes([issuance(serial="000a1b", issuer="C=US, O=Let's Encrypt, CN=R3")], known) == []
    assert codes([issuance(serial="000a1b", issuer="C=US, O=Evil, CN=E1")], known) == ["issuance.unknown"]
    assert codes([issuance(serial="0a1c")], known) == ["issuance.unknown"]
    assert codes([issuance(serial="0a1b")], known_certificates([row(serial="0a1b", issuer="CN=R3")], [], [], "")) == []


def test_a_precertificate_and_its_certificate_are_one_alert() -> None:
    pair = [issuance(id="1", serial="0b"), issuance(id="2", serial="0b")]
    assert codes(pair, ours()) == ["issuance.unknown"]


@pytest.mark.parametrize("said", ["ab" * 32, "0b0c0d0e"])
def test_what_the_config_calls_known(said: str) -> None:
    theirs = issuance(tbs_sha256="cc" * 32, spki_sha256="dd" * 32)
    assert codes([issuance(tbs_sha256="ab" * 32, spki_sha256="01" * 32)], ours(more="ab" * 32)) == []
    assert codes([issuance(tbs_sha256="02" * 32, spki_sha256="ab" * 32)], ours(more="ab" * 32)) == []
    assert codes([issuance(serial="0B0C0D0E")], ours(more="0b0c0d0e")) == []
    assert codes([theirs], ours(more=said)) == ["issuance.unknown"]


def test_which_certificates_concern_us() -> None:
    names = ["www.example.com", "*.pr.example.com"]
    yes = ["www.example.com", "*.example.com", "*.pr.example.com", "a.pr.example.com"]
    no = ["example.com", "api.example.com", "*.www.example.com", "a.b.pr.example.com", "pr.example.com", "x.test"]
    for name in yes:
        assert concerns(issuance(names=(name,)), names, ()), name
    for name in no:
        assert not concerns(issuance(names=(name,)), names, ()), name
    assert concerns(issuance(names=("a.b.example.com",)), names, ("example.com",))
    assert concerns(issuance(names=("*.example.com",)), names, ("example.com",))
    assert not concerns(issuance(names=("badexample.com",)), names, ("example.com",))
    assert concerns_name("a.pr.example.com", "*.pr.example.com")
    assert not concerns_name("pr.example.com", "*.pr.example.com")


def test_what_is_from_before_the_records_is_left_out() -> None:
    assert codes([issuance(not_before=NOW - 31 * DAY)], ours()) == []


def test_the_alert_says_whose_it_is_and_what_to_do() -> None:
    (alert,) = unknown([issuance(tbs_sha256="ab", serial="0a")], ours(), ["www.example.com"], (), NOW - 2 * DAY)
    assert (alert.severity, alert.since, alert.subject) == ("critical", NOW - DAY, "ab")
    assert "CN=R3" in alert.message
    assert "monitor.ct.known" in alert.fix
    assert "CAA" in alert.fix
    assert alert.details["names"] == ["www.example.com"]


@pytest.mark.parametrize(
    ("issuer", "name"),
    [
        ("C=US, O=Let's Encrypt, CN=R3", "r3"),
        ("CN=R3,O=Let's Encrypt,C=US", "r3"),
        ('C=US, O="CLOUDFLARE, INC.", CN=Cloudflare TLS Issuing ECC CA 1', "cloudflare tls issuing ecc ca 1"),
        ("CN=Pebble Intermediate CA 1a\\, b,O=x", "pebble intermediate ca 1a, b"),
        ('O=x,CN="A, B"', "a, b"),
        ("O=no name", ""),
        ("", ""),
    ],
)
def test_common_names_of_every_writing(issuer: str, name: str) -> None:
    assert common_name(issuer) == name


hexes = st.sampled_from(["aa", "bb", "cc"])
issuances = st.builds(
    issuance,
    id=st.text(max_size=3),
    tbs_sha256=hexes,
    spki_sha256=hexes,
    serial=st.none() | hexes,
)


@given(st.lists(issuances, max_size=6), st.lists(st.tuples(hexes, hexes, hexes), max_size=3))
def test_ours_never_alert_and_strangers_always_do(found: list[Issuance], held: list[tuple[str, str, str]]) -> None:
    known = ours(*(recorded(tbs_sha256=tbs, sha256="f" + tbs, spki_sha256=key, serial=s) for tbs, key, s in held))
    alerts = {
        alert.details["tbs_sha256"]: alert.code
        for alert in unknown(found, known, ["www.example.com"], (), NOW - 2 * DAY)
    }
    for one in found:
        first = next(other for other in found if other.identity == one.identity)
        if first.tbs_sha256 in {tbs for tbs, _, _ in held}:
            assert first.tbs_sha256 not in alerts
        else:
            same = first.spki_sha256 in {key for _, key, _ in held}
            assert alerts[str(first.tbs_sha256)] == ("issuance.same_key" if same else "issuance.unknown")


def test_serial_numbers_of_every_writing() -> None:
    assert plain_serial("00:0A:1b") == plain_serial("0A1B") == "a1b"


# --- servers ---


def served(
    found: Any, held: Any = None, events: Any = (), name: str = "www.example.com"
) -> tuple[bool, str | None, str]:
    watched = [Watched(spec(), held or row(), (view(),))]
    result, alert = judge_served("www.example.com:443", name, found, watched, events, NOW)
    return result.matches, alert and alert.code, alert.severity if alert else ""


def test_what_servers_serve() -> None:
    assert served(facts("aa")) == (True, None, "")
    assert served(facts("bb")) == (False, "endpoint.other", "warning")
    fresh = row(NOW - PATIENCE / 2)
    before = [event(NOW - 60 * DAY, "certificate", sha256="bb")]
    assert served(facts("bb"), fresh, before) == (False, "endpoint.other", "notice"), "the one before, for a while"
    assert served(facts("cc"), fresh, before) == (False, "endpoint.other", "warning"), "a stranger's, at once"
    assert served(facts("bb"), row(), before) == (False, "endpoint.other", "warning")
    assert served(facts("aa", not_after=NOW)) == (True, "endpoint.expired", "critical")
    assert served(facts("aa"), name="other.example.com") == (False, "endpoint.name", "warning")
    assert served("the connection was refused") == (False, "source.endpoint", "warning")
    empty = row(not_before=None, not_after=None, sha256=None, serial=None)
    assert served(facts("bb"), empty) == (False, None, ""), "that nothing is stored is another alert"
