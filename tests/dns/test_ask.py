"""The batch resolver against servers that misbehave: no single answer raises."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_acme import dnswire
from ci_acme.clock import SystemClock
from ci_acme.dns import ask as asking
from ci_acme.dns.ask import Asker
from ci_acme.dns.batch import Race, ask, ask_all
from ci_acme.dns.question import Answer, Failed, Failure, Question, Server
from ci_acme.errors import Interrupted
from ci_acme.ports import Deadline
from tests.dns.servers import Bind, Stub, forward
from tests.servers.ports import free_port

CLOCK = SystemClock()
StubMaker = Callable[..., Stub]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", (0.1, 0.1, 0.2))


def question(server: Server, name: str = "a.ci.test") -> Question:
    return Question(server, name, dnswire.TXT)


def reply_to(wire: bytes, *, flags: int = 0x8400, value: bytes = b"value") -> bytes:
    """An answer with one TXT record."""
    end = dnswire.read_name(wire, 12)[1] + 4
    record = dnswire.pack_record(b"\xc0\x0c", dnswire.TXT, 1, 60, dnswire.split_strings(value))
    return wire[:2] + flags.to_bytes(2, "big") + b"\0\1\0\1\0\0\0\0" + wire[12:end] + record


@pytest.mark.servers
def test_a_hundred_questions_to_bind(bind: Bind) -> None:
    replies = ask([question(bind.server, f"h{number}.ci.test") for number in range(100)], CLOCK)
    assert all(isinstance(reply, Answer) and reply.aa and reply.rcode == dnswire.NXDOMAIN for reply in replies)
    assert all(isinstance(reply, Answer) and reply.soa is not None and reply.soa.name == "ci.test" for reply in replies)


def test_refused_ports_and_missing_routes_are_known_at_once() -> None:
    deadline = Deadline(CLOCK, 30)
    refused = ask([question(Server("127.0.0.1", free_port()), f"h{n}.ci.test") for n in range(1000)], CLOCK)
    assert {reply.failure for reply in refused if isinstance(reply, Failed)} == {Failure.REFUSED}
    assert len(refused) == 1000
    lost = ask([question(Server("127.0.0.1", 0))], CLOCK)
    assert isinstance(lost[0], Failed)
    assert deadline.remaining() > 25


@pytest.mark.usefixtures("impatient")
def test_a_silent_server_does_not_take_a_turn_for_each_question(make_stub: StubMaker) -> None:
    stub = make_stub(lambda wire, tcp: None)
    deadline = Deadline(CLOCK, 30)
    replies = ask([question(stub.server, f"h{number}.ci.test") for number in range(500)], CLOCK)
    assert {reply.failure for reply in replies if isinstance(reply, Failed)} == {Failure.TIMEOUT}
    assert len(replies) == 500
    assert deadline.remaining() > 20


def test_truncation_leads_to_tcp(make_stub: StubMaker) -> None:
    stub = make_stub(lambda wire, tcp: reply_to(wire) if tcp else reply_to(wire, flags=0x8600))
    replies = ask([question(stub.server, f"h{number}.ci.test") for number in range(50)], CLOCK)
    assert all(isinstance(reply, Answer) and len(reply.answers) == 1 for reply in replies)


@pytest.mark.usefixtures("impatient")
def test_udp_silence_leads_to_tcp(make_stub: StubMaker) -> None:
    stub = make_stub(lambda wire, tcp: reply_to(wire) if tcp else None)
    (reply,) = ask([question(stub.server)], CLOCK)
    assert isinstance(reply, Answer)
    assert reply.values("a.ci.test") == {b"value": 60}


@pytest.mark.usefixtures("impatient")
def test_a_lost_datagram_is_sent_again(make_stub: StubMaker) -> None:
    seen: list[bytes] = []

    def answer(wire: bytes, tcp: bool) -> bytes | None:
        seen.append(wire)
        return reply_to(wire) if len(seen) == 2 and not tcp else None

    (reply,) = ask([question(make_stub(answer).server)], CLOCK)
    assert isinstance(reply, Answer)


@pytest.mark.usefixtures("impatient")
def test_answers_to_other_questions_are_dropped(make_stub: StubMaker) -> None:
    """A wrong id, a wrong name, a wrong type, a query instead of a reply."""

    def answer(wire: bytes, tcp: bool) -> bytes | None:
        if tcp:
            return None
        number = wire[13] - ord("0")
        good = reply_to(wire)
        other = good[:13] + b"x" + good[14:]
        end = dnswire.read_name(wire, 12)[1]
        kind = good[:end] + b"\0\1" + good[end + 2 :]
        return [bytes((good[0] ^ 1,)) + good[1:], other, kind, reply_to(wire, flags=0x0400)][number]

    stub = make_stub(answer)
    replies = ask([question(stub.server, f"{number}.ci.test") for number in range(4)], CLOCK)
    assert all(isinstance(reply, Failed) for reply in replies)


def test_upper_case_in_the_reply_is_the_same_name(make_stub: StubMaker) -> None:
    stub = make_stub(lambda wire, tcp: reply_to(wire[:12] + wire[12:22].upper() + wire[22:]))
    (reply,) = ask([question(stub.server)], CLOCK)
    assert isinstance(reply, Answer)
    assert reply.values("a.ci.test") == {b"value": 60}


def test_a_server_from_before_edns(make_stub: StubMaker) -> None:
    def answer(wire: bytes, tcp: bool) -> bytes:
        return reply_to(wire) if wire[11] == 0 else wire[:2] + b"\x80\1" + bytes(8)

    (reply,) = ask([question(make_stub(answer).server)], CLOCK)
    assert isinstance(reply, Answer)
    assert reply.rcode == dnswire.NOERROR


@pytest.mark.usefixtures("impatient")
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.binary(max_size=200), min_size=1, max_size=8), keep=st.integers(0, 40))
def test_noise_never_raises(noise: list[bytes], keep: int) -> None:
    """Whatever a server sends, the result is an `Answer` or a `Failed`."""
    numbers = iter(range(10**6))
    stub = Stub(lambda wire, tcp: wire[:2] + b"\x84" + reply_to(wire)[3:keep] + noise[next(numbers) % len(noise)])
    try:
        replies = ask([question(stub.server, f"h{number}.ci.test") for number in range(8)], CLOCK)
    finally:
        stub.stop()
    assert all(isinstance(reply, Answer | Failed) for reply in replies)


@contextmanager
def tcp_server(serve: Callable[[socket.socket], None]) -> Iterator[Server]:
    """A server over TCP alone that ends each connection after `serve`."""
    port, done = free_port(), threading.Event()
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(0.05)

    def accept() -> None:
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                serve(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield Server("127.0.0.1", port)
    finally:
        done.set()
        thread.join()
        listener.close()


def send_reply(connection: socket.socket, wire: bytes) -> None:
    reply = reply_to(wire)
    connection.sendall(len(reply).to_bytes(2, "big") + reply)


def test_a_server_that_closes_after_each_answer() -> None:
    """The rest is asked on a new connection; a server that closes without an answer fails."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(2)
        size = int.from_bytes(connection.recv(2), "big")
        wire = connection.recv(size)
        if b"\x03bad" not in wire:
            send_reply(connection, wire)

    with tcp_server(serve) as server:
        good = ask([question(server, f"h{number}.ci.test") for number in range(5)], CLOCK)
        bad = ask([question(server, "bad.ci.test")], CLOCK)
    assert all(isinstance(reply, Answer) for reply in good)
    assert isinstance(bad[0], Failed)
    assert bad[0].failure is Failure.BROKEN


