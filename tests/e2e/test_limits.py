"""Rate limits: refused before newOrder with the time, told from renewals, corrected by the CA, said by `plan`."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from ci_acme.clock import SystemClock
from ci_acme.core.budget import Limits as Budget
from ci_acme.core.budget import OrderKind, Rate, from_ns, order_spends, to_ns
from ci_acme.sandbox import SandboxCa
from ci_acme.state.buckets import Buckets as Budgets
from ci_acme.state.engine import Record, open_state
from ci_acme.state.segments import Part, encode_name, new_id, pack_part, unpack_part
from tests.e2e.lab import ZONE, Lab, Ran, check_store
from tests.servers.bind import Bind
from tests.servers.buckets import Buckets, Call
from tests.servers.ports import free_ports
from tests.servers.postgres import Postgres
from tests.state.object_support import url_of

pytestmark = pytest.mark.servers
DAY = timedelta(days=1)
WWW = f"www.{ZONE}"


def limit(lab: Lab, **table: Any) -> None:
    (authority,) = lab.config["authorities"].values()
    authority["rate_limits"] = table


def time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def seconds_until(text: str) -> float:
    return (time(text) - datetime.now(timezone.utc)).total_seconds()


def plan(lab: Lab, *names: str) -> Ran:
    return lab.run("plan", "--output", "json", *names)


def left(ran: Ran, name: str = "web") -> dict[str, tuple[str, int, int]]:
    (found,) = [entry for entry in ran.document["certificates"] if entry["name"] == name]
    return {line["limit"]: (line["key"], line["remaining"], line["of"]) for line in found["cost"]["limits"]}


def several(lab: Lab, **certificates: list[str]) -> None:
    lab.config["certificates"] = {
        name: {"names": names, "stores": [{"provider": "file", "directory": "certs"}]}
        for name, names in certificates.items()
    }


def test_the_same_names_with_the_store_wiped_each_time(lab: Lab) -> None:
    limit(lab, certificates_per_name_set="2/7d")
    for remaining in (2, 1):
        assert left(plan(lab))["certificates_per_name_set"] == (WWW, remaining, 2)
        assert lab.issue().status == 0
        shutil.rmtree(lab.store)
    before = lab.seen()
    ran = lab.issue("--force")
    assert ran.status == 8, ran.stderr
    error = ran.certificate["error"]
    assert error["code"] == "ca.rate_limited"
    assert lab.seen() == before, "not a single request to the CA"
    assert ran.certificate["action"] == "refused"
    details = error["details"]
    assert (details["limit"], details["key"], details["names"]) == ("certificates_per_name_set", WWW, WWW)
    assert details["retry_at"] in error["message"]
    assert details["retry_at"] in error["fix"]
    assert abs(seconds_until(details["retry_at"]) - 302_400) < 120
    assert details["retry_at"] == computed(lab, Budget(certificates_per_name_set=Rate(2, 7 * DAY)))
    planned = plan(lab)
    assert planned.status == 8
    assert planned.certificate["action"] == "refused"
    assert planned.certificate["error"]["details"]["retry_at"] == details["retry_at"]
    assert planned.certificate["cost"]["limits"][0]["next"] == details["retry_at"]
    assert details["retry_at"] in lab.run("plan").stdout


def computed(lab: Lab, limits: Budget) -> str:
    """The time by the arithmetic, from the bucket in state."""
    clock = SystemClock()
    with closing(open_state(f"sqlite:{lab.directory}/.ci-acme/state.db", clock=clock)) as engine:
        buckets = Budgets(engine, lab.pebble.directory_url, clock)
        (spend,) = order_spends(limits, OrderKind.RENEWAL, [WWW], [], "")
        (tat,) = buckets.tats([spend]).values()
    at = spend.rate.possible_at(tat, to_ns(clock.now()))
    return f"{from_ns(at):%Y-%m-%dT%H:%M:%SZ}"


def test_a_reserve_is_for_renewals_and_not_for_new_names(lab: Lab) -> None:
    limit(lab, certificates_per_domain="3/7d", reserve=2)
    several(lab, web=[WWW], new=[f"new.{ZONE}"])
    assert lab.issue("web").status == 0
    orders = lab.orders()
    ran = lab.issue("new")
    assert ran.status == 8
    details = ran.certificate["error"]["details"]
    assert (details["registered_domain"], details["remaining"], details["reserve"]) == (ZONE, 2, 2)
    assert "kept for renewals" in ran.certificate["error"]["message"]
    assert abs(seconds_until(details["retry_at"]) - 201_600) < 120
    assert lab.orders() == orders
    assert lab.issue("web", "--force").certificate["action"] == "renewed"
    shutil.rmtree(lab.store)
    assert plan(lab, "web").certificate["cost"]["counts_as"] == "renewal", "state remembers the names without a store"
    assert lab.issue("web").certificate["action"] == "issued"
    text = lab.run("plan", "web").stdout
    assert f"certificates_per_domain {ZONE}: 2 of 3 left, 2 of them for renewals, next at 20" in text


def test_a_plan_counts_its_certificates_together_and_proposes_a_wildcard(lab: Lab) -> None:
    limit(lab, certificates_per_domain="3/7d")
    several(
        lab,
        one=[f"pr-1.preview.{ZONE}"],
        two=[f"pr-2.preview.{ZONE}", f"api.pr-2.preview.{ZONE}"],
        three=[f"pr-3.preview.{ZONE}", f"preview.{ZONE}"],
        other=[f"other.{ZONE}"],
    )
    ran = plan(lab)
    assert ran.status == 8
    assert [entry["action"] for entry in ran.document["certificates"]] == [*["would-issue"] * 3, "refused"]
    assert [left(ran, name)["certificates_per_domain"][1] for name in ("one", "two", "three", "other")] == [3, 2, 1, 0]
    (suggestion,) = ran.document["suggestions"]
    assert suggestion["names"] == [f"*.preview.{ZONE}", f"preview.{ZONE}"]
    assert suggestion["in_place_of"] == ["one", "three", "two"]
    assert suggestion["cannot_cover"] == [f"api.pr-2.preview.{ZONE}"]
    text = lab.run("plan").stdout
    assert f"suggestion: one certificate for *.preview.{ZONE}" in text
    assert f"cannot cover api.pr-2.preview.{ZONE}" in text
    assert lab.seen() == 0
    assert not (lab.directory / ".ci-acme").exists(), "a plan changes nothing"


def test_parallel_certificates_of_a_run_share_the_budget(lab: Lab) -> None:
    limit(lab, certificates_per_domain="2/7d")
    several(lab, **{f"c{number}": [f"c{number}.{ZONE}"] for number in range(5)})
    ran = lab.issue()
    assert ran.status == 8
    actions = [entry["action"] for entry in ran.document["certificates"]]
    assert sorted(actions) == ["issued"] * 2 + ["refused"] * 3
    assert lab.orders() == 2


def test_a_renewal_by_ari_is_exempt(lab: Lab) -> None:
    limit(lab, certificates_per_name_set="1/7d", certificates_per_domain="1/7d", orders_per_account="1/3h")
    assert lab.issue().status == 0
    assert lab.issue("--force").status == 8
    leaf = check_store(lab.store, [WWW])
    start, end = leaf.not_valid_before_utc - 10_000 * DAY, leaf.not_valid_before_utc + DAY  # a time in it has passed
    lab.pebble.set_renewal_info(
        (lab.store / "cert.pem").read_text(),
        f'{{"suggestedWindow": {{"start": "{start:%Y-%m-%dT%H:%M:%SZ}", "end": "{end:%Y-%m-%dT%H:%M:%SZ}"}}}}',
    )
    planned = plan(lab).certificate
    assert (planned["action"], planned["cost"]["counts_as"]) == ("would-renew", "renewal by ARI")
    ran = lab.issue()
    assert ran.certificate["action"] == "renewed", ran.stderr
    assert check_store(lab.store, [WWW]).serial_number != leaf.serial_number


def test_what_came_to_nothing_is_given_back(lab: Lab) -> None:
    limit(lab, certificates_per_domain="5/7d", certificates_per_name_set="5/7d", orders_per_account="9/3h")
    fresh = left(plan(lab))
    lab.config["dns"][0].update(tsig_name="other", tsig_secret="env:OTHER_SECRET")
    ran = lab.issue()
    assert (ran.status, lab.orders()) == (4, 1)
    after = left(plan(lab))
    assert after.pop("orders_per_account")[1] == fresh.pop("orders_per_account")[1] - 1, "the order itself was made"
    assert after == fresh


def test_a_loopback_ca_has_no_limits_by_default(lab: Lab) -> None:
    ran = plan(lab)
    assert ran.certificate["cost"]["limits"] == []
    lab.config["authorities"]["pebble"]["rate_limits"] = "letsencrypt"
    assert set(left(plan(lab))) == {
        "certificates_per_name_set",
        "certificates_per_domain",
        "orders_per_account",
    }


def test_state_that_cannot_be_used_is_said_once(lab: Lab) -> None:
    limit(lab, certificates_per_domain="1/7d")
    several(lab, one=[f"one.{ZONE}"], two=[f"two.{ZONE}"])
    lab.config["state"] = "sqlite:/proc/ci-acme/state.db"
    ran = lab.issue()
    assert ran.status == 8
    assert lab.orders() == 1
    assert ran.stderr.count("forecast from this run alone") == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "s3"])
def test_a_hundred_thousand_rows_do_not_slow_a_plan(lab: Lab, kind: str, request: pytest.FixtureRequest) -> None:
    limit(lab, certificates_per_domain="50/7d", certificates_per_name_set="5/7d")
    with ExitStack() as stack:
        fill = _filler(lab, kind, request, stack)
        assert lab.issue().status == 0
        empty = min(timed(lab) for _ in range(3))
        fill()
        times: list[float] = []
        while len(times) < 20 and not (times and min(times) < 1.5 * empty):  # a busy machine has quiet moments, too
            times.append(timed(lab))
        assert min(times) < 1.5 * empty, times
        assert lab.run("inventory").status == 0


def _filler(lab: Lab, kind: str, request: pytest.FixtureRequest, stack: ExitStack) -> Callable[[], None]:
    """Gives the lab a state of a kind; what is returned puts 100,000 copies of its first record into twelve months."""
    months = [f"ledger/2026-{number + 1:02}" for number in range(12)]
    if kind == "sqlite":
        return lambda: _fill_sqlite(lab, months)
    if kind == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = lab.config["state"] = server.create_database(f"e{uuid4().hex}")
        return lambda: _fill_postgres(url, months)
    buckets = stack.enter_context(Buckets(kind))
    lab.config["state"] = url_of(buckets)
    lab.variables |= buckets.environment()
    return lambda: _fill_bucket(buckets, months)


def _fill_sqlite(lab: Lab, months: list[str]) -> None:
    with closing(sqlite3.connect(lab.directory / ".ci-acme" / "state.db")) as database:
        (row,) = database.execute("SELECT value FROM records WHERE stream LIKE 'ledger/%'").fetchmany(1)
        rows = [(months[number % 12], row[0]) for number in range(100_000)]
        database.executemany("INSERT INTO records (stream, value) VALUES (?, ?)", rows)
        database.commit()


def _fill_postgres(url: str, months: list[str]) -> None:
    with psycopg.connect(url) as database:
        database.execute(
            "INSERT INTO ci_acme.records (stream, value) "
            "SELECT (%s::text[])[1 + n %% 12], value FROM generate_series(1, 100000) AS n, "
            "(SELECT value FROM ci_acme.records WHERE stream LIKE 'ledger/%%' LIMIT 1) AS first",
            (months,),
        )


def _fill_bucket(buckets: Buckets, months: list[str]) -> None:
    """Sealed parts of 500 records, as appending would have left them."""
    name, (body, _) = next(item for item in buckets.store.objects.items() if "/ledger/" in item[0])
    record = unpack_part(body, name).records[0][0]
    root = name.partition("ledger/")[0]
    for month in months:
        number = 0
        for _ in range(17):
            records = tuple((Record(number + index + 1, record.value), new_id()) for index in range(500))
            part = Part(records, 0, number + 500, sealed=True)
            at = f"{root}{encode_name(month)}.{0 if number == 0 else number + 1:020}"
            buckets.store.put(Call("PUT", at, pack_part(part, new_id())))
            number += 500


def timed(lab: Lab) -> float:
    """Seconds of a whole process, from its start to its end."""
    import time as clock

    begun = clock.perf_counter()
    assert plan(lab).status == 0
    return clock.perf_counter() - begun


# --- a CA that refuses by itself ---


class SandboxLab(Lab):
    ca: SandboxCa

    def orders(self) -> int:
        return self.ca.log.counts([201])["newOrder"]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxLab]:
    yield from make_sandbox(tmp_path, None)


@pytest.fixture
def blind(tmp_path: Path) -> Iterator[SandboxLab]:
    """A CA that finds no record."""
    yield from make_sandbox(tmp_path, f"127.0.0.1:{free_ports(1)[0]}")


def make_sandbox(tmp_path: Path, dns: str | None) -> Iterator[SandboxLab]:
    for name in ("bind", "ca", "work"):
        (tmp_path / name).mkdir()
    with (
        Bind(tmp_path / "bind", {ZONE: []}) as bind,
        SandboxCa(dns_server=dns or bind.address, directory=tmp_path / "ca") as ca,
    ):
        lab = SandboxLab(tmp_path / "work", ca, bind)  # type: ignore[arg-type] - what `Lab` reads of a CA is the same
        lab.ca = ca
        yield lab


def test_the_ca_corrects_the_forecast(sandbox: SandboxLab) -> None:
    limit(sandbox, certificates_per_domain="50/7d")
    sandbox.ca.faults.rate_limit("newOrder", times=None, retry_after=7200)
    first = sandbox.issue()
    assert first.status == 8
    asked = sandbox.ca.log.counts()["newOrder"]
    assert asked >= 1
    said = first.certificate["error"]["details"]["retry_at"]
    sandbox.ca.faults.clear()
    second = sandbox.issue()
    assert second.status == 8
    assert sandbox.ca.log.counts()["newOrder"] == asked, "not asked again"
    details = second.certificate["error"]["details"]
    assert details["forecast"] is True
    assert (details["limit"], details["key"]) == ("certificates_per_domain", ZONE)
    assert abs((time(details["retry_at"]) - time(said)).total_seconds()) <= 1
    assert left(plan(sandbox))["certificates_per_domain"][1] == 0


@pytest.mark.parametrize("table", [{"certificates_per_domain": "50/7d"}, {"failures_per_name": "2/1h"}])
def test_failed_validations_do_not_lock_an_account_out(blind: SandboxLab, table: dict[str, str]) -> None:
    limit(blind, **table)
    ran = blind.issue()  # the CA could not ask the DNS: that is tried twice, and counts twice
    assert ran.status == 4
    assert ran.certificate["error"]["code"] == "dns.challenge"
    assert blind.orders() == 2
    for force in ([], ["--force"]):
        ran = blind.issue(*force)
        assert ran.status == 8
        details = ran.certificate["error"]["details"]
        assert (details["limit"], details["identifier"]) == ("failures_per_name", WWW)
        assert 1600 < seconds_until(details["retry_at"]) <= 1801
    assert blind.orders() == 2
    assert left(plan(blind))["failures_per_name"] == (WWW, 0, 2)
    blind.web["names"] = [f"another.{ZONE}"]
    assert blind.issue().status == 4


def test_new_accounts_are_counted_too(sandbox: SandboxLab) -> None:
    limit(sandbox, accounts_per_address="1/3h")
    assert sandbox.issue().status == 0
    (sandbox.directory / ".ci-acme" / "account.pem").unlink()
    ran = sandbox.issue("--force")
    assert ran.status == 8
    details = ran.certificate["error"]["details"]
    assert details["limit"] == "accounts_per_address"
    assert 10_700 < seconds_until(details["retry_at"]) <= 10_801
    assert sandbox.ca.log.counts([201])["newAccount"] == 1


def test_the_ca_refuses_an_account(sandbox: SandboxLab) -> None:
    limit(sandbox, accounts_per_address="10/3h")
    sandbox.ca.faults.rate_limit("newAccount", times=None, retry_after=600)
    said = sandbox.issue().certificate["error"]["details"]["retry_at"]
    sandbox.ca.faults.clear()
    asked = sandbox.ca.log.counts([201])["newAccount"]
    ran = sandbox.issue()
    assert ran.status == 8
    assert abs((time(ran.certificate["error"]["details"]["retry_at"]) - time(said)).total_seconds()) <= 1
    assert sandbox.ca.log.counts([201])["newAccount"] == asked == 0
