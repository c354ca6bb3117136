"""What the tests of the ACME engine share: a clock that does not wait, solvers without DNS, and a CA to script."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.http import Headers, HttpResponse, HttpsPool, RequestRecord
from ci_acme.ca.jws import unb64
from ci_acme.ca.keys import LocalSigner, generate_key
from ci_acme.ca.problems import PREFIX
from ci_acme.ca.scope import Scope
from ci_acme.clock import SystemClock
from ci_acme.errors import Interrupted
from ci_acme.model.events import Event, Warned
from ci_acme.ports import Challenge, Deadline, Signer
from tests.servers.pebble import Pebble

UTC = dt.timezone.utc
BASE = "https://ca.example"


class FakeClock:
    """Time passes only by sleeping. `stop_after` seconds every wait ends with `Interrupted`."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.sleeps: list[float] = []
        self.stopped = False
        self.stop_after: float | None = None

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.time, UTC)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += max(0.0, seconds)
        if self.stop_after is not None and sum(self.sleeps) >= self.stop_after:
            self.stopped = True
        self.check()

    def check(self) -> None:
        if self.stopped:
            raise Interrupted("interrupted")

    def shielded(self) -> FakeClock:
        return self


class NoDns:
    """A solver that publishes nothing, calls `ready` for all at once and remembers what it was asked."""

    def __init__(self) -> None:
        self.prepared: list[str] = []
        self.solved: list[Challenge] = []
        self.cleanups: list[threading.Thread] = []

    def prepare(self, names: Sequence[str]) -> None:
        self.prepared.extend(names)

    def solve(
        self, challenges: Sequence[Challenge], ready: Callable[[Sequence[Challenge]], None], *, deadline: Deadline
    ) -> None:
        self.solved.extend(challenges)
        ready(challenges)

    def cleanup(self) -> None:
        self.cleanups.append(threading.current_thread())


def response(status: int, document: object = None, **fields: str) -> HttpResponse:
    """A JSON reply; field names with underscores for hyphens."""
    body = b"" if document is None else json.dumps(document).encode()
    headers = [(name.replace("_", "-"), value) for name, value in fields.items()]
    return HttpResponse(status, Headers(headers), body)


def problem(
    kind: str, status: int = 403, detail: str = "no", headers: Mapping[str, str] = {}, **more: Any
) -> HttpResponse:
    """An ACME problem document."""
    return response(status, {"type": PREFIX + kind, "detail": detail, **more}, **headers)


Scripted = HttpResponse | Exception | Callable[[HttpResponse], HttpResponse]


