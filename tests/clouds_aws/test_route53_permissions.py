"""The policies that are printed: enough for a run, and not enough for one call more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

from ci_acme.errors import DnsRefused
from ci_acme.ports import PermissionRequest, TxtValue
from ci_acme_providers.aws.config import Route53Settings
from ci_acme_providers.aws.permissions import policies
from tests.clouds import iam
from tests.clouds.aws_support import Account, environment
from tests.clouds.iam import Principal
from tests.clouds.route53 import ACTIONS, NAMES, TYPES, FakeRoute53, multivalue

WWW, API = "_acme-challenge.www.ci.test", "_acme-challenge.api.ci.test"


@pytest.fixture
def account() -> Iterator[Account]:
    with FakeRoute53() as fake:
        fake.zone("other.test")
        yield Account(fake)


def printed(names: tuple[str, ...] = (WWW, API), **settings: Any) -> str:
    """The IAM policy for a config."""
    section = Route53Settings(zone="ci.test", **settings)
    return policies(PermissionRequest(section, names=names, zone="ci.test"))[0].text


def without(policy: str, action: str) -> str:
    """The policy without one action."""
    document = json.loads(policy)
    for statement in document["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [one for one in actions if one != action] or ["route53:GetGeoLocation"]
    return json.dumps(document)


@pytest.mark.parametrize("pinned", [True, False], ids=["zone_id", "search"])
def test_a_whole_run_works_with_exactly_the_printed_policy(account: Account, pinned: bool) -> None:
    settings = {"zone_id": account.zone.id} if pinned else {}
    user = account.fake.accounts.user(printed(**settings))
    account.fake.merge(account.zone, WWW, "foreign", 300)
    account.fake.plant(account.zone, multivalue(API, "other", "foreign", 60))
    adapter = account.adapter(environment(account.fake, user), **settings)
    (zone,) = adapter.zones_for(WWW, "ci.test", deadline=account.deadline())
    adapter.check_access(zone, [WWW, API], deadline=account.deadline())
    placements = account.ensure(adapter, TxtValue(WWW, "one"), TxtValue(WWW, "two"), TxtValue(API, "three"))
    adapter.wait_in_sync(placements, deadline=account.deadline())
    account.release(account.adapter(environment(account.fake, user), **settings), placements)
    assert account.texts(WWW) == {"foreign": 300}
    assert account.warnings == []
    used = set(account.fake.operations())
    granted = {
        action.removeprefix("route53:")
        for statement in iam.statements(printed(**settings))
        for action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]])
    }
    assert used == granted, "nothing is granted that a run does not use"


def client(account: Account, user: Principal) -> Any:
    """A plain client, to do what an adapter does not."""
    return Session().create_client(
        "route53",
        region_name="us-east-1",
        endpoint_url=account.fake.url,
        aws_access_key_id=user.key_id,
        aws_secret_access_key=user.secret,
    )


def change(zone_id: str, name: str = WWW, rtype: str = "TXT", action: str = "CREATE") -> Callable[[Any], Any]:
    value = '"x"' if rtype == "TXT" else "192.0.2.1"
    record_set = {"Name": name, "Type": rtype, "TTL": 60, "ResourceRecords": [{"Value": value}]}
    batch = {"Changes": [{"Action": action, "ResourceRecordSet": record_set}]}
    return lambda api: api.change_resource_record_sets(HostedZoneId=zone_id, ChangeBatch=batch)


def code(call: Callable[[Any], Any], api: Any) -> str | None:
    """The error code of a call, None if it went well."""
    try:
        call(api)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


def test_one_call_more_is_denied(account: Account) -> None:
    own = account.zone.id
    other = next(zone.id for zone in account.fake.zones.values() if zone.name == "other.test.")
    api = client(account, account.fake.accounts.user(printed(zone_id=own)))
    change(own)(api)
    more: Mapping[str, Callable[[Any], Any]] = {
        "another name": change(own, "www.ci.test"),
        "a name below": change(own, f"x.{WWW}"),
        "another type": change(own, rtype="A"),
        "overwriting": change(own, action="UPSERT"),
        "another zone": change(other),
        "reading another zone": lambda api: api.list_resource_record_sets(HostedZoneId=other),
        "looking at another zone": lambda api: api.get_hosted_zone(Id=other),
        "listing the zones": lambda api: api.list_hosted_zones_by_name(),
    }
    denied = {what for what, call in more.items() if code(call, api) == "AccessDenied"}
    assert denied == set(more)
    assert account.texts(WWW) == {"x": 60}


def test_the_policy_says_names_as_route_53_compares_them() -> None:
    (change_them, *_) = json.loads(printed(("*.Ci.test", "a!b.ci.test")))["Statement"]
    assert change_them["Condition"]["ForAllValues:StringEquals"] == {
        TYPES: ["TXT"],
        ACTIONS: ["CREATE", "DELETE"],
        NAMES: ["\\052.ci.test", "a\\041b.ci.test"],
    }


def test_absent_keys_are_no_way_around_the_conditions() -> None:
    """ForAllValues alone would say yes."""
    zone = "arn:aws:route53:::hostedzone/Z1"
    policy = printed(zone_id="Z1")
    context = {NAMES: [WWW], TYPES: ["TXT"], ACTIONS: ["CREATE"]}
    assert iam.allows([policy], "route53:ChangeResourceRecordSets", zone, context)
    assert not iam.allows([policy], "route53:ChangeResourceRecordSets", zone, {})


def test_more_names_than_a_policy_holds_become_patterns(account: Account) -> None:
    names = tuple(f"_acme-challenge.{'host' * 5}{number}.prod.ci.test" for number in range(120))
    section = Route53Settings(zone="ci.test", zone_id=account.zone.id)
    (document,) = policies(PermissionRequest(section, names=names, zone="ci.test"))
    assert "pattern" in document.title
    assert len("".join(document.text.split())) < 6144
    api = client(account, account.fake.accounts.user(document.text))
    change(account.zone.id, names[77])(api)
    for name in ("prod.ci.test", "_acme-challenge.dev.ci.test"):
        with pytest.raises(ClientError, match="AccessDenied"):
            change(account.zone.id, name)(api)


def test_a_role_comes_with_a_trust_policy() -> None:
    role = "arn:aws-us-gov:iam::123456789012:role/ci"
    section = Route53Settings(zone="ci.test", role=role, audience="ours")
    policy, trust = policies(PermissionRequest(section, names=(WWW,), zone="ci.test"))
    assert "arn:aws-us-gov:route53:::hostedzone/*" in policy.text
    (statement,) = json.loads(trust.text)["Statement"]
    provider = "arn:aws-us-gov:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    assert statement["Principal"] == {"Federated": provider}
    assert statement["Condition"]["StringEquals"] == {"token.actions.githubusercontent.com:aud": "ours"}


# --- what is missing is named


@pytest.mark.parametrize("action", ["ChangeResourceRecordSets", "ListResourceRecordSets"])
def test_check_names_the_right_that_is_missing(account: Account, action: str) -> None:
    policy = without(printed(zone_id=account.zone.id), f"route53:{action}")
    adapter = account.adapter(environment(account.fake, account.fake.accounts.user(policy)), zone_id=account.zone.id)
    with pytest.raises(DnsRefused, match=f"route53:{action}") as raised:
        adapter.check_access(account.found, [WWW], deadline=account.deadline())
    error = raised.value
    assert error.details["action"] == f"route53:{action}"
    assert error.details["resource"] == f"arn:aws:route53:::hostedzone/{account.zone.id}"
    assert f'"Action": "route53:{action}", "Resource": "{error.details["resource"]}"' in error.fix
    assert "no identity-based policy allows" in error.message


def test_without_the_right_to_ask_for_changes_the_name_servers_are_asked(account: Account) -> None:
    policy = without(printed(zone_id=account.zone.id), "route53:GetChange")
    adapter = account.adapter(environment(account.fake, account.fake.accounts.user(policy)), zone_id=account.zone.id)
    adapter.check_access(account.found, [WWW], deadline=account.deadline())
    (warning,) = account.warnings
    assert "route53:GetChange" in warning
    placements = account.ensure(adapter, TxtValue(WWW, "value"))
    adapter.wait_in_sync(placements, deadline=account.deadline())
    assert len(account.warnings) == 2


def test_check_names_a_name_that_may_not_be_written(account: Account) -> None:
    policy = printed((WWW,), zone_id=account.zone.id)
    adapter = account.adapter(environment(account.fake, account.fake.accounts.user(policy)), zone_id=account.zone.id)
    adapter.check_access(account.found, [WWW], deadline=account.deadline())
    with pytest.raises(DnsRefused, match=API):
        adapter.check_access(account.found, [API], deadline=account.deadline())


def test_check_sees_a_record_that_stands_in_the_way(account: Account) -> None:
    cname = {"Name": f"{WWW}.", "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": "x.test"}]}
    account.fake.plant(account.zone, cname)
    with pytest.raises(DnsRefused, match="conflicting RRSet of type CNAME"):
        account.adapter().check_access(account.found, [API, WWW], deadline=account.deadline())


def test_check_changes_nothing_at_a_thousand_names(account: Account) -> None:
    before = dict(account.zone.sets)
    names = [f"_acme-challenge.n{number}.ci.test" for number in range(1000)]
    account.adapter().check_access(account.found, names, deadline=account.deadline())
    assert account.zone.sets == before
    assert account.fake.batches == []


@pytest.mark.parametrize(
    ("why", "fix"),
    [
        ("with an explicit deny in an identity-based policy", "remove the statement that denies"),
        ("because no permissions boundary allows the route53:GetHostedZone action", "in the permissions boundary"),
        ("with an explicit deny in a service control policy", "remove the statement"),
        ("because no service control policy allows the route53:GetHostedZone action", "organization"),
    ],
)
def test_the_fix_depends_on_which_policy_says_no(why: str, fix: str) -> None:
    from ci_acme_providers.aws.denials import denied

    text = f"User: arn:aws:iam::1:user/x is not authorized to perform: route53:GetHostedZone on resource: arn:z {why}"
    reply: Any = {"Error": {"Code": "AccessDenied", "Message": text}}
    found = denied(ClientError(reply, "GetHostedZone"))
    assert found is not None
    assert (found.action, found.resource) == ("route53:GetHostedZone", "arn:z")
    assert fix in found.fix
