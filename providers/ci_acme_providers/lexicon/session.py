"""Lexicon at work: quiet, without a look at the public suffix list, and never longer than the deadline.

`lexicon.client.Client` finds the zone of a domain by `tldextract`, which fetches the public suffix list over the
network and keeps it in the home directory. The zone is known here: a stand-in takes its place while a client is made.
"""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, Protocol, TypeVar, cast

from ci_acme.errors import DnsUnreachable, NotAvailable
from ci_acme.ports import Deadline

T = TypeVar("T")
_SLICE: Final = 0.1
_MAKING: Final = threading.Lock()
_TALKATIVE: Final = ("lexicon", "requests", "urllib3")
"""Loggers that would write requests, and with them credentials, to whoever listens to the root logger."""


class Operations(Protocol):
    """What `lexicon.client.Client` gives as a context."""

    def create_record(self, rtype: str, name: str, content: str) -> bool: ...

    def list_records(self, rtype: str | None, name: str | None, content: str | None) -> list[dict[str, Any]]: ...

    def delete_record(
        self, identifier: str | None, rtype: str | None, name: str | None, content: str | None
    ) -> bool: ...


class Session:
    """One provider of lexicon and one zone. One thread works with it at a time."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._turn = threading.Lock()

    def run(
        self, zone: str, ttl: int, options: Mapping[str, Any], work: Callable[[Operations], T], deadline: Deadline
    ) -> T:
        """What `work` returns. It is done in a thread of its own, as lexicon's requests have no time limit.

        Raises what it raises, `DnsUnreachable` at the deadline (then it may still be under way), and `Interrupted`.
        """
        done = threading.Event()
        called_off = threading.Event()
        outcome: list[T] = []
        errors: list[BaseException] = []

        def body() -> None:
            try:
                with self._turn:
                    if not called_off.is_set():
                        outcome.append(self._work(zone, ttl, options, _until(called_off, work)))
            except BaseException as error:  # it is raised in the thread that waits
                errors.append(error)
            finally:
                done.set()

        threading.Thread(target=body, name=f"lexicon {self._provider}", daemon=True).start()
        try:
            while not done.wait(_SLICE):
                deadline.clock.check()
                if deadline.expired:
                    raise DnsUnreachable(
                        f"lexicon's provider {self._provider} did not come to an end in time",
                        fix="run the command again; lexicon's requests have no time limit of their own",
                    )
        finally:
            called_off.set()
        if errors:
            raise errors[0]
        return outcome[0]

    def _work(self, zone: str, ttl: int, options: Mapping[str, Any], work: Callable[[Operations], T]) -> T:
        config = {
            "provider_name": self._provider,
            "domain": zone,
            "delegated": zone,
            "ttl": ttl,
            self._provider: dict(options),
        }
        with make_client(config) as operations:
            return work(operations)


class _CalledOff(Exception):
    """Nobody waits for it any more."""


class _Watched:
    """Operations that end when they are called off, between two requests."""

    def __init__(self, inner: Operations, called_off: threading.Event) -> None:
        self._inner = inner
        self._called_off = called_off

    def __getattr__(self, name: str) -> Any:
        if self._called_off.is_set():
            raise _CalledOff
        return getattr(self._inner, name)


def _until(called_off: threading.Event, work: Callable[[Operations], T]) -> Callable[[Operations], T]:
    return lambda operations: work(cast("Operations", _Watched(operations, called_off)))


def make_client(config: Mapping[str, Any]) -> Any:
    """A `lexicon.client.Client` for exactly the domain of the config. Raises `NotAvailable`, and lexicon's errors."""
    try:
        module: Any = importlib.import_module("lexicon.client")
        configs: Any = importlib.import_module("lexicon.config")
    except ImportError:
        raise NotAvailable("the library dns-lexicon is not installed", fix="pip install 'ci-acme[lexicon]'") from None
    for name in _TALKATIVE:
        _silence(logging.getLogger(name))
    resolver = configs.ConfigResolver().with_dict(dict(config))
    with _MAKING:
        fetching = module.tldextract
        module.tldextract = SimpleNamespace(TLDExtract=_splitter)
        try:
            client = module.Client(resolver)
        finally:
            module.tldextract = fetching
    client.config.add_config_source(configs.DictConfigSource({"domain": config["domain"]}), 0)
    vars(sys.modules[client.provider_class.__module__])["print"] = _say_nothing  # stdout belongs to the result
    return client


def _splitter(**_: Any) -> Callable[[str], SimpleNamespace]:
    return _split


def _split(domain: str) -> SimpleNamespace:
    head, _, tail = domain.partition(".")
    return SimpleNamespace(domain=head, suffix=tail)


def _silence(logger: logging.Logger) -> None:
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)


def _say_nothing(*_: Any, **__: Any) -> None:
    return
