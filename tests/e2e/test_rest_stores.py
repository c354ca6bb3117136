"""One certificate in Vault, Kubernetes, GitHub and GitLab at once, by a run of the whole product."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.clouds.api import Answer, refuse
from tests.clouds.github import TOKEN as GITHUB_TOKEN
from tests.clouds.github import FakeGitHub
from tests.clouds.gitlab import TOKEN as GITLAB_TOKEN
from tests.clouds.gitlab import FakeGitLab
from tests.clouds.kubernetes import FakeKubernetes, Rule
from tests.clouds.vault import FakeVault, JwtRole
from tests.contract.support import failing, server_tls
from tests.e2e.lab import Lab, Ran
from tests.servers.tls import tls_files

pytestmark = pytest.mark.servers
ENVIRON = {
    "GITHUB_PAT": GITHUB_TOKEN,
    "GITLAB_PAT": GITLAB_TOKEN,
    "KUBE_TOKEN": "kube-token-of-ci",
    "VAULT_TOKEN": "hvs.ci",
}
PATH = "secret/web/tls"
RIGHTS = {
    "secret/data/web/tls": {"create", "update", "read"},
    "secret/metadata/web/tls": {"read", "update", "patch"},
    "secret/delete/web/tls": {"update"},
    "secret/data/web/tls-ci-acme-pending": {"create", "update", "read"},
    "secret/metadata/web/tls-ci-acme-pending": {"read", "delete"},
}


@dataclass
class Clouds:
    """The four platforms, with exactly the rights that `ci-acme permissions` names."""

    vault: FakeVault
    kubernetes: FakeKubernetes
    github: FakeGitHub
    gitlab: FakeGitLab

    def keys(self) -> dict[str, bytes]:
        """The PEM text that each platform would give to a deployment."""
        secret = self.vault.secrets["", "secret", "web/tls"]
        fields = secret.versions[secret.current]["data"]
        data = self.kubernetes.secrets["default", "site"]["data"]
        return {
            "vault": (fields["fullchain"] + fields["private_key"]).encode(),
            "kubernetes": base64.b64decode(data["tls.crt"]) + base64.b64decode(data["tls.key"]),
            "github": self.github.places["/repos/octo/site"].value("SITE_TLS").encode(),
            "gitlab": base64.b64decode(self.gitlab.variables["projects/7", "SITE_TLS", "*"]["value"]),
        }


@pytest.fixture
def clouds(lab: Lab, tmp_path: Path) -> Iterator[Clouds]:
    files = tls_files(tmp_path)
    tls = server_tls(files)
    with ExitStack() as stack:
        clouds = Clouds(
            stack.enter_context(FakeVault(tls)),
            stack.enter_context(FakeKubernetes(tls)),
            stack.enter_context(FakeGitHub()),
            stack.enter_context(FakeGitLab()),
        )
        clouds.vault.grant("hvs.ci", RIGHTS)
        pending = Rule({"get", "update", "delete"}, {"site-ci-acme-pending"})
        clouds.kubernetes.users["kube-token-of-ci"] = [
            Rule({"create"}),
            Rule({"get", "update", "patch", "delete"}, {"site"}),
            pending,
        ]
        where = {"server": clouds.kubernetes.url, "ca_bundle": str(files.ca_bundle), "token": "env:KUBE_TOKEN"}
        lab.web["stores"] = [
            {"provider": "vault", "address": clouds.vault.url, "ca_bundle": str(files.ca_bundle), "path": PATH},
            {"provider": "kubernetes", "name": "site", **where},
            {
                "provider": "github-secrets",
                "api": clouds.github.url,
                "repository": "octo/site",
                "name": "SITE_TLS",
                "token": "env:GITHUB_PAT",
            },
            {
                "provider": "gitlab-variables",
                "api": clouds.gitlab.url,
                "project": "web/site",
                "name": "SITE_TLS",
                "token": "env:GITLAB_PAT",
            },
        ]
        yield clouds
        assert clouds.github.problems + clouds.gitlab.problems == []


def issue(lab: Lab, status: int = 0) -> Ran:
    ran = lab.issue(environ=ENVIRON)
    assert ran.status == status, ran.stdout + ran.stderr
    assert not [name for name, secret in ENVIRON.items() if secret in ran.stdout + ran.stderr]
    return ran


def test_one_certificate_reaches_four_platforms_and_is_kept_there(lab: Lab, clouds: Clouds) -> None:
    first = issue(lab).certificate
    assert [store["action"] for store in first["stores"]] == ["written"] * 4
    found = clouds.keys()
    leaves = {name: x509.load_pem_x509_certificate(text) for name, text in found.items()}
    assert {leaf.serial_number for leaf in leaves.values()} == {int(first["serial"], 16)}
    for name, text in found.items():
        key = load_pem_private_key(text[text.index(b"-----BEGIN PRIVATE KEY") :], None)
        assert key.public_key() == leaves[name].public_key(), name
    assert not any(name.endswith("pending") for _, _, name in clouds.vault.secrets)
    assert {name for _, name in clouds.kubernetes.secrets} == {"site"}
    orders = lab.orders()
    second = issue(lab).certificate
    assert second["action"] == "kept"
    assert [store["action"] for store in second["stores"]] == ["kept"] * 4
    assert [store["version"] for store in second["stores"]] == [store["version"] for store in first["stores"]]
    assert (lab.orders(), clouds.keys()) == (orders, found)
    writes = [cloud.writes for cloud in (clouds.vault, clouds.kubernetes, clouds.github, clouds.gitlab)]
    assert issue(lab).certificate["action"] == "kept"  # what the CA said of renewal is noted by now
    assert [cloud.writes for cloud in (clouds.vault, clouds.kubernetes, clouds.github, clouds.gitlab)] == writes


def test_what_only_one_platform_refused_is_delivered_without_an_order(lab: Lab, clouds: Clouds) -> None:
    problem = refuse(Answer.of({"message": "500"}, 507))
    with failing(clouds.github, lambda call: call.method == "PUT", problem):
        first = issue(lab, 6).certificate
    assert [store["action"] for store in first["stores"]] == ["written", "written", "failed", "written"]
    orders = lab.orders()
    second = issue(lab).certificate
    assert second["action"] == "delivered"
    assert [store["action"] for store in second["stores"]] == ["kept", "kept", "delivered", "kept"]
    assert lab.orders() == orders
    assert len({x509.load_pem_x509_certificate(text).serial_number for text in clouds.keys().values()}) == 1


def test_a_plan_needs_no_right_to_read_a_key(lab: Lab, clouds: Clouds) -> None:
    issue(lab)
    clouds.vault.grant("hvs.ci", {"secret/metadata/web/tls": {"read"}})
    clouds.github.tokens[GITHUB_TOKEN] = {"read"}
    before = len(clouds.vault.calls)
    ran = lab.run("plan", "--output", "json", environ=ENVIRON)
    assert ran.status == 0, ran.stderr
    assert ran.certificate["action"] == "would-keep"
    assert not any("/data/" in call.path for call in clouds.vault.calls[before:])


def test_a_job_logs_in_to_vault_and_another_platforms_token_comes_from_there(lab: Lab, clouds: Clouds) -> None:
    """A JWT role for the store; a secret of Vault as a reference for a credential of another store."""
    clouds.vault.jwt_roles["ci"] = JwtRole(clouds.vault.url, RIGHTS)
    clouds.vault.grant("hvs.source", {"secret/data/tokens": {"read"}})
    document = json.dumps({"data": {"github": GITHUB_TOKEN}}).encode()
    _put(clouds.vault, "tokens", document)
    claims = (
        base64.urlsafe_b64encode(json.dumps({"aud": clouds.vault.url, "sub": "job"}).encode()).rstrip(b"=").decode()
    )
    jwt = f"eyJhbGciOiJub25lIn0.{claims}.c2lnbmF0dXJl"
    clouds.vault.jwts[jwt] = clouds.vault.url
    lab.web["stores"] = lab.web["stores"][:1] + lab.web["stores"][2:3]
    lab.web["stores"][0]["role"] = "ci"
    lab.web["stores"][1]["token"] = "vault:secret/tokens#github"
    environ = {
        "CI_ACME_ID_TOKEN": jwt,
        "VAULT_ADDR": clouds.vault.url,
        "VAULT_TOKEN": "hvs.source",
        "VAULT_CACERT": lab.web["stores"][0]["ca_bundle"],
    }
    ran = lab.issue(environ=environ)
    assert ran.status == 0, ran.stdout + ran.stderr
    assert [store["action"] for store in ran.certificate["stores"]] == ["written"] * 2
    assert GITHUB_TOKEN not in ran.stdout + ran.stderr
    assert jwt not in ran.stdout + ran.stderr


def _put(vault: FakeVault, name: str, body: bytes) -> None:
    from tests.clouds.api import Call
    from tests.clouds.vault import ROOT

    head = {"x-vault-request": "true", "x-vault-token": ROOT}
    assert vault.handle(Call("POST", f"/v1/secret/data/{name}", headers=head, body=body)).status == 200
