"""One certificate into Secrets Manager and ACM, by the command as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.clouds.acm import Acm
from tests.clouds.api import Call, refuse
from tests.clouds.awsjson import ENVIRONMENT, Refused, error, is_operation
from tests.clouds.secretsmanager import SecretsManager
from tests.e2e.lab import Lab, Ran

pytestmark = pytest.mark.servers
NAME = "preview/web"


@dataclass
class Aws:
    manager: SecretsManager
    acm: Acm

    @property
    def secret(self) -> dict[str, str]:
        """What a reader of the secret gets."""
        value = self.manager.value(NAME)
        assert isinstance(value, str)
        document: dict[str, str] = json.loads(value)
        return document

    @property
    def imported(self) -> Any:
        (certificate,) = self.acm.certificates.values()
        return certificate

    @contextmanager
    def watched(self) -> Iterator[set[str]]:
        """The operations that are called within."""
        before = len(self.manager.calls), len(self.acm.calls)
        seen: set[str] = set()
        yield seen
        seen |= {*self.manager.asked()[before[0] :], *self.acm.asked()[before[1] :]}


@pytest.fixture
def aws(lab: Lab) -> Iterator[Aws]:
    with SecretsManager() as manager, Acm(lambda: datetime.now(timezone.utc)) as acm:
        lab.web["stores"] = [
            {"provider": "aws-secrets-manager", "name": NAME, "endpoint": manager.url},
            {"provider": "aws-acm", "name": NAME, "endpoint": acm.url},
        ]
        manager.lag = 0.0
        yield Aws(manager, acm)


def issue(lab: Lab, *arguments: str) -> Ran:
    return lab.issue(*arguments, environ=ENVIRONMENT)


def check(aws: Aws, serial: str) -> None:
    """Both have the certificate with this serial number, the secret with its key."""
    secret = aws.secret
    leaf = x509.load_pem_x509_certificate(secret["certificate"].encode())
    key = load_pem_private_key(secret["private_key"].encode(), None)
    assert key.public_key() == leaf.public_key()
    assert secret["fullchain"] == secret["certificate"] + secret["chain"]
    assert aws.imported.leaf.decode() == secret["certificate"]
    assert leaf.serial_number == int(serial, 16)
    assert aws.manager.find(f"{NAME}.ci-acme-order") is None, "the order's secret is gone"


def test_issued_into_both_and_kept_without_reading_a_secret(lab: Lab, aws: Aws) -> None:
    first = issue(lab)
    assert first.status == 0, first.stderr
    assert [store["action"] for store in first.certificate["stores"]] == ["written", "written"]
    check(aws, first.certificate["serial"])
    assert issue(lab).certificate["action"] == "kept"  # it has asked when to renew, and has noted that in the tags
    orders, requests = lab.orders(), lab.seen()
    rights = {"secretsmanager:DescribeSecret"}
    lists = {"acm:ListCertificates", "acm:ListTagsForCertificate", "acm:GetCertificate"}
    with aws.watched() as seen, aws.manager.iam.only(*rights), aws.acm.iam.only(*lists):
        second = issue(lab)
        plan = lab.run("plan", "--output", "json", environ=ENVIRONMENT)
    assert second.status == 0, second.stderr
    assert second.certificate["action"] == "kept"
    assert second.certificate["serial"] == first.certificate["serial"]
    assert second.certificate["stores"][0]["version"] == first.certificate["stores"][0]["version"]
    assert plan.certificate["action"] == "would-keep"
    assert seen == {"DescribeSecret", "ListCertificates", "ListTagsForCertificate", "GetCertificate"}
    assert lab.orders() == orders == 1
    assert lab.seen() == requests


def test_acm_fails_and_is_served_from_the_secret_without_an_order(lab: Lab, aws: Aws) -> None:
    aws.acm.broken = "ConflictException"
    first = issue(lab)
    assert first.status == 6, first.stderr
    assert [store["action"] for store in first.certificate["stores"]] == ["written", "failed"]
    assert first.certificate["error"]["code"] == "store.write"
    assert "without a new order" in first.certificate["error"]["fix"]
    aws.acm.broken = None
    second = issue(lab)
    assert second.status == 0, second.stderr
    assert second.certificate["action"] == "delivered"
    check(aws, first.certificate["serial"])
    assert lab.orders() == 1
    assert issue(lab).certificate["action"] == "kept"


def test_the_secret_fails_and_is_served_from_the_kept_order(lab: Lab, aws: Aws) -> None:
    """ACM gives no key back: it is where it was kept before the CA issued."""

    def is_target(call: Call) -> bool:
        return is_operation("CreateSecret")(call) and call.json["Name"] == NAME

    aws.manager.fail(is_target, refuse(error(Refused("EncryptionFailure"))))
    first = issue(lab)
    assert first.status == 6, first.stderr
    assert [store["action"] for store in first.certificate["stores"]] == ["failed", "written"]
    second = issue(lab)
    assert second.status == 0, second.stderr
    assert second.certificate["action"] == "delivered"
    check(aws, first.certificate["serial"])
    assert lab.orders() == 1


def test_an_environment_comes_and_goes_and_comes_again(lab: Lab, aws: Aws) -> None:
    arns = set()
    for _ in range(3):
        ran = issue(lab)
        assert ran.status == 0, ran.stderr
        arns.add(aws.imported.arn)
        gone = lab.run("retire", "--output", "json", environ=ENVIRONMENT)
        assert gone.status == 0, gone.stderr
        assert [store["action"] for store in gone.certificate["stores"]] == ["removed", "removed"]
        assert aws.manager.value(NAME) is None
    assert len(arns) == 1
    assert aws.acm.imports == 1
