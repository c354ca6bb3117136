"""Who asks Google Cloud: federation, files, tokens, the metadata server; and the secret source that uses them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from ci_acme.errors import ConfigError, Interrupted, SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme_providers.gcp.config import GoogleAccess, GoogleCloudDnsSettings, SecretManagerSettings
from ci_acme_providers.gcp.crc32c import crc32c
from ci_acme_providers.gcp.faults import NoCredentials, harmless
from ci_acme_providers.gcp.secret_source import read
from ci_acme_providers.gcp.session import GoogleSession
from tests.clouds.api import Answer, Call, FakeApi, lose_call, refuse
from tests.clouds.google_secrets import GoogleSecrets, Version
from tests.clouds.google_secrets import Secret as Stored
from tests.clouds.google_support import ACCESS, PROJECT, QuickClock, context, quick, trust
from tests.clouds.google_tokens import ACCOUNT, MEMBER, PROVIDER, CiTokens, GoogleTokens
from tests.structure.project import loaded_by

NAME = f"projects/{PROJECT}/secrets/eab"


@pytest.fixture
def tokens() -> Iterator[GoogleTokens]:
    with GoogleTokens() as tokens:
        yield tokens


@pytest.fixture
def ci() -> Iterator[CiTokens]:
    with CiTokens(time.time) as ci:
        yield ci


def session(made: ProviderContext, **access: Any) -> GoogleSession:
    return GoogleSession(GoogleAccess.model_validate(access), made)


def holder(tokens: GoogleTokens, token: str) -> str:
    return tokens.iam.tokens[token][0]


# --- federation


def test_the_job_itself_is_the_principal_without_a_service_account(tokens: GoogleTokens, ci: CiTokens) -> None:
    made = session(context(tokens, ci=ci), workload_identity_provider=PROVIDER)
    assert holder(tokens, made.bearer(quick())) == MEMBER


def test_a_token_is_used_again_while_it_lives(tokens: GoogleTokens, ci: CiTokens) -> None:
    trust(tokens)
    made = session(context(tokens, ci=ci), **ACCESS)
    assert made.bearer(quick()) == made.bearer(quick())
    assert len(ci.issued) == 1


def test_entries_of_one_identity_share_its_token(tokens: GoogleTokens, ci: CiTokens) -> None:
    trust(tokens)
    made, other = context(tokens, ci=ci), context(tokens, ci=ci)
    bearers = {
        session(made, **ACCESS, endpoint=url).bearer(quick()) for url in ("https://a.example", "https://b.example")
    }
    assert len(bearers) == len(tokens.exchanged) == 1
    assert session(made, workload_identity_provider=PROVIDER).bearer(quick()) not in bearers
    assert session(other, **ACCESS).bearer(quick()) not in bearers, "another run"


def test_the_environment_can_name_the_provider_for_all_entries(tokens: GoogleTokens, ci: CiTokens) -> None:
    trust(tokens)
    environ = {"CI_ACME_GCP_WORKLOAD_IDENTITY_PROVIDER": PROVIDER, "CI_ACME_GCP_SERVICE_ACCOUNT": ACCOUNT}
    made = session(context(tokens, ci=ci, environ=environ))
    assert holder(tokens, made.bearer(quick())) == f"serviceAccount:{ACCOUNT}"


def test_a_job_without_an_identity_is_told_what_to_grant(tokens: GoogleTokens) -> None:
    with pytest.raises(SecretError, match="no CI identity token"):
        session(context(tokens), **ACCESS).bearer(quick())


def test_token_services_that_fail_for_a_while_are_asked_again(tokens: GoogleTokens, ci: CiTokens) -> None:
    trust(tokens)
    tokens.fail(lambda call: call.path == "/v1/token", refuse(Answer(503)))
    tokens.fail(lambda call: "generateAccessToken" in call.path, lose_call)
    made = session(context(tokens, ci=ci), **ACCESS)
    assert holder(tokens, made.bearer(quick())) == f"serviceAccount:{ACCOUNT}"


def test_an_interrupt_ends_the_waiting_for_a_token(tokens: GoogleTokens, ci: CiTokens) -> None:
    clock = QuickClock()
    clock.stop()
    with pytest.raises(Interrupted):
        session(context(tokens, ci=ci), **ACCESS).bearer(Deadline(clock, 60))


def test_no_words_of_a_server_show_a_token(ci: CiTokens) -> None:
    token = ci.token("somebody")
    assert token not in harmless(f"bad token {token} given")
    assert "ya29.abc" not in harmless("bad token ya29.abc")


# --- what the environment has


def test_a_token_of_the_environment_is_taken_and_told_when_it_has_ended(tokens: GoogleTokens) -> None:
    made = session(context(tokens, environ={"GOOGLE_OAUTH_ACCESS_TOKEN": "good"}), project=PROJECT)
    assert made.bearer(quick()) == "good"
    with pytest.raises(NoCredentials, match="no other"):
        made.bearer(quick(), refused="good")


def test_an_external_account_file_as_the_github_action_writes_it(
    tokens: GoogleTokens, ci: CiTokens, tmp_path: Path
) -> None:
    trust(tokens)
    audience = f"//iam.googleapis.com/{PROVIDER}"
    account = f"v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    document = {
        "type": "external_account",
        "audience": audience,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{tokens.url}/v1/token",
        "service_account_impersonation_url": f"{tokens.url}/{account}",
        "credential_source": {
            "url": f"{ci.url}/token?audience=https:{audience}",
            "headers": {"Authorization": f"Bearer {ci.secret}"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
    }
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(document))
    made = session(context(tokens, environ={"GOOGLE_APPLICATION_CREDENTIALS": str(path)}), project=PROJECT)
    assert holder(tokens, made.bearer(quick())) == f"serviceAccount:{ACCOUNT}"


class KeyService(FakeApi):
    """Google's token endpoint for service account keys."""

    def handle(self, call: Call) -> Answer:
        assert b"assertion=" in call.body
        return Answer.of({"access_token": "good", "expires_in": 3600, "token_type": "Bearer"})


