"""Key Vault beyond the contract of stores: soft delete, conflicts, formats, limits, rights, and nothing secret said."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from pydantic import ValidationError

from ci_acme.errors import CiAcmeError, DeliveryError, SecretError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.ports import Absent, CertificateStore, Deadline, PermissionRequest, Present, Retired, Unusable
from ci_acme.shapes import pem_blocks
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.azure import permissions
from ci_acme_providers.azure.config import KeyVaultSecretSettings, KeyVaultSettings
from ci_acme_providers.azure.key_vault import KeyVault
from ci_acme_providers.azure.key_vault_secret import MOST_BYTES, KeyVaultSecret
from ci_acme_providers.azure.secret_source import read_secret
from tests.clouds.api import Answer, Call, commit_then, lose_call, lose_reply, refuse
from tests.clouds.azure import Loopback, QuickClock, context
from tests.clouds.azure_rbac import Assignment
from tests.clouds.entra import CLIENT, SECRET, TENANT, Entra
from tests.clouds.key_vault import VAULT, KeyVaultApi, Version

_names = itertools.count()
RSA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Loopback:
    return Loopback(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def entra(loopback: Loopback) -> Iterator[Entra]:
    with Entra(loopback.server()) as entra:
        yield entra


@pytest.fixture
def vault(loopback: Loopback, entra: Entra) -> Iterator[KeyVaultApi]:
    with KeyVaultApi(loopback.server(), entra) as vault:
        yield vault


@pytest.fixture
def name() -> str:
    return f"web-{next(_names)}"


@pytest.fixture
def warned() -> list[str]:
    return []


Make = Callable[..., CertificateStore]


@pytest.fixture
def certificate(vault: KeyVaultApi, loopback: Loopback, name: str, warned: list[str]) -> Make:
    def store(clock: Any = None, **settings: Any) -> CertificateStore:
        values = {"vault": vault.url, "name": name, **loopback.access(vault.entra.url), **settings}
        return KeyVault(KeyVaultSettings.model_validate(values), context(clock=clock, warn=warned.append))

    return store


@pytest.fixture
def secret(vault: KeyVaultApi, loopback: Loopback, name: str, warned: list[str]) -> Make:
    def store(clock: Any = None, **settings: Any) -> CertificateStore:
        values = {"vault": vault.url, "name": name, **loopback.access(vault.entra.url), **settings}
        return KeyVaultSecret(KeyVaultSecretSettings.model_validate(values), context(clock=clock, warn=warned.append))

    return store


@pytest.fixture(params=["certificate", "secret"])
def either(request: pytest.FixtureRequest) -> Make:
    """Both stores."""
    made: Make = request.getfixturevalue(request.param)
    return made


def soon(clock: Any = None) -> Deadline:
    return Deadline(clock or QuickClock(), 60)


def put(store: CertificateStore, bundle: Bundle) -> str | None:
    return store.publish(bundle, make_metadata(bundle), deadline=soon())


def versions(vault: KeyVaultApi, name: str) -> list[Version]:
    found = vault.things.get(("certificates", name)) or vault.things.get(("secrets", name))
    return found.versions if found is not None else []


def is_write(call: Call) -> bool:
    return (call.path.endswith("/import") or call.method == "PUT") and bool(call.body)


def deep(bundle: Bundle) -> Bundle:
    """The bundle with a chain of three, whose order has to stay."""
    return replace(
        bundle, chain=bundle.chain + make_bundle("b.example").certificate + make_bundle("c.example").certificate
    )


# --- what is written


@pytest.mark.parametrize("key", [None, ec.generate_private_key(ec.SECP384R1()), RSA_KEY], ids=["p256", "p384", "rsa"])
@pytest.mark.parametrize("format_", ["pkcs12", "pem"])
def test_every_key_type_arrives_with_its_chain_in_order(
    format_: str, key: Any, certificate: Make, vault: KeyVaultApi, name: str
) -> None:
    bundle = deep(make_bundle(key=key))
    kind = "rsa-2048" if key is RSA_KEY else "ec-p384" if key is not None else "ec-p256"
    store = certificate(format=format_)
    store.probe(deadline=soon())
    store.publish(bundle, replace(make_metadata(bundle), key=kind), deadline=soon())
    assert store.read_bundle(deadline=soon()) == bundle
    policy = versions(vault, name)[0].policy
    assert policy["issuer"]["name"] == "Unknown"
    assert policy["key_props"]["exportable"] is True
    if format_ == "pkcs12":
        _, leaf, chain = pkcs12.load_key_and_certificates(base64.b64decode(versions(vault, name)[0].value), None)
        assert [leaf, *chain] == x509.load_pem_x509_certificates(bundle.fullchain)


def test_a_key_that_stays_in_the_vault(certificate: Make) -> None:
    bundle = make_bundle()
    store = certificate(exportable=False)
    put(store, bundle)
    assert not store.capabilities.returns_key
    assert store.read_bundle(deadline=soon()) is None
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert (state.certificate, state.chain, state.metadata) == (bundle.certificate, b"", make_metadata(bundle))


def test_another_format_is_repaired_from_what_is_there(certificate: Make, vault: KeyVaultApi, name: str) -> None:
    bundle = deep(make_bundle())
    put(certificate(), bundle)
    other = certificate(format="pem")
    state = other.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks == "format pem missing"
    found = other.read_bundle(deadline=soon())
    assert found == bundle
    put(other, found)
    assert versions(vault, name)[-1].content_type == "application/x-pem-file"
    assert len(versions(vault, name)) == 2


def test_another_chain_for_the_same_leaf_is_written(either: Make, vault: KeyVaultApi, name: str) -> None:
    bundle = make_bundle()
    longer = deep(bundle)
    put(either(), bundle)
    put(either(), longer)
    assert len(versions(vault, name)) == 2
    put(either(), longer)
    assert len(versions(vault, name)) == 2


SHAPES = [
    ({}, "application/json"),
    ({"shape": "pem"}, "application/x-pem-file"),
    ({"shape": "pem", "base64": True}, "application/x-pem-file"),
    ({"shape": "application-gateway"}, "application/x-pkcs12"),
    ({"shape": "pkcs12", "pkcs12_password": "env:P"}, "application/x-pkcs12"),
    ({"shape": "kubernetes"}, "application/json"),
    ({"shape": "java", "pkcs12_password": "env:P"}, "application/json"),
    ({"fields": {"crt": "fullchain", "key": "key", "p12": "pkcs12"}}, "application/json"),
]


@pytest.mark.parametrize(("settings", "content_type"), SHAPES, ids=[json.dumps(settings) for settings, _ in SHAPES])
def test_every_shape_comes_back(settings: Any, content_type: str, secret: Make, vault: KeyVaultApi, name: str) -> None:
    bundle = make_bundle()
    store = secret(**settings)
    put(store, bundle)
    assert store.capabilities.returns_key
    assert store.read_bundle(deadline=soon()) == bundle
    written = versions(vault, name)[0]
    assert written.value.isascii()
    assert written.content_type == content_type
    assert written.attributes["exp"] == int(make_metadata(bundle).not_after.timestamp())


def test_another_shape_is_repaired_from_what_is_there(secret: Make, vault: KeyVaultApi, name: str) -> None:
    bundle = make_bundle()
    put(secret(shape="application-gateway"), bundle)
    other = secret(shape="nginx")
    state = other.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks
    found = other.read_bundle(deadline=soon())
    assert found == bundle
    put(other, found)
    state = other.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks is None
    assert set(json.loads(versions(vault, name)[-1].value)) == {"fullchain.pem", "privkey.pem"}


def test_a_shape_without_the_key_gives_none_back(secret: Make) -> None:
    store = secret(fields={"ca": "chain", "crt": "certificate"})
    put(store, make_bundle())
    assert not store.capabilities.returns_key
    assert store.read_bundle(deadline=soon()) is None


def test_the_newest_of_many_versions_is_found(secret: Make, vault: KeyVaultApi, name: str) -> None:
    """The list of versions has pages and no order."""
    for number in range(60):
        vault.put_secret(name, f"old {number}")
        versions(vault, name)[-1].attributes["created"] = int(time.time()) - 100 - number
    bundle = make_bundle()
    version = put(secret(), bundle)
    state = secret().read(deadline=soon())
    assert isinstance(state, Present)
    assert (state.version, state.metadata) == (version, make_metadata(bundle))


def test_two_writers_of_one_second_settle_it(secret: Make, vault: KeyVaultApi, name: str) -> None:
    """Somebody whose clock is ahead wrote in the same second: what is served and what the list says differ."""
    theirs, ours = make_bundle(), make_bundle()

    class Ahead(QuickClock):
        def now(self) -> Any:
            return super().now().replace(year=2099)

    def same_second(call: Call, do: Callable[[Call], Answer]) -> Answer:
        answer = do(call)
        versions(vault, name)[-1].attributes["created"] = versions(vault, name)[0].attributes["created"]
        return answer

    def meanwhile(call: Call, do: Callable[[Call], Answer]) -> Answer:
        """The other writer, right before ours, which has looked already."""
        put(secret(clock=Ahead()), theirs)
        return same_second(call, do)

    vault.fail(lambda call: is_write(call) and not versions(vault, name), meanwhile)
    put(secret(), ours)
    assert len(versions(vault, name)) == 3, "written again, after the list said otherwise"
    state = secret().read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata == make_metadata(ours)


# --- lost answers


@pytest.mark.parametrize("fault", [lose_reply, commit_then(Answer.of({"error": {"code": "ServerBusy"}}, 503))])
def test_a_lost_answer_makes_no_second_version(fault: Any, either: Make, vault: KeyVaultApi, name: str) -> None:
    bundle = make_bundle()
    vault.fail(is_write, fault)
    version = put(either(), bundle)
    assert [one.id for one in versions(vault, name)] == [version]


def test_a_call_that_never_arrived_is_sent_again(either: Make, vault: KeyVaultApi, name: str) -> None:
    vault.fail(is_write, lose_call)
    version = put(either(), make_bundle())
    assert [one.id for one in versions(vault, name)] == [version]


def test_throttling_is_followed(either: Make, vault: KeyVaultApi) -> None:
    clock = QuickClock()
    busy = Answer.of({"error": {"code": "Throttled", "message": "slow down"}}, 429, **{"Retry-After": "9"})
    vault.fail(is_write, refuse(busy), times=2)
    bundle = make_bundle()
    either(clock=clock).publish(bundle, make_metadata(bundle), deadline=Deadline(clock, 60))
    assert [int(seconds) for seconds in clock.slept if seconds > 5] == [9, 9]


# --- tombstones


def test_a_deletion_under_way_is_waited_for_and_undone(either: Make, vault: KeyVaultApi, name: str) -> None:
    from ci_acme.testing.store_contract import soon as really

    first, second = make_bundle(), make_bundle()
    put(either(), first)
    vault.lag = 0.3
    assert either().retire(purge=False, deadline=really()) is Retired.REMOVED
    either().publish(second, make_metadata(second), deadline=really())
    assert [one.tags["ci-acme-serial"] for one in versions(vault, name)] == [
        make_metadata(one).serial for one in (first, second)
    ]
    state = either().read(deadline=really())
    assert isinstance(state, Present)
    assert state.metadata == make_metadata(second)


def test_a_tombstone_says_until_when_it_can_be_recovered(either: Make, vault: KeyVaultApi) -> None:
    put(either(), make_bundle())
    either().retire(purge=False, deadline=soon())
    state = either().read(deadline=soon())
    assert isinstance(state, Absent)
    assert state.tombstone is not None
    assert state.tombstone.startswith("deleted, recoverable until 20")


def test_purging_removes_also_a_tombstone_of_before(either: Make, vault: KeyVaultApi, name: str) -> None:
    put(either(), make_bundle())
    assert either().retire(purge=False, deadline=soon()) is Retired.REMOVED
    assert either().retire(purge=True, deadline=soon()) is Retired.REMOVED
    assert versions(vault, name) == []
    assert either().retire(purge=True, deadline=soon()) is Retired.ABSENT


def test_a_vault_that_is_protected_keeps_the_tombstone_and_says_so(
    either: Make, vault: KeyVaultApi, name: str, warned: list[str]
) -> None:
    vault.purge_protected = True
    put(either(), make_bundle())
    assert either().retire(purge=True, deadline=soon()) is Retired.REMOVED
    assert len(versions(vault, name)) == 1
    assert "protected against purging" in warned[0]


def test_a_tombstone_of_somebody_else_is_not_purged(either: Make, vault: KeyVaultApi, name: str) -> None:
    put(either(), make_bundle())
    versions(vault, name)[0].tags.clear()
    family = next(family for family, one in vault.things if one == name)
    vault.things[family, name].deleted = True
    assert either().retire(purge=True, deadline=soon()) is Retired.ABSENT
    assert len(versions(vault, name)) == 1


# --- conflicts and limits


def test_a_pending_operation_is_told_with_the_command_that_ends_it(
    certificate: Make, vault: KeyVaultApi, name: str
) -> None:
    vault.pending.add(name)
    for kind, attempt in (
        (StoreNotWritable, lambda: certificate().probe(deadline=soon())),
        (DeliveryError, lambda: put(certificate(), make_bundle())),
    ):
        with pytest.raises(kind, match="inProgress") as caught:
            attempt()
        assert "az keyvault certificate pending delete --vault-name 127.0.0.1:" in caught.value.fix
        assert name in caught.value.fix


def test_the_secret_of_a_certificate_is_left_alone(
    certificate: Make, secret: Make, vault: KeyVaultApi, name: str
) -> None:
    put(certificate(), make_bundle())
    state = secret().read(deadline=soon())
    assert isinstance(state, Unusable)
    assert "use azure-key-vault" in state.reason
    with pytest.raises(StoreNotWritable, match="belongs to a certificate"):
        secret().probe(deadline=soon())
    with pytest.raises(DeliveryError):
        put(secret(), make_bundle())
    with pytest.raises(DeliveryError, match="not written by ci-acme"):
        secret().retire(purge=False, deadline=soon())


def test_what_is_disabled_is_of_no_use_and_replaced(either: Make, vault: KeyVaultApi, name: str) -> None:
    bundle = make_bundle()
    put(either(), bundle)
    versions(vault, name)[0].attributes["enabled"] = False
    state = either().read(deadline=soon())
    assert isinstance(state, Unusable)
    assert "disabled" in state.reason
    put(either(), bundle)
    assert [one.attributes["enabled"] for one in versions(vault, name)] == [False, True]


def test_a_secret_that_is_too_big_is_refused_before_it_is_sent(secret: Make, vault: KeyVaultApi, name: str) -> None:
    bundle = replace(make_bundle(), chain=make_bundle().certificate * 40)
    with pytest.raises(DeliveryError, match=rf"takes \d+ bytes, and a secret of Key Vault holds {MOST_BYTES}"):
        put(secret(), bundle)
    assert versions(vault, name) == []
    assert secret().capabilities.max_bytes == MOST_BYTES


def test_tags_of_others_stay_as_far_as_fifteen_go(either: Make, vault: KeyVaultApi, name: str) -> None:
    put(either(), make_bundle())
    versions(vault, name)[0].tags |= {"owner": "web", "cost-center": "7"}
    put(either(), make_bundle())
    assert {"owner", "cost-center"} <= set(versions(vault, name)[-1].tags)
    versions(vault, name)[-1].tags |= {f"more-{number}": "x" for number in range(9)}
    with pytest.raises(DeliveryError, match="11 tags of others"):
        put(either(), make_bundle())


def test_metadata_of_a_hundred_names_fit(either: Make) -> None:
    names = tuple(f"host-{number}.preview.example.com" for number in range(100))
    bundle = make_bundle(*names)
    put(either(), bundle)
    state = either().read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata is not None
    assert state.metadata.names == make_metadata(bundle).names


def test_annotating_another_certificate_is_an_error(either: Make, vault: KeyVaultApi) -> None:
    put(either(), make_bundle())
    written = vault.written
    with pytest.raises(DeliveryError, match="another certificate by now"):
        either().annotate(make_metadata(make_bundle()), deadline=soon())
    assert vault.written == written


# --- rights


def printed(store: CertificateStore, *, retire: bool = True) -> list[Assignment]:
    """The role that `permissions` prints, assigned where it says, with the vault's id for the command in it."""
    settings: Any = store._settings  # type: ignore[attr-defined]
    make = permissions.key_vault if isinstance(store, KeyVault) else permissions.key_vault_secret
    role, where, *_ = make(PermissionRequest(settings, certificate="test", retire=retire))
    scope = where.text.partition('--scope "')[2].rstrip('"')
    assert scope.startswith("$(az keyvault show --name ")
    return [Assignment.of_role(role.text, VAULT + scope.partition(")")[2])]


