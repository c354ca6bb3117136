"""The floor: a client that makes only the protocol's minimum of requests, without checks, retries or politeness.

    python raw.py SPEC.json

One TLS connection, one UPDATE to add and one to remove for each order, every authorization and challenge once, one
poll of the order after the challenges and after finalize. No product can be written like this: it assumes a CA and a
name server that never fail. SPEC has directory_url, ca_bundle, dns (host, port), zone, key, secret, output and
certificates (a list of lists of names).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dns.name
import dns.query
import dns.tsig
import dns.update
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Raw:
    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        url = urlsplit(spec["directory_url"])
        context = ssl.create_default_context(cafile=spec["ca_bundle"])
        self.connection = http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=60)
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        self.jwk = {
            "crv": "P-256",
            "kty": "EC",
            "x": b64(numbers.x.to_bytes(32, "big")),
            "y": b64(numbers.y.to_bytes(32, "big")),
        }
        canonical = json.dumps(self.jwk, separators=(",", ":"), sort_keys=True).encode()
        self.thumbprint = b64(hashlib.sha256(canonical).digest())
        self.account = ""
        self.directory: dict[str, Any] = json.loads(self.call("GET", spec["directory_url"])[1])
        self.call("HEAD", self.directory["newNonce"])
        location, _ = self.post(self.directory["newAccount"], {"termsOfServiceAgreed": True})
        self.account = location
        name = dns.name.from_text(spec["key"])
        self.keyring = {name: dns.tsig.Key(name, spec["secret"], "hmac-sha256")}

    def call(self, method: str, url: str, body: bytes | None = None) -> tuple[str, bytes]:
        headers = {"User-Agent": "raw"} | ({"Content-Type": "application/jose+json"} if body else {})
        self.connection.request(method, urlsplit(url).path, body, headers)
        response = self.connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise SystemExit(f"{method} {url}: {response.status} {content.decode()}")
        self.nonce = response.headers.get("Replay-Nonce", "")
        return response.headers.get("Location", ""), content

    def post(self, url: str, payload: object = None) -> tuple[str, bytes]:
        protected: dict[str, Any] = {"alg": "ES256", "nonce": self.nonce, "url": url}
        protected |= {"kid": self.account} if self.account else {"jwk": self.jwk}
        head = b64(json.dumps(protected).encode())
        text = "" if payload is None else b64(json.dumps(payload).encode())
        der = self.key.sign(f"{head}.{text}".encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(der)
        signature = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return self.call("POST", url, json.dumps({"protected": head, "payload": text, "signature": signature}).encode())

    def poll(self, url: str, wanted: str) -> dict[str, Any]:
        for attempt in range(2000):
            time.sleep(min(0.01 * 1.3**attempt, 0.25))
            order: dict[str, Any] = json.loads(self.post(url)[1])
            if order["status"] == wanted:
                return order
            if order["status"] == "invalid":
                raise SystemExit(f"order: {order}")
        raise SystemExit(f"order {url} is not {wanted} in time")

    def update(self, values: list[tuple[str, str]], action: str) -> None:
        message = dns.update.UpdateMessage(self.spec["zone"], keyring=self.keyring)
        for name, value in values:
            owner = dns.name.from_text(f"_acme-challenge.{name.removeprefix('*.')}")
            arguments = (60, "TXT", value) if action == "add" else ("TXT", value)
            getattr(message, action)(owner, *arguments)
        host, port = self.spec["dns"]
        answer = dns.query.tcp(message, host, timeout=10, port=port)
        if answer.rcode():
            raise SystemExit(f"UPDATE: {answer.rcode()}")

    def issue(self, names: list[str]) -> None:
        identifiers = [{"type": "dns", "value": name} for name in names]
        location, body = self.post(self.directory["newOrder"], {"identifiers": identifiers})
        order = json.loads(body)
        values, challenges = [], []
        for url in order["authorizations"]:
            authorization = json.loads(self.post(url)[1])
            challenge = next(item for item in authorization["challenges"] if item["type"] == "dns-01")
            digest = hashlib.sha256(f"{challenge['token']}.{self.thumbprint}".encode()).digest()
            values.append((authorization["identifier"]["value"], b64(digest)))
            challenges.append(challenge["url"])
        self.update(values, "add")
        for url in challenges:
            self.post(url, {})
        order = self.poll(location, "ready")
        key = ec.generate_private_key(ec.SECP256R1())
        extension = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        csr = (
            x509.CertificateSigningRequestBuilder(x509.Name([]))
            .add_extension(extension, critical=False)
            .sign(key, hashes.SHA256())
        )
        self.post(order["finalize"], {"csr": b64(csr.public_bytes(serialization.Encoding.DER))})
        order = self.poll(location, "valid")
        chain = self.post(order["certificate"])[1]
        self.update(values, "delete")
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        target = Path(self.spec["output"]) / f"{names[0].replace('*', '_')}.pem"
        target.write_bytes(chain + pem)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    client = Raw(spec)
    for names in spec["certificates"]:
        client.issue(names)


if __name__ == "__main__":
    main()
