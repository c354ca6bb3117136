"""The secret source `vault:PATH#FIELD`: a field of a secret of a KV engine, version 1 or 2."""

from __future__ import annotations

from ci_acme.errors import ConfigError, SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme.rest import member
from ci_acme.storing import Refused
from ci_acme.wire import Unreachable
from ci_acme_providers.vault.config import VaultAccess
from ci_acme_providers.vault.faults import refusal, rule
from ci_acme_providers.vault.kv import find_mount
from ci_acme_providers.vault.session import Vault


def read(rest: str, context: ProviderContext, *, deadline: Deadline) -> Secret:
    """The field's text. Where Vault is and who asks is said by the environment (`VAULT_ADDR`, …).

    Raises `SecretError`, which names the reference alone.
    """
    reference = f"vault:{rest}"
    path, _, field = rest.rpartition("#")
    path = path.strip("/")
    if "/" not in path or not field:
        raise SecretError(
            f"{reference} names no field of a secret", fix="write vault:MOUNT/PATH#FIELD, as in vault:secret/acme#hmac"
        )
    try:
        value = _field(Vault(VaultAccess.model_validate({}), context), path, field, deadline)
    except Refused as error:
        raise SecretError(f"{reference} cannot be read: {error.reason}", fix=error.fix) from None
    except Unreachable as error:
        raise SecretError(f"{reference} cannot be read: {error}", fix="check VAULT_ADDR and the network") from None
    except ConfigError as error:
        raise SecretError(f"{reference} cannot be read: {error.message}", fix=error.fix) from None
    return Secret(value.encode())


def _field(vault: Vault, path: str, field: str, deadline: Deadline) -> str:
    mount, version = find_mount(vault, path, deadline)
    target = f"{mount}/data/{path[len(mount) + 1 :]}" if version == 2 else path
    answer = vault.send("GET", target, deadline=deadline)
    if answer.status == 404:
        raise Refused(
            "there is no such secret, or its current version is deleted", fix=f"vault kv put {path} {field}=…"
        )
    if not answer.ok:
        raise refusal(answer, f"read {target}", [rule(target, "read")])
    found = member(answer.document, "data", "data", field) if version == 2 else member(answer.document, "data", field)
    if not isinstance(found, str) or not found:
        what = "no such field" if found is None else "no text in the field"
        raise Refused(f"the secret has {what}", fix=f"vault kv patch {path} {field}=…")
    return found
