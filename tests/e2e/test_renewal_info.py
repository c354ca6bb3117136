"""What the CA says about renewal is kept between runs, whatever comes of the run (RFC 9773 section 4.3)."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone

import pytest

from tests.e2e.lab import SandboxLab

pytestmark = pytest.mark.servers
PAST = (datetime.now(timezone.utc) - timedelta(hours=2), datetime.now(timezone.utc) - timedelta(hours=1))


@pytest.fixture
def lab(sandbox_lab: SandboxLab) -> SandboxLab:
    assert sandbox_lab.issue().status == 0
    return sandbox_lab


def test_the_answer_survives_an_order_that_fails(lab: SandboxLab) -> None:
    lab.ca.faults.renewal_window = PAST
    lab.ca.faults.renewal_explanation = "https://ca.example/incident"
    lab.ca.faults.rate_limit("newOrder", times=None, retry_after=7200)
    ran = lab.issue()
    assert ran.status == 8
    assert "https://ca.example/incident" in ran.stderr
    asked, memory = lab.asked(), lab.memory()
    assert memory["retry_after"]
    assert memory["explanation_url"] == "https://ca.example/incident"
    assert lab.issue().status == 8
    assert lab.asked() == asked, "not before Retry-After"
    assert lab.memory()["chosen"] == memory["chosen"], "the time that was drawn is kept"
    lab.ca.faults.clear()
    renewed = lab.issue()
    assert renewed.certificate["action"] == "renewed"
    assert any("https://ca.example/incident" in warning for warning in renewed.certificate["warnings"])


def test_failures_are_counted_over_runs(lab: SandboxLab) -> None:
    lab.ca.faults.unavailable("renewalInfo", times=None)
    assert lab.issue().certificate["action"] == "kept"
    first = lab.memory()
    assert first["failures"] == 1
    asked = lab.asked()
    assert lab.issue().certificate["action"] == "kept"
    assert lab.asked() == asked, "backed off"
    document = json.loads((lab.store / "metadata.json").read_text())
    document["renewal"]["retry_after"] = "2020-01-01T00:00:00Z"
    (lab.store / "metadata.json").write_text(json.dumps(document))
    assert lab.issue().certificate["action"] == "kept"
    assert lab.memory()["failures"] == 2


def test_a_window_that_ends_before_it_starts_is_no_answer(lab: SandboxLab) -> None:
    lab.ca.faults.renewal_window = PAST[::-1]
    assert lab.issue().certificate["action"] == "kept"
    memory = lab.memory()
    assert memory["failures"] == 1
    wait = datetime.fromisoformat(memory["retry_after"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert timedelta(hours=5, minutes=50) < wait <= timedelta(hours=6)


def test_a_window_in_the_past_renews_at_once(lab: SandboxLab) -> None:
    lab.ca.faults.renewal_window = PAST
    assert lab.issue().certificate["action"] == "renewed"


@pytest.mark.parametrize("trouble", ["rate_limit", "unavailable"])
@pytest.mark.parametrize("seconds", [30, 7200])
def test_a_ca_that_says_when_to_come_back_is_left_alone_until_then(lab: SandboxLab, trouble: str, seconds: int) -> None:
    """The certificate is good: what the CA cannot say now neither fails a run nor is waited for."""
    getattr(lab.ca.faults, trouble)("renewalInfo", times=None, retry_after=seconds)
    begun = time.monotonic()
    ran = lab.issue()
    assert (ran.status, ran.certificate["action"]) == (0, "kept"), ran.stderr
    assert time.monotonic() - begun < 20
    assert lab.asked() == 1
    wait = datetime.fromisoformat(lab.memory()["retry_after"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert max(60, seconds) - 30 < wait.total_seconds() <= max(60, seconds) + 1
    assert lab.issue().certificate["requests"]["acme"] == 0