def test_what_is_printed_is_enough_and_one_call_more_is_denied(
    either: Make, vault: KeyVaultApi, name: str, request: pytest.FixtureRequest
) -> None:
    roles = printed(either())
    vault.access.assignments[CLIENT] = roles
    vault.access.seen.clear()
    store = either()
    for _ in range(2):
        store.probe(deadline=soon())
        bundle = make_bundle()
        put(store, bundle)
        store.annotate(replace(make_metadata(bundle), run="later"), deadline=soon())
        assert isinstance(store.read(deadline=soon()), Present)
        assert store.read_bundle(deadline=soon()) is None, "the key is for who may read secrets"
        assert store.retire(purge=False, deadline=soon()) is Retired.REMOVED
        assert isinstance(store.read(deadline=soon()), Absent)
    assert {action for action, _ in vault.access.seen} == set(roles[0].data), "nothing is granted that is not used"
    with pytest.raises(DeliveryError, match=r"purge/action") as caught:
        store.retire(purge=True, deadline=soon())
    assert "purge/action" in caught.value.fix
    vault.access.assignments[CLIENT] = printed(either(), retire=False)
    put(store, make_bundle())
    with pytest.raises(DeliveryError, match="delete"):
        store.retire(purge=False, deadline=soon())


@pytest.mark.parametrize("missing", ["import/action", "update/action", "read"])
def test_the_probe_names_the_right_that_is_missing(missing: str, certificate: Make, vault: KeyVaultApi) -> None:
    prefix = "Microsoft.KeyVault/vaults/certificates"
    vault.access.assignments[CLIENT] = [Assignment(VAULT, data=("*",), excluded=(f"{prefix}/{missing}",))]
    with pytest.raises(StoreNotWritable, match=f"{prefix}/{missing}") as caught:
        certificate().probe(deadline=soon())
    assert f"{prefix}/{missing}" in caught.value.fix
    assert vault.written == 0


