"""An ACME client of the tests' own, raw enough to send what no sane client would."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def jwk_of(key: Key) -> dict[str, str]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": b64(_bytes(numbers.n)), "e": b64(_bytes(numbers.e))}
    numbers = public.public_numbers()
    size = (key.curve.key_size + 7) // 8
    crv = {256: "P-256", 384: "P-384", 521: "P-521"}[key.curve.key_size]
    return {
        "kty": "EC",
        "crv": crv,
        "x": b64(numbers.x.to_bytes(size, "big")),
        "y": b64(numbers.y.to_bytes(size, "big")),
    }


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def thumbprint(key: Key) -> str:
    return b64(hashlib.sha256(json.dumps(jwk_of(key), sort_keys=True, separators=(",", ":")).encode()).digest())


def alg_of(key: Key) -> str:
    return (
        "RS256"
        if isinstance(key, rsa.RSAPrivateKey)
        else {256: "ES256", 384: "ES384", 521: "ES512"}[key.curve.key_size]
    )


def sign(key: Key, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    digest = hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def jws(key: Key, protected: dict[str, Any], payload: Any) -> dict[str, str]:
    """`payload`: None is POST-as-GET, bytes go as they are, the rest as JSON."""
    raw = b"" if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head, body = b64(json.dumps({"alg": alg_of(key), **protected}).encode()), b64(raw)
    return {"protected": head, "payload": body, "signature": b64(sign(key, f"{head}.{body}".encode()))}


def eab(kid: str, mac_key: bytes, url: str, account_key: Key, alg: str = "HS256") -> dict[str, str]:
    head = b64(json.dumps({"alg": alg, "kid": kid, "url": url}).encode())
    body = b64(json.dumps(jwk_of(account_key)).encode())
    mac = hmac.HMAC(mac_key, {"HS256": hashes.SHA256(), "HS384": hashes.SHA384(), "HS512": hashes.SHA512()}[alg])
    mac.update(f"{head}.{body}".encode())
    return {"protected": head, "payload": body, "signature": b64(mac.finalize())}


def make_csr(key: Key, names: list[str], common_name: str | None = None) -> str:
    subject = [] if common_name is None else [x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
    return b64(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


class Response:
    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self.status = raw.status
        self.headers = raw.headers
        self.body = raw.read()

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def problem(self) -> str:
        """The error type without its prefix."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        assert self.json["status"] == self.status
        return self.json["type"].removeprefix("urn:ietf:params:acme:error:")

    def links(self, relation: str) -> list[str]:
        found = (link.partition(";") for link in self.headers.get_all("Link", []))
        return [url.strip("<>") for url, _, rel in found if rel == f'rel="{relation}"']


class RawClient:
    def __init__(self, directory_url: str, bundle: Path, key: Key | None = None) -> None:
        self.key = key or ec_key()
        self.kid: str | None = None
        self.nonce: str | None = None
        self._address = urlsplit(directory_url).netloc
        self._tls = ssl.create_default_context(cafile=str(bundle))
        self._connection = http.client.HTTPSConnection(self._address, context=self._tls, timeout=20)
        self.directory = self.request("GET", directory_url).json

    def close(self) -> None:
        self._connection.close()

    def request(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        try:
            self._connection.request(method, urlsplit(url).path, body, {"User-Agent": "raw", **(headers or {})})
            response = Response(self._connection.getresponse())
        except BaseException:
            self._connection.close()
            raise
        self.nonce = response.headers.get("Replay-Nonce", self.nonce)
        return response

    def fresh_nonce(self) -> str:
        nonce = self.nonce or self.request("HEAD", self.directory["newNonce"]).headers["Replay-Nonce"]
        self.nonce = None
        return nonce

    def post(
        self,
        url: str,
        payload: Any = None,
        /,
        *,
        key: Key | None = None,
        content_type: str = "application/jose+json",
        **protected: Any,
    ) -> Response:
        """Sign with the account (or as `protected` says) and send."""
        head = {"url": url, **protected}
        if "nonce" not in head:
            head["nonce"] = self.fresh_nonce()
        if "jwk" not in head and "kid" not in head:
            head |= {"kid": self.kid} if self.kid else {"jwk": jwk_of(key or self.key)}
        body = json.dumps(jws(key or self.key, head, payload)).encode()
        return self.request("POST", url, body, {"Content-Type": content_type})

    def register(self, **members: Any) -> Response:
        response = self.post(
            self.directory["newAccount"], {"termsOfServiceAgreed": True, **members}, jwk=jwk_of(self.key)
        )
        if response.status in (200, 201):
            self.kid = response.headers["Location"]
        return response

    def new_order(self, *names: str, **members: Any) -> Response:
        identifiers = [{"type": "dns", "value": name} for name in names]
        return self.post(self.directory["newOrder"], {"identifiers": identifiers, **members})

    def challenges(self, order: Response, kind: str = "dns-01") -> list[tuple[str, dict[str, Any]]]:
        """(name, challenge) of every authorization of the order."""
        found = []
        for url in order.json["authorizations"]:
            authorization = self.post(url).json
            challenge = next(c for c in authorization["challenges"] if c["type"] == kind)
            found.append((authorization["identifier"]["value"], challenge))
        return found

    def txt_value(self, token: str) -> str:
        return b64(hashlib.sha256(f"{token}.{thumbprint(self.key)}".encode()).digest())

    def poll(self, url: str, until: tuple[str, ...] = ("valid", "invalid", "ready"), tries: int = 400) -> Response:
        for _ in range(tries):
            response = self.post(url)
            if response.json["status"] in until:
                return response
            time.sleep(0.02)
        raise AssertionError(f"{url} stays {response.json}")

    def solve(self, dns: Any, order: Response) -> Response:
        """Put the TXT records, answer every challenge, and wait for the order."""
        found = self.challenges(order)
        wanted: dict[str, list[str]] = {}
        for name, challenge in found:
            wanted.setdefault(f"_acme-challenge.{name}", []).append(self.txt_value(challenge["token"]))
        for owner, values in wanted.items():
            dns.add(owner, "TXT", *values)
        for _, challenge in found:
            assert self.post(challenge["url"], {}).status == 200
        return self.poll(order.headers["Location"])

    def issue(self, dns: Any, *names: str, key: Key | None = None, **members: Any) -> tuple[Response, Response]:
        """(finalized order, certificate reply)."""
        order = self.new_order(*names, **members)
        assert order.status == 201, order.text
        self.solve(dns, order)
        done = self.post(order.json["finalize"], {"csr": make_csr(key or ec_key(), list(names))})
        assert done.status == 200, done.text
        done = self.poll(order.headers["Location"])
        return done, self.post(done.json["certificate"])
