"""What GitLab does to a store: masking, scopes, hidden variables, people who change a value."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from ci_acme.companion import Companion
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.ports import Absent, PermissionRequest, Present, Unusable
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme.testing.store_contract import soon
from ci_acme_providers.gitlab.adapter import GitlabStore
from ci_acme_providers.gitlab.config import GitlabSettings
from ci_acme_providers.gitlab.permissions import policies
from tests.clouds.api import Answer, Call, refuse
from tests.clouds.gitlab import MAINTAINER, TOKEN, FakeGitLab, Token
from tests.contract.support import context, failing

OWNER = "projects/7"
KEY = (OWNER, "SITE_TLS", "*")


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as server:
        yield server
        assert server.problems == []


def make(gitlab: FakeGitLab, *, environ: dict[str, str] | None = None, token: str = TOKEN, **more: Any) -> GitlabStore:
    settings = {"api": gitlab.url, "name": "SITE_TLS", "project": "web/site", "token": "env:TOKEN", **more}
    settings = {name: value for name, value in settings.items() if value is not None}
    return GitlabStore(GitlabSettings.model_validate(settings), context({"env:TOKEN": token}, environ=environ))


def publish(store: GitlabStore, bundle: Bundle | None = None) -> Bundle:
    bundle = bundle or make_bundle()
    store.publish(bundle, make_metadata(bundle), deadline=soon())
    return bundle


def test_the_job_says_which_project_and_which_api(gitlab: FakeGitLab) -> None:
    environ = {"CI_PROJECT_ID": "7", "CI_API_V4_URL": gitlab.url}
    store = make(gitlab, project=None, api=None, environ=environ)
    publish(store)
    assert store.target == "7/SITE_TLS"
    assert make(gitlab, environment_scope="live/*").target == "web/site/SITE_TLS (live/*)"
    with pytest.raises(StoreReadError, match="it is not known whose variable is meant"):
        make(gitlab, project=None).read(deadline=soon())


def test_a_value_is_masked_in_one_line_and_raw(gitlab: FakeGitLab) -> None:
    bundle = publish(make(gitlab, protected=True))
    variable = gitlab.variables[KEY]
    assert base64.b64decode(variable["value"]) == bundle.fullchain + bundle.key.reveal()
    assert (variable["masked"], variable["raw"], variable["protected"]) == (True, True, True)
    companion = gitlab.variables[OWNER, "SITE_TLS_METADATA", "*"]
    assert (companion["masked"], companion["raw"]) == (False, True)
    assert bundle.key.reveal().splitlines()[1].decode() not in companion["value"]
    publish(make(gitlab, base64=False, masked=False, type="file", shape="nginx"))
    key = gitlab.variables[OWNER, "SITE_TLS_PRIVKEY_PEM", "*"]
    assert key["variable_type"] == "file"
    assert key["value"].startswith("-----BEGIN PRIVATE KEY-----\n")
    assert KEY not in gitlab.variables  # a name of the earlier shape


def test_a_value_that_a_person_changed_is_not_taken_for_ours(gitlab: FakeGitLab) -> None:
    publish(make(gitlab))
    other = make_bundle()
    variable = gitlab.variables[KEY]
    kept = variable["value"]
    variable["value"] = base64.b64encode(other.fullchain + other.key.reveal()).decode()  # its description stays
    assert isinstance(make(gitlab).read(deadline=soon()), Unusable)
    for junk in ("c29tZXRoaW5nIGVsc2U=", "something else", ""):
        variable["value"] = junk
        assert isinstance(make(gitlab).read(deadline=soon()), Unusable), junk
    certificates = base64.b64decode(kept).partition(b"-----BEGIN PRIVATE KEY")[0]
    variable["value"] = base64.b64encode(certificates + other.key.reveal()).decode()
    assert isinstance(make(gitlab).read(deadline=soon()), Unusable)
    variable["value"] = kept
    assert isinstance(make(gitlab).read(deadline=soon()), Present)
    variable["description"] = None
    assert isinstance(make(gitlab).read(deadline=soon()), Unusable)
    bundle = publish(make(gitlab))
    assert make(gitlab).read_bundle(deadline=soon()) == bundle


def test_another_shape_needs_no_order(gitlab: FakeGitLab) -> None:
    bundle = publish(make(gitlab, shape="json"))
    store = make(gitlab)
    state = store.read(deadline=soon())
    assert isinstance(state, Present)
    assert state.lacks == "the shape that the config asks for"
    assert store.read_bundle(deadline=soon()) == bundle


def test_a_run_that_died_while_it_wrote_is_told_apart(gitlab: FakeGitLab) -> None:
    old, bundle = publish(make(gitlab)), make_bundle()
    no = refuse(Answer.of({"message": "gone"}, 507))
    for when, there in ((lambda call: call.path.endswith("SITE_TLS"), old), (_second_companion(), bundle)):
        with failing(gitlab, when, no, times=1), pytest.raises(DeliveryError):
            publish(make(gitlab), bundle)
        state = make(gitlab).read(deadline=soon())
        assert isinstance(state, Present)
        assert state.metadata == make_metadata(there)
    publish(make(gitlab), bundle)
    companion = Companion.from_text(gitlab.variables[OWNER, "SITE_TLS_METADATA", "*"]["value"])
    assert companion is not None
    assert companion.following is None


def _second_companion() -> Any:
    turns = iter([False, True])

    def when(call: Call) -> bool:
        return call.method == "PUT" and call.path.endswith("_METADATA") and next(turns, True)

    return when


def test_hiding_is_for_new_variables(gitlab: FakeGitLab) -> None:
    publish(make(gitlab))
    with pytest.raises(StoreNotWritable, match="SITE_TLS is not hidden, which cannot be changed") as caught:
        make(gitlab, hidden=True).probe(deadline=soon())
    assert "delete SITE_TLS once" in caught.value.fix
    del gitlab.variables[KEY]
    make(gitlab, hidden=True).probe(deadline=soon())
    publish(make(gitlab, hidden=True))
    assert gitlab.variables[KEY]["hidden"] is True
    assert make(gitlab, hidden=True).read_bundle(deadline=soon()) is None
    assert isinstance(make(gitlab, hidden=True).read(deadline=soon()), Present)


def test_a_variable_of_others_is_left_alone(gitlab: FakeGitLab) -> None:
    gitlab.put(OWNER, "SITE_TLS", "mine")
    with pytest.raises(StoreNotWritable, match="SITE_TLS is there and was not written by ci-acme"):
        make(gitlab).probe(deadline=soon())
    with pytest.raises(DeliveryError, match="was not written by ci-acme"):
        publish(make(gitlab))
    assert make(gitlab, environment_scope="live").read(deadline=soon()) == Absent()
    publish(make(gitlab, environment_scope="live"))
    assert gitlab.variables[KEY]["value"] == "mine"
    publish(make(gitlab, adopt=True))
    gitlab.variables[OWNER, "SITE_TLS_METADATA", "*"]["value"] = '{"mine": 1}'
    with pytest.raises(DeliveryError, match="was not written by ci-acme"):
        make(gitlab).retire(purge=False, deadline=soon())


def test_what_a_token_lacks_is_found_before_an_order(gitlab: FakeGitLab) -> None:
    gitlab.tokens["reader"] = Token(MAINTAINER, ["read_api"])
    with pytest.raises(StoreNotWritable, match="the scopes read_api, with which it may not write") as caught:
        make(gitlab, token="reader").probe(deadline=soon())
    assert "role Maintainer and the scope api" in caught.value.fix
    gitlab.tokens["maintainer"] = Token(MAINTAINER, ["api"])
    with pytest.raises(StoreNotWritable, match="403 Forbidden") as group:
        make(gitlab, project=None, group="web", token="maintainer").probe(deadline=soon())
    assert "group access token of web with the role Owner" in group.value.fix
    with pytest.raises(StoreReadError, match="401"):
        make(gitlab, token="nobody").read(deadline=soon())
    with pytest.raises(StoreReadError, match="404 Project Not Found"):
        make(gitlab, project="web/other").read(deadline=soon())
    with pytest.raises(StoreReadError, match="not one word"):
        make(gitlab, token="two words").read(deadline=soon())
    (document,) = policies(PermissionRequest(GitlabSettings.model_validate({"name": "T", "token": "env:T"})))
    assert "scope api" in document.text


def test_what_no_process_could_be_given_is_refused(gitlab: FakeGitLab) -> None:
    bundle = make_bundle()
    huge = Bundle(bundle.key, bundle.certificate, bundle.chain * 300)
    with pytest.raises(DeliveryError, match="the platform takes 130560"):
        publish(make(gitlab), huge)
    assert gitlab.writes == 0
    publish(make(gitlab, type="file"), huge)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"group": "web", "project": "web/site"}, "group"),
        ({"token": "env:CI_JOB_TOKEN"}, "token"),
        ({"hidden": True, "masked": False}, "masked"),
        ({"base64": False}, "base64"),
        ({"base64": False, "shape": "json"}, "base64"),
        ({"fields": {"a.b": "key", "a-b": "chain"}}, "fields"),
        ({"name": "SITE-TLS"}, "name"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GitlabSettings.model_validate({"name": "SITE_TLS", "token": "env:A", **settings})
    assert caught.value.errors()[0]["loc"][0] == where


def test_pkcs12_is_one_line_without_more_base64() -> None:
    settings = {"name": "T", "token": "env:A", "shape": "pkcs12", "base64": False}
    assert GitlabSettings.model_validate(settings).made.base64 is False
