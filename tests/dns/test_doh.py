"""Port 53 is closed: DNS over HTTPS, the provider's word, a wait."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ci_acme import dnswire
from ci_acme.clock import SystemClock
from ci_acme.dns import ask as ask_module
from ci_acme.dns import ladder, propagation, zones
from ci_acme.dns.batch import ask
from ci_acme.dns.engine import DnsEngine
from ci_acme.dns.https import Https
from ci_acme.dns.question import Answer, Failed, Question, Server
from ci_acme.errors import DnsDelegationError, DnsPropagationTimeout, DnsUnreachable, ZoneNotFound
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, DnsCapabilities, Placement
from ci_acme.sandbox.dns import SandboxDns
from ci_acme_providers.rfc2136.adapter import Rfc2136
from tests.clouds.api import Answer as HttpAnswer
from tests.clouds.api import lose_reply, refuse
from tests.dns.doh import Doh
from tests.dns.rig import Run, challenges, entry
from tests.dns.rig import engine as make_engine
from tests.dns.servers import SECRET, Bind, Stub, forward, negative
from tests.dns.servers import refuse as dns_refuse
from tests.servers.ports import free_port
from tests.servers.tls import tls_files

pytestmark = pytest.mark.servers
NAME = "_acme-challenge.app.ci.test"
Maker = Callable[..., DnsEngine]


@pytest.fixture
def doh(bind: Bind) -> Iterator[Doh]:
    with Doh(bind.server) as server:
        yield server


@pytest.fixture
def closed() -> int:
    """A port where no name server is."""
    return free_port()


@pytest.fixture
def engine() -> Iterator[Callable[..., Any]]:
    """Makes engines that are closed in the end."""
    made: list[DnsEngine] = []

    def make(*arguments: Any, **more: Any) -> DnsEngine:
        made.append(make_engine(*arguments, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def https() -> Iterator[Https]:
    made = Https()
    yield made
    made.close()


def run_through(made: Any, *identifiers: str) -> Run:
    run = Run(made)
    run.solve(challenges(*identifiers))
    return run


# --- the protocol


def test_post_and_get_give_what_the_server_gives(bind: Bind, https: Https) -> None:
    make = https.server
    for post in (True, False):
        with Doh(bind.server, post=post) as server:
            question = Question(make(server.endpoint), "ci.test", dnswire.NS, recurse=True)
            for reply in ask([question, question, question._replace(rtype=dnswire.SOA)], SystemClock()):
                assert isinstance(reply, Answer)
                assert reply.usable
            assert {call.method for call in server.calls} == ({"POST"} if post else {"POST", "GET"})


def test_a_template_and_a_query_in_the_url(bind: Bind, https: Https) -> None:
    with Doh(bind.server, post=False) as server:
        make = https.server
        for url in (server.endpoint + "{?dns}", server.endpoint + "?token=x"):
            (reply,) = ask([Question(make(url), "ci.test", dnswire.SOA, recurse=True)], SystemClock())
            assert isinstance(reply, Answer)


def test_what_goes_wrong_has_words(doh: Doh, https: Https) -> None:
    make = https.server
    good = make(doh.endpoint)

    def reply(server: Server) -> str:
        (found,) = ask([Question(server, "ci.test", dnswire.SOA, recurse=True)], SystemClock())
        assert isinstance(found, Failed)
        return found.reason

    assert "connection was refused" in reply(make(f"http://127.0.0.1:{free_port()}/dns-query"))
    assert reply(make(f"{doh.url}/nothing")) == "answers HTTP 404"
    doh.fail(lambda call: True, refuse(HttpAnswer(503)))
    assert reply(good) == "answers HTTP 503"
    doh.answer = lambda wire: None
    assert reply(good) == "answers text/html instead of a DNS message"
    doh.answer = lambda wire: b"\0" * 5
    assert "broken answer" in reply(good)
    doh.answer = lambda wire: b"\0\0\x84\0" + bytes(8)
    assert reply(good) == "answers another question"


def test_a_connection_that_was_cut_is_tried_once_more(doh: Doh, https: Https) -> None:
    doh.fail(lambda call: True, lose_reply)
    (reply,) = ask([Question(https.server(doh.endpoint), "ci.test", dnswire.SOA, recurse=True)], SystemClock())
    assert isinstance(reply, Answer)
    assert len(doh.calls) == 2


def test_tls_is_trusted_by_the_bundle_that_the_config_names(bind: Bind, tmp_path: Path, https: Https) -> None:
    files = tls_files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with Doh(bind.server, tls=context) as server:
        trusting = Https(files.ca_bundle)
        question = Question(trusting.server(server.endpoint), "ci.test", dnswire.SOA, recurse=True)
        stranger = question._replace(server=https.server(server.endpoint))
        good, bad = ask([question, stranger], SystemClock())
        trusting.close()
    assert isinstance(good, Answer)
    assert isinstance(bad, Failed)
    assert "not trusted" in bad.reason


def test_a_hundred_questions_and_an_end_in_between(doh: Doh, https: Https) -> None:
    server = https.server(doh.endpoint)
    replies = ask([Question(server, f"h{number}.ci.test", dnswire.TXT, True) for number in range(100)], SystemClock())
    assert all(isinstance(reply, Answer) for reply in replies)
    with ask_module.Asker[int](SystemClock()) as asker:
        asker.submit(Question(server, "ci.test", dnswire.SOA, True), 1)
    assert asker.outstanding == 1, "it was closed with a question under way"


# --- lookups


def test_a_url_among_the_name_servers_finds_zones_while_their_servers_are_asked_directly(
    bind: Bind, doh: Doh, engine: Maker
) -> None:
    made = engine([entry(bind.server)], [doh.endpoint], port=bind.port)
    run = run_through(made, "app.ci.test")
    assert run.solver.propagation == "authoritative"
    assert sorted(doh.asked) == [f"ci.test {dnswire.NS}", f"ns1.ci.test {dnswire.A}", f"ns1.ci.test {dnswire.AAAA}"]
    assert [line for line in bind.queries() if line.startswith(NAME)], "asked at the zone's own server"
    run.solver.cleanup()


def test_a_resolver_over_https_is_never_an_authority(bind: Bind, doh: Doh, engine: Maker) -> None:
    """It may pass the bit on that the server behind it has set."""
    made = engine([entry(bind.server)], [doh.endpoint, bind.server], port=free_port())
    run = run_through(made, "app.ci.test")
    assert run.solver.propagation == "authoritative"
    assert doh.asked == []
    run.solver.cleanup()


@pytest.mark.parametrize("resolvers", ["none", "silent"])
def test_without_a_resolver_the_fallback_is_asked(
    bind: Bind, doh: Doh, monkeypatch: pytest.MonkeyPatch, resolvers: str, engine: Maker
) -> None:
    found = [] if resolvers == "none" else [Server("127.0.0.1", free_port())]
    monkeypatch.setattr(zones, "system_resolvers", lambda: found)
    made = engine([entry(bind.server)], [], doh=[doh.endpoint], port=bind.port)
    run = run_through(made, "app.ci.test")
    assert run.solver.propagation == "authoritative"
    assert f"ci.test {dnswire.NS}" in doh.asked
    run.solver.cleanup()


def test_the_fallback_is_not_asked_while_resolvers_answer(
    make_bind: Callable[..., Bind], doh: Doh, bind: Bind, monkeypatch: pytest.MonkeyPatch, engine: Maker
) -> None:
    resolver = make_bind()
    resolver.options = ["recursion yes;", "allow-recursion { any; };"]
    resolver.raw_zone("test", f"type forward; forward only; forwarders {{ 127.0.0.1 port {bind.port}; }};")
    resolver.start()
    monkeypatch.setattr(zones, "system_resolvers", lambda: [resolver.server])
    made = engine([entry(bind.server)], [], doh=[doh.endpoint], port=bind.port)
    run = run_through(made, "app.ci.test")
    run.solver.cleanup()
    (finding,) = made.check(["app.ci.test"])
    assert finding.error is None
    assert doh.calls == []


# --- the ladder


class Signalling(Rfc2136):
    """An RFC 2136 server that says when it is in sync; `after` is called then."""

    after: Callable[[], None] = staticmethod(lambda: None)

    @property
    def capabilities(self) -> DnsCapabilities:
        return DnsCapabilities(super().capabilities.concurrency, in_sync_signal=True)

    def wait_in_sync(self, placements: Sequence[Placement], *, deadline: Deadline) -> None:
        self.after()


def signalling(bind: Bind, after: Callable[[], None] = lambda: None, **settings: Any) -> Any:
    plain = entry(bind.server, **settings)
    made = Signalling(plain.settings, plain.make_provider()._context)  # type: ignore[attr-defined]
    made.after = after  # type: ignore[method-assign]
    return type(plain)(plain.settings, lambda: made)


def test_a_resolver_is_asked_for_the_record_only_after_the_provider_is_in_sync(
    bind: Bind, doh: Doh, closed: int, engine: Maker
) -> None:
    early: list[str] = []
    made = engine([signalling(bind, lambda: early.extend(doh.asked))], [doh.endpoint], port=closed)
    run = run_through(made, "app.ci.test", "*.app.ci.test", "b.ci.test")
    assert len(run.ready) == 3
    assert run.solver.propagation == "doh"
    assert early, "the zone was looked for over HTTPS"
    assert not [question for question in early if "_acme-challenge" in question]
    assert f"{NAME} {dnswire.TXT}" in doh.asked
    assert any(doh.endpoint in step and "port 53" in step for step in run.steps)
    assert run.warnings == []
    run.solver.cleanup()
    assert bind.txt(NAME) == {}


def test_without_a_signal_some_seconds_pass_first(
    bind: Bind, doh: Doh, closed: int, monkeypatch: pytest.MonkeyPatch, engine: Maker
) -> None:
    monkeypatch.setattr(ladder, "_SETTLE", 0.4)
    run = Run(engine([entry(bind.server)], [doh.endpoint], port=closed))
    seen: list[float] = []

    def answer(wire: bytes) -> bytes:
        if b"_acme-challenge" in wire:
            seen.append(time.monotonic())
        return forward(wire, bind.server)

    doh.answer = answer
    started = time.monotonic()
    run.solve(challenges("app.ci.test"))
    assert seen[0] - started >= 0.4
    assert run.solver.propagation == "doh"
    run.solver.cleanup()


def test_silent_servers_on_port_53(bind: Bind, doh: Doh, make_stub: Callable[..., Stub], engine: Maker) -> None:
    """Servers that drop what comes, as a firewall does: real time-outs."""
    silent = make_stub(lambda wire, tcp: None)
    run = run_through(engine([signalling(bind)], [doh.endpoint], port=silent.port), "app.ci.test")
    assert run.solver.propagation == "doh"
    assert silent.asked >= 2, "over UDP and TCP"
    run.solver.cleanup()


def test_a_server_that_refuses_to_answer_is_reached(
    bind: Bind, doh: Doh, make_stub: Callable[..., Stub], engine: Maker
) -> None:
    """REFUSED is an answer: port 53 is open, and the zone is lame."""
    lame = make_stub(lambda wire, tcp: dns_refuse(wire, dnswire.REFUSED))
    with pytest.raises(DnsUnreachable, match="answers REFUSED"):
        run_through(engine([entry(bind.server)], [doh.endpoint], port=lame.port), "app.ci.test")


def test_a_zone_that_lags_is_waited_for(bind: Bind, closed: int, engine: Maker) -> None:
    """The provider says that it is in sync before its servers are, and the resolver caches nothing."""
    zone = "@ NS ns1\nns1 A 127.0.0.1"
    with SandboxDns({"ci.test": zone}, keys={"ci-acme": Secret(SECRET.encode())}) as sandbox, Doh(bind.server) as doh:
        doh.answer = lambda wire: sandbox.handle(wire, "tcp")
        sandbox.lag = 0.6
        plain = entry(sandbox.address)
        made = Signalling(plain.settings, plain.make_provider()._context)  # type: ignore[attr-defined]
        run = Run(engine([type(plain)(plain.settings, lambda: made)], [doh.endpoint], port=closed))
        started = time.monotonic()
        run.solve(challenges("app.ci.test"))
        assert time.monotonic() - started >= 0.6
        assert run.solver.propagation == "doh"
        questions = [(query.name, query.rcode) for query in sandbox.queries if query.name == NAME]
        assert questions[0] == (NAME, "NXDOMAIN")
        assert questions[-1] == (NAME, "NOERROR")
        run.solver.cleanup()
        assert sandbox.values(NAME) == []


def test_a_negative_answer_is_not_believed_for_long(
    bind: Bind, doh: Doh, closed: int, monkeypatch: pytest.MonkeyPatch, engine: Maker
) -> None:
    monkeypatch.setattr(propagation, "_NEGATIVE_TRUST", 0.5)
    with Doh(bind.server) as forgetful:
        forgetful.answer = lambda wire: (
            negative(wire, "ci.test") if b"_acme-challenge" in wire else forward(wire, bind.server)
        )
        made = engine([signalling(bind)], [doh.endpoint, forgetful.endpoint], port=closed)
        run = run_through(made, "app.ci.test")
        assert run.solver.propagation == "doh"
        assert len([question for question in forgetful.asked if question.startswith(NAME)]) > 1
        run.solver.cleanup()


def test_nothing_but_negative_answers_is_a_timeout(bind: Bind, doh: Doh, closed: int, engine: Maker) -> None:
    doh.answer = lambda wire: negative(wire, "ci.test") if b"_acme-challenge" in wire else forward(wire, bind.server)
    made = engine([signalling(bind, propagation_timeout=0.6)], [doh.endpoint], port=closed)
    run = Run(made)
    with pytest.raises(DnsPropagationTimeout, match="every resolver that was asked over HTTPS") as caught:
        run.solve(challenges("app.ci.test"))
    assert doh.endpoint in caught.value.message
    assert "port 53" in caught.value.fix
    run.solver.cleanup()
    assert bind.txt(NAME) == {}


def test_the_providers_word_where_nobody_else_can_be_asked(bind: Bind, doh: Doh, closed: int, engine: Maker) -> None:
    made = engine([signalling(bind)], [doh.endpoint], port=closed)
    made.directory.lookup({"ci.test": None})
    doh.fail(lambda call: True, refuse(HttpAnswer(503)), times=1000)
    run = run_through(made, "app.ci.test")
    assert run.solver.propagation == "signal"
    assert "the provider's word" in run.warnings[-1]
    run.solver.cleanup()


def test_a_bounded_wait_is_the_last_rung(
    bind: Bind, closed: int, doh: Doh, monkeypatch: pytest.MonkeyPatch, engine: Maker
) -> None:
    resolver = Stub(lambda wire, tcp: forward(wire, bind.server))
    try:
        monkeypatch.setattr(zones, "system_resolvers", lambda: [resolver.server])
        made = engine([entry(bind.server, propagation_wait=0.3)], [], port=closed)
        started = time.monotonic()
        run = run_through(made, "app.ci.test", "b.ci.test")
        assert time.monotonic() - started >= 0.3
    finally:
        resolver.stop()
    assert len(run.ready) == 2
    assert run.solver.propagation == "wait"
    assert "propagation_wait" in run.warnings[-1]
    run.solver.cleanup()


def test_a_certificate_with_an_open_and_a_closed_zone_says_the_weaker(
    make_bind: Callable[..., Bind], doh: Doh, engine: Maker
) -> None:
    both = make_bind({"ci.test": (), "open.test": ()}).start()
    shut = make_bind({"shut.test": ("ns1 A 127.0.0.2",)}, port=free_port()).start()

    def answer(wire: bytes) -> bytes:
        return forward(wire, shut.server if b"\x04shut" in wire else both.server)

    doh.answer = answer
    entries = [signalling(shut, zone="shut.test"), entry(both.server, "open.test")]
    run = run_through(engine(entries, [doh.endpoint], port=both.port), "a.open.test", "a.shut.test")
    assert len(run.ready) == 2
    assert run.solver.propagation == "doh"
    run.solver.cleanup()


def test_configured_servers_that_are_dead_are_an_error_as_ever(doh: Doh, engine: Maker) -> None:
    """The config says who is to be asked: nobody else is."""
    dead = Server("127.0.0.1", free_port())
    with pytest.raises(DnsUnreachable):
        run_through(engine([entry(dead)], [dead]), "app.ci.test")


# --- CNAMEs without port 53


def test_a_cname_that_is_seen_too_late_is_explained(make_bind: Callable[..., Bind], closed: int, engine: Maker) -> None:
    bind = make_bind({"ci.test": ("_acme-challenge.app CNAME target.ci.test.",)}).start()
    with Doh(bind.server) as doh:
        run = Run(engine([signalling(bind)], [doh.endpoint], port=closed))
        with pytest.raises(DnsDelegationError, match=r"is a CNAME to target\.ci\.test"):
            run.solve(challenges("app.ci.test"))
        run.solver.cleanup()


def test_a_name_that_no_entry_serves_is_asked_for_its_cname(
    make_bind: Callable[..., Bind], closed: int, engine: Maker
) -> None:
    bind = make_bind({"ci.test": ("_acme-challenge.app CNAME app.acme.test.",), "acme.test": ()}).start()
    with Doh(bind.server) as doh:
        made = engine([signalling(bind, zone="acme.test")], [doh.endpoint], port=closed)
        run = run_through(made, "app.ci.test")
        assert len(run.ready) == 1
        assert "app.acme.test" in run.steps[0]
        run.solver.cleanup()
        with pytest.raises(ZoneNotFound, match="CNAMEs could not be followed"):
            run_through(made, "other.ci.test")


def test_the_deeper_zone_of_the_provider_is_chosen(make_bind: Callable[..., Bind], closed: int, engine: Maker) -> None:
    bind = make_bind({"ci.test": ("sub NS ns1.sub", "ns1.sub A 127.0.0.1"), "sub.ci.test": ()}).start()
    with Doh(bind.server) as doh:
        run = run_through(engine([signalling(bind)], [doh.endpoint], port=closed), "a.sub.ci.test")
        assert any("in sub.ci.test" in step for step in run.steps)
        assert not [question for question in doh.asked if question.startswith("a.sub.ci.test")]
        run.solver.cleanup()


def test_check_says_how_records_will_be_seen(bind: Bind, doh: Doh, closed: int, engine: Maker) -> None:
    (finding,) = engine([entry(bind.server)], [doh.endpoint], port=closed).check(["app.ci.test"])
    assert finding.error is None
    assert any(doh.endpoint in warning for warning in finding.warnings)
    assert not [question for question in doh.asked if "_acme-challenge" in question]
    assert bind.txt(NAME) == {}
