"""What GitHub does to a store: sealed secrets, Apps, rate limits, people and runs that write in between."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from ci_acme.clock import SystemClock
from ci_acme.companion import Companion
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.ports import Absent, Deadline, PermissionRequest, Present, Retired, Unusable
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme.testing.store_contract import soon
from ci_acme_providers.github.adapter import GithubStore
from ci_acme_providers.github.config import GithubSettings
from ci_acme_providers.github.permissions import policies
from tests.clouds.api import Answer, Call, refuse
from tests.clouds.github import TOKEN, FakeGitHub, quicken
from tests.contract.support import context, failing

REPOSITORY = "/repos/octo/site"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    quicken(monkeypatch)
    with FakeGitHub() as server:
        yield server
        assert server.problems == []


def make(github: FakeGitHub, *, secrets: dict[str, str] | None = None, **more: Any) -> GithubStore:
    environ = more.pop("environ", {})
    settings = {"api": github.url, "name": "SITE_TLS", "repository": "octo/site", "token": "env:TOKEN", **more}
    settings = {name: value for name, value in settings.items() if value is not None}
    return GithubStore(
        GithubSettings.model_validate(settings), context({"env:TOKEN": TOKEN, **(secrets or {})}, environ=environ)
    )


def publish(store: GithubStore, bundle: Bundle | None = None) -> Bundle:
    bundle = bundle or make_bundle()
    store.publish(bundle, make_metadata(bundle), deadline=soon())
    return bundle


def companion(github: FakeGitHub) -> Companion:
    found = Companion.from_text(github.places[REPOSITORY].variables["SITE_TLS_METADATA"]["value"])
    assert found is not None
    return found


def test_the_job_says_which_repository_and_which_api(github: FakeGitHub) -> None:
    environ = {"GITHUB_REPOSITORY": "octo/site", "GITHUB_API_URL": github.url}
    store = make(github, repository=None, api=None, environ=environ)
    publish(store)
    assert store.target == "octo/site/SITE_TLS"
    with pytest.raises(StoreReadError, match="it is not known whose secret is meant"):
        make(github, repository=None).read(deadline=soon())
    assert make(github, environment="live site").target == "octo/site/live site/SITE_TLS"


def test_a_workflow_gets_pem_in_lines_that_the_runner_masks(github: FakeGitHub) -> None:
    bundle = publish(make(github))
    assert github.places[REPOSITORY].value("SITE_TLS").encode() == bundle.fullchain + bundle.key.reveal()


def test_a_shape_of_several_fields_is_several_secrets_and_the_old_ones_go(github: FakeGitHub) -> None:
    place = github.places[REPOSITORY]
    bundle = publish(make(github, shape="nginx"))
    assert place.value("SITE_TLS_PRIVKEY_PEM").encode() == bundle.key.reveal()
    assert place.value("SITE_TLS_FULLCHAIN_PEM").encode() == bundle.fullchain
    assert isinstance(make(github, shape="nginx").read(deadline=soon()), Present)
    other = make(github)
    state = other.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks == "the shape that the config asks for"
    publish(other, bundle)
    assert set(place.secrets) == {"SITE_TLS"}
    state = make(github, base64=True).read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks == "the shape that the config asks for"
    assert make(github, shape="nginx").retire(purge=False, deadline=soon()) is Retired.REMOVED
    assert (place.secrets, place.variables) == ({}, {})


def test_a_run_that_died_while_it_wrote_is_told_apart(github: FakeGitHub) -> None:
    old = publish(make(github))
    bundle = make_bundle()
    no = refuse(Answer.of({"message": "gone"}, 507))
    with failing(github, lambda call: call.method == "PUT", no), pytest.raises(DeliveryError):
        publish(make(github), bundle)
    state = make(github).read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata == make_metadata(old)  # it had announced itself, and no more
    patches = iter([False, True])

    def second_patch(call: Call) -> bool:
        return call.method == "PATCH" and next(patches, True)

    with failing(github, second_patch, no, times=1), pytest.raises(DeliveryError):
        publish(make(github), bundle)
    state = make(github).read(deadline=soon())
    assert isinstance(state, Present)
    assert state.metadata == make_metadata(bundle)  # as long as its writer may be about to finish
    variable = github.places[REPOSITORY].variables["SITE_TLS_METADATA"]
    variable["updated_at"] = "2020-01-01T00:00:00Z"
    state = make(github).read(deadline=soon())
    assert isinstance(state, Unusable)
    publish(make(github), bundle)
    assert companion(github).following is None
    assert isinstance(make(github).read(deadline=soon()), Present)


def test_what_a_person_changed_is_not_taken_for_ours(github: FakeGitHub) -> None:
    publish(make(github))
    place = github.places[REPOSITORY]
    place.secrets["SITE_TLS"]["updated_at"] = "2031-01-01T00:00:00Z"
    assert isinstance(make(github).read(deadline=soon()), Unusable)
    publish(make(github))
    del place.variables["SITE_TLS_METADATA"]
    state = make(github).read(deadline=soon())
    assert isinstance(state, Unusable)
    assert "SITE_TLS_METADATA is missing" in state.reason
    for call in (make(github).probe, lambda deadline: publish(make(github))):
        with pytest.raises((StoreNotWritable, DeliveryError), match="was not written by ci-acme") as caught:
            call(deadline=soon())
        assert "adopt: true" in caught.value.fix
    place.variables["SITE_TLS_METADATA"] = {**place.secrets["SITE_TLS"], "value": "a person's"}
    del place.secrets["SITE_TLS"]
    with pytest.raises(StoreNotWritable, match="SITE_TLS_METADATA is there"):
        make(github).probe(deadline=soon())
    publish(make(github, adopt=True))
    assert isinstance(make(github).read(deadline=soon()), Present)


def test_a_secret_that_is_gone_is_absent_and_is_written_again(github: FakeGitHub) -> None:
    publish(make(github))
    del github.places[REPOSITORY].secrets["SITE_TLS"]
    assert make(github).read(deadline=soon()) == Absent()
    publish(make(github))
    assert isinstance(make(github).read(deadline=soon()), Present)
    with pytest.raises(DeliveryError, match="another certificate by now"):
        make(github).annotate(make_metadata(make_bundle()), deadline=soon())


def test_what_is_too_long_is_refused_before_anything_is_written(github: FakeGitHub) -> None:
    bundle = make_bundle()
    with pytest.raises(DeliveryError, match="the platform takes 49152"):
        publish(make(github), Bundle(bundle.key, bundle.certificate, bundle.chain * 200))
    assert github.writes == 0


def test_writers_that_never_let_go_are_named(github: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_acme.companion._PAUSE", 0.001)

    def overtake(call: Call, do: Any) -> Answer:
        answer = do(call)
        variable = github.places[REPOSITORY].variables["SITE_TLS_METADATA"]
        variable["value"] = Companion(writer="another").to_text()
        return answer

    github.fail(lambda call: call.method == "PUT", overtake, times=6)
    with pytest.raises(DeliveryError, match="other runs write it at the same time"):
        publish(make(github))
    publish(make(github))


def test_an_organisations_secret_says_who_may_see_it(github: FakeGitHub) -> None:
    place = github.places["/orgs/octo"]
    store = make(github, repository=None, organization="octo", visibility="selected", selected_repository_ids=[1, 2])
    store.probe(deadline=soon())
    bundle = publish(store)
    assert place.value("SITE_TLS").encode() == bundle.fullchain + bundle.key.reveal()
    assert (place.secrets["SITE_TLS"]["visibility"], place.variables["SITE_TLS_METADATA"]["visibility"]) == (
        "selected",
        "selected",
    )
    everyone = make(github, repository=None, organization="octo", visibility="all")
    assert isinstance(everyone.read(deadline=soon()), Present)
    publish(everyone)
    assert place.secrets["SITE_TLS"]["visibility"] == "all"
    assert everyone.retire(purge=False, deadline=soon()) is Retired.REMOVED
    assert (place.secrets, place.variables) == ({}, {})


# --- Apps and limits -------------------------------------------------------------------------------------------------


def test_an_app_shows_a_signed_token_and_gets_one_for_its_repository(github: FakeGitHub) -> None:
    key = rsa.generate_private_key(65537, 2048)
    seen: list[dict[str, Any]] = []

    def check(jwt: str) -> bool:
        head, body, signature = jwt.split(".")
        try:
            key.public_key().verify(_decode(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        seen.append(json.loads(_decode(body)))
        now = datetime.now(timezone.utc).timestamp()
        assert seen[-1]["iat"] < now < seen[-1]["exp"] <= now + 600
        return bool(json.loads(_decode(head)) == {"alg": "RS256", "typ": "JWT"})

    github.apps[7] = check
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    app: dict[str, Any] = {"token": None, "app_id": "12345", "installation_id": 7, "app_key": "env:APP_KEY"}
    publish(make(github, secrets={"env:APP_KEY": pem}, **app))
    assert [claims["iss"] for claims in seen] == ["12345"]  # once, for all requests
    minting = next(call for call in github.calls if call.path.startswith("/app/"))
    assert minting.json == {"repositories": ["site"]}
    publish(make(github, secrets={"env:APP_KEY": pem}, repository=None, organization="octo", **app))
    with pytest.raises(StoreReadError, match="could not be decoded") as caught:
        make(github, secrets={"env:APP_KEY": pem}, **{**app, "installation_id": 8}).read(deadline=soon())
    assert caught.value.fix
    ec_key = make_bundle().key.reveal().decode()
    for wrong in (ec_key, "no key"):
        with pytest.raises(StoreReadError, match="no RSA private key") as caught:
            make(github, secrets={"env:APP_KEY": wrong}, **app).read(deadline=soon())
        assert wrong not in str(caught.value.as_dict())


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Skipping(SystemClock):
    """A clock that does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_the_limit_of_writes_in_a_row_is_waited_for_and_the_hours_is_told(github: FakeGitHub) -> None:
    clock = Skipping()
    limited = Answer.of({"message": "You have exceeded a secondary rate limit"}, 403, **{"Retry-After": "30"})
    github.fail(lambda call: call.method == "GET", refuse(limited))
    assert make(github).read(deadline=Deadline(clock, 100)) == Absent()
    assert clock.slept == [30.0]
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1893456000"}
    github.fail(lambda call: True, refuse(Answer.of({"message": "API rate limit exceeded"}, 403, **spent)))
    with pytest.raises(StoreReadError, match="rate limit exceeded") as caught:
        make(github).read(deadline=soon())
    assert "2030-01-01T00:00:00Z" in caught.value.fix