def key_file(url: str) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "type": "service_account",
        "project_id": "of-the-key",
        "private_key_id": "1",
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "client_email": ACCOUNT,
        "token_uri": url,
    }


def test_a_service_account_key_is_used_where_the_config_says_so(tokens: GoogleTokens) -> None:
    with KeyService() as service:
        key = json.dumps(key_file(service.url)).encode()
        made = session(context(tokens, secrets=lambda _: Secret(key)), credentials="env:GCP_KEY")
        assert made.bearer(quick()) == "good"
        assert made.project() == "of-the-key"


def test_gcloud_s_credentials_are_found_and_impersonate(tokens: GoogleTokens, tmp_path: Path) -> None:
    with KeyService() as service:
        (tmp_path / "application_default_credentials.json").write_text(json.dumps(key_file(service.url)))
        made = session(context(tokens, environ={"CLOUDSDK_CONFIG": str(tmp_path)}), service_account=ACCOUNT)
        assert holder(tokens, made.bearer(quick())) == f"serviceAccount:{ACCOUNT}"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"type": "service_account"}', '{"type": "unheard-of"}'])
def test_a_credentials_file_that_is_none_is_said_so(tokens: GoogleTokens, tmp_path: Path, content: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(content)
    for named in (path, tmp_path / "missing"):
        made = session(context(tokens, environ={"GOOGLE_APPLICATION_CREDENTIALS": str(named)}))
        with pytest.raises(NoCredentials) as caught:
            made.bearer(quick())
        assert str(named) in caught.value.message
        assert caught.value.fix


class Metadata(FakeApi):
    """The metadata server of a machine at Google."""

    def handle(self, call: Call) -> Answer:
        if call.headers.get("metadata-flavor") != "Google":
            return Answer(403)
        if call.path.endswith("/project/project-id"):
            return Answer(200, b"of-the-machine", {"Metadata-Flavor": "Google"})
        return Answer.of({"access_token": "good", "expires_in": 600, "token_type": "Bearer"})


def test_the_machine_s_service_account_serves_at_last(tokens: GoogleTokens) -> None:
    with Metadata() as metadata:
        environ = {"NO_GCE_CHECK": "", "GCE_METADATA_HOST": metadata.url.removeprefix("http://")}
        made = session(context(tokens, environ=environ))
        assert (made.bearer(quick()), made.project()) == ("good", "of-the-machine")


def test_nothing_at_all_is_said_so(tokens: GoogleTokens) -> None:
    with pytest.raises(NoCredentials) as caught:
        session(context(tokens)).bearer(quick())
    assert "workload_identity_provider" in caught.value.fix


@pytest.mark.parametrize(
    ("access", "environ", "project"),
    [
        ({"project": "said"}, {"GOOGLE_CLOUD_PROJECT": "other"}, "said"),
        ({}, {"GOOGLE_CLOUD_PROJECT": "of-the-environment"}, "of-the-environment"),
        ({"service_account": ACCOUNT}, {}, PROJECT),
    ],
)
def test_the_project(tokens: GoogleTokens, access: Any, environ: Mapping[str, str], project: str) -> None:
    assert session(context(tokens, environ=environ), **access).project() == project


def test_a_project_that_nobody_names_is_a_configuration_error(tokens: GoogleTokens) -> None:
    made = session(context(tokens, environ={"GOOGLE_OAUTH_ACCESS_TOKEN": "good"}))
    with pytest.raises(ConfigError, match="no Google Cloud project"):
        made.project()


def test_a_token_is_never_sent_in_the_clear(tokens: GoogleTokens) -> None:
    made = session(context(tokens), endpoint="http://secretmanager.example.com")
    with pytest.raises(ConfigError, match="https"):
        made.endpoint("secretmanager")


def test_settings_that_contradict_each_other_are_refused() -> None:
    for wrong in (
        {"credentials": "env:KEY", "workload_identity_provider": PROVIDER},
        {"audience": "somebody"},
        {"workload_identity_provider": "projects/my-project/pools/ci"},
        {"credentials": "a-literal-key"},
    ):
        with pytest.raises(ValidationError):
            GoogleAccess.model_validate(wrong)
    with pytest.raises(ValidationError):
        GoogleCloudDnsSettings.model_validate({"zone": "ci.test", "zone_id": "projects/p/zones/z"})
    for wrong in (
        {"alias": "latest"},
        {"location": "europe-west3", "replicas": "europe-west3"},
        {"labels": {"ci-acme-0": "x"}},
        {"name": "x" * 250, "hold_orders": True},
    ):
        with pytest.raises(ValidationError):
            SecretManagerSettings.model_validate({"name": "web", **wrong})


# --- start-up


def test_stores_need_neither_requests_nor_the_dns_client() -> None:
    """A kept certificate costs one metadata read: google-auth alone is loaded, and when it is needed."""
    assert not loaded_by("ci_acme_providers.gcp.secret_manager") & {"google", "requests"}
    program = (
        "import sys; from google.auth import identity_pool, impersonated_credentials;"
        "print([m for m in sys.modules if m in ('requests', 'google.cloud.dns', 'google.api_core', 'grpc')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# --- the secret source


@pytest.fixture
def secrets(tokens: GoogleTokens) -> Iterator[GoogleSecrets]:
    trust(tokens, ["secretmanager.versions.access"], NAME)
    with GoogleSecrets(tokens.iam) as api:
        api.secrets[NAME] = Stored(
            {"name": NAME, "versionAliases": {"old": "1"}}, [Version(b"first"), Version(b"two\n")]
        )
        regional = NAME.replace("/secrets/", "/locations/europe-west3/secrets/")
        tokens.iam.grant(f"serviceAccount:{ACCOUNT}", ["secretmanager.versions.access"], regional)
        api.secrets[regional] = Stored({"name": regional}, [Version(b"there")])
        yield api


def job(tokens: GoogleTokens, ci: CiTokens, secrets: GoogleSecrets) -> ProviderContext:
    environ = {
        "CI_ACME_GCP_WORKLOAD_IDENTITY_PROVIDER": PROVIDER,
        "CI_ACME_GCP_SERVICE_ACCOUNT": ACCOUNT,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"{secrets.url}/v1/",
    }
    return context(tokens, ci=ci, environ=environ)


@pytest.mark.parametrize(
    ("rest", "value"),
    [
        ("eab", b"two"),
        ("eab/versions/1", b"first"),
        ("eab/versions/old", b"first"),
        (NAME, b"two"),
        (f"{NAME}/versions/2", b"two"),
        (f"projects/{PROJECT}/locations/europe-west3/secrets/eab", b"there"),
    ],
)
def test_a_reference_is_read(
    tokens: GoogleTokens, ci: CiTokens, secrets: GoogleSecrets, rest: str, value: bytes
) -> None:
    assert read(rest, job(tokens, ci, secrets), deadline=quick()) == Secret(value)


@pytest.mark.parametrize("rest", ["a b", "projects/p", "eab/versions/", "projects/p/secrets/s/versions/1/x", "eab@1"])
def test_a_reference_that_names_nothing_is_said_so(
    tokens: GoogleTokens, ci: CiTokens, secrets: GoogleSecrets, rest: str
) -> None:
    with pytest.raises(SecretError, match="does not name"):
        read(rest, job(tokens, ci, secrets), deadline=quick())
    assert secrets.calls == []


def test_what_cannot_be_read_is_said_so(tokens: GoogleTokens, ci: CiTokens, secrets: GoogleSecrets) -> None:
    made = job(tokens, ci, secrets)
    with pytest.raises(SecretError) as caught:
        read("other", made, deadline=quick())
    assert "secretmanager.versions.access" in caught.value.fix
    secrets.secrets[NAME].versions[1].state = "DISABLED"
    with pytest.raises(SecretError, match="no version of it that is enabled"):
        read("eab", made, deadline=quick())
    secrets.secrets[NAME].versions[1] = Version(b" \n")
    with pytest.raises(SecretError, match="is empty"):
        read("eab", made, deadline=quick())


def test_a_damaged_payload_is_not_used(tokens: GoogleTokens, ci: CiTokens, secrets: GoogleSecrets) -> None:
    import base64

    payload = {"data": base64.b64encode(b"damaged").decode(), "dataCrc32c": str(crc32c(b"whole"))}
    secrets.fail(lambda _: True, refuse(Answer.of({"name": f"{NAME}/versions/2", "payload": payload})))
    with pytest.raises(SecretError, match="CRC32C") as caught:
        read("eab", job(tokens, ci, secrets), deadline=quick())
    assert "damaged\x00" not in caught.value.message


def test_crc32c_is_castagnoli_s() -> None:
    """RFC 3720 appendix B.4, and the check value of the polynomial."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"") == 0
