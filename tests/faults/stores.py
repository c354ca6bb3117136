"""The stores of the catalogue on their fakes: what a config says of each, and what a deployment would read there."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from tests.clouds.acm import Acm
from tests.clouds.api import FakeApi
from tests.clouds.awsjson import ENVIRONMENT
from tests.clouds.azure import Loopback
from tests.clouds.entra import CLIENT, TENANT, Entra
from tests.clouds.github import TOKEN as GITHUB_TOKEN
from tests.clouds.github import FakeGitHub
from tests.clouds.gitlab import TOKEN as GITLAB_TOKEN
from tests.clouds.gitlab import FakeGitLab
from tests.clouds.google import Iam
from tests.clouds.google_certificates import GoogleCertificates
from tests.clouds.google_secrets import GoogleSecrets
from tests.clouds.google_support import ACCESS, PROJECT, trust
from tests.clouds.google_tokens import CiTokens, GoogleTokens
from tests.clouds.key_vault import KeyVaultApi
from tests.clouds.kubernetes import FakeKubernetes
from tests.clouds.s3 import S3
from tests.clouds.secretsmanager import SecretsManager
from tests.clouds.ssm import Ssm
from tests.clouds.vault import FakeVault

PASSWORD = "the-password-of-all-pkcs12-files-here"
VAULT_TOKEN = "hvs.the-token-of-the-job-for-the-vault"
KUBE_TOKEN = "the-token-of-the-job-for-the-cluster"
AZURE_SECRET = "Xy8Q~dB.kT2_wZ-p0RmVbN4sLqE7cJhG1fUaYo3x"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY"
AWS_TOKEN = "IQoJb3JpZ2luX2VjEXAMPLEsessiontoken//8wEaCXVzLWVhc3QtMQ=="


@dataclass
class Served:
    """What a deployment would read: PEM. `key` is None where the platform shows it to nobody, not even to a test."""

    chain: bytes
    key: bytes


@dataclass
class Rig:
    """A store on its fake. `entry` makes the entry of a config for a target (`t7`), `served` reads it there.

    `fakes` are all the servers that a run talks to for this store; `secrets` are known to the job, or to the platform.
    `forget` removes what was there for earlier targets, where that costs time.
    """

    fakes: tuple[FakeApi, ...]
    entry: Callable[[str], dict[str, Any]]
    served: Callable[[str], Served | None]
    environ: Mapping[str, str] = field(default_factory=dict)
    secrets: Callable[[], list[str]] = list
    problems: Callable[[], list[str]] = list
    returns_key: bool = True
    forget: Callable[[], None] = lambda: None


Open = Callable[[ExitStack, Path], Rig]


def pem(text: str | bytes) -> Served:
    """Key and chain of a text with both, in whatever order."""
    data = text.encode() if isinstance(text, str) else text
    begin, end = data.index(b"-----BEGIN PRIVATE KEY"), b"-----END PRIVATE KEY-----\n"
    after = data.index(end) + len(end)
    return Served(data[:begin] + data[after:], data[begin:after])


def fields(text: str | bytes) -> Served:
    """Of the JSON document that is the usual shape."""
    document = json.loads(text)
    return Served(document["fullchain"].encode(), document["private_key"].encode())


def pfx(data: bytes, password: bytes | None) -> Served:
    """Of a PKCS#12 file."""
    key, leaf, more = pkcs12.load_key_and_certificates(data, password)
    assert key is not None
    assert leaf is not None
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, *more))
    return Served(chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


# --- a directory --------------------------------------------------------------------------------------------------


def file(stack: ExitStack, directory: Path) -> Rig:
    del stack

    def served(target: str) -> Served | None:
        place = directory / "certs" / target / "web"
        if not place.exists():
            return None
        chain, key = (place / "fullchain.pem").read_bytes(), (place / "privkey.pem").read_bytes()
        again = pfx((place / "bundle.p12").read_bytes(), PASSWORD.encode())
        assert key_of(again) == key_of(Served(chain, key))
        return Served(chain, key)

    def entry(target: str) -> dict[str, Any]:
        where = str(directory / "certs" / target)
        return {"directory": where, "formats": ["pem", "pkcs12"], "pkcs12_password": "env:P12_PASSWORD"}

    return Rig((), entry, served)


# --- Amazon -------------------------------------------------------------------------------------------------------

_AWS = {**ENVIRONMENT, "AWS_SECRET_ACCESS_KEY": AWS_SECRET, "AWS_SESSION_TOKEN": AWS_TOKEN}


def _aws() -> list[str]:
    return [AWS_SECRET, AWS_TOKEN]


def secrets_manager(stack: ExitStack, _: Path) -> Rig:
    fake = stack.enter_context(SecretsManager())
    fake.lag = 0.0

    def served(target: str) -> Served | None:
        value = fake.value(target)
        return None if value is None else fields(value)

    return Rig((fake,), lambda target: {"name": target, "endpoint": fake.url}, served, _AWS, _aws)


def ssm(stack: ExitStack, _: Path) -> Rig:
    fake = stack.enter_context(Ssm())
    fake.lag = 0.0

    def served(target: str) -> Served | None:
        value = fake.value(f"/{target}/tls")
        return None if value is None else pem(value)

    return Rig((fake,), lambda target: {"name": f"/{target}/tls", "endpoint": fake.url}, served, _AWS, _aws)


def s3(stack: ExitStack, _: Path) -> Rig:
    fake = stack.enter_context(S3("certificates"))

    def served(target: str) -> Served | None:
        body = fake.body(f"{target}/tls.json")
        return None if body is None else fields(body)

    def entry(target: str) -> dict[str, Any]:
        return {"bucket": "certificates", "key": f"{target}/tls.json", "endpoint": fake.url}

    return Rig((fake,), entry, served, _AWS, _aws)


def acm(stack: ExitStack, _: Path) -> Rig:
    fake = stack.enter_context(Acm(lambda: datetime.now(timezone.utc)))

    def served(target: str) -> Served | None:
        found = [one for one in fake.certificates.values() if one.tags.get("ci-acme-store") == target]
        assert len(found) < 2, "a second certificate was imported"
        return Served(found[0].leaf + found[0].chain, found[0].key) if found else None

    return Rig(
        (fake,),
        lambda target: {"name": target, "endpoint": fake.url},
        served,
        _AWS,
        _aws,
        returns_key=False,
        forget=fake.certificates.clear,
    )


# --- Google -------------------------------------------------------------------------------------------------------


def _google(stack: ExitStack, api: Callable[[Iam], Any]) -> tuple[Any, GoogleTokens, CiTokens]:
    iam = Iam()
    made = (
        stack.enter_context(api(iam)),
        stack.enter_context(GoogleTokens(iam)),
        stack.enter_context(CiTokens(time.time)),
    )
    trust(made[1])
    return made


def _google_rig(
    made: tuple[Any, GoogleTokens, CiTokens],
    name: Callable[[str], str],
    served: Callable[[str], Served | None],
    **more: Any,
) -> Rig:
    api, tokens, ci = made
    job = {name: value for name, value in ci.environment.items() if name != "GITHUB_ACTIONS"}
    environ = {**tokens.environment, **job, "NO_GCE_CHECK": "true"}

    def entry(target: str) -> dict[str, Any]:
        return {"name": name(target), **ACCESS, "endpoint": api.url}

    def secrets() -> list[str]:
        return [*(token for token in api.iam.tokens if token != "good"), *ci.issued, ci.secret]

    return Rig(made, entry, served, environ, secrets, lambda: [*api.problems, *tokens.problems], **more)


def gcp_secret_manager(stack: ExitStack, _: Path) -> Rig:
    made = _google(stack, GoogleSecrets)

    def served(target: str) -> Served | None:
        found = made[0].secrets.get(f"projects/{PROJECT}/secrets/{target}")
        return fields(found.versions[-1].data) if found is not None and found.versions else None

    return _google_rig(made, lambda target: target, served)


def gcp_certificate_manager(stack: ExitStack, _: Path) -> Rig:
    made = _google(stack, GoogleCertificates)
    api = made[0]
    api.seconds = 0.0  # an operation is asked for once

    def served(target: str) -> Served | None:
        name = f"projects/{PROJECT}/locations/global/certificates/{target}"
        found = api.certificates.get(name)
        return None if found is None else Served(found["pemCertificate"].encode(), api.keys[name].encode())

    return _google_rig(made, lambda target: target, served, returns_key=False)


# --- Azure --------------------------------------------------------------------------------------------------------


def _azure(stack: ExitStack, directory: Path, family: str, extra: dict[str, Any], open_it: Any) -> Rig:
    loopback = Loopback(directory)
    entra = stack.enter_context(Entra(loopback.server()))
    vault = stack.enter_context(KeyVaultApi(loopback.server(), entra))
    entra.applications[CLIENT].secrets = {AZURE_SECRET}
    access = {**loopback.access(entra.url), "client_secret": "env:AZURE_SIGN_IN", "tenant": TENANT}

    def entry(target: str) -> dict[str, Any]:
        return {"vault": vault.url, "name": target, **access, **extra}

    def served(target: str) -> Served | None:
        thing = vault.things.get((family, target))
        if thing is None or thing.deleted or not thing.versions:
            return None
        return open_it(thing.versions[-1].value)  # type: ignore[no-any-return]

    return Rig(
        (entra, vault),
        entry,
        served,
        {"AZURE_SIGN_IN": AZURE_SECRET},
        lambda: [AZURE_SECRET, *entra.issued],
    )


def azure_key_vault(stack: ExitStack, directory: Path) -> Rig:
    return _azure(stack, directory, "certificates", {}, lambda value: pfx(base64.b64decode(value), None))


def azure_key_vault_secret(stack: ExitStack, directory: Path) -> Rig:
    shape = {"shape": "application-gateway"}
    return _azure(stack, directory, "secrets", shape, lambda value: pfx(base64.b64decode(value), b""))


# --- others -------------------------------------------------------------------------------------------------------


def vault(stack: ExitStack, _: Path) -> Rig:
    fake = stack.enter_context(FakeVault())
    fake.tokens[VAULT_TOKEN] = fake.tokens.pop(next(iter(fake.tokens)))

    def served(target: str) -> Served | None:
        secret = fake.secrets.get(("", "secret", f"{target}/tls"))
        if secret is None or secret.current == 0 or secret.versions[secret.current]["data"] is None:
            return None
        return fields(json.dumps(secret.versions[secret.current]["data"]))

    def entry(target: str) -> dict[str, Any]:
        return {"address": fake.url, "path": f"secret/{target}/tls", "token": "env:VAULT_PAT"}

    return Rig((fake,), entry, served, {"VAULT_PAT": VAULT_TOKEN}, lambda: [VAULT_TOKEN])


def kubernetes(stack: ExitStack, _: Path) -> Rig:
    fake = stack.enter_context(FakeKubernetes())
    fake.users = {KUBE_TOKEN: None}

    def served(target: str) -> Served | None:
        data = fake.secrets.get(("default", target), {}).get("data")
        if data is None:
            return None
        return Served(base64.b64decode(data["tls.crt"]), base64.b64decode(data["tls.key"]))

    def entry(target: str) -> dict[str, Any]:
        return {"server": fake.url, "name": target, "token": "env:KUBE_TOKEN"}

    return Rig((fake,), entry, served, {"KUBE_TOKEN": KUBE_TOKEN}, lambda: [KUBE_TOKEN])


def github_secrets(stack: ExitStack, _: Path) -> Rig:
    fake = stack.enter_context(FakeGitHub())
    place = fake.places["/repos/octo/site"]

    def served(target: str) -> Served | None:
        return pem(place.value(target.upper())) if target.upper() in place.secrets else None

    def entry(target: str) -> dict[str, Any]:
        return {"api": fake.url, "repository": "octo/site", "name": target.upper(), "token": "env:GITHUB_PAT"}

    environ = {"GITHUB_PAT": GITHUB_TOKEN}
    return Rig((fake,), entry, served, environ, lambda: [GITHUB_TOKEN], lambda: fake.problems, returns_key=False)


def gitlab_variables(stack: ExitStack, _: Path) -> Rig:
    fake = stack.enter_context(FakeGitLab())

    def served(target: str) -> Served | None:
        found = fake.variables.get(("projects/7", target.upper(), "*"))
        return None if found is None else pem(base64.b64decode(found["value"]))

    def entry(target: str) -> dict[str, Any]:
        return {"api": fake.url, "project": "7", "name": target.upper(), "token": "env:GITLAB_PAT"}

    environ = {"GITLAB_PAT": GITLAB_TOKEN}
    return Rig((fake,), entry, served, environ, lambda: [GITLAB_TOKEN], lambda: fake.problems)


STORES: dict[str, Open] = {
    "file": file,
    "aws-secrets-manager": secrets_manager,
    "aws-ssm": ssm,
    "aws-s3": s3,
    "aws-acm": acm,
    "gcp-secret-manager": gcp_secret_manager,
    "gcp-certificate-manager": gcp_certificate_manager,
    "azure-key-vault": azure_key_vault,
    "azure-key-vault-secret": azure_key_vault_secret,
    "vault": vault,
    "kubernetes": kubernetes,
    "github-secrets": github_secrets,
    "gitlab-variables": gitlab_variables,
}
"""By their names in the catalogue; a test holds that these are all of its stores."""


def key_of(served: Served) -> x509.Certificate:
    """The leaf, if the key is its key. Raises `AssertionError`: a mixture would be served."""
    leaf = x509.load_pem_x509_certificate(served.chain)
    assert load_pem_private_key(served.key, None).public_key() == leaf.public_key(), "the key is another's"
    return leaf


@contextmanager
def opened(name: str, directory: Path) -> Iterator[Rig]:
    """The rig of a store."""
    with ExitStack() as stack:
        yield STORES[name](stack, directory)
