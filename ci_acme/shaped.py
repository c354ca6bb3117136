"""What stores of certificates in shapes share: rendering, passwords, and a platform's refusals as the port's errors."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ci_acme import shapes
from ci_acme.errors import CiAcmeError, DeliveryError, SecretError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.model.secret import Secret
from ci_acme.ports import ProviderContext, StoreCapabilities
from ci_acme.rest import Answer
from ci_acme.storing import AGAIN, KeepsNoOrder, pkcs12_password
from ci_acme.wire import Unreachable

if TYPE_CHECKING:
    from ci_acme.settings import ShapedSettings  # pydantic, which the caller has loaded


class Refused(Exception):
    """A platform said no. `reason` is what it said, `fix` what to do; neither holds a secret."""

    def __init__(self, reason: str, *, fix: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.details = details or {}


def expected(who: str, found: object) -> object:
    """What an answer has to hold. Raises `Refused` for None: something on the way (a proxy) has answered instead."""
    if found is None:
        raise Refused(f"an answer of {who} is not what its API says", fix="check the address, and proxies on the way")
    return found


def is_done(answer: Answer) -> bool:
    """Whether an API has said that it has done something: not a page of a proxy, whatever its status."""
    return answer.ok and (answer.status == 204 or isinstance(answer.document, dict))


class ShapedStore(KeepsNoOrder):
    """Base of a `ports.CertificateStore` whose settings are `ShapedSettings`.

    A subclass says where it writes (`target`), and does it.
    """

    def __init__(self, settings: ShapedSettings, context: ProviderContext) -> None:
        self.context = context
        self.shape = settings.made
        self._password_reference = settings.pkcs12_password

    @property
    def capabilities(self) -> StoreCapabilities:
        """What it can promise."""
        raise NotImplementedError

    def password(self) -> Secret | None:
        """The password of PKCS#12 files; None for the empty one. Raises `SecretError`."""
        return pkcs12_password(self.context, self._password_reference)

    def rendered(self, bundle: Bundle) -> dict[str, bytes]:
        """The fields of the shape. Raises `Refused`."""
        try:
            return shapes.render(bundle, self.shape, name=self.context.certificate, password=self.password())
        except ValueError:  # its text and its frames are about the key
            raise Refused(
                "the key and chain cannot be written in this shape", fix="choose another shape, or a key of type EC"
            ) from None

    def require_size(self, size: int, most: int) -> None:
        """Raises `Refused` for what the platform would not take."""
        if size > most:
            raise Refused(
                f"a certificate in this shape takes {size} bytes, and the platform takes {most}",
                fix="use an EC key, fewer names, or a shape with fewer parts",
                details={"bytes": size, "max_bytes": most},
            )

    @contextmanager
    def errors(self, error: type[CiAcmeError], verb: str) -> Generator[None]:
        """Turn what the platform, the network and secret references say into the port's error."""
        again = AGAIN if issubclass(error, DeliveryError) else ""
        details = {"provider": self.provider, "target": self.target}
        try:
            yield
        except Refused as reason:
            raise error(
                f"cannot {verb} {self.target}: {reason.reason}",
                fix=reason.fix + again,
                details={**details, **reason.details},
            ) from None
        except Unreachable as reason:
            raise error(
                f"cannot {verb} {self.target}: {reason}",
                fix="check the address, the network and the server" + again,
                details=details,
            ) from None
        except SecretError as reason:
            raise error(
                f"cannot {verb} {self.target}: {reason.message}", fix=reason.fix + again, details=details
            ) from None


def metadata_of(text: object) -> Metadata | None:
    """The metadata that a JSON text holds; None if it holds something else."""
    document = _object(text)
    try:
        return None if document is None else Metadata.from_json(document)
    except ValueError:
        return None


def _object(text: object) -> dict[str, Any] | None:
    try:
        document = json.loads(text) if isinstance(text, (str, bytes)) else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
