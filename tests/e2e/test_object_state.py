"""State in a bucket, as fleets of runners without a disk of their own have it."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.e2e.lab import Lab, check_store, finish
from tests.servers.buckets import Buckets, answer, meanwhile
from tests.state.object_support import FACES, url_of

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("face", FACES)
def test_a_run_with_its_state_in_a_bucket(lab: Lab, face: str) -> None:
    with Buckets(face) as server:
        lab.config["state"] = url_of(server)
        ran = lab.issue(environ=server.environment())
        assert ran.status == 0, ran.stderr
        check_store(lab.store, lab.web["names"])
        kept = [name.removeprefix("team/ci/") for name in server.store.objects]
        assert not [name for name in kept if name.startswith(("s/journal", "k/run"))], "nothing is left of the run"
        assert [name for name in kept if name.startswith("k/account/")]
        server.calls.clear()
        assert lab.issue(environ=server.environment()).certificate["action"] == "kept"
        assert not server.calls, "what is kept costs no request of the state either"
        assert not (lab.directory / ".ci-acme" / "state.db").exists()


def test_another_runner_cleans_up_after_one_that_was_killed(lab: Lab) -> None:
    with Buckets("s3") as server:
        lab.config["state"] = url_of(server)
        process = lab.start("issue", environ=server.environment())
        server.inject(meanwhile(process.kill), when=lambda call: b'"what":"placed"' in call.body)
        assert finish(process).status == -signal.SIGKILL
        assert lab.bind.leftovers()
        shutil.rmtree(lab.directory / ".ci-acme", ignore_errors=True)
        ran = lab.run("cleanup", environ=server.environment())
        assert ran.status == 0, ran.stderr
        assert lab.bind.leftovers() == []
        assert not [name for name in server.store.objects if "/journal" in name]


def test_a_bucket_that_refuses_stops_the_run_before_anything(lab: Lab) -> None:
    with Buckets("s3") as server:
        lab.config["state"] = url_of(server)
        server.inject(answer(403, b"<Error><Code>AccessDenied</Code></Error>"), times=20)
        ran = lab.issue(environ=server.environment())
        assert ran.status == 2
        assert "s3:ListBucket" in ran.stdout
        assert lab.orders() == 0
        assert "hunter" not in ran.stdout + ran.stderr
