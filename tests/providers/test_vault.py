"""What Vault and OpenBao do to a store and a secret source: logins, versions, policies, other people's writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from ci_acme.clock import SystemClock
from ci_acme.errors import ConfigError, DeliveryError, SecretError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import PendingOrder
from ci_acme.model.secret import Secret
from ci_acme.ports import Absent, PermissionRequest, Present, Retired, Unusable
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme.testing.store_contract import soon
from ci_acme_providers.vault import source
from ci_acme_providers.vault.adapter import VaultStore
from ci_acme_providers.vault.config import OWN_FIELD, VaultSettings
from ci_acme_providers.vault.permissions import policies
from tests.clouds.api import Answer, Call, refuse
from tests.clouds.vault import ROOT, FakeVault, JwtRole, Rules
from tests.contract.support import context, failing

PATH = "secret/team/tls"
KEY = ("", "secret", "team/tls")


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    with FakeVault(mounts={"secret": 2, "old": 1, "team/kv": 2}) as server:
        yield server


def make(vault: FakeVault, *, secrets: dict[str, str] | None = None, **more: Any) -> VaultStore:
    """A store; with the root token if nothing else is said."""
    settings: dict[str, Any] = {"provider": "vault", "address": vault.url, "path": PATH, **more}
    given = {"identity", "environ", "clock"} & set(settings)
    rest = {name: settings.pop(name) for name in given}
    if not {"token", "role", "role_id"} & set(settings) and "environ" not in rest:
        settings["token"] = "env:TOKEN"
    return VaultStore(VaultSettings.model_validate(settings), context({"env:TOKEN": ROOT, **(secrets or {})}, **rest))


def publish(store: VaultStore, bundle: Bundle | None = None) -> Bundle:
    bundle = bundle or make_bundle()
    store.publish(bundle, make_metadata(bundle), deadline=soon())
    return bundle


def put(vault: FakeVault, path: str, data: dict[str, Any]) -> None:
    """What a person would do with `vault kv put`."""
    head = {"x-vault-request": "true", "x-vault-token": ROOT}
    body = json.dumps({"data": data} if "/data/" in path else data).encode()
    assert vault.handle(Call("POST", f"/v1/{path}", headers=head, body=body)).status in {200, 204}


# --- who asks --------------------------------------------------------------------------------------------------------


class Later(SystemClock):
    """A clock that can be put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def test_a_job_logs_in_with_its_identity_and_again_when_the_token_has_ended(vault: FakeVault) -> None:
    audiences: list[str] = []

    def identity(audience: str) -> Secret:
        jwt = f"header.{len(audiences)}.signature"
        audiences.append(audience)
        vault.jwts[jwt] = audience
        return Secret(jwt.encode())

    vault.jwt_roles["ci"] = JwtRole(
        "https://vault.example", {"secret/*": {"create", "read", "update", "patch"}}, ttl=60
    )
    clock = Later()
    store = make(vault, role="ci", audience="https://vault.example", identity=identity, clock=clock)
    bundle = publish(store)
    assert audiences == ["https://vault.example"]
    from ci_acme.ports import Deadline

    clock.ahead = 55.0
    assert store.read_bundle(deadline=Deadline(clock, 10)) == bundle
    assert len(audiences) == 2
    with pytest.raises(StoreReadError, match=r"refuses the login by identity token at auth/jwt .*could not be found"):
        make(vault, role="nobody", identity=identity).read(deadline=soon())


def test_an_approle_logs_in(vault: FakeVault) -> None:
    vault.approles["role-1"] = ("secret-1", {"secret/*": {"create", "read", "update", "patch"}})
    given = {"env:ROLE": "role-1\n", "env:SECRET": "secret-1"}
    publish(make(vault, role_id="env:ROLE", secret_id="env:SECRET", secrets=given))
    wrong = make(vault, role_id="env:ROLE", secret_id="env:SECRET", secrets={**given, "env:SECRET": "secret-2"})
    with pytest.raises(StoreReadError, match="AppRole") as caught:
        wrong.read(deadline=soon())
    assert "secret id expires" in caught.value.fix
    assert "secret-2" not in str(caught.value.as_dict())


