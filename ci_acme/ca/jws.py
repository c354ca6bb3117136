"""JSON Web Signatures as ACME uses them (RFC 8555 section 6.2): flattened, ES256, ES384 or RS256.

Signing itself is the `Signer`'s, which may be a KMS: nothing here knows a private key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Final

from ci_acme.ports import Signer

MACS: Final = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text: str) -> bytes:
    """The inverse of `b64`. Raises `ValueError` for padding or a foreign character (RFC 8555 section 6.1)."""
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(data) != text:
        raise ValueError("not base64url without padding")
    return data


def thumbprint(jwk: Mapping[str, str]) -> str:
    """RFC 7638, of a JWK that has exactly the required members."""
    return b64(hashlib.sha256(_compact(dict(sorted(jwk.items())))).digest())


def sign(
    signer: Signer, *, url: str, nonce: str | None, payload: Mapping[str, Any] | None, kid: str | None = None
) -> bytes:
    """The body of a request: signed by `kid`, or by the bare key if that is None. `payload` None is POST-as-GET.

    Without a nonce it is the inner JWS of a key change (RFC 8555 section 7.3.5).
    """
    header: dict[str, Any] = {"alg": signer.alg, "url": url}
    if nonce is not None:
        header["nonce"] = nonce
    if kid is None:
        header["jwk"] = dict(signer.jwk)
    else:
        header["kid"] = kid
    protected = b64(_compact(header))
    body = "" if payload is None else b64(_compact(payload))
    signature = signer.sign(f"{protected}.{body}".encode("ascii"))
    return f'{{"protected":"{protected}","payload":"{body}","signature":"{b64(signature)}"}}'.encode("ascii")


def external_account_binding(
    jwk: Mapping[str, str], *, key_id: str, hmac_key: bytes, url: str, alg: str = "HS256"
) -> dict[str, str]:
    """The `externalAccountBinding` of a newAccount request to `url` (RFC 8555 section 7.3.4)."""
    protected = b64(_compact({"alg": alg, "kid": key_id, "url": url}))
    payload = b64(_compact(dict(jwk)))
    mac = hmac.new(hmac_key, f"{protected}.{payload}".encode("ascii"), MACS[alg]).digest()
    return {"protected": protected, "payload": payload, "signature": b64(mac)}


def key_authorization(token: str, account_thumbprint: str) -> str:
    """RFC 8555 section 8.1."""
    return f"{token}.{account_thumbprint}"


def dns01_value(token: str, account_thumbprint: str) -> str:
    """What the TXT record holds (RFC 8555 section 8.4)."""
    return b64(hashlib.sha256(key_authorization(token, account_thumbprint).encode("ascii")).digest())


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
