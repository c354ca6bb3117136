"""Secret references, read at the last moment. What they hold is in no message."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ci_acme.errors import NotAvailable, SecretError
from ci_acme.model.secret import Secret

_PIPE_SECONDS: Final = 5.0
"""How long a pipe may take: one that nobody writes to would be waited for without end."""

MAX_SECRET: Final = 1 << 20
_SCHEMES: Final = ("env", "file", "aws-secrets-manager", "gcp-secret-manager", "azure-key-vault", "vault")


Elsewhere = Callable[[str, str], Secret]
"""Reads what is neither in the environment nor in a file, by scheme and the rest: `services.Services.elsewhere`."""


def read_secret(reference: str, environ: Mapping[str, str] | None = None, elsewhere: Elsewhere | None = None) -> Secret:
    """What a reference stands for: `env:NAME`, or `file:PATH` without one trailing line break.

    Args:
        reference: the reference from the config.
        environ: the environment, `os.environ` if None.
        elsewhere: reads the other schemes, which are the platforms'.

    Raises:
        SecretError: it is not set, missing, empty, unreadable, no file or too big; names the reference only.
        NotAvailable: its secret source is not part of this installation.
    """
    scheme, colon, rest = reference.partition(":")
    if not colon or not rest or scheme not in _SCHEMES:
        raise SecretError(
            "a secret is given as a reference, and this is none", fix="write env:NAME or file:PATH in its place"
        )
    if scheme == "env":
        return _from_environment(rest, os.environ if environ is None else environ)
    if scheme == "file":
        return _from_file(rest)
    if elsewhere is not None:
        return elsewhere(scheme, rest)
    raise NotAvailable(f"the secret source {scheme!r} cannot be read here", fix="use env:NAME or file:PATH")


def read_text(value: str, environ: Mapping[str, str] | None = None, elsewhere: Elsewhere | None = None) -> str:
    """A value that may be a reference and is no secret (a key identifier): the text, or what it refers to."""
    if value.partition(":")[0] not in _SCHEMES:
        return value
    try:
        return read_secret(value, environ, elsewhere).reveal().decode().strip()
    except UnicodeDecodeError:
        raise SecretError(f"{value} does not hold text", fix="store the text as UTF-8") from None


def _from_environment(name: str, environ: Mapping[str, str]) -> Secret:
    value = environ.get(name)
    if value is None:
        raise SecretError(
            f"env:{name} cannot be read: the environment variable {name} is not set",
            fix=f"set {name}; in CI, map the secret into this step's environment",
        )
    if not value.strip():
        raise SecretError(
            f"env:{name} cannot be read: the environment variable {name} is empty",
            fix=f"give {name} a value; CI systems pass an empty one for a secret that does not exist or is not shared",
        )
    return Secret(value.encode("utf-8", errors="surrogateescape"))


def _from_file(path: str) -> Secret:
    reference = f"file:{path}"
    try:
        data = _read(Path(path).expanduser())
    except FileNotFoundError:
        raise SecretError(f"{reference} cannot be read: no such file", fix=f"create {path}, or correct it") from None
    except IsADirectoryError:
        raise SecretError(f"{reference} cannot be read: it is a directory", fix="name a file in it") from None
    except PermissionError:
        raise SecretError(f"{reference} cannot be read: permission denied", fix=f"let this user read {path}") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise SecretError(f"{reference} cannot be read: {reason}", fix=f"check {path}") from None
    if len(data) > MAX_SECRET:
        raise SecretError(
            f"{reference} is bigger than {MAX_SECRET} bytes", fix="name the file that holds the secret alone"
        )
    value = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    if not value.strip():
        raise SecretError(f"{reference} is empty", fix=f"write the secret to {path}")
    return Secret(value)


def _read(path: Path) -> bytes:
    """The bytes of a file, `MAX_SECRET` and one at most; a pipe (`<(…)`) is read to its end. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        data, ends = b"", time.monotonic() + _PIPE_SECONDS
        while len(data) <= MAX_SECRET:
            if pipe and not select.select([descriptor], [], [], max(0.0, ends - time.monotonic()))[0]:
                raise TimeoutError(errno.ETIMEDOUT, "nobody writes to the end of this pipe")
            part = os.read(descriptor, MAX_SECRET + 1)
            if not part:
                break
            data += part
        return data
    finally:
        os.close(descriptor)
