"""`account rotate-key`: whatever goes wrong, a file has the key that works, and the next run finishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ci_acme.ca.jws import thumbprint
from ci_acme.ca.keys import generate_key, key_to_pem, load_signer
from ci_acme.errors import AccountError, CaError, CiAcmeError, LeaseHeld
from ci_acme.model.material import KeyType
from ci_acme.model.secret import Secret
from ci_acme.runner import accounts
from ci_acme.runner.key_file import KeyFile
from ci_acme.sandbox.faults import Fault
from tests.runner.conftest import MakeWorld, World

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a CA that is told to fail."""
    monkeypatch.setattr("ci_acme.runner.rotation.PAUSE", 0.01)


def digest(path: Path) -> str:
    return thumbprint(load_signer(Secret(path.read_bytes()), str(path)).jwk)


def works(world: World) -> str:
    """The thumbprint of the account's key at the CA."""
    (account,) = world.ca._core.records.accounts.values()
    return account.jwk.thumbprint


def alone(world: World) -> bool:
    """No trace of a rotation beside the key."""
    return [path.name for path in world.directory.iterdir() if "account.pem" in path.name] == ["account.pem"]


def test_a_key_is_changed_and_the_old_one_is_gone(world: World) -> None:
    before = world.account("register")
    world.key.chmod(0o640)
    after = world.account("rotate-key")
    assert (after.action, after.changed, after.url) == ("rotated", True, before.url)
    assert after.previous_thumbprint == before.thumbprint != after.thumbprint
    assert works(world) == after.thumbprint == digest(world.key)
    assert world.key.stat().st_mode & 0o777 == 0o640
    assert alone(world)
    world.ca.log.clear()
    assert world.issue().error is None
    assert world.requests()["newAccount"] == 0


@pytest.mark.parametrize("kind", [KeyType.EC_P384, KeyType.RSA_2048])
def test_the_new_key_is_of_the_old_ones_type(world: World, kind: KeyType) -> None:
    world.key.write_bytes(key_to_pem(generate_key(kind)).reveal())
    world.account("register")
    assert world.account("rotate-key").key_type == kind.value


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_ca_that_advertises_it_and_does_not_have_it(world: World, status: int) -> None:
    before = world.account("register")
    key = world.key.read_bytes()
    world.ca.faults.key_change_status = status
    with pytest.raises(CaError, match=f"answers {status} there; nothing was changed") as raised:
        world.account("rotate-key")
    assert "account_key" in raised.value.fix
    assert world.key.read_bytes() == key
    assert alone(world)
    assert works(world) == before.thumbprint
    assert world.requests()["keyChange"] == 1


def test_a_ca_that_does_not_have_it(world: World) -> None:
    world.account("register")
    key = world.key.read_bytes()
    world.ca.faults.hidden = frozenset({"keyChange"})
    with pytest.raises(CaError, match="its directory has no keyChange; nothing was changed"):
        world.account("rotate-key")
    assert world.key.read_bytes() == key
    assert alone(world)
    assert world.requests()["keyChange"] == 0


def test_a_rate_limit_is_the_cas_word(world: World) -> None:
    world.account("register")
    world.ca.faults.rate_limit("keyChange", times=1, retry_after=3600)
    with pytest.raises(CiAcmeError) as raised:
        world.account("rotate-key")
    assert raised.value.exit_status == 8
    assert alone(world)
    assert world.account("rotate-key").action == "rotated"


