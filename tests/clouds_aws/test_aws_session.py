"""Where the credentials come from, and what a role's session may do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ci_acme.errors import ConfigError, DnsCredentialsError, DnsRefused, SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import TxtValue
from ci_acme_providers.aws.config import AwsAccess, Route53Settings
from ci_acme_providers.aws.session import client, session_name
from tests.clouds import iam
from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.aws_support import Account, EagerClock, environment, without_key
from tests.clouds.iam import Role
from tests.clouds.route53 import POLICY, FakeRoute53

NAME = "_acme-challenge.www.ci.test"
SUBJECT = "repo:acme/site:ref:refs/heads/main"


class Ci:
    """A CI system that gives tokens, and notes for what."""

    def __init__(self, subject: str = SUBJECT, seconds: float = 300) -> None:
        self.subject = subject
        self.seconds = seconds
        self.tokens: list[str] = []

    def __call__(self, audience: str) -> Secret:
        self.tokens.append(iam.token(self.seconds, aud=audience, sub=self.subject))
        return Secret(self.tokens[-1].encode())


@pytest.fixture
def account() -> Iterator[Account]:
    with FakeRoute53() as fake:
        yield Account(fake)


@pytest.fixture
def role(account: Account) -> Role:
    """A role that may do everything, for one repository."""
    return account.fake.accounts.role("ci", POLICY, claims={"aud": "sts.amazonaws.com", "sub": "repo:acme/site:*"})


def write(account: Account, adapter: Any, *names: str) -> None:
    """A whole run."""
    (zone,) = adapter.zones_for(names[0], "ci.test", deadline=account.deadline())
    values = [TxtValue(name, "value") for name in names]
    placements = adapter.ensure(zone, values, ttl=60, deadline=account.deadline())
    adapter.wait_in_sync(placements, deadline=account.deadline())
    assert all(account.texts(name) == {"value": 60} for name in names)
    adapter.release(placements, deadline=account.deadline())
    assert not any(account.texts(name) for name in names)


# --- a role and the identity of the job


def test_the_session_of_a_run_may_change_nothing_but_its_names(account: Account, role: Role) -> None:
    ci = Ci()
    adapter = account.adapter(without_key(account.fake), identity=ci, role=role.arn, run="gh 4711/1")
    write(account, adapter, NAME, f"x.{NAME}")
    finding, changing = account.fake.accounts.sessions
    assert [session.arn.rpartition("/")[2] for session in (finding, changing)] == ["gh-4711-1"] * 2
    stolen = {"AWS_SESSION_TOKEN": changing.token or "", **environment(account.fake, changing)}
    with pytest.raises(DnsRefused, match="no session policy allows"):
        account.ensure(account.adapter(stolen), TxtValue("_acme-challenge.other.ci.test", "x"))
    for action in ("route53:DeleteHostedZone", "route53:ListHostedZonesByName", "secretsmanager:GetSecretValue"):
        assert changing.refusal(action, "*", {}) is not None
    assert finding.refusal("route53:ChangeResourceRecordSets", f"arn:aws:route53:::hostedzone/{account.zone.id}", {})


def test_what_a_run_wrote_is_read_and_removed_in_the_same_session(account: Account, role: Role) -> None:
    adapter = account.adapter(without_key(account.fake), identity=Ci(), role=role.arn)
    placements = account.ensure(adapter, *(TxtValue(f"_acme-challenge.n{number}.ci.test", "x") for number in range(9)))
    account.fake.merge(account.zone, "_acme-challenge.n3.ci.test", "foreign", 60)
    account.release(adapter, placements[3:4])
    account.release(adapter, placements)
    assert len(account.fake.accounts.sessions) == 1


def test_every_session_begins_with_a_fresh_token(account: Account, role: Role) -> None:
    """Sessions that end soon are made anew, each with a token of its own for the audience that the config has."""
    role.claims["aud"] = "ours"
    account.fake.accounts.seconds = 120
    ci = Ci(seconds=2)
    adapter = account.adapter(without_key(account.fake), identity=ci, role=role.arn, audience="ours")
    write(account, adapter, NAME)
    assert len(ci.tokens) >= 4
    assert len(set(ci.tokens)) == len(ci.tokens) == len(account.fake.accounts.sessions)
    assert {iam.claims_of(token)["aud"] for token in ci.tokens} == {"ours"}


def test_more_names_than_a_session_policy_holds(account: Account, role: Role) -> None:
    names = [f"_acme-challenge.{'long' * 8}{number}.ci.test" for number in range(100)]
    write(account, account.adapter(without_key(account.fake), identity=Ci(), role=role.arn), *names)
    changing = account.fake.accounts.sessions[-1]
    policy = changing.session_policy or ""
    assert len(policy) <= 2048
    (change, *_) = json.loads(policy)["Statement"]
    assert change["Resource"].endswith(account.zone.id)
    assert changing.refusal("route53:ChangeResourceRecordSets", change["Resource"], {}) is not None


def test_a_session_policy_that_is_too_large_when_packed_is_made_without_names(account: Account, role: Role) -> None:
    account.fake.accounts.packed_characters = 900
    names = [f"_acme-challenge.n{number}.ci.test" for number in range(20)]
    write(account, account.adapter(without_key(account.fake), identity=Ci(), role=role.arn), *names)
    assert len(account.fake.accounts.sessions) == 2


def test_a_role_that_does_not_trust_the_job(account: Account, role: Role) -> None:
    adapter = account.adapter(without_key(account.fake), identity=Ci("repo:evil/fork:pull_request"), role=role.arn)
    with pytest.raises(
        DnsCredentialsError, match=r"does not let this job assume the role arn:.*AccessDenied"
    ) as raised:
        account.ensure(adapter, TxtValue(NAME, "x"))
    assert "trust policy" in raised.value.fix
    assert "sts.amazonaws.com" in raised.value.fix


def test_a_token_that_is_too_old(account: Account, role: Role) -> None:
    ci = Ci(seconds=-1)
    with pytest.raises(DnsCredentialsError, match="ExpiredTokenException") as raised:
        account.ensure(account.adapter(without_key(account.fake), identity=ci, role=role.arn), TxtValue(NAME, "x"))
    assert not any(token in str(raised.value.as_dict()) for token in ci.tokens)


def test_without_an_identity_the_role_is_assumed_from_the_credentials_of_the_job(account: Account, role: Role) -> None:
    user = account.fake.accounts.user()
    role.principals.append(user.arn)
    write(account, account.adapter(environment(account.fake, user), role=role.arn), NAME)
    assert all(session.session_policy for session in account.fake.accounts.sessions)


def test_a_role_with_neither_identity_nor_credentials_says_what_to_grant(account: Account, role: Role) -> None:
    def no_identity(audience: str) -> Secret:
        raise SecretError(f"no token for {audience}", fix="give the job permissions: id-token: write")

    adapter = account.adapter(without_key(account.fake), identity=no_identity, role=role.arn)
    with pytest.raises(SecretError, match="no token for sts") as raised:
        account.ensure(adapter, TxtValue(NAME, "x"))
    assert "id-token" in raised.value.fix


# --- the chain of the environment


def test_web_identity_of_the_environment(account: Account, role: Role, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(iam.token(aud="sts.amazonaws.com", sub=SUBJECT))
    environ = {
        **without_key(account.fake),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_ARN": role.arn,
        "AWS_ROLE_SESSION_NAME": "pod",
    }
    write(account, account.adapter(environ), NAME)
    (session,) = account.fake.accounts.sessions
    assert session.arn.endswith("assumed-role/ci/pod")


def test_a_profile(account: Account, tmp_path: Path) -> None:
    admin = account.fake.admin
    file = tmp_path / "credentials"
    file.write_text(f"[team]\naws_access_key_id = {admin.key_id}\naws_secret_access_key = {admin.secret}\n")
    environ = {**without_key(account.fake), "AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_PROFILE": "team"}
    write(account, account.adapter(environ), NAME)
    with pytest.raises(ConfigError, match="profile"):
        write(account, account.adapter({**environ, "AWS_PROFILE": "another"}), NAME)


def test_a_container(account: Account) -> None:
    class Container(FakeApi):
        def handle(self, call: Call) -> Answer:
            assert call.headers["authorization"] == "let me in"
            admin, until = account.fake.admin, datetime.now(timezone.utc) + timedelta(hours=6)
            return Answer.of(
                {
                    "AccessKeyId": admin.key_id,
                    "SecretAccessKey": admin.secret,
                    "Token": "a token",
                    "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            )

    account.fake.admin.token = "a token"
    with Container() as container:
        environ = {
            **without_key(account.fake),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.url}/keys",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "let me in",
        }
        write(account, account.adapter(environ), NAME)


class Instance(FakeApi):
    """The metadata service of a machine, which gives it the administrator's key."""

    def __init__(self, fake: FakeRoute53) -> None:
        super().__init__()
        self.admin = fake.admin

    def handle(self, call: Call) -> Answer:
        if call.method == "PUT":
            return Answer(200, b"session")
        assert call.headers["x-aws-ec2-metadata-token"] == "session"
        if call.path.endswith("/security-credentials/"):
            return Answer(200, b"machine")
        until = datetime.now(timezone.utc) + timedelta(hours=6)
        keys = {"AccessKeyId": self.admin.key_id, "SecretAccessKey": self.admin.secret, "Token": "a token"}
        return Answer.of(
            {"Code": "Success", "Type": "AWS-HMAC", "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"), **keys}
        )


