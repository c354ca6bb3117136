"""Secrets by reference: `aws-secrets-manager:NAME`, and `aws-secrets-manager:NAME#FIELD` of a JSON secret."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ci_acme.errors import SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.storing import told
from ci_acme_providers.aws import patience, session, store_faults
from ci_acme_providers.aws.config import AwsAccess

_ARN: Final = re.compile(r"arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):\d{12}:secret:")


def read(rest: str, context: ProviderContext, *, deadline: Deadline) -> Secret:
    """The current value of a secret, by its name or ARN; an ARN names its region, too.

    Raises `SecretError`, with the action to grant; never with what the secret holds.
    """
    name, _, field = rest.partition("#")
    target = f"aws-secrets-manager:{rest}"
    arn = _ARN.match(name)
    access = AwsAccess.model_validate({"region": arn[1]} if arn else {})
    with told(SecretError, f"read {target}", store_faults.explained), patience.within(deadline):
        client = session.client("secretsmanager", access, context)
        answer = store_faults.call(client, access, "get_secret_value", {"SecretId": name})
    text = answer.get("SecretString")
    value = text.encode() if isinstance(text, str) else bytes(answer.get("SecretBinary", b""))
    if field:
        value = _field(value, field, target)
    if not value:
        raise SecretError(f"{target} is empty", fix="give the secret a value")
    return Secret(value)


def _field(value: bytes, field: str, target: str) -> bytes:
    try:
        document: Any = json.loads(value)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise SecretError(f"{target}: the secret is not a JSON object", fix=f"leave #{field} away, or store JSON")
    found = document.get(field)
    if isinstance(found, bool) or not isinstance(found, (str, int, float)):
        raise SecretError(f"{target}: the secret has no such field", fix="name a field of it that holds a text")
    return str(found).encode()
