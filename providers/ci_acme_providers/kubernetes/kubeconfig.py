"""As much of a kubeconfig file as says which cluster is meant and who asks. Programs that it names are not run."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci_acme.dataclass import dataclass, field
from ci_acme.errors import ConfigError
from ci_acme.model.secret import Secret
from ci_acme.rest import member


@dataclass(frozen=True, slots=True)
class Target:
    """An API server and credentials. Roots and certificate are PEM; `token_file` is read for each request."""

    server: str
    namespace: str = "default"
    roots: str | None = field(default=None, repr=False)
    token: Secret | None = None
    token_file: Path | None = None
    certificate: bytes | None = field(default=None, repr=False)
    key: Secret | None = None


def load(path: Path, context: str | None) -> Target:
    """The target of a context, the current one if None. Raises `ConfigError`, which quotes no credential."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _problem(path, f"cannot be read: {error.strerror}", "correct kubeconfig, or KUBECONFIG") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise _problem(path, "is not YAML", "write it anew, for example with kubectl config view --raw") from None
    name = context or member(document, "current-context")
    found = _named(document, "contexts", name)
    if found is None:
        known = ", ".join(_names(document, "contexts")) or "none"
        raise _problem(path, f"has no context {name!r} (it has {known})", "set context of the store")
    cluster = _named(document, "clusters", member(found, "context", "cluster"))
    user = _named(document, "users", member(found, "context", "user"))
    server = member(cluster, "cluster", "server")
    if not isinstance(server, str):
        raise _problem(path, f"has no cluster for the context {name}", "write it anew")
    _require_supported(path, member(cluster, "cluster"), member(user, "user"))
    namespace = member(found, "context", "namespace")
    return _target(path, server, member(cluster, "cluster"), member(user, "user") or {}, str(namespace or "default"))


def _target(path: Path, server: str, cluster: Mapping[str, Any], user: Mapping[str, Any], namespace: str) -> Target:
    roots = _content(path, cluster, "certificate-authority")
    certificate, key = _content(path, user, "client-certificate"), _content(path, user, "client-key")
    token, token_file = user.get("token"), user.get("tokenFile")
    return Target(
        server,
        namespace,
        roots=roots.decode("ascii", errors="replace") if roots else None,
        token=Secret(token.encode()) if isinstance(token, str) and token and not token_file else None,
        token_file=path.parent / token_file if isinstance(token_file, str) and token_file else None,
        certificate=certificate,
        key=Secret(key) if key else None,
    )


def _require_supported(path: Path, cluster: Any, user: Any) -> None:
    program = member(user, "exec", "command")
    if program is not None:
        raise _problem(
            path,
            f"gets its credentials from the program {program}, and ci-acme runs no program that a file names",
            "run it yourself, put its token (status.token) into the environment, and set server, ca_bundle and token "
            "of the store",
        )
    for section, key in ((user, "auth-provider"), (user, "username"), (user, "as")):
        if member(section, key):
            raise _problem(path, f"uses {key}, which is not supported", "use a token: kubectl create token NAME")
    for key in ("insecure-skip-tls-verify", "tls-server-name", "proxy-url"):
        if member(cluster, key):
            raise _problem(path, f"uses {key}, which is not supported", "set certificate-authority and server right")


def _content(path: Path, section: Mapping[str, Any], name: str) -> bytes | None:
    """What `NAME-data` holds, or the file that `NAME` names, which is relative to the kubeconfig."""
    data, file = section.get(f"{name}-data"), section.get(name)
    try:
        if data:
            return base64.b64decode(str(data), validate=True)
        return (path.parent / str(file)).read_bytes() if file else None
    except binascii.Error:
        raise _problem(path, f"has a {name}-data that is not base64", "write it anew") from None
    except OSError as error:
        raise _problem(path, f"names a {name} that cannot be read: {error.strerror}", f"correct {name}") from None


def _named(document: Any, section: str, name: Any) -> Any:
    entries = member(document, section)
    found = [entry for entry in entries if member(entry, "name") == name] if isinstance(entries, list) else []
    return found[0] if found and name is not None else None


def _names(document: Any, section: str) -> list[str]:
    entries = member(document, section)
    return [str(member(entry, "name")) for entry in entries] if isinstance(entries, list) else []


def _problem(path: Path, what: str, fix: str) -> ConfigError:
    return ConfigError(f"the kubeconfig {path} {what}", fix=fix)