def test_an_instance_unless_that_is_switched_off(account: Account) -> None:
    account.fake.admin.token = "a token"
    with Instance(account.fake) as instance:
        environ = {**without_key(account.fake), "AWS_EC2_METADATA_SERVICE_ENDPOINT": instance.url}
        with pytest.raises(DnsCredentialsError, match="no AWS credentials"):
            write(account, account.adapter(environ), NAME)
        assert instance.calls == []
        write(account, account.adapter(environ | {"AWS_EC2_METADATA_DISABLED": "false"}), NAME)


def test_a_static_key_behind_references(account: Account) -> None:
    admin = account.fake.admin
    environ = {**without_key(account.fake), "KEY": admin.key_id, "SECRET": admin.secret, "AWS_ACCESS_KEY_ID": "AKIAX"}
    settings = {"access_key_id": "env:KEY", "secret_access_key": "env:SECRET"}
    write(account, account.adapter({**environ, "AWS_SECRET_ACCESS_KEY": "x"}, **settings), NAME)


def test_no_credentials_at_all(account: Account) -> None:
    with pytest.raises(DnsCredentialsError, match="no AWS credentials") as raised:
        account.ensure(account.adapter(without_key(account.fake)), TxtValue(NAME, "x"))
    assert "role" in raised.value.fix


