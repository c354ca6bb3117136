"""As whom Azure is asked: what is chosen when, what is fetched afresh, and what each refusal of Entra ID tells."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ci_acme.errors import DnsCredentialsError, DnsUnreachable
from ci_acme.hosts.oidc import identity_token
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline
from ci_acme_providers.azure.config import AzureDnsSettings
from ci_acme_providers.azure.dns import AzureDns
from tests.clouds.api import Answer, Call, FakeApi, refuse
from tests.clouds.azure import Loopback, QuickClock, context, no_identity
from tests.clouds.azure_dns import RESOURCE, SUBSCRIPTION, AzureDnsApi, FakeZone
from tests.clouds.entra import AUDIENCE, CLIENT, GITHUB, SECRET, SUBJECT, TENANT, Entra, GitHubTokens, Token, jwt

ZONE = "ci.test"


class Place:
    """A provider for each way to sign in, against one fake."""

    def __init__(self, loopback: Loopback, entra: Entra, api: AzureDnsApi) -> None:
        self.loopback = loopback
        self.entra = entra
        self.api = api
        self.clock = QuickClock()

    def zones(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        identity: Callable[[str], Secret] = no_identity,
        secret: str = SECRET,
        **settings: Any,
    ) -> list[str]:
        """Sign in and list the zones."""
        values = {"zone": ".", "subscription": SUBSCRIPTION, "endpoint": self.api.url, **settings}
        environ = {"REQUESTS_CA_BUNDLE": str(self.loopback.files.ca_bundle), "PATH": "", **(environ or {})}
        environ.setdefault("AZURE_AUTHORITY_HOST", self.entra.url)
        made = context(environ=environ, identity=identity, secret=secret, clock=self.clock)
        provider = AzureDns(AzureDnsSettings.model_validate(values), made)
        return [zone.name for zone in provider.zones_for(ZONE, None, deadline=Deadline(self.clock, 30))]


PRINCIPAL = {"AZURE_CLIENT_ID": CLIENT, "AZURE_TENANT_ID": TENANT}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    loopback = Loopback(tmp_path)
    with Entra(loopback.server()) as entra, AzureDnsApi(loopback.server(), entra, [FakeZone(ZONE)]) as api:
        yield Place(loopback, entra, api)


def assertion(**claims: Any) -> Secret:
    now = int(time.time())
    standard = {"iss": GITHUB, "sub": SUBJECT, "aud": AUDIENCE, "nbf": now - 5, "exp": now + 300}
    return Secret(jwt({**standard, **claims}).encode())


# --- what is chosen


def test_the_identity_token_of_a_github_job_is_fetched_anew_each_time(place: Place) -> None:
    """Tokens of Azure that live too short to be kept: each needs an identity token of its own."""
    place.entra.lifetime = 60
    with GitHubTokens() as github:

        def identity(audience: str) -> Secret:
            return identity_token(audience, github.environment, deadline=Deadline(place.clock, 10))

        for _ in range(2):
            assert place.zones(PRINCIPAL, identity=identity) == [ZONE]
    assert len(github.given) >= 2
    assert place.entra.assertions == github.given, "every token that was fetched was used, and none of them twice"


def test_settings_name_the_application_and_the_environment_need_not(place: Place) -> None:
    assert place.zones(identity=lambda _: assertion(), client=CLIENT, tenant=TENANT) == [ZONE]


def test_a_federated_token_file_is_read_whenever_a_token_is_needed(place: Place, tmp_path: Path) -> None:
    place.entra.lifetime = 60
    path = tmp_path / "token"
    for number in range(2):
        path.write_bytes(assertion(jti=str(number)).reveal() + b"\n")
        environ = {**PRINCIPAL, "AZURE_FEDERATED_TOKEN_FILE": str(path)}
        assert place.zones(environ) == [ZONE]
    assert len(set(place.entra.assertions)) == 2


def test_a_secret_comes_last_of_what_proves_the_application(place: Place) -> None:
    environ = {**PRINCIPAL, "AZURE_CLIENT_SECRET": SECRET}
    assert place.zones(environ) == [ZONE]
    assert place.entra.assertions == []
    assert place.zones(environ, identity=lambda _: assertion()) == [ZONE]
    assert len(place.entra.assertions) == 1


def test_the_secret_of_the_config_wins(place: Place) -> None:
    assert place.zones(
        {"AZURE_TENANT_ID": TENANT}, identity=lambda _: assertion(), client=CLIENT, client_secret="env:SECRET"
    ) == [ZONE]
    assert place.entra.assertions == []


def az(directory: Path, token: str) -> str:
    """A PATH with an `az` that prints a token."""
    directory.mkdir()
    program = directory / "az"
    answer = json.dumps(
        {"accessToken": token, "expires_on": int(time.time()) + 3600, "expiresOn": "2099-01-01 00:00:00"}
    )
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{answer}\nE\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return f"{directory}:/usr/bin:/bin"


def test_what_az_login_left_is_used_for_nobody_in_particular(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.entra.issued["of-the-command-line"] = Token(CLIENT, RESOURCE, time.time() + 3600)
    path = az(tmp_path / "bin", "of-the-command-line")
    monkeypatch.setenv("PATH", path)  # where the SDK looks for the program
    assert place.zones({"PATH": path}) == [ZONE]
    with pytest.raises(DnsCredentialsError, match=f"nothing proves that we are the application {CLIENT}") as caught:
        place.zones({"PATH": path}, client=CLIENT, tenant=TENANT)
    assert "id-token: write" in caught.value.fix, "somebody else's login is not the application"


class ManagedIdentity(FakeApi):
    """The endpoint that App Service and Container Apps give to a job."""

    def handle(self, call: Call) -> Answer:
        if call.headers.get("x-identity-header") != "header":
            return Answer.of({"message": "no header"}, 400)
        return Answer.of(
            {
                "access_token": "of-the-machine",
                "expires_on": str(int(time.time()) + 3600),
                "resource": call.one("resource"),
                "token_type": "Bearer",
            }
        )


def test_a_managed_identity_that_the_environment_announces(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.entra.issued["of-the-machine"] = Token(CLIENT, RESOURCE, time.time() + 3600)
    with ManagedIdentity() as machine:
        environ = {"IDENTITY_ENDPOINT": f"{machine.url}/msi/token", "IDENTITY_HEADER": "header"}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)  # where the SDK looks for it
        assert place.zones(environ) == [ZONE]
        assert place.zones(environ, managed_identity=True, client=CLIENT) == [ZONE]
        assert machine.calls[-1].one("client_id") == CLIENT


def test_nothing_is_there_and_nothing_is_probed(place: Place) -> None:
    with pytest.raises(DnsCredentialsError, match="there are no Azure credentials") as caught:
        place.zones()
    assert "az login" in caught.value.fix
    with pytest.raises(DnsCredentialsError, match="has no tenant"):
        place.zones({"AZURE_CLIENT_ID": CLIENT})
    assert place.api.calls == place.entra.calls == []


def test_a_run_signs_in_once_for_all_its_adapters(place: Place) -> None:
    environ = {
        **PRINCIPAL,
        "AZURE_AUTHORITY_HOST": place.entra.url,
        "REQUESTS_CA_BUNDLE": str(place.loopback.files.ca_bundle),
    }
    run = context(environ=environ, identity=lambda _: assertion(), clock=place.clock)
    settings = AzureDnsSettings.model_validate({"zone": ".", "subscription": SUBSCRIPTION, "endpoint": place.api.url})
    for _ in range(3):
        AzureDns(settings, run).zones_for(ZONE, None, deadline=Deadline(place.clock, 30))
    assert len(place.entra.assertions) == 1


# --- what is refused


@pytest.mark.parametrize(
    ("claims", "code", "advice"),
    [
        ({"sub": "repo:example/shop:pull_request"}, "AADSTS700213", "subject repo:example/shop:pull_request"),
        ({"iss": "https://gitlab.com"}, "AADSTS700211", "issuer"),
        ({"aud": "api://other"}, "AADSTS700212", "audience"),
        ({"exp": 1}, "AADSTS700024", "clock"),
    ],
)
def test_an_identity_token_that_entra_does_not_trust(claims: Any, code: str, advice: str, place: Place) -> None:
    with pytest.raises(DnsCredentialsError, match=code) as caught:
        place.zones(PRINCIPAL, identity=lambda _: assertion(**claims))
    assert advice in caught.value.fix
    assert "Trace ID" not in caught.value.message
    assert caught.value.details["code"] == code


@pytest.mark.parametrize(
    ("settings", "secret", "code", "advice"),
    [
        ({}, "wrong", "AADSTS7000215", "its id"),
        ({"client": "unknown"}, SECRET, "AADSTS700016", "client and tenant"),
        ({"tenant": "elsewhere.example"}, SECRET, "AADSTS90002", "tenant"),
    ],
)
def test_a_secret_that_entra_does_not_take(settings: Any, secret: str, code: str, advice: str, place: Place) -> None:
    principal = {"client": CLIENT, "tenant": TENANT, "client_secret": "env:SECRET", **settings}
    with pytest.raises(DnsCredentialsError, match=code) as caught:
        place.zones(secret=secret, **principal)
    assert advice in caught.value.fix
    assert secret not in f"{caught.value!r} {caught.value.as_dict()}" or secret == "wrong"


def test_entra_is_busy_for_a_moment(place: Place) -> None:
    answer = Answer.of({"error": "temporarily_unavailable", "error_description": "AADSTS90033: busy"}, 503)
    place.entra.fail(lambda call: call.method == "POST", refuse(answer), times=2)
    assert place.zones(PRINCIPAL, identity=lambda _: assertion()) == [ZONE]
    assert len(place.clock.slept) == 2


def test_entra_cannot_be_reached(place: Place) -> None:
    for principal in ({}, {"client_secret": "env:SECRET"}):
        with pytest.raises(DnsUnreachable, match="refused"):
            place.zones(
                {"AZURE_AUTHORITY_HOST": "https://127.0.0.1:9"},
                identity=lambda _: assertion(),
                client=CLIENT,
                tenant=TENANT,
                **principal,
            )


def test_a_token_that_azure_does_not_take_any_more(place: Place) -> None:
    place.entra.lifetime = -1
    with pytest.raises(DnsCredentialsError, match="does not accept the token"):
        place.zones(PRINCIPAL, identity=lambda _: assertion())