def test_access_policies_are_told_by_their_command(either: Make, vault: KeyVaultApi) -> None:
    vault.access_policies = True
    vault.access.assignments[CLIENT] = []
    with pytest.raises(StoreReadError) as caught:
        either().read(deadline=soon())
    assert caught.value.fix.startswith("az keyvault set-policy --name web-prod --spn CLIENT --")
    assert caught.value.fix.endswith(("--certificate-permissions get", "--secret-permissions list"))


def test_a_firewall_is_no_missing_right(either: Make, vault: KeyVaultApi) -> None:
    error = {
        "code": "Forbidden",
        "message": "Client address is not authorized and caller is not a trusted service.",
        "innererror": {"code": "ForbiddenByFirewall"},
    }
    vault.fail(lambda call: "authorization" in call.headers, refuse(Answer.of({"error": error}, 403)))
    with pytest.raises(StoreReadError, match="network rules") as caught:
        either().read(deadline=soon())
    assert "allow this machine" in caught.value.fix


def test_a_wrong_secret_of_the_application(either: Make, loopback: Loopback, vault: KeyVaultApi, name: str) -> None:
    settings = KeyVaultSettings.model_validate({"vault": vault.url, "name": name, **loopback.access(vault.entra.url)})
    with pytest.raises(StoreReadError, match="AADSTS7000215") as caught:
        KeyVault(settings, context(secret="wrong")).read(deadline=soon())
    assert caught.value.fix


