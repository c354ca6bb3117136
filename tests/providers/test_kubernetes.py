"""What a cluster does to a store: kubeconfigs and pods, other people's Secrets, RBAC, admission."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from ci_acme.errors import ConfigError, DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import PendingOrder
from ci_acme.ports import Absent, PermissionRequest, Present, Retired, Unusable
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme.testing.store_contract import soon
from ci_acme_providers.kubernetes import session
from ci_acme_providers.kubernetes.adapter import KubernetesStore
from ci_acme_providers.kubernetes.config import KubernetesSettings
from ci_acme_providers.kubernetes.permissions import policies
from tests.clouds.api import Answer, Call, refuse
from tests.clouds.kubernetes import ADMIN, FakeKubernetes, Rule
from tests.contract.support import context, server_tls
from tests.servers.tls import TlsFiles, tls_files

KEY = ("default", "site")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def cluster(tls: TlsFiles) -> Iterator[FakeKubernetes]:
    with FakeKubernetes(server_tls(tls)) as server:
        yield server


@pytest.fixture
def make(cluster: FakeKubernetes, tls: TlsFiles) -> Any:
    def store(token: str = ADMIN, **more: Any) -> KubernetesStore:
        where = {"server": cluster.url, "ca_bundle": str(tls.ca_bundle), "token": "env:TOKEN"}
        settings = KubernetesSettings.model_validate({"name": "site", **where, **more})
        return KubernetesStore(settings, context({"env:TOKEN": token}))

    return store


def publish(store: KubernetesStore, bundle: Bundle | None = None) -> Bundle:
    bundle = bundle or make_bundle()
    store.publish(bundle, make_metadata(bundle), deadline=soon())
    return bundle


def request(cluster: FakeKubernetes, method: str, path: str, body: Any, manager: str = "kubectl") -> None:
    """What somebody else does."""
    head = {"authorization": f"Bearer {ADMIN}", "content-type": "application/merge-patch+json"}
    call = Call(method, f"/api/v1/namespaces/default/secrets{path}", {"fieldManager": [manager]}, head, b"")
    call.body = json.dumps(body).encode()
    assert cluster.handle(call).status in {200, 201}


def plant(cluster: FakeKubernetes, data: dict[str, bytes], **more: Any) -> None:
    encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "site"}, "data": encoded, **more}
    request(cluster, "POST", "", body)


# --- which cluster, and who asks -------------------------------------------------------------------------------------


def kubeconfig(path: Path, server: str, tls: TlsFiles, user: dict[str, Any], **cluster: Any) -> Path:
    roots = base64.b64encode(tls.ca_bundle.read_bytes()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "ci",
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": roots, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "ci", "context": {"cluster": "c", "user": "u", "namespace": "web"}},
            {"name": "other", "context": {"cluster": "c", "user": "u"}},
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_kubeconfig_says_which_cluster_namespace_and_token(
    cluster: FakeKubernetes, tls: TlsFiles, tmp_path: Path
) -> None:
    path = kubeconfig(tmp_path / "config", cluster.url, tls, {"token": ADMIN})
    settings = KubernetesSettings.model_validate({"name": "site", "kubeconfig": str(path)})
    store = KubernetesStore(settings, context({}))
    publish(store)
    assert store.target == "web/site"
    assert set(cluster.secrets) == {("web", "site")}
    environ = {"KUBECONFIG": f"{tmp_path / 'missing'}:{path}"}
    found = KubernetesStore(KubernetesSettings.model_validate({"name": "site"}), context({}, environ=environ))
    assert isinstance(found.read(deadline=soon()), Present)
    (tmp_path / ".kube").mkdir()
    path.rename(tmp_path / ".kube" / "config")
    (tmp_path / ".kube" / "token").write_text(f"{ADMIN}\n")
    kubeconfig(tmp_path / ".kube" / "config", cluster.url, tls, {"tokenFile": "token"})
    home = {"HOME": str(tmp_path)}
    settings = KubernetesSettings.model_validate({"name": "site", "context": "other"})
    assert KubernetesStore(settings, context({}, environ=home)).read(deadline=soon()) == Absent()


def test_a_client_certificate_of_a_kubeconfig_is_shown(tls: TlsFiles, tmp_path: Path) -> None:
    demanding = server_tls(tls)
    demanding.verify_mode = ssl.CERT_REQUIRED
    client = client_files(tmp_path)
    demanding.load_verify_locations(client["certificate"])
    with FakeKubernetes(demanding, by_certificate=True) as server:
        user = {name: base64.b64encode(path.read_bytes()).decode() for name, path in client.items()}
        inline = {"client-certificate-data": user["certificate"], "client-key-data": user["key"]}
        path = kubeconfig(tmp_path / "config", server.url, tls, inline)
        settings = KubernetesSettings.model_validate({"name": "site", "kubeconfig": str(path)})
        publish(KubernetesStore(settings, context({})))
        assert set(server.secrets) == {("web", "site")}
        files = {"client-certificate": str(client["certificate"]), "client-key": client["key"].name}
        kubeconfig(path, server.url, tls, files)
        assert isinstance(KubernetesStore(settings, context({})).read(deadline=soon()), Present)


def client_files(tmp_path: Path) -> dict[str, Path]:
    """A certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ci")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    paths = {"certificate": tmp_path / "client.crt", "key": tmp_path / "client.key"}
    paths["certificate"].write_bytes(made.public_bytes(Encoding.PEM))
    paths["key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def test_a_pod_uses_its_service_account_and_each_new_token(
    cluster: FakeKubernetes, tls: TlsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "ca.crt").write_bytes(tls.ca_bundle.read_bytes())
    (tmp_path / "namespace").write_text("web")
    (tmp_path / "token").write_text("first")
    cluster.users["first"] = None
    host, port = cluster.url.removeprefix("https://").split(":")
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    store = KubernetesStore(KubernetesSettings.model_validate({"name": "site"}), context({}, environ=environ))
    publish(store)
    assert set(cluster.secrets) == {("web", "site")}
    cluster.users["second"] = cluster.users.pop("first")
    with pytest.raises(StoreReadError, match="401 Unauthorized") as caught:
        store.read(deadline=soon())
    assert "renew the token" in caught.value.fix
    (tmp_path / "token").write_text("second")
    assert isinstance(store.read(deadline=soon()), Present)
    (tmp_path / "token").unlink()
    with pytest.raises(StoreReadError, match="cannot be read"):
        store.read(deadline=soon())


