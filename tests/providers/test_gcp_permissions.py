"""With exactly the permissions that are printed everything works; each of them is used; one call more is denied."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from ci_acme.errors import CiAcmeError, DeliveryError
from ci_acme.model.records import PendingOrder
from ci_acme.ports import PermissionRequest, PolicyDocument, Present, Retired, TxtValue
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.gcp import permissions
from ci_acme_providers.gcp.api import Call as ApiCall
from ci_acme_providers.gcp.certificate_manager import CertificateManagerStore
from ci_acme_providers.gcp.clouddns import GoogleCloudDns
from ci_acme_providers.gcp.config import CertificateManagerSettings, GoogleCloudDnsSettings, SecretManagerSettings
from ci_acme_providers.gcp.faults import Refusal
from ci_acme_providers.gcp.secret_manager import SecretManagerStore
from tests.clouds.google import Iam
from tests.clouds.google_certificates import GoogleCertificates
from tests.clouds.google_dns import GoogleDns
from tests.clouds.google_secrets import GoogleSecrets
from tests.clouds.google_support import ACCESS, PROJECT, context, quick
from tests.clouds.google_tokens import ACCOUNT, MEMBER, CiTokens, GoogleTokens

ZONE = "ci.test"
NAME = f"_acme-challenge.www.{ZONE}"
PRINCIPAL = f"serviceAccount:{ACCOUNT}"
ROLE = f"projects/{PROJECT}/roles/"


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleTokens]:
    monkeypatch.setattr("ci_acme_providers.gcp.certificate_manager._POLL", (0.2, 0.4))
    with GoogleTokens(Iam()) as tokens:
        tokens.iam.grant(MEMBER, ["iam.serviceAccounts.getAccessToken"], f"serviceAccounts/{ACCOUNT}")
        yield tokens


@pytest.fixture
def ci() -> Iterator[CiTokens]:
    with CiTokens(time.time) as ci:
        yield ci


def roles(documents: Sequence[PolicyDocument]) -> dict[str, set[str]]:
    """The permissions of each custom role that is printed."""
    found = {}
    for document in documents:
        if document.title.startswith("custom role "):
            role = json.loads(document.text)
            assert role["stage"] == "GA"
            assert len(role["includedPermissions"]) == len(set(role["includedPermissions"]))
            found[document.title.split()[2].rstrip(",")] = set(role["includedPermissions"])
    return found


def used(iam: Iam) -> set[str]:
    return {permission for permission, _ in iam.used if not permission.startswith("iam.")}


def each_is_needed(permissions: set[str], iam: Iam, work: Callable[[], object], but: Sequence[str] = ()) -> None:
    """Without any one of them the work fails, and the error names it."""
    for permission in sorted(permissions - set(but)):
        iam.denied = {permission}
        with pytest.raises(CiAcmeError) as caught:
            work()
        assert permission in f"{caught.value.message} {caught.value.fix}"
    iam.denied = set()


# --- dns


def dns_work(provider: GoogleCloudDns, fake: GoogleDns) -> None:
    """Everything that a run can do: find, check, add beside a neighbour, add alone, wait, remove both."""
    fake.sets["ci-zone"].clear()
    fake.put("ci-zone", NAME, "TXT", 60, '"foreign"')
    (zone,) = provider.zones_for(NAME, ZONE, deadline=quick())
    assert len(zone.nameservers) == 4, "the zone was looked at"
    provider.check_access(zone, [NAME], deadline=quick())
    values = [TxtValue(NAME, "ours", 60), TxtValue(f"_acme-challenge.{ZONE}", "alone")]
    placements = provider.ensure(zone, values, ttl=60, deadline=quick())
    provider.wait_in_sync(placements, deadline=quick())
    provider.release(placements, deadline=quick())
    assert dict(fake.values("ci-zone", NAME)) == {"foreign": 60}
    assert len(fake.sets["ci-zone"]) == 1


@pytest.mark.parametrize("pinned", [True, False])
def test_cloud_dns(tokens: GoogleTokens, ci: CiTokens, pinned: bool) -> None:
    with GoogleDns(tokens.iam) as fake:
        fake.zone("ci-zone", ZONE)
        fake.zone("other-zone", "other.test")
        document = {"zone": ZONE, **ACCESS, "endpoint": fake.url, **({"zone_id": "ci-zone"} if pinned else {})}
        settings = GoogleCloudDnsSettings.model_validate(document)
        documents = permissions.dns(PermissionRequest(settings, names=(NAME,), zone=ZONE))
        printed = roles(documents)
        assert set(printed) == ({"ciAcmeDns"} if pinned else {"ciAcmeDns", "ciAcmeDnsList"})
        tokens.iam.grant(PRINCIPAL, printed["ciAcmeDns"], f"projects/{PROJECT}/managedZones/ci-zone")
        tokens.iam.grant(PRINCIPAL, printed.get("ciAcmeDnsList", set()), f"projects/{PROJECT}")
        provider = GoogleCloudDns(settings, context(tokens, ci=ci))

        dns_work(provider, fake)
        needed = set().union(*printed.values())
        # testIamPermissions asks for the right to list: where it lacks, a record set is read in its place
        without = {"dns.managedZones.list"} if pinned else {"dns.managedZones.get"}
        assert used(tokens.iam) | without == needed | without
        soft = ["dns.managedZones.get", "dns.changes.get"]  # the apex is known anyway; the servers are asked themselves
        each_is_needed(needed, tokens.iam, lambda: dns_work(provider, fake), but=soft)

        for call in (
            ApiCall("GET", f"projects/{PROJECT}/managedZones/other-zone/rrsets"),
            ApiCall("POST", f"projects/{PROJECT}/managedZones/other-zone/changes", {}, {"additions": [record_set()]}),
        ):
            with pytest.raises(Refusal, match="denied"):
                provider._api.call(call, deadline=quick())
        text = documents[-1].text
        assert f"--member={PRINCIPAL}" in text or PRINCIPAL in text
        assert "roles/iam.workloadIdentityUser" in text
        assert NAME in text


def record_set() -> dict[str, Any]:
    return {"name": "_acme-challenge.other.test.", "type": "TXT", "ttl": 60, "rrdatas": ['"x"']}


# --- secret manager


def secret_work(store: SecretManagerStore, fake: GoogleSecrets) -> None:
    fake.secrets.clear()
    if store.capabilities.holds_pending:
        order = PendingOrder("0" * 64, "https://ca", "https://ca/a", "https://ca/o", make_bundle().key)
        store.stage(order, deadline=quick())
        if store.staged(deadline=quick()) != order:
            raise DeliveryError("the order was not kept", fix="secretmanager.versions.access")
    for _ in range(2):
        bundle = make_bundle()
        store.probe(deadline=quick())
        store.publish(bundle, make_metadata(bundle), deadline=quick())
        assert isinstance(store.read(deadline=quick()), Present)
        assert store.read_bundle(deadline=quick()) == bundle
        store.annotate(make_metadata(bundle), deadline=quick())
    if store.capabilities.holds_pending:
        store.unstage(deadline=quick())
    assert store.retire(purge=False, deadline=quick()) is Retired.REMOVED


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"hold_orders": True, "alias": "current"},
        {"location": "europe-west3"},
    ],
    ids=range(3),
)
def test_secret_manager(tokens: GoogleTokens, ci: CiTokens, more: dict[str, Any]) -> None:
    with GoogleSecrets(tokens.iam) as fake:
        settings = SecretManagerSettings.model_validate({"name": "web-tls", **ACCESS, "endpoint": fake.url, **more})
        documents = permissions.secret_manager(PermissionRequest(settings, certificate="web"))
        printed = roles(documents)
        parent = f"projects/{PROJECT}" + (f"/locations/{settings.location}" if settings.location else "")
        tokens.iam.grant(PRINCIPAL, printed["ciAcmeSecretCreate"], f"projects/{PROJECT}")
        for name in allowed_names(documents, parent):
            tokens.iam.grant(PRINCIPAL, printed["ciAcmeSecret"], f"{parent}/secrets/{name}")
        store = SecretManagerStore(settings, context(tokens, ci=ci))

        secret_work(store, fake)
        assert used(tokens.iam) == set().union(*printed.values())
        # a version's state is looked at where that is permitted; a writer may be one who cannot read
        soft = ["secretmanager.versions.get", "secretmanager.versions.access"]
        each_is_needed(used(tokens.iam), tokens.iam, lambda: secret_work(store, fake), but=soft)

        fake.secrets[f"{parent}/secrets/other"] = fake_secret(parent)
        for method in ("GET", "DELETE"):
            with pytest.raises(Refusal, match="denied"):
                store._api._api.call(ApiCall(method, f"{parent}/secrets/other"), deadline=quick())


def test_secret_manager_keeps_the_secret_with_fewer_rights(tokens: GoogleTokens, ci: CiTokens) -> None:
    """A secret that Terraform has made: no right to create or delete any."""
    with GoogleSecrets(tokens.iam) as fake:
        document = {"name": "web-tls", **ACCESS, "endpoint": fake.url, "keep_secret": True, "keep_versions": 1}
        settings = SecretManagerSettings.model_validate(document)
        printed = roles(permissions.secret_manager(PermissionRequest(settings, certificate="web")))
        assert "secretmanager.secrets.delete" not in printed["ciAcmeSecret"]
        parent = f"projects/{PROJECT}"
        tokens.iam.grant(PRINCIPAL, printed["ciAcmeSecret"], f"{parent}/secrets/web-tls")
        fake.secrets[f"{parent}/secrets/web-tls"] = fake_secret(parent, "web-tls")
        store = SecretManagerStore(settings, context(tokens, ci=ci))
        for _ in range(3):
            bundle = make_bundle()
            store.probe(deadline=quick())
            store.publish(bundle, make_metadata(bundle), deadline=quick())
            assert isinstance(store.read(deadline=quick()), Present)
            assert store.read_bundle(deadline=quick()) == bundle
        assert store.retire(purge=False, deadline=quick()) is Retired.REMOVED
        assert used(tokens.iam) == printed["ciAcmeSecret"]


def allowed_names(documents: Sequence[PolicyDocument], parent: str) -> list[str]:
    """The secrets that the printed condition lets through."""
    (condition,) = (json.loads(one.text) for one in documents if one.title.startswith("condition"))
    prefix = parent.replace(PROJECT, "PROJECT_NUMBER") + "/secrets/"
    names = [part.split('"')[1].removeprefix(prefix) for part in condition["expression"].split(" || ")]
    assert [name.rstrip("/") for name in names[1::2]] == names[::2]
    return names[::2]


def fake_secret(parent: str, name: str = "other") -> Any:
    from tests.clouds.google_secrets import Secret

    return Secret({"name": f"{parent}/secrets/{name}", "replication": {"automatic": {}}})


# --- certificate manager


def test_certificate_manager(tokens: GoogleTokens, ci: CiTokens) -> None:
    with GoogleCertificates(tokens.iam) as fake:
        settings = CertificateManagerSettings.model_validate({"name": "web", **ACCESS, "endpoint": fake.url})
        printed = roles(permissions.certificate_manager(PermissionRequest(settings, certificate="web")))
        (needed,) = printed.values()
        tokens.iam.grant(PRINCIPAL, needed, f"projects/{PROJECT}")
        store = CertificateManagerStore(settings, context(tokens, ci=ci))

        def work() -> None:
            fake.certificates.clear()
            for _ in range(2):
                bundle = make_bundle()
                store.probe(deadline=quick())
                store.publish(bundle, make_metadata(bundle), deadline=quick())
                assert isinstance(store.read(deadline=quick()), Present)
            assert store.retire(purge=False, deadline=quick()) is Retired.REMOVED

        work()
        assert used(tokens.iam) == needed
        each_is_needed(needed, tokens.iam, work)
        other = f"projects/another/locations/global/certificates/{settings.name}"
        with pytest.raises(Refusal, match="denied"):
            store._api.call(ApiCall("GET", other), deadline=quick())


def test_a_keeper_needs_no_right_to_delete(tokens: GoogleTokens) -> None:
    del tokens
    settings = SecretManagerSettings.model_validate({"name": "web-tls"})
    printed = roles(permissions.secret_manager(PermissionRequest(settings, certificate="web", retire=False)))
    assert not any(name.endswith(("delete", "destroy")) for role in printed.values() for name in role)
    certificate = CertificateManagerSettings.model_validate({"name": "web"})
    printed = roles(permissions.certificate_manager(PermissionRequest(certificate, certificate="web", retire=False)))
    assert not any(name.endswith("delete") for role in printed.values() for name in role)
