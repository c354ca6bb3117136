"""What every store of certificates is made of, whatever the platform: `Store`, and `Content` for one that has shapes.

An adapter makes its platform's calls, and says in `explain` what the platform's refusals mean. In its own words it
refuses by raising `Refused`. `Store.errors` turns both, and what secret references say, into the errors of the port.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from ci_acme import shapes
from ci_acme.errors import CiAcmeError, DeliveryError, Interrupted, SecretError, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.pending import pending_of, pending_text
from ci_acme.model.records import Metadata, PendingOrder
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext, StoreCapabilities
from ci_acme.shapes import Shape

if TYPE_CHECKING:
    from ci_acme.settings import ShapedSettings  # pydantic, which the caller has loaded

AGAIN: Final = "; run again: it is delivered without a new order"
"""Ends the fix of what fails after the certificate was issued."""

OTHER_SHAPE: Final = "the shape that the config asks for"
"""What a store lacks that holds the right certificate in another shape."""

_WRITE: Final = "write"
_KEEP: Final = "keep the order of"


class Refused(Exception):
    """A store cannot do what it is asked. `reason` says why, `fix` what to do; neither holds a secret.

    The reason follows "cannot write web/tls: ", so that it speaks of what is there as "it".
    """

    def __init__(self, reason: str, *, fix: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.details = dict(details or {})


class Orders(Protocol):
    """A place beside the certificate for one order under way, as text. What it raises, its store explains."""

    def keep(self, text: str, deadline: Deadline) -> None:
        """Durable when it returns; replaces an earlier one."""
        ...

    def find(self, deadline: Deadline) -> str | bytes | None:
        """What `keep` wrote; None if there is none that we may read."""
        ...

    def forget(self, deadline: Deadline) -> None:
        """Remove it for good; nothing there is success."""
        ...


class Store:
    """Base of a `ports.CertificateStore`. `PROVIDER` is its name in the config.

    `content` is what it writes; a platform that takes certificates alone has none, and says its own capabilities.
    `orders` is where it keeps an order under way, None if it keeps none; `ORDERS_SETTING` names the setting that
    switches that off.
    """

    PROVIDER: ClassVar[str]
    ORDERS_SETTING: ClassVar[str] = ""
    content: Content
    orders: Orders | None = None

    def __init__(self, context: ProviderContext) -> None:
        self.context = context

    @property
    def provider(self) -> str:
        """Its name in the config."""
        return self.PROVIDER

    @property
    def target(self) -> str:
        """What the result document shows."""
        raise NotImplementedError

    @property
    def capabilities(self) -> StoreCapabilities:
        """What it can promise: the key comes back if the content holds it with the certificates."""
        return StoreCapabilities(
            holds_pending=self.orders is not None,
            returns_key=self.content.shape.returns_bundle,
            max_bytes=self.content.most,
        )

    # --- errors

    def explain(self, error: Exception, verb: str) -> Refused | None:
        """What an error of the platform, its SDK or the network means for who wanted to `verb`; None for a defect."""
        del error, verb
        return None

    @contextmanager
    def errors(self, kind: type[CiAcmeError], verb: str, deadline: Deadline) -> Generator[None]:
        """Turn what the platform says, and secret references, into `kind`: `cannot write TARGET: …`.

        Errors of the port pass. `deadline` is for calls that have no other way to hear of it.
        """
        del deadline
        details = {"provider": self.provider, "target": self.target}
        ending = self._ending(kind, verb)
        with told(kind, f"{verb} {self.target}", lambda error: self.explain(error, verb), ending, details):
            yield

    def _ending(self, kind: type[CiAcmeError], verb: str) -> str:
        """What to do in place of the fix, or after it."""
        if verb == _KEEP and self.ORDERS_SETTING:
            return f"; or set {self.ORDERS_SETTING}: false, if a run that is killed may lose a certificate"
        return AGAIN if kind is DeliveryError and verb == _WRITE else ""

    # --- an order under way

    def stage(self, pending: PendingOrder, *, deadline: Deadline) -> None:
        """Keep an order where its key is safe."""
        with self.errors(DeliveryError, _KEEP, deadline):
            if self.orders is None:
                raise Refused("it keeps no order under way", fix="report this: it is a defect")
            self.orders.keep(pending_text(pending), deadline)

    def staged(self, *, deadline: Deadline) -> PendingOrder | None:
        """What `stage` kept, as far as it can be read."""
        if self.orders is None:
            return None
        try:
            with self.errors(StoreReadError, "read the order of", deadline):
                return pending_of(self.orders.find(deadline))
        except StoreReadError:
            return None

    def unstage(self, *, deadline: Deadline) -> None:
        """Forget it."""
        if self.orders is not None:
            with self.errors(DeliveryError, "forget the order of", deadline):
                self.orders.forget(deadline)


class Content:
    """What a store whose settings are `ShapedSettings` writes: a bundle in a shape, as one value or as several.

    `shape` is the settings' one as the platform can hold it, if that is another; `most` how many bytes the platform
    takes, `where` and `smaller` the words for who has more.
    """

    def __init__(
        self,
        settings: ShapedSettings,
        context: ProviderContext,
        *,
        shape: Shape | None = None,
        most: int | None = None,
        where: str = "the platform takes",
        smaller: str = "use an EC key, fewer names, or a shape with fewer parts",
    ) -> None:
        self.shape = shape or settings.made
        self.most = most
        self._where = where
        self._smaller = smaller
        self._context = context
        self._password = settings.pkcs12_password

    def password(self) -> Secret | None:
        """The password of PKCS#12 files; None for the empty one. Raises `SecretError`."""
        return pkcs12_password(self._context, self._password)

    def fields(self, bundle: Bundle) -> dict[str, bytes]:
        """The fields of the shape. Raises `Refused`, `SecretError`."""
        try:
            return shapes.render(bundle, self.shape, name=self._context.certificate, password=self.password())
        except ValueError:  # its text and its frames are about the key
            raise Refused(
                "the key and chain cannot be written in this shape", fix="choose another shape, or a key of type EC"
            ) from None

    def value(self, bundle: Bundle) -> bytes:
        """The bundle as one value, which fits. Raises `Refused`, `SecretError`."""
        value = shapes.as_one(self.fields(bundle), self.shape)
        self.require_size(len(value))
        return value

    def bundle(self, value: bytes, shape: Shape | None = None) -> Bundle | None:
        """The inverse, also of a value in another shape; None for anything else, or without the key.

        Raises `SecretError`.
        """
        shape = shape or self.shape
        if not shape.returns_bundle:
            return None
        try:
            return shapes.load(shapes.fields_of(value, shape), shape, self.password())
        except ValueError:
            return None

    def require_size(self, size: int) -> None:
        """Raises `Refused` for what the platform would not take."""
        if self.most is not None and size > self.most:
            raise Refused(
                f"a certificate in this shape takes {size} bytes, and {self._where} {self.most}",
                fix=self._smaller,
                details={"bytes": size, "max_bytes": self.most},
            )