def test_a_rate_limit_after_the_change_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last look at the account is for the report alone."""
    before = world.account("register")
    look_up = accounts.look_up

    def limited(*arguments: Any) -> Any:
        world.ca.faults.rate_limit("newAccount", times=None, retry_after=3600)
        return look_up(*arguments)

    monkeypatch.setattr(accounts, "look_up", limited)
    after = world.account("rotate-key")
    world.ca.faults.clear()
    assert (after.action, after.url) == ("rotated", before.url)
    assert works(world) == after.thumbprint == digest(world.key) != before.thumbprint


def test_a_lost_reply_is_looked_into(world: World) -> None:
    before = world.account("register")
    world.ca.faults.cut_after("keyChange", times=1)
    after = world.account("rotate-key")
    assert works(world) == after.thumbprint == digest(world.key) != before.thumbprint
    assert alone(world)
    assert world.requests()["keyChange"] == 1


@pytest.mark.parametrize("fault", ["cut_before", "unavailable"])
def test_a_lost_request_is_sent_again_for_the_same_key(world: World, fault: str) -> None:
    world.account("register")
    getattr(world.ca.faults, fault)("keyChange", times=1)
    after = world.account("rotate-key")
    assert works(world) == after.thumbprint == digest(world.key)
    assert alone(world)
    assert world.requests()["keyChange"] == 2


@pytest.mark.parametrize("fault", ["cut_before", "unavailable"])
def test_a_key_whose_fate_is_not_known_is_kept(world: World, fault: str) -> None:
    before = world.account("register")
    planned = getattr(world.ca.faults, fault)("keyChange", times=None)
    with pytest.raises(CiAcmeError, match=r"is not known, so .*account\.pem\.new keeps it") as raised:
        world.account("rotate-key")
    assert "rotate-key again" in raised.value.fix
    kept = digest(world.next_key)
    assert works(world) == before.thumbprint == digest(world.key)
    assert world.issue().error is None  # by the old key
    assert world.next_key.exists()
    planned.left = 0
    assert world.account("rotate-key").thumbprint == kept == works(world) == digest(world.key)
    assert alone(world)


def test_a_false_200_is_not_believed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.account("register")
    monkeypatch.setattr("ci_acme.runner.rotation.change_key", lambda *_: None)
    with pytest.raises(CiAcmeError, match="answered 200 and does not know the new key"):
        world.account("rotate-key")
    assert works(world) == before.thumbprint == digest(world.key)
    assert world.next_key.exists()


def cut_off(world: World) -> None:
    """The CA has taken the new key, and nobody has heard of it: keyChange was carried out, then silence."""
    faults = world.ca.faults
    faults.cut_after("keyChange", times=1)
    planned = faults.cut_before("newAccount", times=None)
    planned.left = 0
    take = faults.take

    def silent_from_key_change_on(kind: str) -> list[Fault]:
        if kind == "keyChange":
            planned.left = None
        return take(kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "take", silent_from_key_change_on)
        with pytest.raises(CiAcmeError, match="is not known"):
            world.account("rotate-key", timeout=4.0)
    planned.left = 0


@pytest.mark.parametrize("command", ["rotate-key", "show", "issue"])
def test_a_key_that_the_ca_has_taken_is_put_in_place_by_whatever_comes_next(world: World, command: str) -> None:
    before = world.account("register")
    cut_off(world)
    assert works(world) == digest(world.next_key) != digest(world.key) == before.thumbprint
    if command == "issue":
        assert world.issue().error is None
    else:
        assert world.account(command).thumbprint == works(world)
    assert works(world) == digest(world.key)
    assert alone(world)
    assert any("ended a key rotation of an earlier run" in text for text in world.texts())
    assert world.account("show").url == before.url


def test_what_is_no_key_is_left_alone(world: World) -> None:
    world.account("register")
    world.next_key.write_text("notes")
    assert world.issue().error is None
    with pytest.raises(AccountError, match=r"account\.pem\.new cannot be used") as raised:
        world.account("rotate-key")
    assert "away" in raised.value.fix
    assert world.next_key.read_text() == "notes"


def test_a_key_of_another_account_is_left_alone(world: World) -> None:
    world.account("register")
    first = world.key.read_bytes()
    world.key.unlink()
    world.account("register")
    world.next_key.write_bytes(first)
    with pytest.raises(AccountError, match="the old key has the account"):
        world.account("rotate-key")
    assert world.next_key.read_bytes() == first


@pytest.mark.parametrize("reference", ["env:ACCOUNT_KEY"])
def test_a_key_that_cannot_be_written_is_not_rotated(world: World, reference: str) -> None:
    world.account("register")
    world.environ["ACCOUNT_KEY"] = world.key.read_text()
    world.authority["account_key"] = reference
    with pytest.raises(AccountError, match="where ci-acme cannot write") as raised:
        world.account("rotate-key")
    assert "printenv ACCOUNT_KEY > account.pem" in raised.value.fix
    assert world.requests()["keyChange"] == 0


def test_a_directory_that_cannot_be_written_costs_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.account("register")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(AccountError, match="Permission denied"):
        world.account("rotate-key")
    assert world.requests()["keyChange"] == 0
    assert alone(world)


def test_two_at_once(world: World) -> None:
    world.account("register")
    with KeyFile(world.authority["account_key"]).only_one(), pytest.raises(LeaseHeld):
        world.account("rotate-key")
    assert world.account("rotate-key").action == "rotated"


def test_many_at_once_end_in_one_key(world: World) -> None:
    before = world.account("register")
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(world.account("rotate-key"))
        except CiAcmeError as error:
            ended.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(not isinstance(one, CiAcmeError) or isinstance(one, LeaseHeld) for one in ended), ended
    assert works(world) == digest(world.key) != before.thumbprint
    assert alone(world)


# killed


def start(world: World, step: int) -> subprocess.CompletedProcess[str]:
    """`account rotate-key` in a process that kills itself before or after its step number `step`; 0: never."""
    world.write()
    env = {**os.environ, **world.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'providers'}", "DIE_AT": str(step)}
    env.pop("CI", None)
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mortal.py")), "account", "rotate-key", "--output", "json"],
        cwd=world.directory, env=env, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_killed_at_every_step(make_world: MakeWorld) -> None:
    """Between any two file operations and requests: the key that works is on disk, and the next run goes on."""
    world = make_world()
    url = world.account("register").url
    deaths = 0
    for step in range(1, 200):
        ran = start(world, step)
        if ran.returncode == 0:
            break
        assert ran.returncode == -signal.SIGKILL, ran.stderr
        deaths += 1
        files = [path for path in (world.key, world.next_key) if path.exists()]
        assert works(world) in [digest(path) for path in files], f"step {step}"
        if step % 2:
            assert world.account("rotate-key").url == url
            assert alone(world)
        else:
            assert world.account("show").url == url  # settles, and leaves a key that was not taken for later
        assert works(world) == digest(world.key), f"step {step}"
    else:
        pytest.fail("it never came to its end")
    assert deaths >= 12
    assert json.loads(ran.stdout)["url"] == url
    assert works(world) == digest(world.key)
    assert alone(world)


# --- what killed runs left of making a key -----------------------------------------------------------------------


def test_what_killed_runs_left_of_a_key_goes_once_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "account.pem"
    rest = tmp_path / ".account.pem.part-1-2"
    others = [tmp_path / ".account.pem.new.part-1-2", tmp_path / ".other.pem.part-1-2"]
    for file in (rest, *others):
        file.write_bytes(b"unused")
    key_file = KeyFile(f"file:{path}")
    assert key_file.create(key_to_pem(generate_key()))
    assert not rest.exists()
    rest.hardlink_to(path)  # killed between the link and the unlink
    key_file.tidy()
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


@pytest.mark.parametrize("attempt", range(10))
def test_of_runs_that_make_a_key_at_once_one_does(tmp_path: Path, attempt: int) -> None:
    """Whoever comes second is tidied up after by the first, at whatever moment."""
    key_file = KeyFile(f"file:{tmp_path}/{attempt}/account.pem")
    keys = [key_to_pem(generate_key()) for _ in range(6)]
    with ThreadPoolExecutor(len(keys)) as pool:
        made = list(pool.map(key_file.create, keys))
    assert made.count(True) == 1
    assert key_file.path.read_bytes() == keys[made.index(True)].reveal()
    assert list(key_file.path.parent.iterdir()) == [key_file.path]
