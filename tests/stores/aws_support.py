"""The four AWS stores on their fakes, each with what a test of all of them has to know."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ci_acme.clock import SystemClock
from ci_acme.model.secret import Secret
from ci_acme.ports import CertificateStore, Deadline, ProviderContext
from ci_acme.shapes import pem_blocks
from ci_acme_providers.aws.acm import AcmStore
from ci_acme_providers.aws.s3 import S3Store
from ci_acme_providers.aws.secrets_manager import SecretsManagerStore
from ci_acme_providers.aws.ssm import SsmStore
from ci_acme_providers.aws.store_config import AcmSettings, S3Settings, SecretsManagerSettings, SsmSettings
from tests.clouds.acm import Acm, in_2030
from tests.clouds.api import Answer, Call
from tests.clouds.awsjson import Refused, error
from tests.clouds.s3 import S3
from tests.clouds.secretsmanager import SecretsManager
from tests.clouds.ssm import Ssm

KINDS = ("secrets-manager", "ssm", "acm", "s3")
BUCKET = "certificates"
PASSWORD = "correct horse"
_NUMBERS = itertools.count(1)


def soon() -> Deadline:
    return Deadline(SystemClock(), 60)


def secrets(reference: str) -> Secret:
    assert reference == "env:PASSWORD", reference
    return Secret(PASSWORD.encode())


@dataclass
class Rig:
    """One store on its fake. `served` is what a consumer gets: the leaf's PEM, None if nothing."""

    kind: str
    fake: Any
    name: str
    served: Callable[[], bytes | None]
    warnings: list[str]

    def store(self, **settings: Any) -> Any:
        """A new object for the target."""
        context = settings.pop("context", None) or self.context()
        model, adapter, target = _MODELS[self.kind]
        given = {"endpoint": self.fake.url, **target(self.name), **settings}
        store: CertificateStore = adapter(model.model_validate(given), context)
        return store

    def context(self, **more: Any) -> ProviderContext:
        return ProviderContext(secrets, SystemClock(), certificate="test", warn=self.warnings.append, **more)

    def refusal(self, code: str, message: str, status: int = 400) -> Answer:
        """An error as the service has it."""
        if self.kind != "s3":
            return error(Refused(code, message, status))
        return Answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())

    def after(self, number: int) -> Callable[[Call], bool]:
        """For `FakeApi.fail`: every call from now on but the first `number`."""
        seen = len(self.fake.calls)
        return lambda call: len(self.fake.calls) - seen > number

    def asked(self) -> int:
        """How many calls there were."""
        return len(self.fake.calls)


_MODELS: dict[str, tuple[Any, Any, Callable[[str], dict[str, str]]]] = {
    "secrets-manager": (SecretsManagerSettings, SecretsManagerStore, lambda name: {"name": name}),
    "ssm": (SsmSettings, SsmStore, lambda name: {"name": f"/{name}"}),
    "acm": (AcmSettings, AcmStore, lambda name: {"name": name}),
    "s3": (S3Settings, S3Store, lambda name: {"bucket": BUCKET, "key": name}),
}


@contextmanager
def fakes() -> Iterator[dict[str, Any]]:
    """All four services."""
    with SecretsManager() as manager, Ssm() as ssm, Acm(in_2030) as acm, S3(BUCKET) as s3:
        yield {"secrets-manager": manager, "ssm": ssm, "acm": acm, "s3": s3}


def rig(kind: str, fake: Any) -> Rig:
    """A store with a target that no other test has."""
    name = f"preview/pr-{next(_NUMBERS)}/tls"
    served: dict[str, Callable[[], Any]] = {
        "secrets-manager": lambda: fake.value(name),
        "ssm": lambda: fake.value(f"/{name}"),
        "acm": lambda: _imported(fake, name),
        "s3": lambda: fake.body(name),
    }
    return Rig(kind, fake, name, lambda: _leaf(served[kind]()), [])


def _imported(fake: Acm, name: str) -> bytes | None:
    found = [each for each in fake.certificates.values() if each.tags.get("ci-acme-store") == name]
    return found[0].leaf if found else None


def _leaf(value: Any) -> bytes | None:
    """The leaf in a value of whatever text shape."""
    if value is None:
        return None
    data = value if isinstance(value, bytes) else value.encode()
    return next(iter(pem_blocks(data.replace(b"\\n", b"\n"), "CERTIFICATE")), None)
