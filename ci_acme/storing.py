"""What stores of certificates share, whatever the platform: words, the PKCS#12 password, no place for an order."""

from __future__ import annotations

from typing import ClassVar, Final

from ci_acme.errors import DeliveryError, SecretError
from ci_acme.model.records import PendingOrder
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext

AGAIN: Final = "; run again: it is delivered without a new order"
"""Ends the fix of what fails after the certificate was issued."""


class KeepsNoOrder:
    """The part of a `ports.CertificateStore` that keeps no order under way: `capabilities.holds_pending` is False.

    `PROVIDER` is its name in the config. A subclass that has a place for orders overrides the three methods.
    """

    PROVIDER: ClassVar[str]

    @property
    def provider(self) -> str:
        """Its name in the config."""
        return self.PROVIDER

    @property
    def target(self) -> str:
        """What the result document shows."""
        raise NotImplementedError

    def stage(self, pending: PendingOrder, *, deadline: Deadline) -> None:
        """Refused: nobody asks a store for it that says so in its capabilities."""
        del pending, deadline
        raise DeliveryError(f"{self.target} keeps no order under way", fix="report this: it is a defect")

    def staged(self, *, deadline: Deadline) -> PendingOrder | None:
        """Nothing."""
        del deadline
        return None

    def unstage(self, *, deadline: Deadline) -> None:
        """Nothing to forget."""
        del deadline


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