def test_the_environment_says_where_vault_is_and_who_asks(vault: FakeVault) -> None:
    environ = {"BAO_ADDR": vault.url, "VAULT_TOKEN": ROOT, "VAULT_NAMESPACE": "team-a"}
    publish(make(vault, address=None, environ=environ))
    assert set(vault.secrets) == {("team-a", "secret", "team/tls")}
    with pytest.raises(StoreReadError, match="there is no token for Vault"):
        make(vault, environ={}).read(deadline=soon())
    with pytest.raises(ConfigError, match="it is not known where Vault is"):
        make(vault, address=None, environ={})
    with pytest.raises(ConfigError, match="https"):
        make(vault, address=None, environ={"VAULT_ADDR": "http://vault.example:8200"})
    with pytest.raises(StoreReadError, match="not one word"):
        make(vault, secrets={"env:TOKEN": "two words"}).read(deadline=soon())


# --- versions --------------------------------------------------------------------------------------------------------


def test_a_deleted_secret_is_a_tombstone_that_the_next_version_ends(vault: FakeVault) -> None:
    store = make(vault)
    publish(store)
    assert store.retire(purge=False, deadline=soon()) is Retired.REMOVED
    assert store.read(deadline=soon()) == Absent("version 1 was deleted, and can be undeleted")
    assert publish(store) == store.read_bundle(deadline=soon())
    assert vault.secrets[KEY].current == 2
    store.retire(purge=False, deadline=soon())
    assert store.retire(purge=True, deadline=soon()) is Retired.REMOVED
    assert KEY not in vault.secrets
    assert store.retire(purge=True, deadline=soon()) is Retired.ABSENT


def test_a_version_that_ends_by_itself_is_there_until_then(vault: FakeVault) -> None:
    store = make(vault, delete_version_after="24h")
    bundle = publish(store)
    assert isinstance(store.read(deadline=soon()), Present)
    assert store.read_bundle(deadline=soon()) == bundle
    vault.secrets[KEY].versions[1]["deletion"] -= timedelta(hours=25)
    assert isinstance(store.read(deadline=soon()), Absent)


def test_what_somebody_wrote_over_ours_is_not_taken_for_ours(vault: FakeVault) -> None:
    store = make(vault)
    bundle = publish(store)
    put(vault, "secret/data/team/tls", {"password": "x"})
    assert isinstance(store.read(deadline=soon()), Unusable)
    with pytest.raises(DeliveryError, match="not of ci-acme"):
        store.retire(purge=True, deadline=soon())
    with pytest.raises(DeliveryError, match="another certificate by now"):
        store.annotate(make_metadata(bundle), deadline=soon())
    other = make_bundle()
    text = {"private_key": other.key.reveal().decode(), "certificate": other.certificate.decode(), "chain": ""}
    put(vault, "secret/data/team/tls", {**text, "fullchain": other.fullchain.decode()})
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert (state.certificate, state.metadata) == (other.certificate, None)
    first = vault.secrets[KEY].versions[1]["data"]
    put(vault, "secret/data/team/tls", {**first, **text, "fullchain": other.fullchain.decode()})
    state = store.read(deadline=soon())  # our own note beside another certificate
    assert isinstance(state, Present)
    assert state.metadata is None


@pytest.mark.parametrize("key", ["junk", make_bundle().key.reveal().decode()])
def test_a_key_that_somebody_exchanged_is_seen(vault: FakeVault, key: str) -> None:
    store = make(vault)
    publish(store)
    put(vault, "secret/data/team/tls", {**vault.secrets[KEY].versions[1]["data"], "private_key": key})
    assert store.read(deadline=soon()) == Unusable("version 2 has a key that is not its certificate's")
    bundle = publish(store)
    assert store.read_bundle(deadline=soon()) == bundle
    put(vault, "secret/data/team/tls", {**vault.secrets[KEY].versions[3]["data"], "private_key": key})
    assert store.retire(purge=False, deadline=soon()) is Retired.REMOVED, "the certificate is ours"


def test_a_run_that_died_between_version_and_metadata_is_made_good(vault: FakeVault) -> None:
    store, bundle = make(vault), make_bundle()
    metadata = make_metadata(bundle)
    no = refuse(Answer.of({"errors": ["gone"]}, 507))
    with failing(vault, lambda call: call.method == "PATCH", no), pytest.raises(DeliveryError):
        store.publish(bundle, metadata, deadline=soon())
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert (state.metadata, state.lacks) == (metadata, None)  # its writer may be about to come to an end
    reader = vault.grant("hvs.plan", {"secret/metadata/team/tls": {"read"}})
    plan = make(vault, secrets={"env:TOKEN": reader})
    assert plan.read(deadline=soon()) == Unusable("version 1 has no metadata of ci-acme, and may not be read")
    assert plan.read_bundle(deadline=soon()) is None
    vault.secrets[KEY].versions[1]["created"] -= timedelta(minutes=2)
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks == "the metadata beside the secret"
    assert store.publish(bundle, metadata, deadline=soon()) == "1"
    assert plan.read(deadline=soon()) == Present(None, b"", metadata, "1")


