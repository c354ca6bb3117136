"""A fault at any request of a write: the old certificate or the new one is there, whole and told truly."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from ci_acme import shapes
from ci_acme.clock import SystemClock
from ci_acme.errors import CiAcmeError
from ci_acme.model.material import Bundle
from ci_acme.ports import CertificateStore, Deadline, Present, Unusable
from ci_acme.testing.material import make_bundle, make_metadata
from ci_acme_providers.github.adapter import GithubStore
from ci_acme_providers.github.config import GithubSettings
from ci_acme_providers.gitlab.adapter import GitlabStore
from ci_acme_providers.gitlab.config import GitlabSettings
from ci_acme_providers.kubernetes.adapter import KubernetesStore
from ci_acme_providers.kubernetes.config import KubernetesSettings
from ci_acme_providers.vault.adapter import VaultStore
from ci_acme_providers.vault.config import VaultSettings
from tests.clouds.api import Answer, Call, FakeApi, Fault, commit_then, lose_call, lose_reply, refuse
from tests.clouds.github import SPEED, FakeGitHub, quicken
from tests.clouds.github import TOKEN as GITHUB
from tests.clouds.gitlab import TOKEN as GITLAB
from tests.clouds.gitlab import FakeGitLab
from tests.clouds.kubernetes import ADMIN, FakeKubernetes
from tests.clouds.vault import ROOT, FakeVault
from tests.contract.support import context


class Skipping(SystemClock):
    """A clock that waits for a tick of GitHub's, and for nothing longer."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds if seconds <= 1 / SPEED else 0)


@dataclass
class Rig:
    """A fake, a store on it, and what a deployment would read there: one PEM text, None if nothing."""

    fake: FakeApi
    store: CertificateStore
    serving: Callable[[], bytes | None]


@contextmanager
def vault() -> Iterator[Rig]:
    with FakeVault() as fake:

        def serving() -> bytes | None:
            secret = fake.secrets.get(("", "secret", "web/tls"))
            if secret is None or secret.current == 0:
                return None
            data = secret.versions[secret.current]["data"]
            return (data["fullchain"] + data["private_key"]).encode()

        settings = VaultSettings.model_validate({"address": fake.url, "path": "secret/web/tls", "token": "env:T"})
        yield Rig(fake, VaultStore(settings, context({"env:T": ROOT}, clock=Skipping())), serving)


@contextmanager
def kubernetes() -> Iterator[Rig]:
    with FakeKubernetes() as fake:

        def serving() -> bytes | None:
            data = fake.secrets.get(("default", "site"), {}).get("data")
            return None if data is None else b"".join(base64.b64decode(data[name]) for name in ("tls.crt", "tls.key"))

        settings = KubernetesSettings.model_validate({"server": fake.url, "token": "env:T", "name": "site"})
        yield Rig(fake, KubernetesStore(settings, context({"env:T": ADMIN}, clock=Skipping())), serving)


@contextmanager
def github() -> Iterator[Rig]:
    with FakeGitHub() as fake:
        place = fake.places["/repos/octo/site"]

        def serving() -> bytes | None:
            return place.value("TLS").encode() if "TLS" in place.secrets else None

        entry = {"api": fake.url, "repository": "octo/site", "name": "TLS", "token": "env:T"}
        settings = GithubSettings.model_validate(entry)
        yield Rig(fake, GithubStore(settings, context({"env:T": GITHUB}, clock=Skipping())), serving)


@contextmanager
def gitlab() -> Iterator[Rig]:
    with FakeGitLab() as fake:

        def serving() -> bytes | None:
            found = fake.variables.get(("projects/7", "TLS", "*"))
            return None if found is None else base64.b64decode(found["value"])

        settings = GitlabSettings.model_validate({"api": fake.url, "project": "7", "name": "TLS", "token": "env:T"})
        yield Rig(fake, GitlabStore(settings, context({"env:T": GITLAB}, clock=Skipping())), serving)


FAULTS: dict[str, Fault] = {
    "refused": refuse(Answer.of({"message": "no", "errors": ["no"]}, 403)),
    "garbage": refuse(Answer(200, b"<html>a proxy's page</html>")),
    "done, and then failed": commit_then(Answer.of({"message": "broken"}, 507)),
    "answer lost": lose_reply,
    "never arrived": lose_call,
}


@pytest.mark.parametrize(
    ("fault", "forever"),
    [
        ("refused", False),
        ("garbage", False),
        ("done, and then failed", False),
        ("answer lost", False),
        ("refused", True),
        ("never arrived", True),
    ],
)
@pytest.mark.parametrize("rig", [vault, kubernetes, github, gitlab])
def test_a_fault_at_any_step_loses_nothing(
    rig: Any, fault: str, forever: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicken(monkeypatch)
    old, new = make_bundle(), make_bundle()
    step = 0
    with rig() as made:
        while True:
            step += 1
            assert step < 40
            publish(made.store, old)
            reached = at_step(made, step, FAULTS[fault], forever, lambda: publish(made.store, new))
            state = made.store.read(deadline=soon())
            serving = made.serving()
            assert serving in {pem(old), pem(new)}, step
            if isinstance(state, Present):
                assert state.metadata in {make_metadata(old), make_metadata(new)}
                truth = old if serving == pem(old) else new
                assert state.metadata is not None
                assert state.metadata.sha256 == shapes.fingerprint(truth.certificate), step
            else:
                assert isinstance(state, Unusable), step
            publish(made.store, new)
            assert made.serving() == pem(new)
            if not reached:
                break
        assert step > 3


def at_step(rig: Rig, step: int, fault: Fault, forever: bool, work: Callable[[], object]) -> bool:
    """Do the work with a fault at the nth request; whether there were so many. What is said shows no key."""
    seen = 0
    original = rig.fake.respond

    def respond(call: Call) -> Answer | None:
        nonlocal seen
        with rig.fake.lock:
            seen += 1
            hit = seen == step or (forever and seen > step)
        return fault(call, rig.fake.handle) if hit else original(call)

    rig.fake.respond = respond  # type: ignore[method-assign]
    failure = failure_of(work)
    del rig.fake.respond  # type: ignore[method-assign]
    if failure is not None:
        said = f"{failure!r} {failure.as_dict()!r} {failure.__cause__!r}"
        assert failure.fix
        assert not [line for line in ("PRIVATE KEY", *KEY_LINES) if line in said]
    return seen >= step


def failure_of(work: Callable[[], object]) -> CiAcmeError | None:
    try:
        work()
    except CiAcmeError as error:
        return error
    return None


@pytest.mark.parametrize("rig", [vault, kubernetes, github, gitlab])
def test_a_proxys_page_is_no_absent_certificate(rig: Any) -> None:
    """At whichever request of a read it comes: what is there is known, or it is said that it is not."""
    with rig() as made:
        bundle = make_bundle()
        publish(made.store, bundle)
        for step in range(1, 9):
            at_step(made, step, FAULTS["garbage"], False, lambda: read_it(made.store))


def read_it(store: CertificateStore) -> None:
    assert isinstance(store.read(deadline=soon()), Present)


KEY_LINES: list[str] = []


def publish(store: CertificateStore, bundle: Bundle) -> None:
    KEY_LINES[:] = [line.decode() for line in bundle.key.reveal().splitlines()[1:-1]]
    store.publish(bundle, make_metadata(bundle), deadline=soon())


def pem(bundle: Bundle) -> bytes:
    return bundle.fullchain + bundle.key.reveal()


def soon() -> Deadline:
    return Deadline(Skipping(), 60)