def test_a_server_that_drops_several_questions_at_once_is_asked_one_by_one() -> None:
    """As a reset does: an answer that the server has sent is lost with the connection."""
    held: list[int] = []

    def serve(connection: socket.socket) -> None:
        connection.settimeout(0.3)
        received = b""
        with suppress(TimeoutError):
            while part := connection.recv(65535):
                received += part
        held.append(received.count(b"\x02ci\x04test"))
        if held[-1] == 1:
            send_reply(connection, received[2:])

    with tcp_server(serve) as server:
        replies = ask([question(server, f"h{number}.ci.test") for number in range(3)], CLOCK)
    assert held == [3, 1, 1, 1]
    assert all(isinstance(reply, Answer) for reply in replies)


def test_an_interrupt_is_heard(make_stub: StubMaker) -> None:
    clock = SystemClock()
    timer = threading.Timer(0.2, clock.stop)
    timer.start()
    with pytest.raises(Interrupted):
        ask([question(make_stub(lambda wire, tcp: None).server)], clock)
    timer.join()


def test_the_deadline_ends_a_batch(make_stub: StubMaker) -> None:
    silent = make_stub(lambda wire, tcp: None)
    good = make_stub(lambda wire, tcp: reply_to(wire))
    replies = ask([question(silent.server), question(good.server)], CLOCK, deadline=Deadline(CLOCK, 0.2))
    assert isinstance(replies[0], Failed)
    assert isinstance(replies[1], Answer)


def test_a_race_goes_on_to_the_next_server(make_stub: StubMaker) -> None:
    silent = make_stub(lambda wire, tcp: None)
    good = make_stub(lambda wire, tcp: reply_to(wire))
    refused = Server("127.0.0.1", free_port())
    deadline = Deadline(CLOCK, 30)
    matters = {
        name: [question(server, name) for server in (refused, silent.server, good.server)] for name in ("a", "b")
    }
    heard = Race(matters, CLOCK).run()
    assert all(one.best is not None for one in heard.values())
    assert "the port is refused" in heard["a"].why()
    assert deadline.remaining() > 28, "silence of one server costs a fraction of a second"


def test_a_race_that_nobody_wins() -> None:
    servers = [Server("127.0.0.1", free_port()) for _ in range(3)]
    heard = Race({"a": [question(server) for server in servers], "none": []}, CLOCK).run()
    assert heard["a"].best is None
    assert len(heard["a"].replies) == 3
    assert heard["none"].best is None


def test_all_are_asked_and_silence_is_cut_short(make_stub: StubMaker) -> None:
    silent = make_stub(lambda wire, tcp: None)
    good = make_stub(lambda wire, tcp: reply_to(wire))
    heard = ask_all({"a": [question(silent.server), question(good.server)]}, CLOCK, grace=0.1)["a"]
    assert isinstance(heard.replies[silent.server], Failed)
    assert isinstance(heard.replies[good.server], Answer)


def test_sockets_are_closed(make_stub: StubMaker) -> None:
    silent = make_stub(lambda wire, tcp: None)
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("descriptors cannot be counted on this system")
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        with Asker[int](CLOCK) as asker:
            asker.submit(question(silent.server), 1)
            asker.poll(0.01)
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.servers
def test_ipv6(bind: Bind) -> None:
    try:
        stub_socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        stub_socket.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    port = stub_socket.getsockname()[1]

    def serve() -> None:
        wire, peer = stub_socket.recvfrom(65535)
        stub_socket.sendto(forward(wire, bind.server), peer)

    thread = threading.Thread(target=serve)
    thread.start()
    (reply,) = ask([question(Server("::1", port))], CLOCK)
    thread.join()
    stub_socket.close()
    assert isinstance(reply, Answer)