def test_what_is_missing_is_named_by_github_own_words(github: FakeGitHub) -> None:
    github.tokens[TOKEN] = {"read"}
    with pytest.raises(DeliveryError, match="Resource not accessible") as caught:
        publish(make(github))
    assert "Secrets: write and Variables: write" in caught.value.fix
    assert "GITHUB_TOKEN cannot" in caught.value.fix
    with pytest.raises(StoreNotWritable, match="Not Found") as unknown:
        make(github, environment="nowhere").probe(deadline=soon())
    assert "Environments: write" in unknown.value.fix
    with pytest.raises(StoreReadError, match="Bad credentials"):
        make(github, secrets={"env:TOKEN": "other"}).read(deadline=soon())
    for settings in ({"repository": "octo/site"}, {"organization": "octo"}):
        entry = {"name": "SITE_TLS", "token": "env:T", **settings}
        (document,) = policies(PermissionRequest(GithubSettings.model_validate(entry)))
        assert "Variables: write" in document.text
        assert "octo" in document.text


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"token": None}, "token"),
        ({"token": None, "app_id": "1"}, "installation_id"),
        ({"app_id": "1"}, "token"),
        ({"organization": "octo", "repository": "octo/site"}, "organization"),
        ({"visibility": "selected"}, "selected_repository_ids"),
        ({"name": "GITHUB_TLS"}, "name"),
        ({"name": "site-tls"}, "name"),
        ({"fields": {"a.b": "key", "a-b": "chain"}}, "fields"),
        ({"fields": {"metadata": "key", "chain": "chain"}}, "fields"),
        ({"token": "ghp_literal"}, "token"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], where: str) -> None:
    entry = {"name": "SITE_TLS", "token": "env:A", **settings}
    with pytest.raises(ValidationError) as caught:
        GithubSettings.model_validate({name: value for name, value in entry.items() if value is not None})
    assert caught.value.errors()[0]["loc"][0] == where
    assert "ghp_literal" not in str(caught.value)