@pytest.mark.parametrize(
    ("user", "cluster_settings", "words"),
    [
        ({"exec": {"command": "aws"}}, {}, "gets its credentials from the program aws"),
        ({"username": "u", "password": "p4ssw0rd"}, {}, "uses username"),
        ({"token": "t"}, {"insecure-skip-tls-verify": True}, "uses insecure-skip-tls-verify"),
        ({"client-certificate-data": "%%%"}, {}, "not base64"),
        ({"client-certificate": "missing.crt"}, {}, "cannot be read"),
    ],
)
def test_what_a_kubeconfig_asks_for_and_is_not_done_is_said(
    tls: TlsFiles, tmp_path: Path, user: dict[str, Any], cluster_settings: dict[str, Any], words: str
) -> None:
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", tls, user, **cluster_settings)
    settings = KubernetesSettings.model_validate({"name": "site", "kubeconfig": str(path)})
    with pytest.raises(ConfigError, match=words) as caught:
        KubernetesStore(settings, context({}))
    assert caught.value.fix
    assert "p4ssw0rd" not in str(caught.value.as_dict())


def test_a_cluster_that_is_not_named_is_a_config_error(tmp_path: Path, tls: TlsFiles) -> None:
    def error(**settings: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            KubernetesStore(KubernetesSettings.model_validate({"name": "site", **settings}), context({"env:T": "t"}))
        return caught.value.message

    assert "not known which cluster" in error()
    assert "cannot be read" in error(kubeconfig=str(tmp_path / "none"))
    (tmp_path / "broken").write_text("{")
    assert "is not YAML" in error(kubeconfig=str(tmp_path / "broken"))
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", tls, {"token": "t"})
    assert "has no context 'far' (it has ci, other)" in error(kubeconfig=str(path), context="far")
    assert "cannot load the ca_bundle" in error(server="https://127.0.0.1:1", token="env:T", ca_bundle="none.pem")


# --- other people's Secrets ------------------------------------------------------------------------------------------


def test_a_secret_of_others_is_written_over_only_if_that_is_wanted(cluster: FakeKubernetes, make: Any) -> None:
    old = make_bundle()
    data = {"tls.crt": old.fullchain, "tls.key": old.key.reveal(), "ca.crt": b"roots"}
    plant(cluster, data, type="kubernetes.io/tls")
    state = make().read(deadline=soon())
    assert isinstance(state, Present)
    assert (state.certificate, state.metadata) == (old.certificate, None)
    with pytest.raises(StoreNotWritable, match="not made by ci-acme") as caught:
        make().probe(deadline=soon())
    assert "adopt: true" in caught.value.fix
    with pytest.raises(DeliveryError, match="not made by ci-acme"):
        publish(make())
    make(adopt=True).probe(deadline=soon())
    new = publish(make(adopt=True))
    assert make().read_bundle(deadline=soon()) == new
    found = cluster.secrets[KEY]
    assert base64.b64decode(found["data"]["ca.crt"]) == b"roots"
    assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "ci-acme"}
    publish(make())  # from now on it is ours


