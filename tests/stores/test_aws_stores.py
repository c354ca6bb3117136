"""What all AWS stores promise beyond the contract: a run may end after any call, and nothing that was sent is told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ci_acme.errors import DeliveryError, StoreNotWritable
from ci_acme.model.records import PendingOrder
from ci_acme.ports import Absent, PermissionRequest, Present, Retired
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.aws import store_permissions
from ci_acme_providers.aws.store_config import AcmSettings, S3Settings, SecretsManagerSettings, SsmSettings
from tests.clouds.api import Answer, Call, lose_call, refuse
from tests.contract.aws_stores import prepare
from tests.stores.aws_support import KINDS, Rig, fakes, rig, soon

SHAPED = [kind for kind in KINDS if kind != "acm"]


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Any]]:
    with fakes() as running:
        yield running


@pytest.fixture
def one(request: pytest.FixtureRequest, services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Rig:
    prepare(monkeypatch)
    return rig(request.param, services[request.param])


all_stores = pytest.mark.parametrize("one", KINDS, indirect=True)
shaped_stores = pytest.mark.parametrize("one", SHAPED, indirect=True)


@all_stores
def test_a_run_that_ends_after_any_call_leaves_what_belongs_together(one: Rig) -> None:
    """The metadata are of the certificate that is served, whichever call was the last; the next run brings it there."""
    before = one.asked()
    first, second = make_bundle(), make_bundle()
    one.store().publish(first, make_metadata(first), deadline=soon())
    between = one.asked()
    one.store().publish(second, make_metadata(second), deadline=soon())
    calls = one.asked() - between
    assert between > before
    for number in range(calls):
        old, new = make_bundle(), make_bundle()
        one.store().publish(old, make_metadata(old), deadline=soon())
        one.fake.fail(one.after(number), refuse(one.refusal("SomethingIsWrong", "words")), times=40)
        with contextlib.suppress(DeliveryError):
            one.store().publish(new, make_metadata(new), deadline=soon())
            assert one.served() == new.certificate, f"after {number} calls it was no success"
        one.fake._faults.clear()
        state = one.store().read(deadline=soon())
        assert isinstance(state, Present), f"after {number} calls: {state}"
        assert state.metadata is not None
        serving = {make_metadata(each).sha256: each for each in (old, new)}[state.metadata.sha256]
        assert one.served() == serving.certificate
        one.store().publish(new, make_metadata(new), deadline=soon())
        assert one.served() == new.certificate
        state = one.store().read(deadline=soon())
        assert isinstance(state, Present)
        assert state.metadata == make_metadata(new)


@all_stores
def test_a_lost_call_is_made_again(one: Rig) -> None:
    bundle = make_bundle()
    one.fake.fail(lambda call: True, lose_call, times=2)
    one.store().publish(bundle, make_metadata(bundle), deadline=soon())
    assert one.served() == bundle.certificate


@all_stores
def test_an_answer_is_one_whatever_its_content_type_says(one: Rig) -> None:
    """As of moto, and of servers that speak S3 beside AWS: HTML is what their frameworks say of everything."""

    def mislabelled(call: Call, do: Callable[[Call], Answer]) -> Answer:
        answer = do(call)
        return Answer(answer.status, answer.body, {**answer.headers, "Content-Type": "text/html; charset=utf-8"})

    one.fake.fail(lambda call: True, mislabelled, times=1000)
    store, bundle = one.store(), make_bundle()
    store.probe(deadline=soon())
    if store.capabilities.holds_pending:
        order = PendingOrder(
            "digest", "https://ca.test", "https://ca.test/account", "https://ca.test/order/1", bundle.key
        )
        store.stage(order, deadline=soon())
        assert store.staged(deadline=soon()) == order
    store.publish(bundle, make_metadata(bundle), deadline=soon())
    noted = replace(make_metadata(bundle), run="another")
    store.annotate(noted, deadline=soon())
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata == noted
    store.unstage(deadline=soon())
    store.retire(purge=False, deadline=soon())
    assert not isinstance(store.read(deadline=soon()), Present)
    one.fake._faults.clear()


@all_stores
@pytest.mark.parametrize(
    "page", [b"<html>sign in</html>", b"\n<!-- proxy -->\n<!DOCTYPE html>\n<title>sign in</title>"]
)
def test_a_page_of_a_proxy_is_no_answer(one: Rig, page: bytes) -> None:
    bundle = make_bundle()
    one.fake.fail(lambda call: True, refuse(Answer(200, page, {"Content-Type": "text/html"})), times=1000)
    with pytest.raises(DeliveryError, match="a page has come instead of an answer of AWS"):
        one.store().publish(bundle, make_metadata(bundle), deadline=soon())
    one.fake._faults.clear()


@all_stores
def test_aws_may_repeat_what_was_sent_and_nobody_hears_it(one: Rig) -> None:
    bundle = make_bundle()
    lines = bundle.key.reveal().decode().splitlines()
    for text in (
        f"1 validation error detected: Value '{bundle.key.reveal().decode()}' at 'value' failed to satisfy constraint",
        f"cannot parse {lines[1]}",
        json.dumps(bundle.key.reveal().decode()),
    ):
        one.fake.fail(lambda call: True, refuse(one.refusal("ValidationError", text)), times=40)
        with pytest.raises(DeliveryError) as caught:
            one.store().publish(bundle, make_metadata(bundle), deadline=soon())
        one.fake._faults.clear()
        said = f"{caught.value!r} {caught.value.as_dict()} {caught.value.__cause__!r} {caught.value.__context__!r}"
        assert not any(line in said for line in lines[1:-1])
        assert caught.value.details["code"] == "ValidationError"


@all_stores
def test_tags_of_the_user_stay(one: Rig) -> None:
    first, second = make_bundle(), make_bundle()
    one.store().publish(first, make_metadata(first), deadline=soon())
    tags = _tags(one)
    tags["team"] = "web"
    one.store().publish(second, make_metadata(second), deadline=soon())
    assert _tags(one)["team"] == "web"
    assert one.served() == second.certificate


@all_stores
def test_only_the_tags_of_what_serves_are_left(one: Rig) -> None:
    for _ in range(6):
        bundle = make_bundle()
        one.store().publish(bundle, make_metadata(bundle), deadline=soon())
    tags = [key for key in _tags(one) if key.startswith("ci-acme-0")]
    assert len(tags) == 1


@all_stores
def test_too_many_tags_are_told_before_an_order(one: Rig) -> None:
    bundle = make_bundle()
    one.store().publish(bundle, make_metadata(bundle), deadline=soon())
    most = 10 if one.kind == "s3" else 50
    tags = _tags(one)
    tags.update({f"mine-{number}": "x" for number in range(most - len(tags))})
    with pytest.raises(StoreNotWritable, match=rf"tags of your own, .* takes {most}"):
        one.store().probe(deadline=soon())


@shaped_stores
def test_another_shape_is_delivered_without_an_order(one: Rig) -> None:
    bundle = make_bundle()
    metadata = make_metadata(bundle)
    large = {"tier": "advanced"} if one.kind == "ssm" else {}
    one.store(shape="nginx", **large).publish(bundle, metadata, deadline=soon())
    for settings in (
        {"shape": "haproxy"},
        {"fields": {"crt": "fullchain", "secret": "key"}, "base64": True},
        {"shape": "nginx"},
        {"shape": "java", "pkcs12_password": "env:PASSWORD"},
    ):
        store = one.store(**settings, **large)
        state = store.read(deadline=soon())
        assert isinstance(state, Present)
        assert state.lacks
        assert state.metadata == metadata
        found = store.read_bundle(deadline=soon())
        assert found == bundle
        store.publish(found, metadata, deadline=soon())
        assert store.read(deadline=soon()).lacks is None


@shaped_stores
def test_what_was_there_before_can_come_back(one: Rig) -> None:
    bundles = [make_bundle(), make_bundle()]
    large = {"tier": "advanced", "base64": True} if one.kind == "ssm" else {}
    for bundle in (bundles * 2)[:3]:
        store = one.store(shape="pkcs12", **large)
        store.publish(bundle, make_metadata(bundle), deadline=soon())
        assert store.read_bundle(deadline=soon()) == bundle


@all_stores
def test_the_printed_policy_suffices_for_everything(one: Rig) -> None:
    bundle, newer = make_bundle(), make_bundle()
    key = {} if one.kind == "acm" else {"kms_key": "alias/tls"}
    with one.fake.iam.under(json.dumps(_policy(one, retire=True))):
        for purge in (False, False, True):
            for each in (bundle, newer):
                store = one.store(**key)
                store.probe(deadline=soon())
                if store.capabilities.holds_pending:
                    order = PendingOrder("0" * 64, "https://ca", "https://ca/1", "https://ca/2", each.key)
                    store.stage(order, deadline=soon())
                    assert store.staged(deadline=soon()) == order
                    store.unstage(deadline=soon())
                store.publish(each, make_metadata(each), deadline=soon())
                metadata = make_metadata(each)
                store.annotate(metadata.with_renewal(None, metadata.not_after), deadline=soon())
                assert one.served() == each.certificate
            assert one.store().retire(purge=purge, deadline=soon()) is Retired.REMOVED
            assert isinstance(one.store().read(deadline=soon()), Absent)


@all_stores
def test_a_policy_without_retire_deletes_no_certificate(one: Rig) -> None:
    bundle = make_bundle()
    policy = _policy(one, retire=False)
    with one.fake.iam.under(json.dumps(policy)):
        one.store().publish(bundle, make_metadata(bundle), deadline=soon())
        with pytest.raises(DeliveryError, match="Delete"):
            one.store().retire(purge=True, deadline=soon())
    assert one.served() == bundle.certificate


@all_stores
def test_a_policy_is_for_its_own_target_only(one: Rig) -> None:
    bundle = make_bundle()
    one.store().publish(bundle, make_metadata(bundle), deadline=soon())
    other = rig(one.kind, one.fake)
    with one.fake.iam.under(json.dumps(_policy(other, retire=True))):
        newer = make_bundle()
        with pytest.raises(DeliveryError):
            one.store().publish(newer, make_metadata(newer), deadline=soon())
        with pytest.raises(DeliveryError):
            one.store().retire(purge=True, deadline=soon())
        other.store().publish(newer, make_metadata(newer), deadline=soon())
    assert one.served() == bundle.certificate


@all_stores
def test_every_missing_right_is_named(one: Rig) -> None:
    """Each action that writing needs is missed by name; what can be asked for before an order is."""
    bundle, newer = make_bundle(), make_bundle()
    one.store().publish(bundle, make_metadata(bundle), deadline=soon())
    everything = _actions(one, retire=True)
    early = {
        "secrets-manager": "secretsmanager:PutSecretValue",
        "ssm": "ssm:PutParameter",
        "acm": "acm:ImportCertificate",
        "s3": "s3:PutObject",
    }[one.kind]
    with one.fake.iam.only(*(everything - {early})):
        with pytest.raises(StoreNotWritable) as caught:
            one.store().probe(deadline=soon())
        assert early in caught.value.fix
        with pytest.raises(DeliveryError) as late:
            one.store().publish(newer, make_metadata(newer), deadline=soon())
        assert early in late.value.fix
        assert late.value.details["action"] == early
    assert one.served() == bundle.certificate


def _tags(one: Rig) -> dict[str, str]:
    """The tags of the target, to look at and to change."""
    found: dict[str, str]
    if one.kind == "secrets-manager":
        found = one.fake.secrets[one.name].tags
    elif one.kind == "ssm":
        found = one.fake.parameters[f"/{one.name}"].tags
    elif one.kind == "s3":
        found = one.fake.objects[one.name][-1].tags
    else:
        (certificate,) = [each for each in one.fake.certificates.values() if one.name in each.tags.values()]
        found = certificate.tags
    return found


def _policy(one: Rig, *, retire: bool) -> dict[str, Any]:
    kinds: dict[str, tuple[Any, Any, dict[str, str]]] = {
        "secrets-manager": (store_permissions.secrets_manager, SecretsManagerSettings, {"name": one.name}),
        "ssm": (store_permissions.ssm, SsmSettings, {"name": f"/{one.name}"}),
        "acm": (store_permissions.acm, AcmSettings, {"name": one.name}),
        "s3": (store_permissions.s3, S3Settings, {"bucket": "certificates", "key": one.name}),
    }
    policies, model, settings = kinds[one.kind]
    given = model.model_validate({**settings, **({} if one.kind == "acm" else {"kms_key": "alias/tls"})})
    (document,) = policies(PermissionRequest(given, certificate="test", retire=retire))
    assert document.syntax == "json"
    policy: dict[str, Any] = json.loads(document.text)
    return policy


def _actions(one: Rig, *, retire: bool) -> set[str]:
    return {action for statement in _policy(one, retire=retire)["Statement"] for action in statement["Action"]}
