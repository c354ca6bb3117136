"""`rate_limits`: profiles, tables, and what holds where nothing is said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from ci_acme.config.directories import WELL_KNOWN
from ci_acme.config.schema import RATES, Authority, RateLimits
from ci_acme.core.budget import OWN_FAILURES, PROFILES, Limit, Limits, Rate

DAY = timedelta(days=1)
ANYWHERE = "https://ca.corp.example/acme/directory"


def limits(directory: str = ANYWHERE, said: Any = None) -> Limits:
    return Authority.model_validate({"directory": directory, "rate_limits": said}).limits


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("letsencrypt", PROFILES["letsencrypt"]),
        (WELL_KNOWN["letsencrypt"].url, PROFILES["letsencrypt"]),
        ("letsencrypt-staging", PROFILES["letsencrypt-staging"]),
        ("google", Limits(failures_per_name=OWN_FAILURES)),
        (ANYWHERE, Limits(failures_per_name=OWN_FAILURES)),
        ("https://127.0.0.1:14000/dir", PROFILES["none"]),
        ("https://localhost:14000/dir", PROFILES["none"]),
        ("https://[::1]:14000/dir", PROFILES["none"]),
    ],
)
def test_what_holds_where_nothing_is_said(directory: str, expected: Limits) -> None:
    assert limits(directory) == expected


@pytest.mark.parametrize("name", list(PROFILES))
def test_a_profile_by_name_holds_anywhere(name: str) -> None:
    assert limits("https://127.0.0.1:14000/dir", name) == PROFILES[name]
    assert limits("letsencrypt", name) == PROFILES[name]


def test_a_table_starts_from_its_profile() -> None:
    found = limits("letsencrypt", {"profile": "letsencrypt", "certificates_per_domain": "200/7d", "reserve": 10})
    assert found.certificates_per_domain == Rate(200, 7 * DAY)
    assert found.certificates_per_name_set == Rate(5, 7 * DAY)
    assert found.reserve == 10


def test_a_table_from_nothing_counts_failures_too() -> None:
    assert limits(said={"orders_per_account": "9/90m"}) == Limits(
        orders_per_account=Rate(9, timedelta(minutes=90)), failures_per_name=OWN_FAILURES
    )
    assert limits(said={"failures_per_name": "5/1h"}) == Limits(failures_per_name=Rate(5, timedelta(hours=1)))


def test_every_limit_has_a_key() -> None:
    assert set(RATES) == {limit.value for limit in Limit} <= set(RateLimits.model_fields)


@pytest.mark.parametrize(
    "said",
    [
        {"reserve": 10},
        {"certificates_per_domain": "10/7d", "reserve": 10},
        {"profile": "letsencrypt", "reserve": 50},
        {"profile": "letsencrypt", "reserve": -1},
        {"profile": "letsencrypt", "reserve": True},
    ],
)
def test_a_reserve_that_makes_no_sense(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        limits(said=said)
    assert "reserve" in {error["loc"][-1] for error in caught.value.errors()}
