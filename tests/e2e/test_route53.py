"""The main job with Route 53: a role with just the printed policy, a job's token, the real SDK, and a real CA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_acme.sandbox.dns import SandboxDns
from tests.clouds import iam
from tests.clouds.api import Answer, Call, FakeApi, lose_reply
from tests.clouds.aws_support import is_change
from tests.clouds.route53 import FakeRoute53, HostedZone
from tests.e2e.lab import ROOT, Ran, check_store, finish
from tests.servers.pebble import Pebble

pytestmark = pytest.mark.servers
ZONE = "ci.test"
CHALLENGE = f"_acme-challenge.{ZONE}"
SUBJECT = "repo:acme/site:ref:refs/heads/main"


class Tokens(FakeApi):
    """GitHub's endpoint for identity tokens."""

    def handle(self, call: Call) -> Answer:
        if call.headers.get("authorization") != "Bearer request":
            return Answer(401)
        return Answer.of({"value": iam.token(aud=call.one("audience"), sub=SUBJECT)})


class Cloud:
    """An account with a zone that is served on loopback, a CA that looks there, and a job."""

    def __init__(self, directory: Path, fake: FakeRoute53, tokens: Tokens, stack: ExitStack) -> None:
        self.directory = directory
        self.fake = fake
        self.tokens = tokens
        self.zone: HostedZone = fake.zone(ZONE)
        self.zone.nameservers = (f"ns.{ZONE}",)
        fake.zone(ZONE, private=True)
        fake.polls, fake.seconds = 1, 0.3
        self.dns: SandboxDns = stack.enter_context(fake.serve())
        (directory / "pebble").mkdir()
        self.pebble = stack.enter_context(Pebble(directory / "pebble", dns_server=self.dns.address))
        self.role = fake.accounts.role("ci", claims={"aud": "sts.amazonaws.com", "sub": SUBJECT})

    def config(self) -> dict[str, Any]:
        authority = {
            "directory": self.pebble.directory_url,
            "contact": ["ops@example.com"],
            "agree_terms": True,
            "ca_bundle": str(self.pebble.ca_bundle),
        }
        return {
            "version": 1,
            "authorities": {"pebble": authority},
            "dns": [{"zone": ZONE, "provider": "route53", "role": self.role.arn}],
            "resolver": {"nameservers": [self.dns.address]},
            "certificates": {
                "web": {"names": [ZONE, f"*.{ZONE}"], "stores": [{"provider": "file", "directory": "certs"}]}
            },
        }

    def run(self, *arguments: str) -> Ran:
        (self.directory / "ci-acme.yaml").write_text(yaml.safe_dump(self.config()))
        environ: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'providers'}",
            "AWS_ENDPOINT_URL": self.fake.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.tokens.url}/token?api-version=2",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request",
        }
        command: Sequence[str] = [sys.executable, "-P", "-m", "ci_acme", *arguments]
        return finish(
            subprocess.Popen(
                command,
                cwd=self.directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with ExitStack() as stack:
        fake, tokens = stack.enter_context(FakeRoute53()), stack.enter_context(Tokens())
        yield Cloud(tmp_path, fake, tokens, stack)


def test_apex_and_wildcard_beside_a_neighbour_with_exactly_the_printed_policy(cloud: Cloud) -> None:
    printed = cloud.run("permissions", "--output", "json").document
    (grant,) = [grant for grant in printed["grants"] if grant["provider"] == "route53"]
    policy, trust = grant["documents"]
    cloud.role.policies.append(policy["text"])
    assert json.loads(trust["text"])["Statement"][0]["Action"] == "sts:AssumeRoleWithWebIdentity"
    cloud.fake.merge(cloud.zone, CHALLENGE, "a neighbour", 300)
    cloud.fake.fail(lambda call: is_change(call) and bool(cloud.fake.batches), lose_reply)  # when it is removed
    ran = cloud.run("issue", "--output", "json")
    assert ran.status == 0, ran.stderr
    check_store(cloud.directory / "certs" / "web", [ZONE, f"*.{ZONE}"])
    assert cloud.zone.texts(CHALLENGE) == {"a neighbour": 300}
    assert "GetChange" in cloud.fake.operations()
    until = time.monotonic() + 10
    while cloud.dns.values(CHALLENGE) != ["a neighbour"] and time.monotonic() < until:
        time.sleep(0.05)
    assert cloud.dns.values(CHALLENGE) == ["a neighbour"]
    assert cloud.fake.accounts.sessions, "the run had a role's session and nothing else"
    batches = [[change["Action"] for change in batch] for batch in cloud.fake.batches]
    assert batches == [["DELETE", "CREATE"], ["DELETE", "CREATE"]]


def test_check_says_what_is_missing(cloud: Cloud) -> None:
    ran = cloud.run("check")
    assert ran.status == 9
    assert "route53:ListHostedZonesByName" in ran.stdout
    assert "no identity-based policy allows" in ran.stdout
