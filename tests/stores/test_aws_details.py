"""What single AWS stores promise beyond what all of them do: tombstones, one ARN, sizes, versions, rights."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError

from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle, KeyType
from ci_acme.model.records import PendingOrder
from ci_acme.model.secret import Secret
from ci_acme.ports import Absent, PermissionRequest, Present, Retired, Unusable
from ci_acme.shapes import SHAPES, Shape, likely
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.aws import store_permissions
from ci_acme_providers.aws.store_config import AcmSettings, S3Settings, SecretsManagerSettings, SsmSettings
from tests.clouds.acm import Acm, in_2030
from tests.clouds.api import lose_reply
from tests.clouds.awsjson import is_operation
from tests.contract.aws_stores import prepare
from tests.stores.aws_support import Rig, fakes, rig, soon


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Any]]:
    with fakes() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


def publish(one: Rig, bundle: Bundle, **settings: Any) -> None:
    one.store(**settings).publish(bundle, make_metadata(bundle), deadline=soon())


# --- Secrets Manager


@pytest.fixture
def manager(services: dict[str, Any]) -> Rig:
    return rig("secrets-manager", services["secrets-manager"])


def test_a_deleted_secret_is_a_tombstone_that_is_revived(manager: Rig) -> None:
    bundle = make_bundle()
    publish(manager, bundle)
    arn = manager.fake.secrets[manager.name].arn
    assert manager.store(recovery_days=9).retire(purge=False, deadline=soon()) is Retired.REMOVED
    state = manager.store().read(deadline=soon())
    assert isinstance(state, Absent)
    assert state.tombstone is not None
    assert "can be restored until 20" in state.tombstone
    manager.store().probe(deadline=soon())
    assert manager.served() is None
    newer = make_bundle()
    publish(manager, newer)
    assert manager.served() == newer.certificate
    assert manager.fake.secrets[manager.name].arn == arn, "readers have its ARN in their policies"


def test_a_purged_name_is_waited_for(manager: Rig) -> None:
    publish(manager, make_bundle())
    assert manager.store().retire(purge=True, deadline=soon()) is Retired.REMOVED
    bundle = make_bundle()
    publish(manager, bundle)
    assert manager.served() == bundle.certificate


def test_a_tombstone_can_be_purged(manager: Rig) -> None:
    publish(manager, make_bundle())
    manager.store().retire(purge=False, deadline=soon())
    assert manager.store().retire(purge=True, deadline=soon()) is Retired.REMOVED
    assert manager.fake.secrets[manager.name].gone is not None


def test_a_secret_without_a_value_is_filled(manager: Rig) -> None:
    """As Terraform makes them; its first version is current from the beginning."""
    request = {"Name": manager.name, "ClientRequestToken": "c" * 32, "Tags": [{"Key": "team", "Value": "web"}]}
    manager.fake.CreateSecret(request)
    assert manager.store().read(deadline=soon()) == Absent()
    assert manager.store().retire(purge=True, deadline=soon()) is Retired.ABSENT
    bundle = make_bundle()
    publish(manager, bundle)
    assert manager.store().read_bundle(deadline=soon()) == bundle
    assert manager.fake.secrets[manager.name].tags["team"] == "web"


def test_a_value_that_somebody_puts_over_ours_is_not_taken_for_ours(manager: Rig) -> None:
    publish(manager, make_bundle())
    request = {"SecretId": manager.name, "ClientRequestToken": "d" * 32, "SecretString": "by hand"}
    manager.fake.PutSecretValue(request)
    assert not isinstance(manager.store().read(deadline=soon()), Present)
    with pytest.raises(DeliveryError, match="did not write"):
        manager.store().retire(purge=False, deadline=soon())


def test_readers_get_no_order_and_no_half(manager: Rig) -> None:
    """While an order is under way, and when a version is there that is not current yet."""
    old, new = make_bundle(), make_bundle()
    publish(manager, old)
    seen: list[bytes | None] = []
    carry_out = manager.fake.handle

    def looking(call: Any) -> Any:
        answer = carry_out(call)
        seen.append(manager.served())
        return answer

    manager.fake.handle = looking
    try:
        publish(manager, new)
    finally:
        del manager.fake.handle
    assert set(seen) == {old.certificate, new.certificate}
    assert seen == sorted(seen, key=[old.certificate, new.certificate].index)


def test_who_may_not_read_secrets_may_still_write_them(manager: Rig) -> None:
    actions = ["CreateSecret", "DescribeSecret", "PutSecretValue", "TagResource", "UntagResource"]
    actions.append("UpdateSecretVersionStage")
    with manager.fake.iam.only(*(f"secretsmanager:{action}" for action in actions)):
        for _ in range(2):
            bundle = make_bundle()
            publish(manager, bundle)
            assert manager.served() == bundle.certificate


def test_the_rights_to_move_a_label_are_asked_for_before_an_order(manager: Rig) -> None:
    publish(manager, make_bundle())
    rights = {"secretsmanager:DescribeSecret", "secretsmanager:PutSecretValue"}
    before = manager.fake.writes
    with manager.fake.iam.only(*rights), pytest.raises(StoreNotWritable, match="UpdateSecretVersionStage"):
        manager.store().probe(deadline=soon())
    manager.store().probe(deadline=soon())
    assert manager.fake.writes == before


def test_an_order_that_may_not_be_kept_says_what_else_to_do(manager: Rig) -> None:
    order = PendingOrder("0" * 64, "https://ca", "https://ca/1", "https://ca/2", make_bundle().key)
    with manager.fake.iam.only():
        with pytest.raises(DeliveryError) as caught:
            manager.store().stage(order, deadline=soon())
        assert manager.store().staged(deadline=soon()) is None
        manager.store().unstage(deadline=soon())  # nothing that we could see: it is kept in another store
    assert "keep_order: false" in caught.value.fix
    manager.store().stage(order, deadline=soon())
    with manager.fake.iam.only("secretsmanager:GetSecretValue"), pytest.raises(DeliveryError):
        manager.store().unstage(deadline=soon())


def test_the_version_tells_nothing_of_the_key_and_is_the_same_again(manager: Rig) -> None:
    bundle = make_bundle()
    first = manager.store().publish(bundle, make_metadata(bundle), deadline=soon())
    assert first is not None
    assert len(first) == 64
    other = manager.store(shape="pem").publish(bundle, make_metadata(bundle), deadline=soon())
    assert other != first
    assert manager.store().publish(bundle, make_metadata(bundle), deadline=soon()) == first


def test_a_secret_name_that_aws_refuses_is_a_config_error() -> None:
    for name in ("a b", "a:b", "", "x" * 500):
        with pytest.raises(ValidationError):
            SecretsManagerSettings.model_validate({"name": name})
    with pytest.raises(ValidationError):
        SecretsManagerSettings.model_validate({"name": "a", "recovery_days": 6})


def test_the_label_moves_only_from_the_version_that_was_seen(manager: Rig) -> None:
    """Who is overtaken looks again, and leaves nothing of the one that it replaces in the end."""
    publish(manager, make_bundle())
    other, ours_ = make_bundle(), make_bundle()

    def meanwhile(call: Any, do: Any) -> Any:
        publish(manager, other)
        return do(call)

    manager.fake.fail(is_operation("UpdateSecretVersionStage"), meanwhile)
    publish(manager, ours_)
    assert manager.served() == ours_.certificate
    secret = manager.fake.secrets[manager.name]
    assert len([key for key in secret.tags if key.startswith("ci-acme-0.")]) == 1
    previous, _ = secret.versions[secret.labels["AWSPREVIOUS"]]
    assert json.loads(previous)["certificate"] == other.certificate.decode()


# --- Parameter Store


@pytest.fixture
def ssm(services: dict[str, Any]) -> Rig:
    return rig("ssm", services["ssm"])


@pytest.mark.parametrize(
    ("key", "settings", "fits"),
    [
        (KeyType.EC_P256, {}, True),
        (KeyType.EC_P384, {}, True),
        (KeyType.RSA_2048, {}, False),
        (KeyType.RSA_2048, {"tier": "advanced"}, True),
        (KeyType.RSA_4096, {"tier": "advanced"}, True),
        (KeyType.RSA_4096, {"tier": "advanced", "shape": "json"}, False),
        (KeyType.EC_P256, {"shape": "json"}, False),
        (KeyType.EC_P256, {"shape": "json", "tier": "advanced"}, True),
        (KeyType.RSA_4096, {"fields": {"key": "key"}}, True),
    ],
)
def test_what_does_not_fit_a_parameter_is_refused_before_an_order(
    ssm: Rig, key: KeyType, settings: dict[str, Any], *, fits: bool
) -> None:
    store = ssm.store(context=ssm.context(key=key, names=("www.example.com",)), **settings)
    if fits:
        store.probe(deadline=soon())
        return
    with pytest.raises(StoreNotWritable, match=r"a bundle of about \d+ bytes .* holds \d+ in the tier") as caught:
        store.probe(deadline=soon())
    assert caught.value.details["bytes"] > caught.value.details["most"]
    assert "aws-secrets-manager" in caught.value.fix


def test_many_names_do_not_fit_a_parameter(ssm: Rig) -> None:
    names = tuple(f"host{number}.example.com" for number in range(100))
    with pytest.raises(StoreNotWritable, match="100 names"):
        ssm.store(context=ssm.context(key=KeyType.EC_P256, names=names)).probe(deadline=soon())


def test_a_long_chain_is_warned_of(ssm: Rig) -> None:
    ssm.store(context=ssm.context(key=KeyType.EC_P256, names=("a.example",))).probe(deadline=soon())
    assert any("if the chain is long" in warning for warning in ssm.warnings)


def test_the_likely_size_is_not_too_small(ssm: Rig) -> None:
    """Of our own chain, which has one short certificate above the leaf."""
    for key, kind in ((None, KeyType.EC_P256), (rsa.generate_private_key(65537, 2048), KeyType.RSA_2048)):
        bundle = make_bundle(key=key)
        for name in ("pem", "nginx", "json"):
            shape = Shape(SHAPES[name])
            store = ssm.store(shape=name, tier="advanced")
            store.publish(bundle, make_metadata(bundle), deadline=soon())
            assert len(ssm.fake.value(f"/{ssm.name}")) <= likely(shape, kind, 1)


def test_a_value_that_somebody_overwrote_is_seen_without_reading_it(ssm: Rig) -> None:
    """Also if the description and the tags that we gave the parameter are there as before."""
    bundle = make_bundle()
    publish(ssm, bundle)
    name = f"/{ssm.name}"
    before = ssm.fake.parameters[name].current.description
    ssm.fake.overwrite(name, "of somebody else")
    assert ssm.fake.parameters[name].current.description == before != ""
    assert isinstance(ssm.store().read(deadline=soon()), Unusable)
    with pytest.raises(DeliveryError, match="did not write"):
        ssm.store().retire(purge=False, deadline=soon())
    publish(ssm, bundle)
    assert ssm.served() == bundle.certificate
    assert isinstance(ssm.store().read(deadline=soon()), Present)


def test_a_parameter_of_before_versions_were_described_is_ours(ssm: Rig) -> None:
    bundle = make_bundle()
    publish(ssm, bundle)
    current = ssm.fake.parameters[f"/{ssm.name}"].current
    current.description = current.description.removesuffix(" as version 1")
    assert isinstance(ssm.store().read(deadline=soon()), Present)


def test_a_chain_that_is_too_long_after_all_leaves_the_old_value(ssm: Rig) -> None:
    old = make_bundle()
    publish(ssm, old)
    new = make_bundle()
    with pytest.raises(DeliveryError, match=r"takes \d+ bytes, and .* holds 4096"):
        publish(ssm, Bundle(new.key, new.certificate, new.chain * 8))
    assert ssm.served() == old.certificate


def test_a_parameter_that_cannot_be_is_a_config_error() -> None:
    for settings in (
        {"name": "aws/tls"},
        {"name": "/SSM-tls"},
        {"name": "two/levels"},
        {"name": "/a" * 16},
        {"name": "/a b"},
        {"name": "/a", "shape": "pkcs12"},
        {"name": "/a", "fields": {"{{key}}": "key"}},
    ):
        with pytest.raises(ValidationError):
            SsmSettings.model_validate(settings)


# --- ACM


@pytest.fixture
def acm() -> Iterator[Rig]:
    with Acm(in_2030) as fake:
        yield rig("acm", fake)


def ours(acm: Rig) -> list[Any]:
    return [each for each in acm.fake.certificates.values() if each.tags.get("ci-acme-store") == acm.name]


def test_one_arn_over_create_retire_and_create_again(acm: Rig) -> None:
    arns = set()
    for _ in range(3):
        bundle = make_bundle()
        publish(acm, bundle)
        arns |= {each.arn for each in ours(acm)}
        assert acm.store().retire(purge=False, deadline=soon()) is Retired.REMOVED
        state = acm.store().read(deadline=soon())
        assert isinstance(state, Absent)
        assert state.tombstone is not None
        assert state.tombstone.startswith("retired at 20")
    assert len(arns) == 1
    assert acm.fake.imports == 1


def test_a_lost_answer_to_the_first_import_leaves_one_arn(acm: Rig) -> None:
    bundle = make_bundle()
    acm.fake.fail(is_operation("ImportCertificate"), lose_reply)
    publish(acm, bundle)
    assert len(ours(acm)) == 1
    assert acm.fake.imports == 2, "the SDK has asked twice"
    assert acm.served() == bundle.certificate


def test_a_list_that_does_not_show_it_yet_leads_to_no_second_arn(acm: Rig) -> None:
    acm.fake.lag = 0.4
    bundle = make_bundle()
    assert acm.store().read(deadline=soon()) == Absent()
    publish(acm, bundle)
    assert acm.fake.imports == 1


def test_two_runs_that_both_import_end_with_one_arn(acm: Rig) -> None:
    bundles = [make_bundle(), make_bundle()]
    barrier = threading.Barrier(2)

    def run(bundle: Bundle) -> None:
        barrier.wait()
        try:
            publish(acm, bundle)
        except DeliveryError:
            return

    threads = [threading.Thread(target=run, args=(bundle,)) for bundle in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    publish(acm, bundles[0])
    assert len(ours(acm)) == 1


def test_the_question_whether_a_new_arn_may_be_made_carries_the_tag_that_a_policy_asks_for(acm: Rig) -> None:
    acm.store().probe(deadline=soon())
    (call,) = [call for call in acm.fake.calls if is_operation("ImportCertificate")(call)]
    assert call.json["Tags"] == [{"Key": "ci-acme-store", "Value": acm.name}]
    assert "CertificateArn" not in call.json


def test_another_key_type_is_refused_before_an_order(acm: Rig) -> None:
    publish(acm, make_bundle())
    with pytest.raises(StoreNotWritable, match="EC_prime256v1") as caught:
        acm.store(context=acm.context(key=KeyType.RSA_2048)).probe(deadline=soon())
    assert "another name" in caught.value.fix
    acm.store(context=acm.context(key=KeyType.EC_P256)).probe(deadline=soon())
    with pytest.raises(DeliveryError, match="does not take"):
        publish(acm, make_bundle(key=rsa.generate_private_key(65537, 2048)))


def test_a_key_usage_that_is_gone_is_told_in_acms_words(acm: Rig) -> None:
    publish(acm, with_usages(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH))
    publish(acm, with_usages(ExtendedKeyUsageOID.SERVER_AUTH))
    with pytest.raises(DeliveryError, match="missing one or more Extended Key Usages"):
        publish(acm, with_usages(ExtendedKeyUsageOID.CLIENT_AUTH))


def test_what_is_in_use_is_not_deleted_and_named(acm: Rig) -> None:
    bundle = make_bundle()
    publish(acm, bundle)
    (certificate,) = ours(acm)
    certificate.users.append("arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/web/1")
    with pytest.raises(DeliveryError, match="still used by arn:aws:elasticloadbalancing") as caught:
        acm.store().retire(purge=True, deadline=soon())
    assert "take the certificate off" in caught.value.fix
    assert acm.served() == bundle.certificate
    assert acm.store().retire(purge=False, deadline=soon()) is Retired.REMOVED
    assert any("still used by" in warning for warning in acm.warnings)


def test_an_arn_of_the_config_is_used_without_listing(acm: Rig) -> None:
    foreign, bundle = make_bundle(), make_bundle()
    arn = acm.fake.plant(foreign.certificate, foreign.chain, foreign.key.reveal(), Name="by hand")
    state = acm.store(name=None, arn=arn).read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata is None
    publish(acm, bundle, name=None, arn=arn)
    assert acm.fake.certificates[arn].leaf == bundle.certificate
    assert acm.fake.certificates[arn].tags["Name"] == "by hand"
    assert "ListCertificates" not in acm.fake.asked()


def test_an_arn_that_is_not_there_is_an_error_and_no_import(acm: Rig) -> None:
    arn = "arn:aws:acm:eu-west-1:123456789012:certificate/none"
    with pytest.raises(StoreReadError):
        acm.store(name=None, arn=arn).read(deadline=soon())
    with pytest.raises(DeliveryError):
        publish(acm, make_bundle(), name=None, arn=arn)
    assert acm.fake.imports == 0


def test_cloudfront_takes_no_p384_and_no_other_region(acm: Rig) -> None:
    context = acm.context(key=KeyType.EC_P384)
    with pytest.raises(StoreNotWritable, match="CloudFront"):
        acm.store(context=context, used_by="cloudfront").probe(deadline=soon())
    acm.store(context=context).probe(deadline=soon())
    with pytest.raises(StoreNotWritable, match="not in eu-west-1"):
        acm.store(used_by="cloudfront").probe(deadline=soon())
    for settings in (
        {"region": "eu-west-1"},
        {"name": None},
        {"arn": "arn:aws:acm:us-east-1:123456789012:certificate/1"},
    ):
        with pytest.raises(ValidationError):
            AcmSettings.model_validate({"name": "a", "used_by": "cloudfront", **settings})


def with_usages(*usages: x509.ObjectIdentifier) -> Bundle:
    """A certificate with extended key usages, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(in_2030() - timedelta(days=1))
        .not_valid_after(in_2030() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("test.example")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Bundle(Secret(pem), certificate.public_bytes(Encoding.PEM), b"")


# --- S3


@pytest.fixture
def s3(services: dict[str, Any]) -> Iterator[Rig]:
    services["s3"].versioned = True
    yield rig("s3", services["s3"])
    services["s3"].versioned = False


def test_a_delete_marker_is_a_tombstone_and_purge_leaves_no_version(s3: Rig) -> None:
    publish(s3, make_bundle())
    s3.store().retire(purge=False, deadline=soon())
    state = s3.store().read(deadline=soon())
    assert isinstance(state, Absent)
    assert state.tombstone == "deleted, and the bucket keeps earlier versions"
    publish(s3, make_bundle())
    s3.store().retire(purge=False, deadline=soon())
    assert len(s3.fake.objects[s3.name]) == 4
    assert s3.store().retire(purge=True, deadline=soon()) is Retired.REMOVED
    assert s3.name not in s3.fake.objects
    assert s3.store().retire(purge=True, deadline=soon()) is Retired.ABSENT


def test_an_order_leaves_no_version_behind(s3: Rig) -> None:
    order = PendingOrder("0" * 64, "https://ca", "https://ca/1", "https://ca/2", make_bundle().key)
    s3.store().stage(order, deadline=soon())
    s3.store().unstage(deadline=soon())
    assert not any(key.startswith(s3.name) for key in s3.fake.objects)
    s3.store().stage(order, deadline=soon())
    with s3.fake.iam.only("s3:GetObject", "s3:DeleteObject", "s3:ListBucketVersions"):
        s3.store().unstage(deadline=soon())
    assert s3.store().staged(deadline=soon()) is None
    assert any("s3:DeleteObjectVersion" in warning for warning in s3.warnings)


def test_what_is_denied_may_only_be_missing(s3: Rig) -> None:
    with s3.fake.iam.only("s3:GetObjectTagging", "s3:GetObject"), pytest.raises(StoreReadError) as caught:
        s3.store().read(deadline=soon())
    assert "s3:ListBucket" in caught.value.fix


def test_kms_encrypts_where_it_is_asked_for(s3: Rig) -> None:
    publish(s3, make_bundle(), kms_key="alias/tls")
    assert s3.fake.objects[s3.name][-1].encryption == ("aws:kms", "alias/tls")


def test_tags_that_somebody_moves_to_another_object_are_not_believed(s3: Rig) -> None:
    publish(s3, make_bundle())
    s3.fake.plant(s3.name, b"by hand", **s3.fake.objects[s3.name][-1].tags)
    assert not isinstance(s3.store().read(deadline=soon()), Present)
    with pytest.raises(DeliveryError, match="did not write"):
        s3.store().retire(purge=False, deadline=soon())


def test_an_annotation_that_is_overtaken_says_so(s3: Rig) -> None:
    old, new = make_bundle(), make_bundle()
    publish(s3, old)
    metadata = make_metadata(old)

    def meanwhile(call: Any, do: Any) -> Any:
        publish(s3, new)
        return do(call)

    s3.fake.fail(lambda call: call.method == "PUT" and "tagging" in call.query, meanwhile)
    with pytest.raises(DeliveryError, match="replaced"):
        s3.store().annotate(metadata.with_renewal(None, metadata.not_after), deadline=soon())
    assert not isinstance(s3.store().read(deadline=soon()), Present), "the tags are not of the object"
    publish(s3, new)
    state = s3.store().read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata == make_metadata(new)


@pytest.mark.parametrize("first", [True, False])
def test_an_object_that_somebody_else_writes_meanwhile_is_looked_at_again(s3: Rig, *, first: bool) -> None:
    if not first:
        publish(s3, make_bundle())
    other, ours_ = make_bundle(), make_bundle()

    def meanwhile(call: Any, do: Any) -> Any:
        publish(s3, other)
        s3.fake.objects[s3.name][-1].tags["team"] = "web"
        return do(call)

    s3.fake.fail(lambda call: call.method == "PUT", meanwhile)
    publish(s3, ours_)
    assert s3.served() == ours_.certificate
    assert s3.fake.objects[s3.name][-1].tags["team"] == "web"


def test_an_object_that_was_replaced_is_not_deleted(s3: Rig) -> None:
    publish(s3, make_bundle())

    def meanwhile(call: Any, do: Any) -> Any:
        s3.fake.plant(s3.name, b"by hand")
        return do(call)

    s3.fake.fail(lambda call: call.method == "DELETE" and s3.name in call.path and "order" not in call.path, meanwhile)
    with pytest.raises(DeliveryError, match="did not write"):
        s3.store().retire(purge=False, deadline=soon())
    assert s3.fake.body(s3.name) == b"by hand"


def test_the_key_of_the_object_has_a_default(s3: Rig) -> None:
    assert s3.store(key=None).target == "certificates/ci-acme/test"
    with pytest.raises(ValidationError):
        S3Settings.model_validate({"bucket": "Not_A_Bucket"})


# --- policies


def test_a_policy_is_of_the_partition_and_the_key() -> None:
    policies = store_permissions.secrets_manager
    for region, key, arn, resource in (
        ("cn-north-1", None, "arn:aws-cn:secretsmanager:cn-north-1:*:secret:a-??????", None),
        ("us-gov-west-1", "1234", "arn:aws-us-gov:secretsmanager:us-gov-west-1:*:secret:a-??????", "key/1234"),
        (None, "arn:aws:kms:eu-west-1:1:alias/tls", "arn:aws:secretsmanager:*:*:secret:a-??????", "key/*"),
        ("eu-west-1", "arn:aws:kms:eu-west-1:1:key/5", "arn:aws:secretsmanager:eu-west-1:*:secret:a-??????", "key/5"),
    ):
        settings = SecretsManagerSettings.model_validate({"name": "a", "region": region, "kms_key": key})
        (document,) = policies(PermissionRequest(settings))
        statements = json.loads(document.text)["Statement"]
        assert statements[0]["Resource"] == [arn]
        assert resource is None or statements[-1]["Resource"][0].endswith(f":{resource}")
        aliases = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/tls"}}
        assert statements[-1].get("Condition") == (aliases if key and "alias" in key else None)
