"""What the contract suites of the AWS stores share: a fake of their own, and its faults."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import ProviderContext
from ci_acme_providers.aws import session
from ci_acme_providers.aws.config import AwsAccess
from tests.clouds.api import lose_reply
from tests.clouds.awsjson import ENVIRONMENT, AwsJson, is_operation
from tests.clouds.s3 import S3

PASSWORD = "correct horse"


def secrets(reference: str) -> Secret:
    assert reference == "env:PASSWORD", reference
    return Secret(PASSWORD.encode())


def context(**more: Any) -> ProviderContext:
    return ProviderContext(secrets, SystemClock(), certificate="test", **more)


@contextmanager
def broken(fake: AwsJson | S3, code: str) -> Generator[None]:
    """Nothing is written meanwhile."""
    fake.broken = code
    try:
        yield
    finally:
        fake.broken = None


@contextmanager
def losing(fake: AwsJson, *operations: str) -> Generator[None]:
    """The first of each of these is carried out, and its answer lost."""
    for operation in operations:
        fake.fail(is_operation(operation), lose_reply)
    yield
    with fake.lock:
        assert fake._faults == [], "an answer was to be lost, and nobody asked"


_CLIENTS: dict[tuple[str, str | None], Any] = {}


def prepare(monkeypatch: pytest.MonkeyPatch) -> str:
    """Credentials, and one client of botocore for all stores of one fake: making one takes a third of a second.

    Returns a name that no other test has.
    """
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    make = session.client

    def client(service: str, access: AwsAccess, context: ProviderContext, **more: Any) -> Any:
        key = (service, access.endpoint)
        if key not in _CLIENTS:
            _CLIENTS[key] = make(service, access, context, **more)
        return _CLIENTS[key]

    monkeypatch.setattr(session, "client", client)
    return f"pr-{next(_NUMBERS)}"


_NUMBERS = itertools.count(1)
