"""An order under way in a secret of its own, beside the one that it is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ci_acme.model.pending import pending_of
from ci_acme.ports import Deadline
from ci_acme_providers.aws.store_base import rounds
from ci_acme_providers.aws.store_faults import AwsFault

_DESCRIPTION: Final = "The key of a certificate that ci-acme is about to get; deleted as soon as that is stored"

Call = Callable[..., Mapping[str, Any]]


class OrderSecret:
    """A `storing.Orders` in one secret. `call` is the store's."""

    def __init__(self, name: str, kms_key: str | None, call: Call) -> None:
        self._name = name
        self._key = {"KmsKeyId": kms_key} if kms_key else {}
        self._call = call

    def keep(self, text: str, deadline: Deadline) -> None:
        """Put a version, or create the secret. One that was deleted just now is waited for. Raises `AwsFault`."""
        for _ in rounds(deadline, "secretsmanager:CreateSecret"):
            if self._put(text) or self._create(text):
                return

    def find(self, deadline: Deadline) -> str | None:
        """What was kept; None if there is none that can be read."""
        del deadline  # it is of the calls already
        try:
            answer = self._call("get_secret_value", SecretId=self._name)
        except AwsFault:
            return None
        return str(answer.get("SecretString", ""))

    def forget(self, deadline: Deadline) -> None:
        """For good. Raises `AwsFault`."""
        try:
            self._call("delete_secret", SecretId=self._name, ForceDeleteWithoutRecovery=True)
        except AwsFault as fault:
            unseen = (
                fault.denied and pending_of(self.find(deadline)) is None
            )  # kept elsewhere, by who may not keep it here
            if fault.code != "ResourceNotFoundException" and not unseen:
                raise

    def _put(self, text: str) -> bool:
        try:
            self._call("put_secret_value", SecretId=self._name, SecretString=text)
        except AwsFault as fault:
            if fault.code in {"ResourceNotFoundException", "InvalidRequestException"}:
                return False
            raise
        return True

    def _create(self, text: str) -> bool:
        try:
            self._call("create_secret", Name=self._name, Description=_DESCRIPTION, SecretString=text, **self._key)
        except AwsFault as fault:
            if fault.code in {"ResourceExistsException", "InvalidRequestException"}:
                return False
            raise
        return True
