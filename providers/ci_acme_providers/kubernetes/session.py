"""A connection to a cluster's API server."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ci_acme.errors import ConfigError, SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.rest import Answer, RestClient
from ci_acme_providers.kubernetes import kubeconfig
from ci_acme_providers.kubernetes.config import KubernetesAccess
from ci_acme_providers.kubernetes.kubeconfig import Target

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token."""


class Cluster:
    """The API of one cluster. Raises `ConfigError` if none is named."""

    def __init__(self, access: KubernetesAccess, context: ProviderContext) -> None:
        self._access = access
        self._context = context
        self._target = find_target(access, context.environ)
        self.namespace = self._target.namespace
        self._client = RestClient(self._target.server, tls=lambda: tls_context(self._target))

    def send(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, with a token that is read now: a pod's is replaced every hour.

        Raises `SecretError` if it cannot be read, `ci_acme.wire.Unreachable`.
        """
        head = dict(headers or {})
        token = self._token()
        if token is not None:
            head["Authorization"] = f"Bearer {token.reveal().decode('ascii')}"
        return self._client.send(method, path, deadline=deadline, body=body, headers=head)

    def _token(self) -> Secret | None:
        token = self._target.token
        if self._access.token is not None:
            token = self._context.secrets(self._access.token)
        elif self._target.token_file is not None:
            try:
                token = Secret(self._target.token_file.read_bytes())
            except OSError as error:
                raise SecretError(
                    f"the token in {self._target.token_file} cannot be read: {error.strerror}", fix="mount it"
                ) from None
        if token is None:
            return None
        value = token.reveal().strip()
        if not value.isascii() or len(value.split()) != 1:
            raise SecretError(
                "the token for the cluster is not one word of ASCII", fix="store the token alone, in one line"
            )
        return Secret(value)


def find_target(access: KubernetesAccess, environ: Mapping[str, str]) -> Target:
    """Which server: as configured, else as `kubectl` would find it. Raises `ConfigError`."""
    if access.server is not None:
        return Target(access.server, roots=_roots(access.ca_bundle))
    if access.kubeconfig is not None:
        return kubeconfig.load(Path(access.kubeconfig).expanduser(), access.context)
    for path in filter(None, environ.get("KUBECONFIG", "").split(os.pathsep)):
        if Path(path).is_file():
            return kubeconfig.load(Path(path), access.context)
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if host and (SERVICE_ACCOUNT / "token").is_file() and access.context is None:
        return _of_pod(host, port)
    home = environ.get("HOME")
    if home and (Path(home) / ".kube" / "config").is_file():
        return kubeconfig.load(Path(home) / ".kube" / "config", access.context)
    raise ConfigError(
        "it is not known which cluster is meant",
        fix="set server and token of the store, or KUBECONFIG; in a pod, let it mount its service account's token",
    )


def tls_context(target: Target) -> ssl.SSLContext:
    """What is trusted, and who we are. Raises `ConfigError`."""
    try:
        context = ssl.create_default_context(cadata=target.roots)
    except ssl.SSLError:
        raise ConfigError(
            "the roots of the cluster are no certificates", fix="correct ca_bundle, or the kubeconfig"
        ) from None
    if target.certificate is None or target.key is None:
        return context
    with tempfile.TemporaryDirectory(prefix="ci-acme-") as directory:  # 0700; the library reads files alone
        path = Path(directory) / "client.pem"
        path.touch(mode=0o600)
        path.write_bytes(target.certificate.rstrip() + b"\n" + target.key.reveal())
        try:
            context.load_cert_chain(path)
        except (ssl.SSLError, OSError):
            raise ConfigError(
                "the client certificate of the kubeconfig cannot be used", fix="write the kubeconfig anew"
            ) from None
    return context


def _of_pod(host: str, port: str) -> Target:
    namespace = SERVICE_ACCOUNT / "namespace"
    return Target(
        f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace.read_text(encoding="ascii").strip() if namespace.is_file() else "default",
        roots=_roots(str(SERVICE_ACCOUNT / "ca.crt")),
        token_file=SERVICE_ACCOUNT / "token",
    )


def _roots(bundle: str | None) -> str | None:
    if bundle is None:
        return None
    try:
        return Path(bundle).expanduser().read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"cannot load the ca_bundle {bundle}", fix="name a PEM file with the cluster's root"
        ) from None
