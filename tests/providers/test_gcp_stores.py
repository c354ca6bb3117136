"""Secret Manager and Certificate Manager beyond the contract."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.records import RenewalMemory, format_time
from ci_acme.model.secret import Secret
from ci_acme.ports import Absent, Present, Retired, Unusable
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.gcp.certificate_manager import CertificateManagerStore
from ci_acme_providers.gcp.config import CertificateManagerSettings, SecretManagerSettings
from ci_acme_providers.gcp.secret_manager import SecretManagerStore
from tests.clouds.api import Answer, Call, commit_then, lose_call, lose_reply, refuse
from tests.clouds.google import Iam, new_error
from tests.clouds.google_certificates import GoogleCertificates
from tests.clouds.google_secrets import GoogleSecrets, Version
from tests.clouds.google_secrets import Secret as Stored
from tests.clouds.google_support import ACCESS, PROJECT, context, quick, trust
from tests.clouds.google_tokens import CiTokens, GoogleTokens

SECRET = f"projects/{PROJECT}/secrets/web-tls"
CERTIFICATE = f"projects/{PROJECT}/locations/global/certificates/web"


class Cloud:
    def __init__(
        self, secrets: GoogleSecrets, certificates: GoogleCertificates, tokens: GoogleTokens, ci: CiTokens
    ) -> None:
        self.secrets, self.certificates, self.tokens, self.ci = secrets, certificates, tokens, ci
        self.iam = tokens.iam
        self.warnings: list[str] = []

    def secret(self, **settings: Any) -> SecretManagerStore:
        document = {"name": "web-tls", **ACCESS, "endpoint": self.secrets.url, **settings}
        made = context(self.tokens, ci=self.ci, secrets=lambda _: Secret(b"changeit"), warn=self.warnings.append)
        return SecretManagerStore(SecretManagerSettings.model_validate(document), made)

    def certificate(self, **settings: Any) -> CertificateManagerStore:
        document = {"name": "web", **ACCESS, "endpoint": self.certificates.url, **settings}
        return CertificateManagerStore(
            CertificateManagerSettings.model_validate(document), context(self.tokens, ci=self.ci)
        )

    @property
    def stored(self) -> Stored:
        return self.secrets.secrets[SECRET]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr("ci_acme_providers.gcp.certificate_manager._POLL", (0.2, 0.4))
    iam = Iam()
    with (
        GoogleSecrets(iam) as secrets,
        GoogleCertificates(iam) as certificates,
        GoogleTokens(iam) as tokens,
        CiTokens(time.time) as ci,
    ):
        trust(tokens)
        yield Cloud(secrets, certificates, tokens, ci)


def adds(call: Call) -> bool:
    return call.path.endswith(":addVersion")


def patches(call: Call) -> bool:
    return call.method == "PATCH"


# --- secrets: reading


def test_a_kept_certificate_costs_two_metadata_reads_and_no_payload(cloud: Cloud) -> None:
    bundle = make_bundle()
    metadata = make_metadata(bundle)
    cloud.secret().publish(bundle, metadata, deadline=quick())
    cloud.secrets.calls.clear()
    assert cloud.secret().read(deadline=quick()) == Present(None, b"", metadata, "1")
    assert [(call.method, call.path) for call in cloud.secrets.calls] == [
        ("GET", f"/v1/{SECRET}"),
        ("GET", f"/v1/{SECRET}/versions/latest"),
    ]


def test_a_version_that_somebody_added_is_seen_once_it_is_none_that_is_being_written(cloud: Cloud) -> None:
    bundle = make_bundle()
    metadata = make_metadata(bundle)
    cloud.secret().publish(bundle, metadata, deadline=quick())
    cloud.stored.versions.append(Version(b"of somebody else", created=_ago(59)))
    assert cloud.secret().read(deadline=quick()) == Present(None, b"", metadata, "1")
    cloud.stored.versions[-1].created = _ago(61)
    lacks = "version 2 without metadata is the latest"
    assert cloud.secret().read(deadline=quick()) == Present(None, b"", metadata, "1", lacks)
    assert cloud.secret().read_bundle(deadline=quick()) == bundle
    assert cloud.secret().publish(bundle, metadata, deadline=quick()) == "3"
    assert cloud.secret().read(deadline=quick()) == Present(None, b"", metadata, "3")


def test_an_alias_that_was_moved_or_is_new_is_lacking(cloud: Cloud) -> None:
    bundle = make_bundle()
    metadata = make_metadata(bundle)
    cloud.secret().publish(bundle, metadata, deadline=quick())
    assert cloud.secret(alias="current").read(deadline=quick()) == Present(
        None, b"", metadata, "1", "the alias current"
    )
    assert cloud.secret(alias="current").publish(bundle, metadata, deadline=quick()) == "1"
    assert cloud.secret(alias="current").read(deadline=quick()) == Present(None, b"", metadata, "1")
    cloud.stored.versions.append(Version(b"of somebody else", created=_ago(61)))
    assert cloud.secret(alias="current").read(deadline=quick()) == Present(None, b"", metadata, "1"), "nobody reads it"


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_service_that_cannot_tell_of_permissions_is_written_all_the_same(cloud: Cloud, status: int) -> None:
    """As emulators are."""
    bundle = make_bundle()
    cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick())
    unknown = refuse(Answer(status, b"404 page not found", {"Content-Type": "text/plain"}))
    cloud.secrets.fail(lambda call: call.path.endswith(":testIamPermissions"), unknown)
    cloud.secret().probe(deadline=quick())
    assert not cloud.secrets._faults


def _ago(seconds: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize("state", ["DISABLED", "DESTROYED"])
def test_a_version_that_somebody_switched_off_is_unusable(cloud: Cloud, state: str) -> None:
    bundle = make_bundle()
    cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick())
    cloud.stored.versions[0].state = state
    assert cloud.secret().read(deadline=quick()) == Unusable(f"version 1 of the secret is {state.lower()}")
    assert cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick()) == "2"
    assert cloud.secret().read_bundle(deadline=quick()) == bundle


def test_a_secret_made_in_advance_is_absent_and_keeps_what_it_has(cloud: Cloud) -> None:
    fields = {"name": SECRET, "replication": {"automatic": {}}, "labels": {"env": "prod"}, "annotations": {"who": "tf"}}
    cloud.secrets.secrets[SECRET] = Stored({**fields, "createTime": "2026-01-01T00:00:00Z"})
    store = cloud.secret(labels={"team": "web"})
    assert store.read(deadline=quick()) == Absent()
    bundle = make_bundle()
    store.publish(bundle, make_metadata(bundle), deadline=quick())
    assert cloud.stored.fields["labels"] == {"env": "prod", "team": "web"}
    assert cloud.stored.fields["annotations"]["who"] == "tf"
    assert cloud.secrets.count("POST", "/secrets") == 1, "it was not created"


def test_a_long_certificate_fits_the_annotations(cloud: Cloud) -> None:
    names = [f"a-rather-long-name-{index}.{'x' * 40}.example.com" for index in range(100)]
    bundle = make_bundle(*names)
    metadata = make_metadata(bundle).with_renewal(RenewalMemory(url="https://ca/1"), make_metadata(bundle).not_after)
    cloud.secret().publish(bundle, metadata, deadline=quick())
    state = cloud.secret().read(deadline=quick())
    assert isinstance(state, Present)
    assert state.metadata == metadata


def test_no_secret_to_see_says_what_to_grant(cloud: Cloud) -> None:
    cloud.iam.denied.add("secretmanager.secrets.get")
    with pytest.raises(StoreReadError) as caught:
        cloud.secret().read(deadline=quick())
    assert "secretmanager.secrets.get" in caught.value.fix


# --- secrets: writing


@pytest.mark.parametrize("fault", [lose_reply, commit_then(Answer(503)), lose_call], ids=range(3))
def test_a_lost_answer_makes_no_twin(cloud: Cloud, fault: Any) -> None:
    bundle = make_bundle()
    for when in (lambda call: call.path.endswith("/secrets"), adds, patches):
        cloud.secrets.fail(when, fault)
    cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick())
    assert len(cloud.stored.versions) == 1
    assert cloud.secret().read_bundle(deadline=quick()) == bundle


def test_a_run_that_was_killed_before_the_metadata_is_gone_on_with(cloud: Cloud) -> None:
    """The version is there, the annotations are not: the next run adds no second one."""
    old, new = make_bundle(), make_bundle()
    cloud.secret().publish(old, make_metadata(old), deadline=quick())
    cloud.secrets.fail(patches, refuse(new_error(403, "PERMISSION_DENIED", "no").answer))
    with pytest.raises(DeliveryError):
        cloud.secret().publish(new, make_metadata(new), deadline=quick())
    state = cloud.secret().read(deadline=quick())
    assert isinstance(state, Present)
    assert state.metadata == make_metadata(old), "the old one is what is told of"
    assert cloud.secret().read_bundle(deadline=quick()) == old
    assert cloud.secret().publish(new, make_metadata(new), deadline=quick()) == "2"
    assert len(cloud.stored.versions) == 2


def test_the_alias_moves_with_the_metadata_after_the_read_back(cloud: Cloud) -> None:
    old, new = make_bundle(), make_bundle()
    store = cloud.secret(alias="current")
    store.publish(old, make_metadata(old), deadline=quick())
    cloud.secrets.fail(lambda call: call.path.endswith("/versions/2:access"), refuse(Answer(404)))
    with pytest.raises(DeliveryError, match="read back"):
        store.publish(new, make_metadata(new), deadline=quick())
    assert cloud.stored.fields["versionAliases"] == {"current": "1"}
    store.publish(new, make_metadata(new), deadline=quick())
    assert cloud.stored.fields["versionAliases"] == {"current": "2"}


def test_somebody_else_s_change_of_the_secret_is_kept(cloud: Cloud) -> None:
    bundle = make_bundle()
    cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick())

    def meddle(call: Call) -> bool:
        if patches(call) and "note" not in cloud.stored.fields["annotations"]:
            cloud.stored.fields["annotations"]["note"] = "theirs"
            cloud.stored.etags += 1
        return False

    cloud.secrets.fail(meddle, refuse(Answer(500)))
    newer = make_metadata(bundle).with_renewal(RenewalMemory(url="https://ca/1"), make_metadata(bundle).not_after)
    cloud.secret().annotate(newer, deadline=quick())
    state = cloud.secret().read(deadline=quick())
    assert isinstance(state, Present)
    assert state.metadata == newer
    assert cloud.stored.fields["annotations"]["note"] == "theirs"


def test_a_newer_version_is_never_taken_back(cloud: Cloud) -> None:
    bundle, newer = make_bundle(), make_bundle()

    def overtake(call: Call, do: Callable[[Call], Answer]) -> Answer:
        cloud.secret().publish(newer, make_metadata(newer), deadline=quick())
        return do(call)

    cloud.secrets.fail(lambda call: call.path.endswith("/versions/1:access"), overtake)
    with pytest.raises(DeliveryError, match="newer certificate"):
        cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick())
    assert cloud.secret().read_bundle(deadline=quick()) == newer


def test_a_writer_without_the_right_to_read_trusts_the_checksum(cloud: Cloud) -> None:
    cloud.iam.denied.add("secretmanager.versions.access")
    bundle = make_bundle()
    assert cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick()) == "1"
    body = json.loads(next(call for call in cloud.secrets.calls if adds(call)).body)
    assert int(body["payload"]["dataCrc32c"]) > 0


def test_too_large_a_bundle_is_not_sent(cloud: Cloud) -> None:
    bundle = replace(make_bundle(), chain=make_bundle().certificate * 120)
    with pytest.raises(DeliveryError, match=r"takes \d+ bytes, and a version of a secret holds"):
        cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick())
    assert cloud.secrets.calls == []


def test_old_versions_are_destroyed_as_the_config_says(cloud: Cloud) -> None:
    store = cloud.secret(keep_versions=1)
    for _ in range(4):
        bundle = make_bundle()
        store.publish(bundle, make_metadata(bundle), deadline=quick())
    assert [version.state for version in cloud.stored.versions] == ["DESTROYED", "DESTROYED", "ENABLED", "ENABLED"]


def test_old_versions_that_cannot_be_destroyed_are_a_warning(cloud: Cloud) -> None:
    cloud.iam.denied.add("secretmanager.versions.destroy")
    for _ in range(2):
        bundle = make_bundle()
        cloud.secret(keep_versions=0).publish(bundle, make_metadata(bundle), deadline=quick())
    assert "secretmanager.versions.destroy" in cloud.warnings[0]


def test_delayed_destruction_replication_and_expiry_are_as_the_config_says(cloud: Cloud) -> None:
    bundle = make_bundle()
    metadata = make_metadata(bundle)
    store = cloud.secret(replicas=["europe-west3", "europe-west1"], version_destroy_ttl=86400, expire_after=7 * 86400)
    store.publish(bundle, metadata, deadline=quick())
    fields = cloud.stored.fields
    assert fields["replication"] == {
        "userManaged": {"replicas": [{"location": "europe-west3"}, {"location": "europe-west1"}]}
    }
    assert fields["versionDestroyTtl"] == "86400s"
    assert fields["expireTime"] == format_time(metadata.not_after + timedelta(days=7))


@pytest.mark.parametrize(
    ("settings", "marker"),
    [({"shape": "pem"}, b"-----BEGIN CERT"), ({"shape": "kubernetes"}, b'{"tls.crt"'), ({"base64": True}, b"{")],
)
def test_shapes(cloud: Cloud, settings: dict[str, Any], marker: bytes) -> None:
    bundle = make_bundle()
    store = cloud.secret(**settings)
    store.publish(bundle, make_metadata(bundle), deadline=quick())
    assert cloud.stored.versions[0].data.startswith(marker)
    assert store.read_bundle(deadline=quick()) == bundle
    store.publish(bundle, make_metadata(bundle), deadline=quick())
    assert len(cloud.stored.versions) == 1


def test_a_shape_without_the_key_gives_none_back(cloud: Cloud) -> None:
    store = cloud.secret(fields={"chain.pem": "fullchain"})
    bundle = make_bundle()
    store.publish(bundle, make_metadata(bundle), deadline=quick())
    assert not store.capabilities.returns_key
    assert store.read_bundle(deadline=quick()) is None
    assert b"PRIVATE" not in cloud.stored.versions[0].data


# --- secrets: rights and teardown


def test_a_probe_names_what_lacks_on_the_secret(cloud: Cloud) -> None:
    bundle = make_bundle()
    cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick())
    cloud.iam.denied |= {"secretmanager.versions.add", "secretmanager.versions.destroy"}
    with pytest.raises(StoreNotWritable) as caught:
        cloud.secret(keep_versions=1).probe(deadline=quick())
    assert caught.value.details["missing"] == ["secretmanager.versions.add", "secretmanager.versions.destroy"]


def test_a_probe_asks_the_project_where_there_is_no_secret_yet(cloud: Cloud) -> None:
    cloud.secret().probe(deadline=quick())
    cloud.iam.denied.add("secretmanager.secrets.create")
    with pytest.raises(StoreNotWritable, match=r"secretmanager\.secrets\.create") as caught:
        cloud.secret().probe(deadline=quick())
    assert "the project my-project" in caught.value.fix
    disabled = new_error(403, "PERMISSION_DENIED", "disabled", "SERVICE_DISABLED").answer
    cloud.tokens.fail(lambda call: call.path.endswith(":testIamPermissions"), refuse(disabled))
    cloud.secret().probe(deadline=quick())  # what cannot be known hinders nothing


def test_retire_can_leave_the_secret_that_others_made(cloud: Cloud) -> None:
    store = cloud.secret(keep_secret=True, alias="current")
    bundle = make_bundle()
    store.publish(bundle, make_metadata(bundle), deadline=quick())
    cloud.stored.fields["annotations"]["who"] = "tf"
    assert store.retire(purge=False, deadline=quick()) is Retired.REMOVED
    assert cloud.stored.fields["annotations"] == {"who": "tf"}
    assert "versionAliases" not in cloud.stored.fields
    assert [version.state for version in cloud.stored.versions] == ["DESTROYED"]
    assert store.read(deadline=quick()) == Absent()
    assert store.retire(purge=False, deadline=quick()) is Retired.ABSENT


def test_retire_forgets_the_order_that_was_under_way(cloud: Cloud) -> None:
    from ci_acme.model.records import PendingOrder

    store = cloud.secret(hold_orders=True)
    bundle = make_bundle()
    store.stage(PendingOrder("0" * 64, "https://ca", "https://ca/a", "https://ca/o", bundle.key), deadline=quick())
    assert list(cloud.secrets.secrets) == [f"{SECRET}-ci-acme-pending"]
    assert store.retire(purge=True, deadline=quick()) is Retired.ABSENT
    assert cloud.secrets.secrets == {}


def test_a_retire_under_another_s_hands_looks_again(cloud: Cloud) -> None:
    bundle = make_bundle()
    cloud.secret().publish(bundle, make_metadata(bundle), deadline=quick())
    stale = new_error(400, "FAILED_PRECONDITION", "The specified etag does not match.").answer
    cloud.secrets.fail(lambda call: call.method == "DELETE", refuse(stale))
    cloud.secrets.fail(lambda call: call.method == "DELETE", lose_reply)
    assert cloud.secret().retire(purge=False, deadline=quick()) is Retired.REMOVED


# --- certificates


def test_certificate_key_and_labels_go_in_one_request(cloud: Cloud) -> None:
    old, new = make_bundle(), make_bundle()
    cloud.certificate().publish(old, make_metadata(old), deadline=quick())
    cloud.certificates.calls.clear()
    assert cloud.certificate().publish(new, make_metadata(new), deadline=quick()) == make_metadata(new).sha256
    (patch,) = [call for call in cloud.certificates.calls if call.method != "GET"]
    assert patch.query["updateMask"] == ["selfManaged,labels"]
    assert cloud.certificates.keys[CERTIFICATE].encode() == new.key.reveal()
    state = cloud.certificate().read(deadline=quick())
    assert state == Present(new.certificate, new.chain, make_metadata(new), make_metadata(new).sha256)


def test_metadata_of_another_certificate_are_none(cloud: Cloud) -> None:
    bundle, other = make_bundle(), make_bundle()
    cloud.certificate().publish(bundle, make_metadata(bundle), deadline=quick())
    cloud.certificates.certificates[CERTIFICATE]["pemCertificate"] = other.fullchain.decode()
    state = cloud.certificate().read(deadline=quick())
    assert isinstance(state, Present)
    assert state.metadata is None
    with pytest.raises(DeliveryError, match="another certificate"):
        cloud.certificate().annotate(make_metadata(bundle), deadline=quick())


def test_a_hundred_names_and_odd_ones_fit_the_labels(cloud: Cloud) -> None:
    names = [f"name-{index}.example.com" for index in range(100)]
    bundle = make_bundle(*names)
    metadata = make_metadata(bundle, name="Web.Prod_1")
    cloud.certificate(labels={"team": "web"}).publish(bundle, metadata, deadline=quick())
    labels = cloud.certificates.certificates[CERTIFICATE]["labels"]
    assert (labels["team"], labels["ci-acme"]) == ("web", "web-prod_1")
    state = cloud.certificate().read(deadline=quick())
    assert isinstance(state, Present)
    assert state.metadata == metadata


@pytest.mark.parametrize("fault", [lose_reply, commit_then(Answer(503)), lose_call], ids=range(3))
def test_a_lost_answer_is_looked_after(cloud: Cloud, fault: Any) -> None:
    for _ in range(2):
        bundle = make_bundle()
        cloud.certificates.fail(lambda call: call.method in {"POST", "PATCH"}, fault)
        cloud.certificate().publish(bundle, make_metadata(bundle), deadline=quick())
        assert cloud.certificates.keys[CERTIFICATE].encode() == bundle.key.reveal()


def test_an_operation_that_fails_is_told(cloud: Cloud) -> None:
    failed = {"name": f"{CERTIFICATE}/x", "done": True, "error": {"code": 3, "message": "the chain is not trusted"}}
    cloud.certificates.fail(lambda call: call.method == "POST", refuse(Answer.of(failed)))
    bundle = make_bundle()
    with pytest.raises(DeliveryError, match="the chain is not trusted") as caught:
        cloud.certificate().publish(bundle, make_metadata(bundle), deadline=quick())
    assert "without a new order" in caught.value.fix


def test_an_operation_that_does_not_end_ends_with_the_deadline(cloud: Cloud) -> None:
    cloud.certificates.seconds = 1000.0
    bundle = make_bundle()
    with pytest.raises(DeliveryError, match="did not end in time"):
        cloud.certificate().publish(bundle, make_metadata(bundle), deadline=quick(0.5))


def test_a_key_that_does_not_fit_is_refused_by_the_service(cloud: Cloud) -> None:
    bundle = replace(make_bundle(), key=make_bundle().key)
    with pytest.raises(DeliveryError, match="does not match"):
        cloud.certificate().publish(bundle, make_metadata(bundle), deadline=quick())
    assert cloud.certificates.certificates == {}


def test_rsa_goes_as_well(cloud: Cloud) -> None:
    bundle = make_bundle(key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    cloud.certificate(scope="ALL_REGIONS").publish(bundle, make_metadata(bundle), deadline=quick())
    assert cloud.certificates.certificates[CERTIFICATE]["scope"] == "ALL_REGIONS"


def test_what_cannot_be_changed_is_found_before_an_order(cloud: Cloud) -> None:
    bundle = make_bundle()
    cloud.certificate(scope="EDGE_CACHE").publish(bundle, make_metadata(bundle), deadline=quick())
    for act in (
        lambda: cloud.certificate().probe(deadline=quick()),
        lambda: cloud.certificate().publish(make_bundle(), make_metadata(bundle), deadline=quick()),
    ):
        with pytest.raises((StoreNotWritable, DeliveryError), match="EDGE_CACHE") as caught:
            act()
        assert "another name" in caught.value.fix
    cloud.certificates.certificates[CERTIFICATE] = {"name": CERTIFICATE, "managed": {"domains": ["a.example"]}}
    with pytest.raises(StoreNotWritable, match="managed by Google"):
        cloud.certificate().probe(deadline=quick())


def test_a_certificate_in_use_is_not_removed_and_its_users_are_named(cloud: Cloud) -> None:
    bundle = make_bundle()
    cloud.certificate().publish(bundle, make_metadata(bundle), deadline=quick())
    user = "//compute.googleapis.com/projects/my-project/global/targetHttpsProxies/front"
    cloud.certificates.certificates[CERTIFICATE]["usedBy"] = [{"name": user}]
    with pytest.raises(DeliveryError, match="targetHttpsProxies/front") as caught:
        cloud.certificate().retire(purge=False, deadline=quick())
    assert "detach" in caught.value.fix
    assert CERTIFICATE in cloud.certificates.certificates
    cloud.certificates.certificates[CERTIFICATE]["usedBy"] = []
    assert cloud.certificate().retire(purge=False, deadline=quick()) is Retired.REMOVED
    assert cloud.certificates.keys == {}


# --- secrecy


def test_no_key_in_any_word_of_an_error(cloud: Cloud) -> None:
    """A server that echoes the request would show the key: what it says is cut, and the key is in no details."""
    bundle = make_bundle()
    key = bundle.key.reveal()
    lines = [line.decode() for line in key.splitlines()[1:-1]]
    payload = base64.b64encode(key).decode()
    for store, fake in ((cloud.secret(), cloud.secrets), (cloud.certificate(), cloud.certificates)):
        fake.fail(lambda call: call.method == "POST", refuse(new_error(400, "INVALID_ARGUMENT", "bad request").answer))
        with pytest.raises(DeliveryError) as caught:
            store.publish(bundle, make_metadata(bundle), deadline=quick())
        said = f"{caught.value.as_dict()} {caught.value!r} {store!r} {caught.value.__cause__!r}"
        assert not any(line in said for line in [*lines, payload])
