"""`aws-secrets-manager:NAME` as a secret reference, by botocore from a strict fake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import Interrupted, SecretError
from ci_acme.ports import Clock, Deadline, ProviderContext
from ci_acme_providers.aws.secret_source import read
from tests.clouds.api import refuse
from tests.clouds.awsjson import ENVIRONMENT, Refused, error
from tests.clouds.secretsmanager import SecretsManager


@pytest.fixture
def manager() -> Iterator[SecretsManager]:
    with SecretsManager() as running:
        running.plant("acme/eab", '{"kid": "kid-1", "hmac": "c2VjcmV0", "days": 90, "nested": {}, "empty": ""}')
        running.plant("acme/account", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n")
        yield running


def secret(manager: SecretsManager, rest: str, *, clock: Clock | None = None, **environ: str) -> bytes:
    clock = clock or SystemClock()
    environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL_SECRETS_MANAGER": manager.url, **environ}
    context = ProviderContext(lambda _: pytest.fail("no other secret"), clock, environ=environment)
    return read(rest, context, deadline=Deadline(clock, 20)).reveal()


def test_a_whole_secret_a_field_and_an_arn(manager: SecretsManager) -> None:
    assert secret(manager, "acme/account").startswith(b"-----BEGIN")
    assert secret(manager, "acme/eab#hmac") == b"c2VjcmV0"
    assert secret(manager, "acme/eab#days") == b"90"
    arn = manager.secrets["acme/account"].arn
    manager.secrets[arn] = manager.secrets["acme/account"]
    assert secret(manager, arn, AWS_REGION="us-west-2", AWS_DEFAULT_REGION="us-west-2").startswith(b"-----BEGIN")


def test_a_binary_secret(manager: SecretsManager) -> None:
    manager.secrets["acme/account"].versions["a" * 36] = (None, b"\x00\xff")
    assert secret(manager, "acme/account") == b"\x00\xff"


@pytest.mark.parametrize("rest", ["acme/eab#kids", "acme/eab#nested", "acme/account#kid", "nothing"])
def test_what_is_not_there_is_told_without_what_is(manager: SecretsManager, rest: str) -> None:
    with pytest.raises(SecretError) as caught:
        secret(manager, rest)
    said = f"{caught.value.message} {caught.value.fix}"
    assert f"aws-secrets-manager:{rest}" in said
    assert "c2VjcmV0" not in said
    assert "BEGIN" not in said
    assert caught.value.fix


def test_an_empty_and_a_deleted_secret(manager: SecretsManager) -> None:
    with pytest.raises(SecretError, match="is empty"):
        secret(manager, "acme/eab#empty")
    manager.secrets["acme/eab"].deleted = 1.0
    with pytest.raises(SecretError, match="marked for deletion"):
        secret(manager, "acme/eab")


def test_a_missing_right_is_named(manager: SecretsManager) -> None:
    with manager.iam.only("secretsmanager:DescribeSecret"), pytest.raises(SecretError) as caught:
        secret(manager, "acme/eab#kid")
    assert "secretsmanager:GetSecretValue" in caught.value.fix


def test_no_credentials_are_told(manager: SecretsManager) -> None:
    with pytest.raises(SecretError, match="no AWS credentials") as caught:
        secret(
            manager,
            "acme/eab",
            AWS_ACCESS_KEY_ID="",
            AWS_SECRET_ACCESS_KEY="",
            AWS_CONFIG_FILE="/nowhere",
            AWS_SHARED_CREDENTIALS_FILE="/nowhere",
        )
    assert "AWS_ACCESS_KEY_ID" in caught.value.fix


def test_a_stopped_run_does_not_wait_for_a_busy_service(manager: SecretsManager) -> None:
    class Stopped(SystemClock):
        def sleep(self, seconds: float) -> None:
            raise Interrupted("stop")

    manager.fail(lambda call: True, refuse(error(Refused("ThrottlingException"))), times=40)
    with pytest.raises(Interrupted):
        secret(manager, "acme/eab", clock=Stopped())
    assert len(manager.calls) == 1
