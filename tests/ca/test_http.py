"""The connections, against servers that misbehave on real sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_acme.ca.http import MAX_BODY, Headers, HttpResponse, HttpsPool, RequestRecord, split_url
from ci_acme.ca.parallel import parallel, width_for
from ci_acme.ca.trouble import StaleConnection, TlsFailure
from ci_acme.connect import Connection, Dialer
from ci_acme.errors import CaProtocolError, CaUnreachable, ConfigError, Interrupted
from tests.ca.support import Tls
from tests.servers.ports import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Talk = Callable[[Any], None]
Pool = Callable[..., HttpsPool]


def read_request(sock: Any) -> bytes:
    """Head and body of one request; empty when the peer closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def serve_ok(sock: Any) -> None:
    while read_request(sock):
        sock.sendall(OK)


class Server:
    """Accepts connections on loopback and lets `talk` speak on each, in a thread."""

    def __init__(self, talk: Talk, tls: Tls | None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.scheme = "http" if tls is None else "https"
        self.connections = 0
        self._talk = talk
        self._context: ssl.SSLContext | None = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(tls.certificate, tls.key)
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(raw):
            if self._context is None:
                self._talk(raw)
                return
            with self._context.wrap_socket(raw, server_side=True) as sock:
                self._open.append(sock)
                self._talk(sock)

    def join_talks(self) -> None:
        """Return when everything that was begun is said and closed."""
        for thread in self._threads[1:]:
            thread.join(5)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def serve(tls: Tls) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(talk: Talk, *, plain: bool = False) -> Server:
        servers.append(Server(talk, None if plain else tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def make_pool(tls: Tls) -> Iterator[Pool]:
    pools: list[HttpsPool] = []

    def make(**options: Any) -> HttpsPool:
        pools.append(HttpsPool(**{"ca_bundle": tls.certificate, **options}))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def get(
    pool: HttpsPool, url: str, *, timeout: float = 10, method: str = "GET", body: bytes | None = None
) -> HttpResponse:
    return pool.request(method, url, headers={"User-Agent": "test"}, body=body, timeout=timeout)


def resolve(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Every name is this machine, at these ports in turn."""
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(addresses))


def test_a_connection_is_kept(serve: Callable[..., Server], make_pool: Pool) -> None:
    server, records = serve(serve_ok), []
    pool = make_pool(observe=records.append)
    for _ in range(5):
        assert get(pool, server.url("/x?y=1")).body == b"ok"
    assert server.connections == 1
    assert [(record.method, record.status) for record in records] == [("GET", 200)] * 5
    assert records[0].url == server.url("/x?y=1")


def test_threads_share_few_connections(serve: Callable[..., Server], make_pool: Pool) -> None:
    server, pool = serve(serve_ok), make_pool()
    replies = parallel(lambda number: get(pool, server.url(f"/{number}")).status, range(60), width=4)
    assert replies == [200] * 60
    assert server.connections <= 4


def test_small_requests_are_not_delayed(serve: Callable[..., Server], make_pool: Pool) -> None:
    server, pool = serve(serve_ok), make_pool()
    get(pool, server.url())
    connection = pool._idle["https", f"127.0.0.1:{server.port}"][0]
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_host_field_has_no_default_port() -> None:
    """A CA compares it with the `url` of the JWS."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        context = ssl.create_default_context()
        connection = Connection("ca.example", 443, tls=context, dialer=Dialer(), proxy=None)
        connection.sock = ours
        connection.request("GET", "/dir")
        assert b"\r\nHost: ca.example\r\n" in theirs.recv(4096)


def test_fields_have_no_case_and_may_repeat() -> None:
    headers = Headers([("Link", "<a>"), ("link", "<b>"), ("Replay-Nonce", "n")])
    assert headers.get("LINK") == "<a>"
    assert headers.get_all("link") == ["<a>", "<b>"]
    assert headers.get("replay-nonce") == "n"
    assert headers.get("none") is None


def test_a_stale_connection_is_told_apart(serve: Callable[..., Server], make_pool: Pool) -> None:
    def once(sock: Any) -> None:
        read_request(sock)
        sock.sendall(OK)

    server, pool = serve(once), make_pool()
    get(pool, server.url())
    server.join_talks()
    with pytest.raises(StaleConnection):
        get(pool, server.url(), method="POST", body=b"{}")
    assert get(pool, server.url()).status == 200


def test_a_fresh_connection_that_closes_is_not_stale(serve: Callable[..., Server], make_pool: Pool) -> None:
    server, records = serve(lambda sock: None), []
    pool = make_pool(observe=records.append)
    with pytest.raises(CaUnreachable, match="closed before a whole answer") as raised:
        get(pool, server.url())
    assert not isinstance(raised.value, StaleConnection)
    assert records[0].status is None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
def test_half_an_answer_is_none(answer: bytes, serve: Callable[..., Server], make_pool: Pool) -> None:
    def talk(sock: Any) -> None:
        read_request(sock)
        sock.sendall(answer)

    with pytest.raises(CaUnreachable):
        get(make_pool(), serve(talk).url())


def test_a_body_without_length_ends_with_the_connection(serve: Callable[..., Server], make_pool: Pool) -> None:
    def talk(sock: Any) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")
        with contextlib.suppress(OSError):
            sock.unwrap()

    assert get(make_pool(), serve(talk).url()).body == b"all of it"


def test_what_is_not_http_is_said(serve: Callable[..., Server], make_pool: Pool) -> None:
    server = serve(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 3), plain=True)
    with pytest.raises(CaUnreachable, match="does not speak HTTP"):
        get(make_pool(), server.url())


def test_what_is_not_tls_is_said(serve: Callable[..., Server], make_pool: Pool) -> None:
    server = serve(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), plain=True)
    with pytest.raises(TlsFailure, match=r"wrong version number|record layer"):
        get(make_pool(), server.url().replace("http:", "https:"))


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_has_a_limit(chunked: bool, serve: Callable[..., Server], make_pool: Pool) -> None:
    def talk(sock: Any) -> None:
        read_request(sock)
        if not chunked:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sock.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with pytest.raises(CaProtocolError, match=f"longer than {MAX_BODY}"):
        get(make_pool(), serve(talk).url())


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"])
def test_an_answer_that_drips_ends_in_time(first: bytes, serve: Callable[..., Server], make_pool: Pool) -> None:
    def drip(sock: Any) -> None:
        read_request(sock)
        sock.sendall(first)
        while True:
            sock.sendall(b"x")
            time.sleep(0.02)

    begun = time.monotonic()
    with pytest.raises(CaUnreachable, match="no answer in time"):
        get(make_pool(), serve(drip).url(), timeout=0.4)
    assert time.monotonic() - begun < 10


def test_silence_ends_in_time(serve: Callable[..., Server], make_pool: Pool) -> None:
    with pytest.raises(CaUnreachable, match="no answer in time"):
        get(make_pool(), serve(lambda sock: sock.recv(1) and sock.recv(1 << 20) and time.sleep(1)).url(), timeout=0.2)


def test_a_closed_port_is_said(make_pool: Pool) -> None:
    port = free_port()
    with pytest.raises(CaUnreachable, match=f"127.0.0.1:{port} refused the connection"):
        get(make_pool(), f"https://127.0.0.1:{port}/dir")


def test_a_name_that_does_not_exist_is_said(make_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CaUnreachable, match=r"the name ca\.invalid.* cannot be resolved") as raised:
        get(make_pool(), "https://ca.invalid/dir")
    assert "DNS" in raised.value.fix


def test_the_next_address_is_tried(
    serve: Callable[..., Server], make_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, closed = serve(serve_ok), free_port()
    resolve(monkeypatch, closed, server.port)
    pool = make_pool()
    assert get(pool, "https://ca.example/dir").status == 200
    # From now on first.
    assert pool._dialer.resolve("ca.example", 443, time.monotonic() + 1)[0][4] == ("127.0.0.1", server.port)


# trust


def test_an_unknown_issuer_is_refused_with_the_way_out(serve: Callable[..., Server]) -> None:
    server, pool = serve(serve_ok), HttpsPool()
    with pytest.raises(TlsFailure, match="not trusted") as raised:
        get(pool, server.url())
    assert "ca_bundle" in raised.value.fix
    pool.close()


def test_ssl_cert_file_is_honoured(serve: Callable[..., Server], tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    pool = HttpsPool()
    assert get(pool, serve(serve_ok).url()).status == 200
    pool.close()


def test_a_certificate_for_another_host(
    serve: Callable[..., Server], make_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(serve_ok)
    resolve(monkeypatch, server.port)
    with pytest.raises(TlsFailure, match="not trusted") as raised:
        get(make_pool(), "https://other.example/dir")
    assert "host name" in raised.value.fix


def test_no_trust_store_at_all_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "certs"
    empty.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(empty))
    pool = HttpsPool()
    with pytest.raises(ConfigError, match="no trust store") as raised:
        get(pool, "https://127.0.0.1:1/dir")
    assert "ca-certificates" in raised.value.fix


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_bundle_that_cannot_be_loaded(content: bytes | None, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        get(HttpsPool(ca_bundle=bundle), "https://127.0.0.1:1/dir")


# URLs and redirects


@pytest.mark.parametrize(
    "url", ["http://ca.example/dir", "http://127.0.0.1.example/", "http://10.0.0.1/", "ftp://127.0.0.1/"]
)
def test_only_https(url: str, make_pool: Pool) -> None:
    with pytest.raises(CaProtocolError, match="https only"):
        get(make_pool(), url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dir",
        "https://",
        "https://user:pw@ca.example/",
        "https://ca.example:x/",
        "https://ca.example/a b",
        "https://ü/",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(CaProtocolError, match="not a URL") as raised:
        split_url(url)
    assert "pw" not in raised.value.message


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_plain_http_on_loopback(host: str) -> None:
    assert split_url(f"http://{host}:14000/dir").port == 14000


def redirecting(status: int, target: str, seen: list[bytes]) -> Talk:
    def talk(sock: Any) -> None:
        while request := read_request(sock):
            seen.append(request.split(b" HTTP")[0])
            if b"/end" in request:
                sock.sendall(OK)
            else:
                sock.sendall(f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    return talk


def test_a_get_follows_redirects(serve: Callable[..., Server], make_pool: Pool) -> None:
    seen: list[bytes] = []
    assert get(make_pool(), serve(redirecting(302, "/end", seen)).url("/dir")).body == b"ok"
    assert seen == [b"GET /dir", b"GET /end"]


def test_a_post_does_not(serve: Callable[..., Server], make_pool: Pool) -> None:
    seen: list[bytes] = []
    server = serve(redirecting(307, "/end", seen))
    assert get(make_pool(), server.url("/order"), method="POST", body=b"{}").status == 307
    assert seen == [b"POST /order"]


@pytest.mark.parametrize(("target", "match"), [("/again", "more than 5"), ("http://127.0.0.1:1/", "not https")])
def test_redirects_end(target: str, match: str, serve: Callable[..., Server], make_pool: Pool) -> None:
    with pytest.raises(CaProtocolError, match=match):
        get(make_pool(), serve(redirecting(301, target, [])).url("/dir"))


# proxies


def tunnelling(target: int, seen: list[bytes], status: str = "200 OK") -> Talk:
    def talk(sock: Any) -> None:
        seen.append(read_request(sock))
        sock.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if not status.startswith("200"):
            return
        with socket.create_connection(("127.0.0.1", target)) as upstream:

            def pump(source: Any, sink: Any) -> None:
                with contextlib.suppress(OSError):
                    while data := source.recv(65536):
                        sink.sendall(data)
                for end in (source, sink):
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

            back = threading.Thread(target=pump, args=(upstream, sock))
            back.start()
            pump(sock, upstream)
            back.join()

    return talk


def test_a_proxy_is_tunnelled_through(
    serve: Callable[..., Server], make_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    server = serve(serve_ok)
    proxy = serve(tunnelling(server.port, seen), plain=True)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert get(make_pool(), "https://ca.example/dir").body == b"ok"
    assert seen[0].startswith(b"CONNECT ca.example:443 ")
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz" in seen[0]


def test_a_proxy_that_refuses_is_named_without_its_password(
    serve: Callable[..., Server], make_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(tunnelling(0, [], "407 Proxy Authentication Required"), plain=True)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{proxy.port}")
    with pytest.raises(CaUnreachable, match=f"127.0.0.1:{proxy.port}.*407") as raised:
        get(make_pool(), "https://ca.example/dir")
    assert "hunter2" not in str(raised.value.as_dict())


def test_loopback_and_no_proxy_go_direct(
    serve: Callable[..., Server], make_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(serve_ok)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    assert get(make_pool(), server.url()).status == 200
    monkeypatch.setenv("NO_PROXY", "ca.example")
    resolve(monkeypatch, server.port)
    assert get(make_pool(), "https://ca.example/dir").status == 200


def test_a_socks_proxy_is_refused_clearly(make_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:hunter2@127.0.0.1:1080")
    with pytest.raises(ConfigError, match="socks5") as raised:
        get(make_pool(), "https://ca.example/dir")
    assert "hunter2" not in str(raised.value.as_dict())


# abort


def abort_while(pool: HttpsPool, url: str, when: Callable[[], bool]) -> float:
    """Seconds from `abort` until the request ended with `Interrupted`."""
    ended: list[float] = []

    def work() -> None:
        with pytest.raises(Interrupted):
            get(pool, url, timeout=60)
        ended.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(500):
        if when():
            break
        time.sleep(0.01)
    time.sleep(0.05)
    begun = time.monotonic()
    pool.abort()
    thread.join(30)
    assert ended, "the request did not end"
    return ended[0] - begun


def test_abort_ends_a_request_that_waits_for_its_answer(serve: Callable[..., Server], make_pool: Pool) -> None:
    asked = threading.Event()

    def silent(sock: Any) -> None:
        read_request(sock)
        asked.set()
        sock.recv(1)

    pool = make_pool()
    assert abort_while(pool, serve(silent).url(), asked.is_set) < 5
    with pytest.raises(Interrupted):
        get(pool, serve(serve_ok).url())


def test_abort_ends_a_handshake(serve: Callable[..., Server], make_pool: Pool) -> None:
    server = serve(lambda sock: sock.recv(1 << 16) and sock.recv(1), plain=True)
    url = server.url().replace("http:", "https:")
    assert abort_while(make_pool(), url, lambda: server.connections > 0) < 5


def test_abort_ends_the_wait_for_the_resolver(make_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, release = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        asked.set()
        release.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert abort_while(make_pool(), "https://ca.example/dir", asked.is_set) < 5
    release.set()


def test_a_slow_resolver_is_bounded(make_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(60) and [])
    with pytest.raises(CaUnreachable, match="no answer in time"):
        get(make_pool(), "https://ca.example/dir", timeout=0.2)
    release.set()


# threads


def test_width_follows_the_distance() -> None:
    assert [width_for(latency) for latency in (None, 0.0005, 0.007, 0.02, 0.08, 1.0)] == [4, 2, 2, 4, 8, 8]


def test_parallel_keeps_order_and_raises_the_first_failure() -> None:
    assert parallel(lambda number: number * 2, range(100), width=8) == [number * 2 for number in range(100)]
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise ValueError("three")
        done.append(number)
        time.sleep(0.001)

    with pytest.raises(ValueError, match="three"):
        parallel(work, range(1000), width=4)
    assert len(done) < 100
    assert parallel(lambda number: number, [], width=4) == []


def test_records_have_a_duration(serve: Callable[..., Server], make_pool: Pool) -> None:
    records: list[RequestRecord] = []
    get(make_pool(observe=records.append), serve(serve_ok).url())
    assert records[0].seconds > 0
