"""`azure-key-vault:VAULT/NAME`: a secret of Key Vault, for account keys, EAB keys and tokens of providers."""

from __future__ import annotations

from ci_acme.errors import CiAcmeError, SecretError
from ci_acme.model.secret import Secret
from ci_acme.ports import Deadline, ProviderContext
from ci_acme_providers.azure import faults
from ci_acme_providers.azure.config import AzureAccess, split_target
from ci_acme_providers.azure.patience import Patience
from ci_acme_providers.azure.session import Session


def read_secret(rest: str, context: ProviderContext, *, deadline: Deadline) -> Secret:
    """The current version of a secret; VAULT is a vault's name, or its https URL. Raises `SecretError`.

    Who we are comes from the environment: AZURE_CLIENT_ID and AZURE_TENANT_ID with an identity token of the CI system
    or what else `credentials` finds.
    """
    reference = f"azure-key-vault:{rest}"
    try:
        vault, name = split_target(None, rest)
    except ValueError as error:
        raise SecretError(f"{reference} cannot be read: {error}", fix="write azure-key-vault:VAULT/NAME") from None
    try:
        client = Session(AzureAccess.model_validate({}), context).secrets(vault)
        found = Patience(deadline).send(lambda o: client.get_secret(name, **o))
    except SecretError as error:
        raise SecretError(f"{reference} cannot be read: {error.message}", fix=error.fix) from None
    except CiAcmeError:
        raise
    except Exception as error:
        fault = faults.read(error)
        fix = f"create the secret {name}, or correct the reference" if fault.kind is faults.Kind.ABSENT else fault.fix
        raise SecretError(f"{reference} cannot be read: {fault.message}", fix=fix, details=fault.details()) from None
    if not found.value or not found.value.strip():
        raise SecretError(f"{reference} is empty", fix="give the secret a value")
    return Secret(found.value.encode())
