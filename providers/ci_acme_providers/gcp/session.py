"""What an adapter works with: whose token, which project, which URL, and connections of its own."""

from __future__ import annotations

import weakref

from ci_acme.errors import ConfigError
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.wire import Wire
from ci_acme_providers.gcp import tokens
from ci_acme_providers.gcp.config import GoogleAccess
from ci_acme_providers.gcp.endpoints import completed, endpoint, known_project


class GoogleSession:
    """One entry of the config. Thread-safe."""

    def __init__(self, access: GoogleAccess, context: ProviderContext) -> None:
        self.access = completed(access, context)
        self.context = context
        self.wire = Wire()
        weakref.finalize(self, self.wire.close)  # adapters have no end of their own
        self._tokens = tokens.shared(self.access, context)

    def endpoint(self, service: str, location: str | None = None) -> str:
        """The base URL of the service that this entry is for. Raises `ConfigError`."""
        return endpoint(service, self.context.environ, self.access.endpoint, location)

    def bearer(self, deadline: Deadline, *, refused: str | None = None) -> str:
        """An access token; not `refused`. Raises `NoCredentials`, `NoReply`, `SecretError`, `Interrupted`."""
        return self._tokens.bearer(deadline, refused=refused)

    @property
    def known_project(self) -> str | None:
        """The project, without asking anybody."""
        return known_project(self.access, self.context.environ)

    def project(self) -> str:
        """The project, of the credentials if need be. Raises `ConfigError`, `NoCredentials`."""
        found = self.known_project or self._tokens.project()
        if found is None:
            raise ConfigError(
                "no Google Cloud project is named, by the config, the environment or the credentials",
                fix="give project, or set GOOGLE_CLOUD_PROJECT",
            )
        return found
