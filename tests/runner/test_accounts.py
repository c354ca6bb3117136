"""Accounts from the first key to the end, as the commands do it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ci_acme.ca.keys import generate_key, key_to_pem
from ci_acme.errors import AccountError, CiAcmeError, SecretError, UsageError
from ci_acme.runner import rotation
from ci_acme.runner.key_file import KeyFile
from ci_acme.state.accounts import Accounts
from ci_acme.state.engine import open_state
from tests.runner.conftest import MakeWorld, World

HMAC = bytes(range(64))


def accounts(world: World) -> Mapping[str, str]:
    """Thumbprint -> URL of the account that the CA has for a key."""
    return {one.jwk.thumbprint: one.url for one in world.ca._core.records.accounts.values()}


# register


def test_an_account_is_registered_once(world: World) -> None:
    asked: list[str] = []
    report = world.account("register", agree=lambda url: asked.append(url) is None)
    assert asked == [report.terms_of_service]
    assert (report.action, report.changed, report.status) == ("registered", True, "valid")
    assert accounts(world) == {report.thumbprint: report.url}
    assert (report.contact, report.terms_agreed) == (("ops@example.com",), True)
    assert world.key.stat().st_mode & 0o777 == 0o600
    assert any(str(report.terms_of_service) in text for text in world.texts())
    for action in ("found", "found"):
        again = world.account("register", agree=lambda url: pytest.fail("asked again"))
        assert (again.action, again.changed, again.url, again.terms_agreed) == (action, False, report.url, True)
    assert world.issue().error is None
    assert len(accounts(world)) == 1


def test_terms_are_agreed_to_by_a_person_or_by_the_config(world: World) -> None:
    with pytest.raises(AccountError, match=r"/terms$"):
        world.account("register", agree=lambda url: False)
    assert accounts(world) == {}
    world.authority["agree_terms"] = True
    assert world.account("register", agree=lambda url: pytest.fail("asked")).action == "registered"


def test_registering_is_explicit_and_so_allowed_in_ci(world: World) -> None:
    world.environ["CI"] = "true"
    report = world.account("register", allow_new_account=False)
    assert report.action == "registered"
    assert any("keep it as a secret" in text for text in world.texts())
    world.events.clear()
    world.account("register", allow_new_account=False)
    assert not any("keep it as a secret" in text for text in world.texts())


@pytest.mark.parametrize("alg", [None, "HS256", "HS384", "HS512"])
def test_external_accounts(make_world: MakeWorld, alg: str | None) -> None:
    world = make_world(external_accounts={"kid-1": HMAC}, external_account_required=True)
    with pytest.raises(AccountError, match="wants an external account"):
        world.account("register")
    section = {"key_id": "env:EAB_KID", "hmac_key": "env:EAB_HMAC", **({"alg": alg} if alg else {})}
    world.authority["external_account"] = section
    with pytest.raises(SecretError, match="EAB_HMAC"):
        world.account("register")
    world.environ.update(EAB_KID="kid-1", EAB_HMAC=base64.urlsafe_b64encode(HMAC).decode())
    report = world.account("register")
    assert (report.action, report.external_account) == ("registered", True)
    del world.authority["external_account"]
    assert world.account("show").external_account is True
    assert not any(world.environ["EAB_HMAC"] in repr(event) for event in world.events)


@pytest.mark.parametrize("command", ["register", "issue"])
def test_a_credential_for_one_account_is_not_lost_with_a_reply(make_world: MakeWorld, command: str) -> None:
    world = make_world(external_accounts={"kid-1": HMAC}, external_account_required=True)
    world.ca.faults.bindings_once = True
    world.ca.faults.cut_after("newAccount", times=1)
    world.environ["EAB_HMAC"] = base64.urlsafe_b64encode(HMAC).decode()
    world.authority.update(external_account={"key_id": "kid-1", "hmac_key": "env:EAB_HMAC"}, agree_terms=True)
    if command == "issue":
        assert world.issue().error is None
    else:
        assert world.account("register").action == "registered"
    assert len(accounts(world)) == 1


def test_the_key_is_durable_before_the_credential_is_spent(make_world: MakeWorld) -> None:
    """The connection ends for good after the account was made: the next run finds it by the key that is on disk."""
    world = make_world(external_accounts={"kid-1": HMAC}, external_account_required=True)
    world.ca.faults.bindings_once = True
    fault = world.ca.faults.cut_after("newAccount", times=None)
    world.environ["EAB_HMAC"] = base64.urlsafe_b64encode(HMAC).decode()
    world.authority.update(external_account={"key_id": "kid-1", "hmac_key": "env:EAB_HMAC"}, agree_terms=True)
    with pytest.raises(CiAcmeError):
        world.account("register", timeout=2.0)
    assert len(accounts(world)) == 1
    fault.left = 0
    report = world.account("register")
    assert (report.action, accounts(world)) == ("found", {report.thumbprint: report.url})


# show, update, deactivate


def test_without_a_key_or_an_account_the_fix_is_to_register(world: World) -> None:
    for action in ("show", "update", "rotate-key", "deactivate"):
        with pytest.raises(AccountError, match="there is no account key at") as raised:
            world.account(action)
        assert "ci-acme account register" in raised.value.fix
        assert not world.key.exists()
    with pytest.raises(AccountError):
        world.account("register", agree=lambda url: False)
    for action in ("show", "update", "rotate-key", "deactivate"):
        with pytest.raises(AccountError, match="has no account at") as raised:
            world.account(action)
        assert "ci-acme account register" in raised.value.fix
    assert not world.next_key.exists()


def test_contacts_follow_the_config(world: World) -> None:
    world.account("register")
    assert world.account("update").action == "unchanged"
    world.authority["contact"] = ["a@example.com", "b@example.com"]
    changed = world.account("update")
    assert (changed.action, changed.changed, changed.contact) == ("updated", True, ("a@example.com", "b@example.com"))
    del world.authority["contact"]
    assert world.account("update").contact == ()
    assert world.account("show").contact == ()


def test_the_state_is_not_needed(world: World) -> None:
    url = world.account("register").url
    (world.directory / "state.db").unlink()
    assert world.account("show").url == url
    world.ca.log.clear()
    assert world.issue().error is None
    assert world.requests()["newAccount"] == 0  # `show` has told the state


def test_deactivating_asks_and_may_be_repeated(world: World) -> None:
    url = world.account("register").url
    asked: list[str] = []
    with pytest.raises(UsageError, match="was not deactivated"):
        world.account("deactivate", agree=lambda subject: bool(asked.append(subject)))
    assert asked == [url]
    assert world.account("show").status == "valid"
    assert world.account("deactivate").changed
    for _ in range(2):
        again = world.account("deactivate", agree=lambda subject: pytest.fail("asked again"))
        assert (again.changed, again.status, again.url) == (False, "deactivated", url)
    assert world.account("show").status == "deactivated"
    for action in ("register", "update", "rotate-key"):
        with pytest.raises(AccountError, match="deactivated"):
            world.account(action)
    error = world.issue().error
    assert error is not None
    assert error.code == "config.account"


def test_a_ca_that_forgets_deactivated_accounts(world: World) -> None:
    url = world.account("register").url
    world.account("deactivate")
    world.ca._core.records.accounts.clear()
    again = world.account("deactivate")
    assert (again.changed, again.status, again.url) == (False, "deactivated", url)
    error = world.issue().error
    assert error is not None
    assert "account register" in error.fix
    assert not world.ca._core.records.accounts, "no run registers the key of an ended account by itself"
    assert world.account("register").action == "registered"
    assert world.issue().error is None


# which authority, which key


def test_several_authorities_need_a_name(world: World) -> None:
    world.config["authorities"]["other"] = {**world.authority, "account_key": f"file:{world.directory}/other.pem"}
    world.config["certificates"]["web"]["authority"] = "sandbox"
    for name in (None, "third"):
        with pytest.raises(UsageError) as raised:
            world.account("register", name)
        assert "sandbox, other" in raised.value.fix
    assert world.account("register", "other").authority == "other"
    assert (world.directory / "other.pem").exists()
    assert not world.key.exists()


def test_a_key_is_for_one_directory(make_world: MakeWorld) -> None:
    first, second = make_world(), make_world()
    first.config["authorities"]["second"] = {**second.authority, "account_key": first.authority["account_key"]}
    first.config["certificates"]["web"]["authority"] = "sandbox"
    with pytest.raises(AccountError) as raised:
        first.account("register", "second")
    for words in ("sandbox", "second", first.ca.directory_url, second.ca.directory_url):
        assert words in raised.value.message
    assert "account-second.pem" in raised.value.fix
    error = first.issue().error
    assert error is not None
    assert error.code == "config.account"
    assert accounts(first) == accounts(second) == {}


def test_a_key_is_for_one_directory_in_every_config_of_a_state(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "is_loopback", lambda host: False)  # sandboxes share keys as they like
    first, second = make_world(), make_world()
    assert first.account("register").action == "registered"
    second.config["state"] = first.config["state"]
    second.authority["account_key"] = f"file:{second.directory}/copy.pem"
    (second.directory / "copy.pem").write_bytes(first.key.read_bytes())
    error = second.issue().error
    assert error is not None
    assert error.code == "config.account"
    assert first.ca.directory_url in error.message
    assert second.ca.directory_url in error.message
    with pytest.raises(AccountError, match="a key serves one CA only"):
        second.account("register")
    assert accounts(second) == {}


def test_check_finds_a_shared_key(make_world: MakeWorld) -> None:
    first, second = make_world(), make_world()
    first.account("register")
    first.config["authorities"]["second"] = {**second.authority, "account_key": first.authority["account_key"]}
    first.config["certificates"]["web"]["authority"] = "sandbox"
    lines = [line for line in first.run(command="check").check([]) if line.level == "error"]
    assert [line.code for line in lines] == ["config.account"]


def test_a_symlink_is_followed(world: World, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    world.key.symlink_to(tmp_path / "vault" / "real.pem")
    first = world.account("register")
    assert (tmp_path / "vault" / "real.pem").exists()
    rotated = world.account("rotate-key")
    assert world.key.is_symlink()
    assert rotated.url == first.url
    assert sorted(path.name for path in (tmp_path / "vault").iterdir()) == ["real.pem"]


def test_the_state_remembers_the_key_of_a_rotation(world: World) -> None:
    first = world.account("register")
    second = world.account("rotate-key")
    state = open_state(world.config["state"], clock=world.run()._clock)
    remembered = Accounts(state)
    assert remembered.url(world.ca.directory_url, second.thumbprint) == first.url
    assert remembered.url(world.ca.directory_url, first.thumbprint) is None
    assert remembered.claim("https://other.example/dir", second.thumbprint) == world.ca.directory_url
    state.close()


@pytest.mark.parametrize("content", ["", "\n"])
def test_a_file_without_content_is_no_key_yet(world: World, content: str) -> None:
    """As `touch` leaves it, or a secret that has no value yet: the contract says "writable and empty"."""
    world.key.write_text(content)
    with pytest.raises(AccountError, match="there is no account key"):
        world.account("show")
    with pytest.raises(AccountError, match="there is no account key"):
        world.account("rotate-key")
    report = world.account("register")
    assert accounts(world) == {report.thumbprint: report.url}
    assert world.key.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in world.directory.iterdir() if "account.pem" in path.name] == ["account.pem"]


def test_a_file_without_content_is_filled_by_the_first_issue_that_may(world: World) -> None:
    world.key.touch()
    world.environ["CI"] = "true"
    error = world.issue(allow_new_account=False).error
    assert error is not None
    assert "there is no account key" in error.message
    assert world.key.read_bytes() == b""
    assert world.issue().error is None
    assert len(accounts(world)) == 1


def test_a_file_without_content_is_filled_once(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / f"{attempt}.pem"
        path.touch()
        keys = [key_to_pem(generate_key()) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda key, path=path: KeyFile(f"file:{path}").create(key), keys))
        assert made.count(True) == 1
        assert path.read_bytes() == keys[made.index(True)].reveal()
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"{attempt}.pem" for attempt in range(5)]


@pytest.mark.parametrize("key", ["ec-p256", "ec-p384", "rsa-2048"])
def test_the_key_of_a_certificate_is_refused_as_account_key(world: World, key: str) -> None:
    """RFC 8555 section 11.1, from the side that a config can get wrong; and the next renewal would overwrite it."""
    world.config["certificates"]["web"]["key"] = key
    assert world.issue().error is None
    before = (world.store / "privkey.pem").read_bytes()
    known = accounts(world)
    world.authority["account_key"] = f"file:{world.store / 'privkey.pem'}"
    with pytest.raises(AccountError, match="is the key of a certificate"):
        world.account("register")
    error = world.issue(force=True).error
    assert isinstance(error, AccountError)
    assert "is the key of a certificate" in error.message
    world.config["certificates"]["web"]["stores"][0]["directory"] = str(world.directory / "others")
    error = world.issue().error
    assert isinstance(error, AccountError), "the inventory knows it, too"
    assert accounts(world) == known
    assert (world.store / "privkey.pem").read_bytes() == before