def test_what_cannot_be_changed_is_found_before_an_order(cluster: FakeKubernetes, make: Any) -> None:
    publish(make())
    cluster.secrets[KEY]["immutable"] = True
    with pytest.raises(StoreNotWritable, match="it is immutable") as caught:
        make().probe(deadline=soon())
    assert "kubectl -n default delete secret site" in caught.value.fix
    del cluster.secrets[KEY]["immutable"]
    with pytest.raises(StoreNotWritable, match=r"of type kubernetes.io/tls, which cannot be changed to Opaque"):
        make(shape="haproxy").probe(deadline=soon())
    with pytest.raises(StoreNotWritable, match='namespaces "nowhere" not found') as caught:
        make(namespace="nowhere").probe(deadline=soon())
    assert "create the namespace nowhere" in caught.value.fix


def test_a_read_asks_for_metadata_alone_until_somebody_else_has_written(cluster: FakeKubernetes, make: Any) -> None:
    bundle = publish(make())
    before = len(cluster.calls)
    assert isinstance(make().read(deadline=soon()), Present)
    (call,) = cluster.calls[before:]
    assert "PartialObjectMetadata" in call.headers["accept"]
    request(cluster, "PATCH", "/site", {"metadata": {"annotations": {"team": "web"}}})
    state = make().read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata == make_metadata(bundle)
    other = make_bundle()
    crt, key = (base64.b64encode(data).decode() for data in (other.fullchain, other.key.reveal()))
    request(cluster, "PATCH", "/site", {"data": {"tls.crt": crt, "tls.key": key}})
    state = make().read(deadline=soon())
    assert isinstance(state, Present)
    assert (state.certificate, state.metadata) == (other.certificate, None)
    with pytest.raises(DeliveryError, match="not of ci-acme"):
        make().retire(purge=False, deadline=soon())


@pytest.mark.parametrize("key", [b"junk", make_bundle().key.reveal()])
def test_a_key_that_somebody_exchanged_is_seen(cluster: FakeKubernetes, make: Any, key: bytes) -> None:
    publish(make())
    change = {"data": {"tls.key": base64.b64encode(key).decode()}}
    request(cluster, "PATCH", "/site", change)
    assert make().read(deadline=soon()) == Unusable("the Secret has a key that is not its certificate's")
    bundle = publish(make())
    assert isinstance(make().read(deadline=soon()), Present)
    assert make().read_bundle(deadline=soon()) == bundle
    request(cluster, "PATCH", "/site", change)
    assert make().retire(purge=False, deadline=soon()) is Retired.REMOVED, "the certificate is ours"


def test_a_change_of_others_in_between_is_taken_over_and_another_certificate_is_not(
    cluster: FakeKubernetes, make: Any
) -> None:
    publish(make())

    def label(call: Call, do: Any) -> Answer:
        request(cluster, "PATCH", "/site", {"metadata": {"annotations": {"team": "web"}}})
        return do(call)

    cluster.fail(lambda call: call.method == "PUT", label)
    bundle = publish(make())
    assert make().read_bundle(deadline=soon()) == bundle
    assert cluster.secrets[KEY]["metadata"]["annotations"]["team"] == "web"
    faster: list[Bundle] = []

    def overtake(call: Call, do: Any) -> Answer:
        faster.append(publish(make()))
        return do(call)

    cluster.fail(lambda call: call.method == "PUT", overtake)
    with pytest.raises(DeliveryError, match="another run has changed it meanwhile"):
        publish(make())
    assert make().read_bundle(deadline=soon()) == faster[0]
    cluster.fail(lambda call: call.method == "PATCH", label)
    make().annotate(make_metadata(faster[0]), deadline=soon())
    with pytest.raises(DeliveryError, match="another certificate by now"):
        make().annotate(make_metadata(bundle), deadline=soon())
    cluster.fail(lambda call: call.method == "DELETE" and call.path.endswith("/site"), label)
    assert make().retire(purge=False, deadline=soon()) is Retired.REMOVED


def test_an_admission_webhook_that_changes_a_secret_is_found_out(cluster: FakeKubernetes, make: Any) -> None:
    def change(call: Call, do: Any) -> Answer:
        body = json.loads(call.body)
        body["data"]["tls.crt"] = base64.b64encode(b"wrapped").decode()
        call.body = json.dumps(body).encode()
        return do(call)

    cluster.fail(lambda call: call.method == "POST", change)
    with pytest.raises(DeliveryError, match="what was read back is not what was written") as caught:
        publish(make())
    assert "admission webhook" in caught.value.fix


