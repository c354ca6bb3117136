"""PostgreSQL: a cluster of its own in a directory of its own, reached over TCP on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.ports import free_port
from tests.servers.process import Server, ServerFailed
from tests.servers.tools import find


class Postgres(Server):
    """A server with one superuser `postgres`, no password, and durability off: it lives for a test session."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast" shutdown: open sessions are ended

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.host = "127.0.0.1"
        self.port = 0
        # PostgreSQL refuses to run as root, and a test's directory is root's own: the data lies beside it.
        self._data = Path(tempfile.mkdtemp(prefix="ci-acme-postgres-"))
        self._account = None
        if os.geteuid() == 0:
            import pwd  # not on Windows, where the tests that need no server run too

            self._account = pwd.getpwnam("postgres")
        if self._account is not None:
            os.chown(self._data, self._account.pw_uid, self._account.pw_gid)

    @property
    def url(self) -> str:
        """Connection URL of the database `postgres`."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """Connection URL of a database."""
        return f"postgresql://postgres@{self.host}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        self._psql(f'CREATE DATABASE "{name}"')
        return self.database_url(name)

    def prepare(self) -> Sequence[str]:
        self.port = free_port(self.host)
        if not (self._data / "PG_VERSION").exists():
            self._init()
        options = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 200,
        }
        arguments = [argument for key, value in options.items() for argument in ("-c", f"{key}={value}")]
        return [find("postgres"), "-D", str(self._data), *arguments]

    def ready(self) -> bool:
        done = subprocess.run(
            [find("pg_isready"), "-q", "-h", self.host, "-p", str(self.port), "-U", "postgres", "-d", "postgres"],
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode == 0

    def popen_options(self) -> dict[str, Any]:
        if self._account is None:
            return {"cwd": self._data}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": [], "cwd": self._data}

    def remove(self) -> None:
        """Stop, and delete the data."""
        self.stop()
        shutil.rmtree(self._data, ignore_errors=True)

    def __exit__(self, *_exc: object) -> None:
        self.remove()

    def _init(self) -> None:
        command = [find("initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        done = subprocess.run(
            [*command, "--locale=C"], check=False, capture_output=True, text=True, **self.popen_options()
        )
        if done.returncode:
            raise ServerFailed(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _psql(self, statement: str) -> str:
        done = subprocess.run(
            [find("psql"), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", statement],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ServerFailed(done.stderr)
        return done.stdout