@dataclass
class FakeCa:
    """`Http` that is a CA by itself: for replies that a real one never gives.

    `script[kind]` holds what is answered instead, one entry a request; None is the proper answer. A callable gets the
    proper answer, which has then happened at the CA (a lost reply raises from it). Nonces and signatures are checked.
    """

    clock: FakeClock
    signer: LocalSigner
    script: dict[str, list[Scripted | None]] = field(default_factory=lambda: defaultdict(list))
    log: list[tuple[str, Any]] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    valid_authorizations: bool = False
    processing_polls: int = 0
    validation_polls: int = 0
    bundle: Callable[[FakeCa, Any, list[str]], bytes] | None = None

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.nonces: set[str] = set()
        self.count = 0
        self.names: list[str] = []
        self.status = "pending"
        self.authorizations: dict[str, str] = {}
        self.error: dict[str, Any] | None = None
        self.certificate = b""
        self.alternates: list[bytes] = []
        self.orders = 0
        self.account_known = True
        self.root = Issuer("Fake Root", self.clock.now())

    # Http

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> HttpResponse:
        assert headers["User-Agent"].startswith("ci-acme/")
        assert headers["Accept-Language"]
        assert timeout > 0
        with self.lock:
            path = url.removeprefix(BASE)
            kind = path.split("/")[1]
            if kind == "order" and path.count("/") > 1:
                kind = "poll"
            payload = self._open(method, url, body) if body is not None else None
            if isinstance(payload, HttpResponse):
                return payload
            self.log.append((kind, payload))
            step = self.script[kind].pop(0) if self.script[kind] else None
            if isinstance(step, Exception):
                raise step
            if isinstance(step, HttpResponse):
                reply = step
            else:
                reply = getattr(self, f"_{kind}")(path, payload)
                if step is not None:
                    reply = step(reply)
            return self._with_nonce(reply) if method in {"POST", "HEAD"} else reply

    def _with_nonce(self, reply: HttpResponse) -> HttpResponse:
        if reply.headers.get("Replay-Nonce") is not None:
            return reply
        self.count += 1
        nonce = f"nonce{self.count}"
        self.nonces.add(nonce)
        fields = [(name, value) for name, values in reply.headers._fields.items() for value in values]
        return HttpResponse(reply.status, Headers([*fields, ("Replay-Nonce", nonce)]), reply.body)

    def _open(self, method: str, url: str, body: bytes) -> Any:
        assert method == "POST"
        jws = json.loads(body)
        assert set(jws) == {"protected", "payload", "signature"}
        header = json.loads(unb64(jws["protected"]))
        assert header["url"] == url
        assert ("jwk" in header) != ("kid" in header)
        assert ("jwk" in header) == url.endswith("/account")
        if header["nonce"] not in self.nonces:
            return self._with_nonce(problem("badNonce", 400))
        self.nonces.remove(header["nonce"])
        signature = unb64(jws["signature"])
        half = len(signature) // 2
        der = encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
        signed = f"{jws['protected']}.{jws['payload']}".encode()
        public = self.signer._key.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(der, signed, ec.ECDSA(SHA256()))
        return json.loads(unb64(jws["payload"])) if jws["payload"] else None

    # resources

    def _dir(self, path: str, payload: Any) -> HttpResponse:
        urls = {name: f"{BASE}/{place}" for name, place in RESOURCES.items()}
        return response(200, {**urls, "meta": {"profiles": {"short": "six days"}, **self.meta}})

    def _nonce(self, path: str, payload: Any) -> HttpResponse:
        return response(200)

    def _account(self, path: str, payload: Any) -> HttpResponse:
        if not self.account_known:
            return problem("accountDoesNotExist", 400)
        return response(200, {"status": "valid"}, Location=f"{BASE}/acct/1")

    def _order(self, path: str, payload: Any) -> HttpResponse:
        self.orders += 1
        self.names = [item["value"] for item in payload["identifiers"]]
        state = "valid" if self.valid_authorizations else "pending"
        self.authorizations = dict.fromkeys(self.names, state)
        self.status = "ready" if self.valid_authorizations else "pending"
        return response(201, self._order_document(), Location=f"{BASE}/order/{self.orders}")

    def _order_document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "status": self.status,
            "identifiers": [{"type": "dns", "value": name} for name in reversed(self.names)],
            "authorizations": [f"{BASE}/authz/{index}" for index in range(len(self.names))],
            "finalize": f"{BASE}/finalize/{self.orders}",
        }
        if self.status == "valid":
            document["certificate"] = f"{BASE}/cert/0"
        if self.error is not None:
            document["error"] = self.error
        return document

    def _poll(self, path: str, payload: Any) -> HttpResponse:
        assert payload is None
        states = set(self.authorizations.values())
        if self.status == "pending" and states == {"valid"}:
            if self.validation_polls:
                self.validation_polls -= 1
            else:
                self.status = "ready"
        if "invalid" in states:
            self.status = "invalid"
        if self.status == "processing":
            if self.processing_polls:
                self.processing_polls -= 1
            else:
                self.status = "valid"
        return response(200, self._order_document())

    def _authz(self, path: str, payload: Any) -> HttpResponse:
        assert payload is None
        index = int(path.rpartition("/")[2])
        name = self.names[index]
        state = self.authorizations[name]
        challenge: dict[str, Any] = {
            "type": "dns-01",
            "url": f"{BASE}/chall/{index}",
            "token": f"token{index}",
            "status": state if state in {"pending", "valid", "invalid"} else "pending",
        }
        if state == "invalid":
            challenge["error"] = {"type": PREFIX + "unauthorized", "detail": f"wrong TXT for {name}"}
        other = {"type": "http-01", "url": f"{BASE}/chall/x", "token": "t", "status": "odd"}
        document = {
            "identifier": {"type": "dns", "value": name.removeprefix("*.")},
            "status": state,
            "challenges": [other, challenge],
        }
        if name.startswith("*."):
            document["wildcard"] = True
        return response(200, document)

    def _chall(self, path: str, payload: Any) -> HttpResponse:
        assert payload == {}
        name = self.names[int(path.rpartition("/")[2])]
        if self.authorizations[name] != "pending":
            return problem("malformed", 400, "cannot update challenge")
        self.authorizations[name] = "valid"
        return response(200, {"status": "processing"})

    def _finalize(self, path: str, payload: Any) -> HttpResponse:
        if self.status != "ready":
            return problem("orderNotReady", 403)
        csr = x509.load_der_x509_csr(unb64(payload["csr"]))
        self.status = "processing"
        make = self.bundle or (lambda ca, key, names: ca.root.leaf(key, names) + ca.root.pem)
        self.certificate = make(self, csr.public_key(), self.names)
        return response(200, self._order_document())

    def _cert(self, path: str, payload: Any) -> HttpResponse:
        assert payload is None
        index = int(path.rpartition("/")[2])
        body = [self.certificate, *self.alternates][index]
        links = [("Link", f'<{BASE}/cert/{other}>;rel="alternate"') for other in range(1, len(self.alternates) + 1)]
        return HttpResponse(200, Headers([("Link", f'<{BASE}/dir>;rel="index"'), *links]), body)

    def kinds(self) -> list[str]:
        """The kinds of all requests, in order."""
        return [kind for kind, _ in self.log]


