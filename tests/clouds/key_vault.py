"""A key vault, strict: bearer challenge, roles or access policies, versions, soft delete, recovery, purge protection.

Certificates are opened as Key Vault opens them: PKCS#12 with Triple DES and not with AES, PEM with a PKCS#8 key, an EC
key only with a policy that names its curve. Limits (tags, sizes, pages of 25) are those that Azure documents.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from tests.clouds.api import Answer, Call, FakeApi
from tests.clouds.azure_rbac import Access, Assignment
from tests.clouds.entra import CLIENT, TENANT, Entra

RESOURCE = "https://vault.azure.net"
GROUP = "/subscriptions/99999999-8888-7777-6666-555555555555/resourceGroups/web"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/web-prod"
PFX, PEM = "application/x-pkcs12", "application/x-pem-file"
_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PATH = re.compile(
    r"/(?P<deleted>deleted)?(?P<family>certificates|secrets)/(?P<name>[0-9A-Za-z-]{1,127})(?:/(?P<rest>[^/]*))?/?\Z"
)
_PAGE = 25
_SINGULAR = {"certificates": "certificate", "secrets": "secret"}
_RIGHTS = {
    "certificates": {
        "get": "certificates/read",
        "import": "certificates/import/action",
        "update": "certificates/update/action",
        "delete": "certificates/delete",
        "recover": "certificates/recover/action",
        "purge": "certificates/purge/action",
        "tombstone": "certificates/read",
    },
    "secrets": {
        "get": "secrets/getSecret/action",
        "list": "secrets/readMetadata/action",
        "set": "secrets/setSecret/action",
        "update": "secrets/update/action",
        "delete": "secrets/delete",
        "recover": "secrets/recover/action",
        "purge": "secrets/purge/action",
        "tombstone": "secrets/readMetadata/action",
    },
}


@dataclass
class Version:
    """One version of a certificate or secret."""

    id: str
    value: str
    content_type: str | None
    tags: dict[str, str]
    attributes: dict[str, Any]
    cer: bytes = b""
    policy: dict[str, Any] = field(default_factory=dict)


@dataclass
class Thing:
    """A name with its versions, the newest last. `changing` is until when a deletion or recovery is under way."""

    versions: list[Version] = field(default_factory=list)
    deleted: bool = False
    changing: float = 0.0


class KeyVaultApi(FakeApi):
    """One vault."""

    def __init__(self, tls: ssl.SSLContext, entra: Entra) -> None:
        super().__init__(tls)
        self.entra = entra
        self.access = Access({CLIENT: [Assignment(VAULT, data=("*",))]})
        self.access_policies = False
        self.purge_protected = False
        self.lag = 0.0
        self.pending: set[str] = set()
        self.broken: str | None = None
        self.written = 0
        self.things: dict[tuple[str, str], Thing] = {}

    # --- what others do there

    def put_secret(self, name: str, value: str, tags: Mapping[str, str] | None = None) -> None:
        with self.lock:
            self._add("secrets", name, Version(secrets.token_hex(16), value, None, dict(tags or {}), _attributes({})))

    def current(self, family: str, name: str) -> Version:
        return self.things[family, name].versions[-1]

    # --- the API

    def handle(self, call: Call) -> Answer:
        client = self.entra.holder(call, RESOURCE)
        if client is None:
            answer = _error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
            answer.headers["WWW-Authenticate"] = (
                f'Bearer authorization="{self.entra.url}/{TENANT}", resource="{RESOURCE}"'
            )
            return answer
        match = _PATH.match(call.path)
        if match is None or not call.one("api-version"):
            return _error(400, "BadParameter", f"No method of the vault is at {call.method} {call.path}.")
        with self.lock:
            return self._do(call, client, match)

    def _do(self, call: Call, client: str, match: re.Match[str]) -> Answer:
        family, name, rest = match["family"], match["name"], match["rest"] or ""
        verb = _verb(call.method, family, deleted=bool(match["deleted"]), rest=rest)
        refusal = self._authorize(client, family, name, verb)
        if refusal is not None:
            return refusal
        if self.broken is not None and verb not in ("get", "list", "tombstone"):
            return _error(500, "InternalServerError", self.broken)
        actions: dict[str, Callable[[], Answer]] = {
            "get": lambda: self._get(family, name, rest),
            "list": lambda: self._versions(call, name),
            "import": lambda: self._import(call, name),
            "set": lambda: self._set(call, name),
            "update": lambda: self._update(call, family, name, rest),
            "delete": lambda: self._delete(family, name),
            "tombstone": lambda: self._tombstone(family, name),
            "recover": lambda: self._recover(family, name),
            "purge": lambda: self._purge(family, name),
        }
        return actions[verb]()

    def _authorize(self, client: str, family: str, name: str, verb: str) -> Answer | None:
        action = f"Microsoft.KeyVault/vaults/{_RIGHTS[family][verb]}"
        scope = f"{VAULT}/{family}/{name}"
        if self.access.allows(client, action, scope, data=True):
            return None
        if self.access_policies:
            right = {"tombstone": "get"}.get(verb, verb)
            text = (
                f"The user, group or application 'appid={client};oid={client};iss=https://sts.windows.net/{TENANT}/' "
                f"does not have {family} {right} permission on key vault 'web-prod;location=westeurope'."
            )
            return _error(403, "Forbidden", text, "AccessDenied")
        text = (
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role "
            "definitions were changed recently, please observe propagation time.\r\n"
            f"Caller: appid={client};oid={client};iss=https://sts.windows.net/{TENANT}/\r\nAction: '{action}'\r\n"
            f"Resource: '{scope.lower()}'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\n"
            "DecisionReason: null \r\nVault: web-prod;location=westeurope\r\n"
        )
        return _error(403, "Forbidden", text, "ForbiddenByRbac")

    # --- reading

    def _live(self, family: str, name: str) -> Thing | None:
        thing = self.things.get((family, name))
        return None if thing is None or thing.deleted or thing.changing > time.monotonic() else thing

    def _get(self, family: str, name: str, version: str) -> Answer:
        if version == "pending":
            return self._operation(name)
        if family == "secrets" and (family, name) not in self.things:
            return self._backing(name, version)
        found = self._version(family, name, version)
        if found is None:
            return _absent(family, name)
        if family == "secrets" and found.attributes["enabled"] is False:
            return _error(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
        return Answer.of(self._document(family, name, found))

    def _operation(self, name: str) -> Answer:
        if name not in self.pending:
            return _error(404, "PendingCertificateNotFound", f"Pending certificate not found: {name}")
        document = {
            "id": f"{self.url}/certificates/{name}/pending",
            "status": "inProgress",
            "issuer": {"name": "Unknown"},
        }
        return Answer.of({**document, "cancellation_requested": False, "request_id": secrets.token_hex(16)})

    def _version(self, family: str, name: str, version: str) -> Version | None:
        thing = self._live(family, name)
        if thing is None:
            return None
        return next((one for one in reversed(thing.versions) if version in ("", one.id)), None)

    def _backing(self, name: str, version: str) -> Answer:
        """The secret of a certificate."""
        found = self._version("certificates", name, version)
        if found is None:
            return _absent("secrets", name)
        document = self._document("secrets", name, found)
        return Answer.of({**document, "managed": True, "kid": f"{self.url}/keys/{name}/{found.id}"})

    def _versions(self, call: Call, name: str) -> Answer:
        """Pages of 25, in an order of the service's own."""
        managed = ("secrets", name) not in self.things
        thing = self._live("certificates" if managed else "secrets", name)
        found = sorted(thing.versions, key=lambda one: one.id) if thing is not None else []
        start = int(call.one("$skiptoken") or 0)
        items = []
        for one in found[start : start + _PAGE]:
            document = self._document("secrets", name, one)
            del document["value"]
            items.append({**document, **({"managed": True} if managed else {})})
        more = start + _PAGE < len(found)
        link = f"{self.url}{call.path}?api-version={call.one('api-version')}&$skiptoken={start + _PAGE}"
        return Answer.of({"value": items, "nextLink": link if more else None})

    # --- writing

    def _blocked(self, family: str, name: str) -> Answer | None:
        """A name that cannot be written now."""
        thing = self.things.get((family, name))
        kind = _SINGULAR[family].capitalize()
        if thing is None:
            return None
        if thing.changing > time.monotonic():
            state, code = (
                ("deleted", "ObjectIsBeingDeleted") if thing.deleted else ("recovered", "ObjectIsBeingRecovered")
            )
            return _error(409, "Conflict", f"{kind} {name} is currently being {state}.", code)
        if thing.deleted:
            text = (
                f"{kind} {name} is currently in a deleted but recoverable state, and its name cannot be reused; in "
                "this state, the object can only be recovered or purged."
            )
            return _error(409, "Conflict", text, "ObjectIsDeletedButRecoverable")
        return None

    def _import(self, call: Call, name: str) -> Answer:
        body = call.json
        try:
            made = _open(body)
            _check_tags(body.get("tags") or {})
        except ValueError as error:
            return _error(400, "BadParameter", str(error))
        blocked = self._blocked("certificates", name)
        if blocked is not None:
            return blocked
        if name in self.pending:
            text = (
                "A new key vault certificate can not be created or imported while a pending key vault certificate's "
                "status is inProgress."
            )
            return _error(409, "Conflict", text)
        if ("secrets", name) in self.things:
            return _error(409, "Conflict", f"A secret with the name {name} exists, which is not a certificate's.")
        self._add("certificates", name, made)
        return Answer.of(self._document("certificates", name, made))

    def _set(self, call: Call, name: str) -> Answer:
        body = call.json
        value, tags = body.get("value"), body.get("tags") or {}
        if not isinstance(value, str) or len(value) > 25600:
            return _error(400, "BadParameter", "The secret value is missing, or is longer than 25600 characters.")
        try:
            _check_tags(tags)
        except ValueError as error:
            return _error(400, "BadParameter", str(error))
        if ("certificates", name) in self.things:
            return _error(409, "Conflict", f"The secret {name} is managed by a certificate and cannot be set.")
        blocked = self._blocked("secrets", name)
        if blocked is not None:
            return blocked
        attributes = _attributes(body.get("attributes") or {})
        made = Version(secrets.token_hex(16), value, body.get("contentType"), tags, attributes)
        self._add("secrets", name, made)
        return Answer.of(self._document("secrets", name, made))

    def _add(self, family: str, name: str, made: Version) -> None:
        self.things.setdefault((family, name), Thing()).versions.append(made)
        self.written += 1

    def _update(self, call: Call, family: str, name: str, version: str) -> Answer:
        found = self._version(family, name, version)
        if found is None:
            return _absent(family, name)
        body = call.json
        if "tags" in body:
            try:
                _check_tags(body["tags"])
            except ValueError as error:
                return _error(400, "BadParameter", str(error))
            found.tags = body["tags"]
        found.attributes.update({**(body.get("attributes") or {}), "updated": int(time.time())})
        self.written += 1
        return Answer.of(self._document(family, name, found))

    # --- deleting

    def _delete(self, family: str, name: str) -> Answer:
        thing = self._live(family, name)
        if thing is None:
            return _absent(family, name)
        thing.deleted, thing.changing = True, time.monotonic() + self.lag
        self.written += 1
        return Answer.of(self._deleted_document(family, name, thing))

    def _gone(self, family: str, name: str) -> Thing | None:
        thing = self.things.get((family, name))
        return thing if thing is not None and thing.deleted and thing.changing <= time.monotonic() else None

    def _tombstone(self, family: str, name: str) -> Answer:
        thing = self._gone(family, name)
        if thing is None:
            return _error(404, f"{_SINGULAR[family].capitalize()}NotFound", f"Deleted object not found: {name}")
        return Answer.of(self._deleted_document(family, name, thing))

    def _recover(self, family: str, name: str) -> Answer:
        thing = self._gone(family, name)
        if thing is None:
            return _error(404, f"{_SINGULAR[family].capitalize()}NotFound", f"Deleted object not found: {name}")
        thing.deleted, thing.changing = False, time.monotonic() + self.lag
        self.written += 1
        return Answer.of(self._document(family, name, thing.versions[-1]))

    def _purge(self, family: str, name: str) -> Answer:
        if self.purge_protected:
            text = (
                'Operation "purge" is not allowed because purge protection is enabled for this vault. Key Vault '
                "service will automatically purge it after the retention period has passed."
            )
            return _error(403, "Forbidden", text)
        if self._gone(family, name) is None:
            return _error(404, f"{_SINGULAR[family].capitalize()}NotFound", f"Deleted object not found: {name}")
        del self.things[family, name]
        self.written += 1
        return Answer(204)

    # --- documents

    def _document(self, family: str, name: str, one: Version) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": f"{self.url}/{family}/{name}/{one.id}",
            "attributes": one.attributes,
            "tags": one.tags,
        }
        if family == "secrets":
            return {**document, "value": one.value, "contentType": one.content_type}
        return {
            **document,
            "kid": f"{self.url}/keys/{name}/{one.id}",
            "sid": f"{self.url}/secrets/{name}/{one.id}",
            "x5t": base64.urlsafe_b64encode(hashlib.sha1(one.cer).digest()).rstrip(b"=").decode(),
            "cer": base64.b64encode(one.cer).decode(),
            "policy": one.policy,
        }

    def _deleted_document(self, family: str, name: str, thing: Thing) -> dict[str, Any]:
        document = self._document(family, name, thing.versions[-1])
        document.pop("value", None)
        now = int(time.time())
        return {
            **document,
            "recoveryId": f"{self.url}/deleted{family}/{name}",
            "deletedDate": now,
            "scheduledPurgeDate": now + 90 * 86400,
        }