# --- nothing secret is said


def canaries(bundle: Bundle, vault: KeyVaultApi) -> list[str]:
    """The key in every form in which it travels."""
    lines = [line.decode() for line in bundle.key.reveal().splitlines()[1:-1]]
    bodies = [call.json for call in vault.calls if is_write(call)]
    imports = [body[member] for body in bodies for member in ("value", "pwd") if isinstance(body.get(member), str)]
    return [*lines, *imports, SECRET]


@pytest.mark.parametrize(
    "fault",
    [
        lose_reply,
        refuse(Answer.of({"error": {"code": "BadParameter", "message": "no"}}, 400)),
        refuse(Answer(500, b"<html>", {})),
        refuse(Answer(200, b"{", {"Content-Type": "application/json"})),
    ],
)
def test_no_log_and_no_error_shows_the_key(
    fault: Any, either: Make, vault: KeyVaultApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bundle = make_bundle()
    vault.fail(is_write, fault, times=20)
    said = ""
    try:
        put(either(), bundle)
    except CiAcmeError as error:
        said = f"{error!r} {error.as_dict()} {error.__cause__!r} {error.__context__!r}"
    seen = f"{caplog.text} {said} {vars(either())!r}"
    found = canaries(bundle, vault)
    assert len(found) > 3
    for canary in found:
        assert canary not in seen


# --- the secret source


def environ(loopback: Loopback, vault: KeyVaultApi) -> dict[str, str]:
    return {
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_SECRET": SECRET,
        "AZURE_AUTHORITY_HOST": vault.entra.url,
        "REQUESTS_CA_BUNDLE": str(loopback.files.ca_bundle),
    }


def test_a_secret_by_reference(loopback: Loopback, vault: KeyVaultApi, name: str) -> None:
    for value in ("older", "newer"):
        vault.put_secret(name, value)
    run = context(environ=environ(loopback, vault))
    assert read_secret(f"{vault.url}/{name}", run, deadline=soon()).reveal() == b"newer"


def test_what_a_reference_cannot_be_read_for(loopback: Loopback, vault: KeyVaultApi, name: str) -> None:
    run = context(environ=environ(loopback, vault))

    def failure(rest: str, made: Any = run) -> SecretError:
        with pytest.raises(SecretError) as caught:
            read_secret(rest, made, deadline=soon())
        assert f"azure-key-vault:{rest}" in caught.value.message
        assert caught.value.fix
        return caught.value

    assert f"create the secret {name}" in failure(f"{vault.url}/{name}").fix
    vault.put_secret(name, " \n")
    assert "is empty" in failure(f"{vault.url}/{name}").message
    vault.access.assignments[CLIENT] = []
    assert "secrets/getSecret/action" in failure(f"{vault.url}/{name}").fix
    assert "VAULT/NAME" in failure("web-prod").fix
    assert "letters, digits and hyphens" in failure("web-prod/a_b").message
    assert "no Azure credentials" in failure("web-prod/web", context(environ={"PATH": ""})).message


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"vault": "web-prod", "name": "tls"}, ("web-prod", "tls")),
        ({"name": "web-prod/tls"}, ("web-prod", "tls")),
        ({"name": "https://web-prod.vault.azure.net/tls"}, ("https://web-prod.vault.azure.net", "tls")),
        ({"vault": "https://v.vault.azure.cn/", "name": "tls"}, ("https://v.vault.azure.cn", "tls")),
    ],
)
def test_a_target_is_a_vault_and_a_name(values: Any, where: Any) -> None:
    settings = KeyVaultSettings.model_validate(values)
    assert settings.where == where
    assert KeyVault(settings, context()).target in {"web-prod/tls", "v/tls"}