def test_what_the_process_has_is_not_what_the_run_has(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEVIL",
        "AWS_SECRET_ACCESS_KEY": "evil",
        "AWS_PROFILE": "evil",
        "AWS_DEFAULT_REGION": "evil-region",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    write(account, account.adapter(), NAME)
    with pytest.raises(DnsCredentialsError, match="no AWS credentials"):
        write(account, account.adapter(without_key(account.fake)), NAME)


# --- where


def test_an_endpoint_for_the_service_alone_comes_first(account: Account) -> None:
    environ = environment(account.fake) | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    write(account, account.adapter(environ | {"AWS_ENDPOINT_URL_ROUTE_53": account.fake.url}), NAME)
    write(account, account.adapter(environ, endpoint=account.fake.url), NAME)


def test_the_endpoint_of_the_config_is_not_that_of_sts(account: Account, role: Role) -> None:
    with FakeRoute53() as sts:
        sts.accounts = account.fake.accounts
        environ = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_STS": sts.url}
        write(account, account.adapter(environ, identity=Ci(), role=role.arn, endpoint=account.fake.url), NAME)
        assert sts.calls


@pytest.mark.parametrize(
    ("access", "environ", "region"),
    [
        ({}, {}, "us-east-1"),
        ({}, {"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({}, {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-3"}, "eu-west-3"),
        ({"region": "eu-central-1"}, {"AWS_REGION": "eu-west-3"}, "eu-central-1"),
        ({"role": "arn:aws-cn:iam::123456789012:role/ci"}, {}, "cn-north-1"),
    ],
)
def test_the_region(account: Account, access: dict[str, str], environ: dict[str, str], region: str) -> None:
    from ci_acme.ports import ProviderContext

    context = ProviderContext(lambda _: Secret(b""), EagerClock(), environ=environ)
    assert client("secretsmanager", AwsAccess(**access), context).meta.region_name == region


# --- clocks, names, settings


def test_a_clock_that_is_wrong(account: Account) -> None:
    account.fake.now = lambda: datetime.now(timezone.utc) + timedelta(hours=1)
    with pytest.raises(DnsCredentialsError, match="rejects the time") as raised:
        account.ensure(account.adapter(), TxtValue(NAME, "x"))
    assert "clock" in raised.value.fix


@pytest.mark.parametrize(
    ("run", "name"), [("", "ci-acme"), ("a", "a-"), ("github 1/2", "github-1-2"), ("x" * 99, "x" * 64)]
)
def test_session_names(run: str, name: str) -> None:
    assert session_name(run) == name


def test_half_a_key_and_a_literal_secret_are_errors_of_the_config() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        Route53Settings(zone="ci.test", access_key_id="env:KEY")
    with pytest.raises(ValidationError, match="must be a reference"):
        Route53Settings(zone="ci.test", access_key_id="env:KEY", secret_access_key="hunter2")