def test_another_shape_needs_no_order(vault: FakeVault) -> None:
    bundle = publish(make(vault))
    store = make(vault, shape="nginx")
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks == "the shape that the config asks for"
    assert store.read_bundle(deadline=soon()) == bundle
    publish(store, bundle)
    assert set(vault.secrets[KEY].versions[2]["data"]) == {"fullchain.pem", "privkey.pem", OWN_FIELD}
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks is None


def test_metadata_of_others_beside_the_secret_stay(vault: FakeVault) -> None:
    put(vault, "secret/metadata/team/tls", {"custom_metadata": {"owner": "team"}})
    for patching in (True, False):
        vault.patching = patching
        publish(make(vault))
        custom = vault.secrets[KEY].custom
        assert custom is not None
        assert custom["owner"] == "team"
    put(vault, "secret/metadata/team/tls", {"custom_metadata": {f"key-{index}": "x" for index in range(62)}})
    with pytest.raises(DeliveryError, match="metadata need more than 0 tags"):
        publish(make(vault))


def test_a_huge_chain_is_refused_before_anything_is_written(vault: FakeVault) -> None:
    bundle = make_bundle()
    huge = Bundle(bundle.key, bundle.certificate, bundle.chain * 2000)
    with pytest.raises(DeliveryError, match="the platform takes 1000000"):
        publish(make(vault), huge)
    assert vault.writes == 0


def test_a_key_of_no_shape_shows_nothing_of_itself(vault: FakeVault) -> None:
    bundle = make_bundle()
    broken = Bundle(Secret(b"not a key"), bundle.certificate, bundle.chain)
    with pytest.raises(DeliveryError, match="cannot be written in this shape") as caught:
        publish(make(vault, shape="pkcs12"), broken)
    assert caught.value.__cause__ is None
    with pytest.raises(DeliveryError, match="not ASCII"):
        publish(make(vault, shape="pkcs12", pkcs12_password="env:P", secrets={"env:P": "ä"}))


# --- mounts and rights -----------------------------------------------------------------------------------------------


def test_version_1_and_other_engines_are_refused_with_the_reason(vault: FakeVault) -> None:
    with pytest.raises(StoreNotWritable, match="KV version 1, which has neither") as caught:
        make(vault, path="old/tls").probe(deadline=soon())
    assert "vault kv enable-versioning old/" in caught.value.fix
    with pytest.raises(StoreReadError, match="403"):
        make(vault, path="nowhere/tls").read(deadline=soon())
    publish(make(vault, path="team/kv/deep/tls"))
    assert ("", "team/kv", "deep/tls") in vault.secrets


def test_the_policy_that_is_printed_is_enough_and_nothing_in_it_is_needless(vault: FakeVault) -> None:
    settings = VaultSettings.model_validate({"path": PATH, "delete_version_after": "100h"})
    write, plan = policies(PermissionRequest(settings))
    rules: Rules = {
        path: set(re.findall(r'"(\w+)"', words))
        for path, words in re.findall(r'path "([^"]+)" \{ capabilities = \[(.*?)\] \}', write.text)
    }
    assert run_all(vault, rules) is None
    for path in list(rules):
        without = {name: words for name, words in rules.items() if name != path}
        assert run_all(vault, without) is not None, path
    reader = vault.grant("hvs.reader", {path: {"read"} for path in re.findall(r'path "([^"]+)"', plan.text)})
    publish(make(vault))
    assert isinstance(make(vault, secrets={"env:TOKEN": reader}).read(deadline=soon()), Present)