def test_a_refusal_of_content_is_told_without_the_content(cluster: FakeKubernetes, make: Any) -> None:
    bundle = make_bundle()
    line = bundle.key.reveal().splitlines()[1].decode()
    causes = [{"field": "data[tls.key]", "reason": "FieldValueInvalid", "message": f"Invalid value: {line}"}]
    answer = Answer.of({"kind": "Status", "reason": "Invalid", "message": line, "details": {"causes": causes}}, 422)
    cluster.fail(lambda call: call.method == "POST", refuse(answer))
    with pytest.raises(DeliveryError, match=r"data\[tls.key\]: FieldValueInvalid") as caught:
        publish(make(), bundle)
    assert line not in str(caught.value.as_dict())


def test_a_secret_with_finalizers_is_a_tombstone(cluster: FakeKubernetes, make: Any) -> None:
    publish(make())
    cluster.secrets[KEY]["metadata"]["finalizers"] = ["example.com/audit"]
    assert make().retire(purge=False, deadline=soon()) is Retired.REMOVED
    assert make().read(deadline=soon()) == Absent("deleted, and kept by the finalizers example.com/audit")
    assert make().retire(purge=False, deadline=soon()) is Retired.ABSENT
    with pytest.raises(DeliveryError, match="it is being deleted"):
        publish(make())


def test_another_shape_needs_no_order_and_leaves_no_field_behind(cluster: FakeKubernetes, make: Any) -> None:
    bundle = publish(make(shape="haproxy"))
    store = make(shape="nginx")
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks == "the shape that the config asks for"
    assert store.read_bundle(deadline=soon()) == bundle
    publish(store, bundle)
    assert set(cluster.secrets[KEY]["data"]) == {"fullchain.pem", "privkey.pem"}


# --- rights ----------------------------------------------------------------------------------------------------------


def rules_of(text: str) -> list[Rule]:
    return [
        Rule(set(rule["verbs"]), set(rule["resourceNames"]) if "resourceNames" in rule else None)
        for rule in json.loads(text)["rules"]
    ]


def run_all(cluster: FakeKubernetes, make: Any, rules: list[Rule]) -> Exception | None:
    """Everything that a run may do, with these rights."""
    cluster.secrets.clear()
    cluster.users["limited"] = rules
    store, bundle = make("limited"), make_bundle()
    try:
        store.probe(deadline=soon())
        for certificate in (None, bundle.fullchain):
            order = PendingOrder("0" * 64, "https://ca", "https://ca/1", "https://ca/2", bundle.key, certificate)
            store.stage(order, deadline=soon())
            assert store.staged(deadline=soon()) == order
        publish(store, bundle)
        publish(store)
        publish(store, bundle)
        store.unstage(deadline=soon())
        assert store.staged(deadline=soon()) is None
        store.annotate(make_metadata(bundle), deadline=soon())
        assert store.retire(purge=False, deadline=soon()) is Retired.REMOVED
    except (StoreNotWritable, DeliveryError, StoreReadError, AssertionError) as error:
        return error
    return None


def test_the_role_that_is_printed_is_enough_and_nothing_in_it_is_needless(cluster: FakeKubernetes, make: Any) -> None:
    (document,) = policies(PermissionRequest(KubernetesSettings.model_validate({"name": "site"})))
    rules = rules_of(document.text)
    assert run_all(cluster, make, rules) is None
    for index, rule in enumerate(rules):
        for verb in rule.verbs:
            fewer = [Rule(each.verbs - ({verb} if i == index else set()), each.names) for i, each in enumerate(rules)]
            assert run_all(cluster, make, fewer) is not None, (verb, rule.names)


def test_a_probe_names_each_right_that_is_missing(cluster: FakeKubernetes, make: Any) -> None:
    cluster.users["few"] = [Rule({"get", "update"}, {"site"})]
    with pytest.raises(StoreNotWritable, match="may not create site, patch site, get site-ci-acme-pending") as caught:
        make("few").probe(deadline=soon())
    assert "create secrets (which cannot be bound to a name)" in caught.value.fix
    assert "patch secrets, resourceNames: [site]" in caught.value.fix


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"name": "Site"}, "name"),
        ({"server": "https://x"}, "token"),
        ({"server": "http://cluster.example", "token": "env:T"}, "server"),
        ({"token": "env:A"}, "server"),
        ({"server": "https://x", "token": "env:A", "context": "ci"}, "server"),
        ({"fields": {"tls key": "key"}}, "fields"),
        ({"labels": {"team": "not a label"}}, "labels"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        KubernetesSettings.model_validate({"name": "site", **settings})
    assert caught.value.errors()[0]["loc"][0] == where
