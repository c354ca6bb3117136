"""Credentials of google-auth: workload identity federation, a credentials file, gcloud's, the machine's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ci_acme.ports import ProviderContext
from ci_acme.wire import Request, Unreachable, Wire
from ci_acme_providers.gcp.config import GoogleAccess
from ci_acme_providers.gcp.endpoints import endpoint
from ci_acme_providers.gcp.faults import NoCredentials

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
"""What Secret Manager and Certificate Manager take alone; IAM narrows it."""
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_METADATA_SECONDS: Final = 2.0
_FLAVOR: Final = {"Metadata-Flavor": "Google"}

Made = tuple[Any, "str | None"]
"""Credentials of google-auth, and the project that they name."""


def make(access: GoogleAccess, context: ProviderContext, wire: Wire) -> Made:
    """The credentials for these settings. Raises `NoCredentials`, `SecretError`."""
    if access.workload_identity_provider is not None:
        return _federated(access, access.workload_identity_provider, context), None
    found, project = _source(access, context, wire)
    if access.service_account is None:
        return found, project
    from google.auth import impersonated_credentials

    impersonated: Any = impersonated_credentials.Credentials
    made = impersonated(
        source_credentials=found,
        target_principal=access.service_account,
        target_scopes=list(SCOPES),
        iam_endpoint_override=_impersonation(access.service_account, context),
    )
    return made, project


def audience_of(provider: str, given: str | None) -> str:
    """The audience that the CI system's token must have."""
    return given or f"https://iam.googleapis.com/{provider}"


def _federated(access: GoogleAccess, provider: str, context: ProviderContext) -> Any:
    """Exchanges the job's identity token, a fresh one each time: one may live for five minutes only."""
    from google.auth import identity_pool

    audience = audience_of(provider, access.audience)
    base: Any = identity_pool.SubjectTokenSupplier

    class Supplier(base):  # type: ignore[misc]
        def get_subject_token(self, _context: Any, _request: Any) -> str:
            return context.identity(audience).reveal().decode("ascii")

    account = access.service_account
    credentials: Any = identity_pool.Credentials
    return credentials(
        audience=f"//iam.googleapis.com/{provider}",
        subject_token_type=_JWT,
        token_url=f"{endpoint('sts', context.environ)}/v1/token",
        subject_token_supplier=Supplier(),
        service_account_impersonation_url=_impersonation(account, context) if account is not None else None,
        scopes=list(SCOPES),
    )


def _impersonation(account: str, context: ProviderContext) -> str:
    base = endpoint("iamcredentials", context.environ)
    return f"{base}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"


def _source(access: GoogleAccess, context: ProviderContext, wire: Wire) -> Made:
    """Google's usual order: what the settings say, a token, a file, gcloud's, the metadata server."""
    environ = context.environ
    if access.credentials is not None:
        return _from_json(context.secrets(access.credentials).reveal(), access.credentials)
    if token := environ.get("GOOGLE_OAUTH_ACCESS_TOKEN"):
        from google.oauth2 import credentials

        of_token: Any = credentials.Credentials
        return of_token(token=token), None
    path = _file(environ)
    if path is not None:
        try:
            data = Path(path).read_bytes()
        except OSError:
            raise NoCredentials(
                f"the Google credentials file {path} cannot be read", fix="correct GOOGLE_APPLICATION_CREDENTIALS"
            ) from None
        return _from_json(data, path)
    found = _machine(environ, wire)
    if found is not None:
        return found
    raise NoCredentials(
        "there are no Google Cloud credentials",
        fix="give workload_identity_provider (and service_account), or set GOOGLE_APPLICATION_CREDENTIALS, or run: "
        "gcloud auth application-default login",
    )


def _file(environ: Mapping[str, str]) -> str | None:
    if named := environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return named
    folder = environ.get("CLOUDSDK_CONFIG")
    if not folder:
        base = environ.get("APPDATA") if os.name == "nt" else environ.get("HOME")
        if not base:
            return None
        folder = str(Path(base) / ("gcloud" if os.name == "nt" else ".config/gcloud"))
    path = Path(folder) / "application_default_credentials.json"
    return str(path) if path.is_file() else None


def _from_json(data: bytes, where: str) -> Made:
    """Credentials of a credentials file; what it holds is in no message."""
    from google.auth import exceptions

    try:
        document = json.loads(data)
        kind = document["type"]
        maker = _MAKERS[kind]
        return maker(document), document.get("project_id") or document.get("quota_project_id")
    except (ValueError, KeyError, TypeError, AttributeError, exceptions.GoogleAuthError):
        raise NoCredentials(
            f"{where} is not a Google credentials file, or is not whole",
            fix="use a service account key, gcloud's application default credentials or a workload identity "
            "configuration (JSON)",
        ) from None


def _service_account(document: Mapping[str, Any]) -> Any:
    from google.oauth2 import service_account

    made: Any = service_account.Credentials
    return made.from_service_account_info(document, scopes=list(SCOPES))


def _authorized_user(document: Mapping[str, Any]) -> Any:
    from google.oauth2 import credentials

    made: Any = credentials.Credentials
    return made.from_authorized_user_info(document, scopes=list(SCOPES))


def _external_account(document: Mapping[str, Any]) -> Any:
    source = document["credential_source"]
    made: Any
    if "environment_id" in source:
        from google.auth import aws

        made = aws.Credentials
    elif "executable" in source:
        from google.auth import pluggable

        made = pluggable.Credentials
    else:
        from google.auth import identity_pool

        made = identity_pool.Credentials
    return made.from_info(document, scopes=list(SCOPES))


def _impersonated(document: Mapping[str, Any]) -> Any:
    from google.auth import impersonated_credentials

    made: Any = impersonated_credentials.Credentials
    return made.from_impersonated_service_account_info(document, scopes=list(SCOPES))


_MAKERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "service_account": _service_account,
    "authorized_user": _authorized_user,
    "external_account": _external_account,
    "impersonated_service_account": _impersonated,
}


def _machine(environ: Mapping[str, str], wire: Wire) -> Made | None:
    """The service account of the machine and its project; None where there is no metadata server."""
    if environ.get("NO_GCE_CHECK", "").lower() == "true":
        return None
    base = f"http://{environ.get('GCE_METADATA_HOST') or '169.254.169.254'}/computeMetadata/v1"
    try:
        reply = wire.send(Request("GET", f"{base}/project/project-id", _FLAVOR), timeout=_METADATA_SECONDS)
    except Unreachable:
        return None
    if not reply.ok or reply.headers.get("metadata-flavor") != "Google":
        return None
    return _machine_credentials(base), reply.body.decode("ascii", errors="replace").strip() or None


def _machine_credentials(base: str) -> Any:
    from datetime import datetime, timedelta, timezone

    from google.auth import credentials, exceptions

    kind: Any = credentials.Credentials

    class Machine(kind):  # type: ignore[misc]
        def refresh(self, request: Any) -> None:
            """Ask the metadata server, as google-auth's own class does, but where `environ` says it is."""
            reply = request(f"{base}/instance/service-accounts/default/token", headers=_FLAVOR)
            try:
                document = json.loads(reply.data)
                self.token = document["access_token"]
                lifetime = timedelta(seconds=float(document["expires_in"]))
            except (ValueError, KeyError, TypeError):
                text = "the metadata server gave no token"
                raise exceptions.RefreshError(text) from None  # type: ignore[no-untyped-call]
            self.expiry = datetime.now(timezone.utc).replace(tzinfo=None) + lifetime  # google-auth's form: naive UTC

    return Machine()