RESOURCES = {
    "newNonce": "nonce",
    "newAccount": "account",
    "newOrder": "order",
    "revokeCert": "revoke",
    "keyChange": "key",
    "renewalInfo": "ari",
}


class Issuer:
    """A certificate authority of one key."""

    def __init__(self, name: str, now: dt.datetime, parent: Issuer | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.now = now
        signer = parent or self
        self.certificate = self._certificate(self.name, self.key.public_key(), [], signer, authority=True)
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def leaf(self, key: Any, names: Sequence[str], **more: Any) -> bytes:
        """A certificate in PEM."""
        return self._certificate(x509.Name([]), key, names, self, authority=False, **more).public_bytes(Encoding.PEM)

    def _certificate(
        self,
        subject: x509.Name,
        key: Any,
        names: Sequence[str],
        signer: Issuer,
        *,
        authority: bool,
        starts: dt.timedelta = dt.timedelta(hours=-1),
        lasts: dt.timedelta = dt.timedelta(days=90),
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now + starts)
            .not_valid_after(self.now + starts + lasts)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
        )
        if names:
            san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(san, critical=False)
        return builder.sign(signer.key, SHA256())


@dataclass
class Fake:
    """A client on a `FakeCa`."""

    clock: FakeClock
    ca: FakeCa
    client: AcmeClient
    events: list[Event] = field(default_factory=list)

    def scope(self, seconds: float = 300) -> Scope:
        return Scope(Deadline(self.clock, seconds), "test", self.events.append)

    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Warned)]


def fake(**options: Any) -> Fake:
    """A client with an account on a CA that does everything right until it is scripted not to."""
    clock = FakeClock()
    signer = LocalSigner(generate_key())
    ca = FakeCa(clock, signer, **options)
    client = AcmeClient(f"{BASE}/dir", signer, http=ca, clock=clock)
    client.use_account(f"{BASE}/acct/1")
    return Fake(clock, ca, client)


# the real CA


@dataclass
class Tls:
    """A certificate for 127.0.0.1 and localhost that signs itself."""

    certificate: Path
    key: Path


@dataclass
class Session:
    """A client of a real CA, and everything that it did on the wire and told."""

    client: AcmeClient
    pool: HttpsPool
    clock: SystemClock
    records: list[RequestRecord] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def scope(self, seconds: float = 60) -> Scope:
        return Scope(Deadline(self.clock, seconds), "test", self.events.append)

    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Warned)]


def session(pebble: Pebble, signer: Signer | None = None) -> Session:
    """A client with its own connections; close `pool` after use."""
    records: list[RequestRecord] = []
    pool = HttpsPool(ca_bundle=pebble.ca_bundle, observe=records.append)
    clock = SystemClock()
    client = AcmeClient(pebble.directory_url, signer or LocalSigner(generate_key()), http=pool, clock=clock)
    return Session(client, pool, clock, records)
