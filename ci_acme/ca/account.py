"""What a newAccount request says, and what an account is (RFC 8555 sections 7.1.2 and 7.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ci_acme.ca.http import split_url
from ci_acme.ca.jws import external_account_binding
from ci_acme.ca.messages import Directory
from ci_acme.ca.problems import clean
from ci_acme.dataclass import dataclass
from ci_acme.errors import AccountError
from ci_acme.model.secret import Secret

KEY_FIX: Final = "check the account key and external_account; a deactivated account needs a new key"
BINDING_FIX: Final = (
    "correct external_account, or get a new key ID and HMAC key from the CA's console: many are good for one account "
    "only, or for some days"
)


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """What the CA's console gave out. `hmac_key` is decoded (`keys.parse_hmac_key`)."""

    key_id: str
    hmac_key: Secret
    alg: str = "HS256"


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the CA showed it. What a CA does not tell is None, or an empty tuple for `contact`.

    `contact` holds URLs, mostly `mailto:`; `bound` is whether there is an external account binding.
    """

    url: str
    status: str
    contact: tuple[str, ...] = ()
    terms_agreed: bool | None = None
    bound: bool = False

    @classmethod
    def from_json(cls, document: Mapping[str, Any], url: str) -> Account:
        """Reads what can be read; never raises. Without a status an account is valid."""
        contact, agreed = document.get("contact"), document.get("termsOfServiceAgreed")
        return cls(
            url=url,
            status=clean(document.get("status")) or "valid",
            contact=tuple(filter(None, map(clean, contact))) if isinstance(contact, list) else (),
            terms_agreed=agreed if isinstance(agreed, bool) else None,
            bound=bool(document.get("externalAccountBinding")),
        )


def registration(
    directory: Directory,
    jwk: Mapping[str, str],
    *,
    contact: Sequence[str],
    terms_agreed: bool,
    external: ExternalAccount | None,
) -> dict[str, Any]:
    """The payload. Raises `AccountError` for what the CA would refuse anyway, and never agrees to terms by itself."""
    host = split_url(directory.url).netloc
    if directory.terms_of_service and not terms_agreed:
        raise AccountError(
            f"the terms of service of {host} are not agreed to: {directory.terms_of_service}",
            fix="read them, and set agree_terms: true in the authority, or give --agree-terms",
            details={"terms_of_service": directory.terms_of_service},
        )
    if directory.external_account_required and external is None:
        raise AccountError(
            f"{host} wants an external account (RFC 8555 section 7.3.4)",
            fix="set external_account of the authority to the key ID and HMAC key from the CA's console",
        )
    payload: dict[str, Any] = {}
    if contact:
        payload["contact"] = contact_urls(contact)
    if terms_agreed:
        payload["termsOfServiceAgreed"] = True
    if external is not None:
        payload["externalAccountBinding"] = external_account_binding(
            jwk,
            key_id=external.key_id,
            hmac_key=external.hmac_key.reveal(),
            url=directory.new_account,
            alg=external.alg,
        )
    return payload


def contact_urls(addresses: Sequence[str]) -> list[str]:
    """E-mail addresses as the URLs of an account. Raises `AccountError` for what is not one address."""
    return [_mailto(address) for address in addresses]


def _mailto(address: str) -> str:
    url = address if ":" in address else f"mailto:{address}"
    if "," in url or "?" in url:
        raise AccountError(f"the contact {address!r} is not one e-mail address", fix="write one address an entry")
    return url
