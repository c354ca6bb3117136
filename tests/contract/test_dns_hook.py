"""The contract of DNS providers, by a shell script that changes a BIND with nsupdate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ci_acme.clock import SystemClock
from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import DnsProvider, ProviderContext
from ci_acme.testing.dns_contract import DnsProviderContract
from ci_acme_providers.hooks.config import HookSettings
from ci_acme_providers.hooks.hook import Hook
from tests.dns.servers import Server, ask_txt
from tests.servers.bind import OTHER_SECRET, SECRET, Bind
from tests.servers.hook import VARIABLES, hook_environment, write_hook

pytestmark = pytest.mark.servers
ZONE = "hook.test"


def no_secrets(reference: str) -> Secret:
    raise SecretError(f"a hook reads no secrets: {reference}")


class Rig:
    zone = ZONE

    def __init__(self, bind: Bind, program: Path) -> None:
        self._bind = bind
        self._settings = HookSettings(zone=ZONE, program=str(program), environment=VARIABLES, parallel=4)

    def provider(self, *, good: bool = True) -> DnsProvider:
        environ = hook_environment(self._bind, ZONE, SECRET if good else OTHER_SECRET)
        return Hook(self._settings, ProviderContext(no_secrets, SystemClock(), environ=environ))

    def values(self, name: str) -> Mapping[str, int]:
        return ask_txt(Server(self._bind.host, self._bind.port), name)

    def plant(self, name: str, value: str, ttl: int) -> None:
        self._bind.update(ZONE, add=[f'{name}. {ttl} TXT "{value}"'])


@pytest.fixture(scope="module")
def contract_bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with Bind(tmp_path_factory.mktemp("bind"), {ZONE: []}) as bind:
        yield bind


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hook(tmp_path_factory.mktemp("hook"))


class TestHook(DnsProviderContract):
    names = 12

    @pytest.fixture
    def rig(self, contract_bind: Bind, program: Path) -> Rig:
        return Rig(contract_bind, program)