@contextmanager
def told(
    kind: type[CiAcmeError],
    doing: str,
    explain: Callable[[Exception], Refused | None],
    ending: str = "",
    details: Mapping[str, Any] | None = None,
) -> Generator[None]:
    """Turn `Refused`, what `explain` makes one of, and errors of secret references into `kind`: `cannot DOING: …`.

    Other errors of ours, and what is not explained, pass. `ending` is added to the fix, `details` to the details.
    """
    try:
        yield
    except (kind, Interrupted):
        raise
    except SecretError as error:
        refused = Refused(error.message, fix=error.fix)
    except CiAcmeError:
        raise
    except Refused as error:
        refused = error
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        refused = explained
    else:
        return
    raise kind(  # out here, no exception of an SDK hangs on it
        f"cannot {doing}: {refused.reason}", fix=refused.fix + ending, details={**(details or {}), **refused.details}
    ) from None


def another_certificate() -> Refused:
    """For `annotate`: the metadata speak of what is not there any more."""
    return Refused("it holds another certificate by now", fix="run again")


def not_removed(why: str, *, what: str = "it") -> Refused:
    """For `retire`: what is there is not ours (`it was not written by ci-acme`)."""
    return Refused(f"{why}, and is not removed", fix=f"remove {what} by hand, if nobody needs it")


def not_read_back(fix: str = "run again; if it comes again, look at who else writes it") -> Refused:
    """For `publish`."""
    return Refused("what was read back is not what was written", fix=fix)


def pkcs12_password(context: ProviderContext, reference: str | None) -> Secret | None:
    """The password of PKCS#12 files, read at the last moment; None for the empty one. Raises `SecretError`."""
    if reference is None:
        return None
    password = context.secrets(reference)
    if not password.reveal().isascii():
        raise SecretError(
            f"the password in {reference} is not ASCII, and Java reads no other PKCS#12 password",
            fix="choose a password of ASCII characters",
        )
    return password


def metadata_of(text: object) -> Metadata | None:
    """The metadata that a JSON text holds; None if it holds something else."""
    try:
        document = json.loads(text) if isinstance(text, (str, bytes)) else None
        return Metadata.from_json(document) if isinstance(document, dict) else None
    except (ValueError, RecursionError):
        return None
