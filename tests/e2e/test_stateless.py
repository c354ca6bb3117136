"""A hosted runner begins with nothing but the checkout: what the stores hold is enough to keep, renew and retire."""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.lab import Lab, check_store

pytestmark = pytest.mark.servers


def forget(lab: Lab) -> None:
    """A new runner: the state is gone, the account key is a secret of the job."""
    for path in (lab.directory / ".ci-acme").iterdir():
        if path.name != "account.pem":
            path.unlink()


def test_keep_renew_and_retire_by_the_metadata_of_the_store(lab: Lab) -> None:
    first = lab.issue().certificate
    forget(lab)
    kept = lab.issue().certificate
    assert (kept["action"], kept["serial"], kept["order"]) == ("kept", first["serial"], first["order"])
    assert lab.orders() == 1
    forget(lab)
    pem = check_store(lab.store, lab.web["names"])
    window = '{"suggestedWindow": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}}'
    lab.pebble.set_renewal_info((lab.store / "cert.pem").read_text(), window)
    metadata = lab.store / "metadata.json"
    text = metadata.read_text()
    assert '"renewal"' in text
    metadata.write_text(text.replace('"retry_after"', '"retry_after_was"'))
    renewed = lab.issue().certificate
    assert renewed["action"] == "renewed"
    assert "due since 2020" in renewed["reason"]
    assert check_store(lab.store, lab.web["names"]).serial_number != pem.serial_number
    forget(lab)
    assert lab.run("retire").status == 0
    assert not lab.store.exists()
    forget(lab)
    assert lab.run("retire").status == 0


def test_no_state_directory_at_all_is_no_reason_to_order(lab: Lab) -> None:
    lab.issue()
    shutil.rmtree(lab.directory / ".ci-acme")
    ran = lab.issue(environ={"CI": "true"})
    assert ran.certificate["action"] == "kept", ran.stderr
    assert lab.orders() == 1
