"""From the config to jobs: a spec and its stores for each certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ci_acme import registry
from ci_acme.dataclass import dataclass, replace
from ci_acme.model.spec import CertificateSpec
from ci_acme.ports import CertificateStore
from ci_acme.spec import Kind

if TYPE_CHECKING:
    from ci_acme.config.schema import Config
    from ci_acme.runner.services import Services
    from ci_acme.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class Job:
    """One certificate to make valid in all its stores. `accepts` says of each store whose certificates it takes,
    `sizes` how many bytes it would likely be given, 0 where nobody knows.
    """

    spec: CertificateSpec
    stores: tuple[CertificateStore, ...]
    accepts: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    def accepted_by(self, store: CertificateStore) -> str:
        """`any`, `production` or `staging`."""
        return next((accept for one, accept in zip(self.stores, self.accepts, strict=False) if one is store), "any")


def label_of(store: CertificateStore) -> str:
    """How a store is called in reasons: `file:certs/preview`."""
    return f"{store.provider}:{store.target}"


def make_jobs(config: Config, names: Sequence[str], services: Services) -> list[Job]:
    """The jobs of the named certificates. Raises `ConfigError` if a provider cannot be used."""
    return [_job(config, name, services) for name in names]


def _job(config: Config, name: str, services: Services) -> Job:
    spec = config.spec(name)
    context = replace(services.context(name), key=spec.key, names=spec.names)
    sections = config.certificates[name].stores
    stores = tuple(
        registry.load_adapter(registry.find(Kind.STORE, settings.provider))(settings, context) for settings in sections
    )
    sizes = tuple(_size(settings, spec) for settings in sections)
    return Job(spec, stores, tuple(settings.accept for settings in sections), sizes)


def _size(settings: StoreSettings, spec: CertificateSpec) -> int:
    shape = getattr(settings, "made", None)
    if shape is None:
        return 0
    from ci_acme.shapes import likely

    return likely(shape, spec.key, spec.names)