@pytest.mark.parametrize(
    "values", [{"name": "tls"}, {"vault": "web_prod", "name": "tls"}, {"vault": "web", "name": "t.s"}]
)
def test_a_target_that_cannot_be(values: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        KeyVaultSettings.model_validate(values)
    assert [error["loc"] for error in caught.value.errors()] == [("name",)]


@pytest.mark.parametrize(
    ("cloud", "url"),
    [
        (None, "https://web-prod.vault.azure.net"),
        ("china", "https://web-prod.vault.azure.cn"),
        ("us-government", "https://web-prod.vault.usgovcloudapi.net"),
    ],
)
def test_the_vaults_of_each_cloud(cloud: str | None, url: str) -> None:
    settings = KeyVaultSettings.model_validate({"vault": "web-prod", "name": "tls", "cloud": cloud})
    store = KeyVault(settings, context())
    assert store._session.vault_url("web-prod") == url
    elsewhere = context(environ={"AZURE_AUTHORITY_HOST": "https://login.chinacloudapi.cn/"})
    plain = KeyVaultSettings.model_validate({"vault": "web-prod", "name": "tls"})
    assert KeyVault(plain, elsewhere)._session.vault_url("web-prod") == "https://web-prod.vault.azure.cn"


def test_pem_blocks_of_a_leaf_are_as_the_ca_sent_them(certificate: Make) -> None:
    bundle = make_bundle(*(f"n{number}.example" for number in range(20)))
    put(certificate(), bundle)
    state = certificate().read(deadline=soon())
    assert isinstance(state, Present)
    assert list(pem_blocks(state.certificate or b"", "CERTIFICATE")) == [bundle.certificate]
