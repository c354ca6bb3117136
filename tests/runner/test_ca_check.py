"""`check` at a CA that says odd things of itself: findings, never a crash."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ci_acme.ca.transport import Transport
from ci_acme.core.checks import CheckLine
from ci_acme.errors import CaUnreachable, StateError
from tests.runner.conftest import World


class Directory(ThreadingHTTPServer):
    """Answers everything with a directory of ACME, and the Date that it is told."""

    date: str | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Directory

    def do_GET(self) -> None:
        document = {name: f"{self.server.url}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
        body = json.dumps(document).encode()
        self.send_response_only(200)
        if self.server.date is not None:
            self.send_header("Date", self.server.date)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def odd(world: World) -> Iterator[Directory]:
    with Directory() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        world.config["authorities"]["sandbox"]["directory"] = server.url
        yield server
        server.shutdown()
        thread.join()


def clock_lines(world: World) -> list[CheckLine]:
    return [line for line in world.run().check([]) if line.area == "clock"]


@pytest.mark.parametrize("date", [None, "", "soon", "Wed, 99 Foo 9999"])
def test_a_date_that_is_none_is_not_judged(world: World, odd: Directory, date: str | None) -> None:
    odd.date = date
    assert clock_lines(world) == []


def test_a_path_where_no_directory_is_has_a_fix(world: World) -> None:
    world.authority["directory"] += "/nope"
    outcome = world.issue()
    assert outcome.error is not None
    assert "refused to show its directory" in outcome.error.message
    assert outcome.error.fix == "check the URL of the CA's directory, also its path"


@pytest.mark.parametrize("kind", ["a directory", "garbage"])
def test_a_state_that_cannot_be_used_is_one_finding(world: World, kind: str) -> None:
    assert [line.level for line in world.run().check([]) if line.area == "state"] == ["ok"]
    state = world.directory / "state.db"
    for path in state.parent.glob("state.db*"):
        path.unlink()
    state.mkdir() if kind == "a directory" else state.write_bytes(b"garbage" * 1000)
    lines = world.run().check([])
    bad = [line for line in lines if line.code.startswith("state.")]
    assert [(line.level, line.area) for line in bad] == [("warning" if kind == "a directory" else "error", "state")]
    assert bad[0].fix
    assert any(line.area == "ca" for line in lines)


@pytest.mark.parametrize("kind", ["a directory", "garbage"])
def test_cleanup_without_its_journal_is_an_error(world: World, kind: str) -> None:
    """What is left is not known then, and `nothing is left` would be a lie."""
    assert world.run().cleanup() == []
    state = world.directory / "state.db"
    for path in state.parent.glob("state.db*"):
        path.unlink()
    state.mkdir() if kind == "a directory" else state.write_bytes(b"garbage" * 1000)
    with pytest.raises(StateError, match=r"cannot be used"):
        world.run().cleanup()


@pytest.mark.parametrize(
    ("hours", "zone", "level"), [(0, "GMT", "ok"), (0, "-0000", "ok"), (0, "", "ok"), (2, "-0000", "error")]
)
def test_a_date_without_a_zone_is_of_utc(world: World, odd: Directory, hours: int, zone: str, level: str) -> None:
    """RFC 5322's `-0000` or no zone at all give Python a time that cannot be compared with others."""
    moment = datetime.now(timezone.utc) + timedelta(hours=hours)
    odd.date = format_datetime(moment, usegmt=True).replace("GMT", zone)
    assert [line.level for line in clock_lines(world)] == [level]


@pytest.mark.parametrize(
    ("directory", "contact", "said"),
    [
        ("https://acme.ssl.com/sslcom-dv-ecc", [], ["error"]),
        ("https://acme.ssl.com/sslcom-dv-ecc", ["ops@example.com"], []),
        ("https://vault.corp.example/v1/pki/acme/directory", [], ["warning"]),
        ("https://vault.corp.example/v1/pki/roles/web/acme/directory", [], []),
    ],
)
def test_what_a_ca_is_known_for_is_said_before_it_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch, directory: str, contact: list[str], said: list[str]
) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise CaUnreachable("no network in a test", fix="none")

    monkeypatch.setattr(Transport, "get", nobody)
    world.authority.update(directory=directory, contact=contact)
    lines = [line for line in world.run().check([]) if line.area == "ca"]
    assert [line.level for line in lines] == [*said, "error"]
    assert lines[-1].message == "no network in a test"
