"""Account URLs are remembered by CA and key."""

from __future__ import annotations

from ci_acme.state.accounts import Accounts
from ci_acme.state.engine import ANY, Entry
from ci_acme.state.memory import MemoryEngine

CA, OTHER_CA = "https://ca.example/directory", "https://other.example/directory"


def test_an_account_belongs_to_a_ca_and_a_key() -> None:
    engine = MemoryEngine()
    accounts = Accounts(engine)
    assert accounts.url(CA, "key") is None
    accounts.remember(CA, "key", "https://ca.example/account/1")
    accounts.remember(OTHER_CA, "key", "https://other.example/account/9")
    assert Accounts(engine).url(CA, "key") == "https://ca.example/account/1"
    assert accounts.url(OTHER_CA, "key") == "https://other.example/account/9"
    assert accounts.url(CA, "other key") is None
    accounts.remember(CA, "key", "https://ca.example/account/2")
    assert accounts.url(CA, "key") == "https://ca.example/account/2"
    for _ in range(2):
        accounts.forget(CA, "key")
        assert accounts.url(CA, "key") is None
    assert accounts.url(OTHER_CA, "key") is not None


def test_garbage_is_not_an_account() -> None:
    engine = MemoryEngine()
    accounts = Accounts(engine)
    accounts.remember(CA, "key", "https://ca.example/account/1")
    (key,) = engine.list("account/")
    for garbage in (b"", b"{", b"[]", b'{"url": 1}', b"\xff"):
        engine.write(key, garbage, expect=ANY)
        assert accounts.url(CA, "key") is None


def test_a_deactivated_account_is_known_and_not_used() -> None:
    accounts = Accounts(MemoryEngine())
    accounts.remember(CA, "key", "https://ca.example/account/1")
    assert accounts.deactivated(CA, "key") is None
    accounts.remember(CA, "key", "https://ca.example/account/1", deactivated=True)
    assert accounts.url(CA, "key") is None
    assert accounts.deactivated(CA, "key") == "https://ca.example/account/1"


def test_a_key_is_bound_to_the_first_directory() -> None:
    engine = MemoryEngine()
    accounts = Accounts(engine)
    for _ in range(2):
        assert accounts.claim(CA, "key") is None
        assert accounts.claim(OTHER_CA, "key") == CA
    accounts.remember(CA, "key", "https://ca.example/account/1")
    accounts.forget(CA, "key")
    assert accounts.claim(OTHER_CA, "key") == CA
    assert accounts.claim(OTHER_CA, "other key") is None


def test_of_two_claims_at_once_one_wins() -> None:
    class Overtaken(MemoryEngine):
        """Another run writes between our read and our write."""

        def read(self, key: str) -> Entry | None:
            found = super().read(key)
            if found is None:
                super().write(key, b'{"directory": "https://other.example/directory"}', expect=ANY)
            return found

    assert Accounts(Overtaken()).claim(CA, "key") == OTHER_CA


def test_a_garbled_binding_stops_nobody() -> None:
    engine = MemoryEngine()
    engine.write("account-key/key", b"{", expect=ANY)
    assert Accounts(engine).claim(CA, "key") is None