def _verb(method: str, family: str, *, deleted: bool, rest: str) -> str:
    if deleted:
        return {"GET": "tombstone", "DELETE": "purge", "POST": "recover"}[method]
    if family == "secrets" and rest == "versions":
        return "list"
    return {"GET": "get", "PUT": "set", "POST": "import", "PATCH": "update", "DELETE": "delete"}[method]


def _attributes(wanted: Mapping[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    kept = {name: value for name, value in wanted.items() if name in ("enabled", "exp", "nbf") and value is not None}
    return {
        "enabled": True,
        "created": now,
        "updated": now,
        "recoveryLevel": "Recoverable+Purgeable",
        "recoverableDays": 90,
        **kept,
    }


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > 15:
        raise ValueError(f"There are {len(tags)} tags, and at most 15 are allowed.")
    for name, value in tags.items():
        if not name or len(name) > 256 or len(value) > 256:
            raise ValueError(f"The tag {name} is longer than 256 characters.")


def _open(body: Mapping[str, Any]) -> Version:
    """The version that an import makes. Raises `ValueError` with Key Vault's words."""
    policy = dict(body.get("policy") or {})
    text = body.get("value") or ""
    kind = (policy.get("secret_props") or {}).get("contentType") or PFX
    key, leaf, chain = (_open_pem if kind == PEM else _open_pfx)(text, body.get("pwd"))
    key_policy = policy.get("key_props") or {}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        curve = {"secp256r1": "P-256", "secp384r1": "P-384"}[key.curve.name]
        if (key_policy.get("kty"), key_policy.get("crv")) != ("EC", curve):
            raise ValueError(
                "Elliptic Curve Cryptography Public Key Algorithm of the X509 certificate in the certificate chain is "
                "not supported."
            )
    elif key_policy.get("kty") not in (None, "RSA"):
        raise ValueError("The key type of the policy is not that of the certificate.")
    if key.public_key() != leaf.public_key():
        raise ValueError("The private key does not belong to the certificate.")
    if not body.get("preserveCertOrder"):
        chain = list(reversed(chain))
    exportable = key_policy.get("exportable", True)
    value = (
        _secret(key, leaf, chain, kind) if exportable else base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()
    )
    attributes = _attributes({"exp": int(leaf.not_valid_after_utc.timestamp())})
    policy["secret_props"] = {"contentType": kind}
    return Version(
        secrets.token_hex(16),
        value,
        kind,
        dict(body.get("tags") or {}),
        attributes,
        leaf.public_bytes(Encoding.DER),
        policy,
    )


_Opened = tuple[ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, x509.Certificate, list[x509.Certificate]]


def _open_pfx(text: str, password: str | None) -> _Opened:
    unreadable = (
        "The specified PKCS#12 X.509 certificate content can not be read. Please check if certificate is in valid "
        "PKCS#12 format."
    )
    try:
        data = base64.b64decode(text, validate=True)
        key, leaf, chain = pkcs12.load_key_and_certificates(data, password.encode() if password else None)
    except ValueError:
        raise ValueError(unreadable) from None
    if _PBES2 in data or leaf is None or not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ValueError(unreadable)
    return key, leaf, chain


def _open_pem(text: str, password: str | None) -> _Opened:
    assert password is None
    try:
        data = base64.b64decode(text, validate=True) if "BEGIN" not in text else text.encode()
        assert b"-----BEGIN PRIVATE KEY-----" in data, "Key Vault reads PKCS#8 only"
        key = load_pem_private_key(data, None)
        leaf, *chain = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ValueError("The specified PEM X.509 certificate content can not be read.") from None
    assert isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey))
    return key, leaf, chain


def _secret(key: Any, leaf: x509.Certificate, chain: list[x509.Certificate], kind: str) -> str:
    """What the secret of a certificate holds: PKCS#12 without a password, or PEM."""
    if kind == PEM:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return (pem + b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, *chain))).decode()
    data = pkcs12.serialize_key_and_certificates(None, key, leaf, chain, NoEncryption())
    return base64.b64encode(data).decode()


def _absent(family: str, name: str) -> Answer:
    kind = _SINGULAR[family]
    text = (
        f"A {kind} with (name/id) {name} was not found in this key vault. If you recently deleted this {kind} you may "
        "be able to recover it using the correct recovery command."
    )
    return _error(404, f"{kind.capitalize()}NotFound", text)


def _error(status: int, code: str, message: str, inner: str | None = None) -> Answer:
    error: dict[str, Any] = {"code": code, "message": message}
    if inner is not None:
        error["innererror"] = {"code": inner}
    return Answer.of({"error": error}, status)
