"""What one store refused is delivered by the next run without an order, also where no store gives a key back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clouds.api import Call, refuse
from tests.clouds.awsjson import operation_of
from tests.contract.support import failing
from tests.faults.kinds import worded
from tests.faults.matrix import Matrix, laboratory
from tests.faults.stores import Rig, acm, github_secrets, key_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the laboratory's disk is of POSIX")


def is_secret(call: Call) -> bool:
    return call.method == "PUT" and "/secrets/" in call.path


def is_import(call: Call) -> bool:
    return operation_of(call) == "ImportCertificate"


class Both:
    """A certificate in GitHub's secrets and in ACM: neither gives a key back."""

    def __init__(self, matrix: Matrix, github: Rig, imported: Rig) -> None:
        self.matrix, self.github, self.acm = matrix, github, imported
        self.stores = matrix.config["certificates"]["web"]["stores"] = [
            {"provider": "github-secrets", **github.entry("both")},
            {"provider": "aws-acm", **imported.entry("both")},
        ]
        matrix.environ.update({**github.environ, **imported.environ})
        matrix.new_names()

    def issue(self) -> tuple[int, Any]:
        status, document = self.matrix.issue()
        return status, document["certificates"][0]

    def serials(self) -> set[str | None]:
        found = [rig.served("both") for rig in (self.github, self.acm)]
        return {None if one is None else f"{key_of(one).serial_number:x}" for one in found}

    @contextmanager
    def refusing(self, rig: Rig, when: Callable[[Call], bool]) -> Iterator[None]:
        (fake,) = rig.fakes
        with failing(fake, when, refuse(worded(fake, 403, "not now"))):
            yield


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    with ExitStack() as stack:
        matrix = stack.enter_context(laboratory(tmp_path / "lab", "file"))
        yield Both(matrix, github_secrets(stack, tmp_path), acm(stack, tmp_path))


@pytest.mark.parametrize("which", ["github-secrets", "aws-acm"])
def test_what_one_of_two_write_only_stores_refused_is_delivered_from_the_sealed_key(both: Both, which: str) -> None:
    refusing = (both.github, is_secret) if which == "github-secrets" else (both.acm, is_import)
    with both.refusing(*refusing):
        status, first = both.issue()
    assert status == 6
    outcomes = {store["provider"]: store["action"] for store in first["stores"]}
    assert outcomes == {"github-secrets": "written", "aws-acm": "written", which: "failed"}
    assert "without a new order" in first["error"]["fix"]
    status, second = both.issue()
    assert (status, second["action"], second["serial"]) == (0, "delivered", first["serial"])
    outcomes = {store["provider"]: store["action"] for store in second["stores"]}
    assert outcomes == {"github-secrets": "kept", "aws-acm": "kept", which: "delivered"}
    assert {int(serial or "0", 16) for serial in both.serials()} == {int(first["serial"], 16)}
    assert both.matrix.orders() == 1
    status, third = both.issue()
    assert (status, third["action"], both.matrix.orders()) == (0, "kept", 1)


def test_what_both_refused_is_published_from_the_order_and_the_sealed_key(both: Both) -> None:
    with both.refusing(both.github, is_secret), both.refusing(both.acm, is_import):
        status, first = both.issue()
    assert (status, first["action"]) == (6, "failed")
    assert both.serials() == {None}
    status, second = both.issue()
    assert (status, second["serial"]) == (0, first["serial"])
    assert {int(serial or "0", 16) for serial in both.serials()} == {int(first["serial"], 16)}
    assert both.matrix.orders() == 1


def test_without_a_state_key_a_refused_one_of_two_is_told_how_to_go_on(both: Both) -> None:
    """Nobody has the key any more: it is said beforehand, and the next run orders nothing by itself."""
    del both.matrix.config["state_key"]
    with both.refusing(both.acm, is_import):
        status, first = both.issue()
    assert status == 6
    assert any("no state_key" in warning for warning in first["warnings"])
    status, second = both.issue()
    assert (status, both.matrix.orders()) == (6, 1)
    assert "--force" in second["error"]["fix"]
    assert "state_key" in second["error"]["fix"]