def run_all(vault: FakeVault, rules: Rules) -> Exception | None:
    """Everything that a run may do, with these rights."""
    vault.secrets.clear()
    store = make(vault, delete_version_after="100h", secrets={"env:TOKEN": vault.grant("hvs.limited", rules)})
    bundle = make_bundle()
    pending = PendingOrder("0" * 64, "https://ca", "https://ca/1", "https://ca/2", bundle.key)
    try:
        store.probe(deadline=soon())
        store.stage(pending, deadline=soon())
        assert store.staged(deadline=soon()) == pending
        publish(store, bundle)
        store.unstage(deadline=soon())
        assert store.staged(deadline=soon()) is None
        store.annotate(make_metadata(bundle), deadline=soon())
        store.retire(purge=False, deadline=soon())
        store.retire(purge=True, deadline=soon())
    except (StoreNotWritable, DeliveryError, StoreReadError, AssertionError) as error:
        return error
    return None


def test_a_probe_names_each_capability_that_is_missing(vault: FakeVault) -> None:
    token = vault.grant("hvs.few", {"secret/metadata/team/tls": {"read"}, "secret/data/team/tls": {"create", "update"}})
    with pytest.raises(StoreNotWritable, match="read at secret/data/team/tls; update at secret/metadata") as caught:
        make(vault, pending=False, secrets={"env:TOKEN": token}).probe(deadline=soon())
    assert 'path "secret/data/team/tls" { capabilities = ["create", "read", "update"] }' in caught.value.fix
    vault.fail(lambda call: call.path.endswith("capabilities-self"), refuse(Answer.of({"errors": []}, 403)))
    make(vault, secrets={"env:TOKEN": token}).probe(deadline=soon())  # it cannot be known


def test_two_runs_do_not_keep_their_orders_over_each_other(vault: FakeVault) -> None:
    one, other = make_bundle(), make_bundle()
    order = PendingOrder("0" * 64, "https://ca", "https://ca/1", "https://ca/2", one.key, one.fullchain)

    def first(call: Call, do: Any) -> Answer:
        put(vault, "secret/data/team/tls-ci-acme-pending", {"order": "{}"})
        return do(call)

    vault.fail(lambda call: call.method == "POST" and "pending" in call.path, first)
    with pytest.raises(DeliveryError, match="another run keeps its order there"):
        make(vault).stage(order, deadline=soon())
    assert make(vault).staged(deadline=soon()) is None
    assert other != one


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"address": "http://vault.example:8200"}, "address"),
        ({"path": "secret//tls"}, "path"),
        ({"path": "secret/../tls"}, "path"),
        ({"role_id": "env:A"}, "secret_id"),
        ({"token": "env:A", "role": "ci"}, "role"),
        ({"fields": {OWN_FIELD: "key"}}, "fields"),
        ({"delete_version_after": "soon"}, "delete_version_after"),
        ({"token": "hvs.literal"}, "token"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        VaultSettings.model_validate({"path": PATH, **settings})
    assert caught.value.errors()[0]["loc"][0] == where
    assert "hvs.literal" not in str(caught.value)


# --- the secret source -----------------------------------------------------------------------------------------------


def test_a_reference_reads_a_field_of_either_version(vault: FakeVault) -> None:
    put(vault, "secret/data/acme", {"hmac": "s3cret", "count": 1})
    put(vault, "old/acme", {"hmac": "older"})
    environ = {"VAULT_ADDR": vault.url, "VAULT_TOKEN": ROOT}
    assert source.read("secret/acme#hmac", context({}, environ=environ), deadline=soon()).reveal() == b"s3cret"
    assert source.read("old/acme#hmac", context({}, environ=environ), deadline=soon()).reveal() == b"older"
    wrong = {
        "secret/acme": "names no field",
        "secret#hmac": "names no field",
        "secret/acme#other": "no such field",
        "secret/acme#count": "no text in the field",
        "secret/nothing#hmac": "no such secret",
        "nowhere/acme#hmac": "403",
    }
    for reference, words in wrong.items():
        with pytest.raises(SecretError, match=words) as caught:
            source.read(reference, context({}, environ=environ), deadline=soon())
        assert f"vault:{reference}" in caught.value.message
        assert caught.value.fix
        assert "s3cret" not in str(caught.value.as_dict())
    with pytest.raises(SecretError, match="where Vault is"):
        source.read("secret/acme#hmac", context({}), deadline=soon())
    token = vault.grant("hvs.no", {"secret/metadata/*": {"read"}})
    with pytest.raises(SecretError, match="403") as caught:
        source.read("secret/acme#hmac", context({}, environ={**environ, "VAULT_TOKEN": token}), deadline=soon())
    assert 'path "secret/data/acme" { capabilities = ["read"] }' in caught.value.fix
