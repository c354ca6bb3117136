"""The table of errors keeps the promises of the contract."""

from __future__ import annotations

import re

import pytest

from ci_acme.errors import CODES, PRECEDENCE, CiAcmeError, Fault

CONTRACT = {1, 2, 3, 4, 5, 6, 7, 8, 9, 130, 143}


def subclasses(base: type[CiAcmeError]) -> list[type[CiAcmeError]]:
    return [found for child in base.__subclasses__() for found in (child, *subclasses(child))]


def test_every_exit_status_of_the_contract_has_an_error() -> None:
    assert {error.exit_status for error in CODES.values()} == CONTRACT
    assert set(PRECEDENCE) == CONTRACT - {9, 130, 143}


@pytest.mark.parametrize("error", CODES.values(), ids=lambda error: error.code)
def test_an_error_is_documented_and_consistent(error: type[CiAcmeError]) -> None:
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", error.code)
    assert error.__doc__, "its docstring is its entry in docs/errors.md"
    assert (error.exit_status == 1) == (error.fault is Fault.BUG)


def test_every_class_has_a_code_of_its_own() -> None:
    """A private kind of an error (a connection that had gone stale) goes by its parent's code."""
    for error in subclasses(CiAcmeError):
        if error.__module__ == "ci_acme.errors":
            assert CODES.get(error.code) is error, f"{error.__name__} shares the code {error.code}"
