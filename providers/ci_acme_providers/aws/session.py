"""Clients of botocore, with the credentials of this run, whose waiting hears deadlines and interrupts.

botocore reads the environment by itself; here it is given that of the context. What it reads deep inside (proxies,
caches of single sign-on) is of the process.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from botocore import UNSIGNED
from botocore.config import Config
from botocore.configprovider import ConfigChainFactory
from botocore.credentials import (
    ContainerProvider,
    Credentials,
    DeferredRefreshableCredentials,
    EnvProvider,
    create_credential_resolver,
)
from botocore.loaders import create_loader
from botocore.session import Session

from ci_acme.errors import SecretError
from ci_acme.ports import ProviderContext
from ci_acme_providers.aws import pages
from ci_acme_providers.aws.config import AwsAccess
from ci_acme_providers.aws.patience import Patience

ATTEMPTS: Final = 10
"""Of one call; the SDK's default of 3 gives up after 1.5 s of throttling."""
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
"""How long one attempt may be silent: the SDK's minute outlasts the time that cleaning up has."""
_REGIONS: Final[Mapping[str, str]] = {"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
_SESSION_NAME: Final = re.compile(r"[^\w+=,.@-]+", re.ASCII)


def client(service: str, access: AwsAccess, context: ProviderContext, *, policy: str | None = None) -> Any:
    """A botocore client of a service. Nothing is sent before it is used; any thread may use it.

    `policy` is an inline session policy (JSON, at most 2,048 characters), used where a role is assumed. Calls raise
    what botocore raises, and `SecretError` if a secret cannot be read; make them within `patience.within(deadline)`.
    """
    session = _session(context)
    session.register_component("credential_provider", _Given(_credentials(session, access, context, policy)))
    return _create(session, service, access, context, endpoint=access.endpoint)


def session_name(run: str) -> str:
    """The name of the run as STS takes it (2 to 64 characters of a small alphabet)."""
    return (_SESSION_NAME.sub("-", run)[:64] or "ci-acme").ljust(2, "-")


class _Given:
    """The credential chain of a session, of one link."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Any:
        return self._credentials


def _session(context: ProviderContext) -> Any:
    """A session of botocore whose settings come from the environment of the context."""
    session = Session()
    log = logging.getLogger("botocore")
    if log.getEffectiveLevel() < logging.INFO:
        log.setLevel(logging.INFO)  # below that it shows requests whole: keys, passwords and tokens
    chains = ConfigChainFactory(session, dict(context.environ))
    store = session.get_component("config_store")
    for name, (key, variable, default, convert) in session.SESSION_VARIABLES.items():
        chain = chains.create_config_chain(
            instance_name=name,
            env_var_names=variable,
            config_property_names=key,
            default=default,
            conversion_func=convert,
        )
        store.set_config_provider(name, chain)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@functools.lru_cache
def _loader(path: str | None) -> Any:
    """The models of the services, read once a process instead of once a session."""
    return create_loader(path)


def _create(
    session: Any,
    service: str,
    access: AwsAccess,
    context: ProviderContext,
    *,
    endpoint: str | None = None,
    unsigned: bool = False,
) -> Any:
    configuration = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        tcp_keepalive=True,
        user_agent_extra="ci-acme",
        **({"signature_version": UNSIGNED} if unsigned else {}),
    )
    made = session.create_client(
        service,
        region_name=_region(session, access, context),
        endpoint_url=endpoint or _endpoint(session, service, context.environ),
        config=configuration,
    )
    service_id = made.meta.service_model.service_id.hyphenize()
    made.meta.events.register_first(f"needs-retry.{service_id}", Patience(context.clock, ATTEMPTS))
    made.meta.events.register(f"after-call.{service_id}", pages.mark)
    return made


def _region(session: Any, access: AwsAccess, context: ProviderContext) -> str:
    """The region: global services and STS are asked in the partition's first one if nobody names one."""
    named = access.region or context.environ.get("AWS_REGION") or session.get_config_variable("region")
    partition = access.role.split(":")[1] if access.role else "aws"
    return str(named or _REGIONS.get(partition, "us-east-1"))


def _endpoint(session: Any, service: str, environ: Mapping[str, str]) -> str | None:
    """The URL that the environment names for a service, as the SDK would find it."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    name = session.get_service_model(service).service_id.hyphenize().replace("-", "_").upper()
    return environ.get(f"AWS_ENDPOINT_URL_{name}") or environ.get("AWS_ENDPOINT_URL") or None


# --- credentials -------------------------------------------------------------------------------------------------


def _credentials(session: Any, access: AwsAccess, context: ProviderContext, policy: str | None) -> Any:
    """Credentials that fetch themselves when a request is signed, and again before they end."""
    if access.role is None:
        return _own(session, access, context)
    return _refreshable(_AssumedRole(session, access, context, policy), "assume-role")


def _own(session: Any, access: AwsAccess, context: ProviderContext) -> Any:
    """The static key of the settings, else the ambient chain; None if there are no credentials."""
    if access.access_key_id is None or access.secret_access_key is None:
        return _ambient(session, access, context)
    parts = [context.secrets(reference) for reference in (access.access_key_id, access.secret_access_key)]
    return Credentials(*(part.reveal().decode().strip() for part in parts))


def _ambient(session: Any, access: AwsAccess, context: ProviderContext) -> Any:
    """Environment, web identity, then the SDK's chain: profile, single sign-on, program, container, instance."""
    environ = dict(context.environ)
    found = EnvProvider(environ).load()
    if found is not None:
        return found
    file, role = environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"), environ.get("AWS_ROLE_ARN")
    if file and role:
        name = session_name(environ.get("AWS_ROLE_SESSION_NAME") or context.run)

        def fetch() -> dict[str, Any]:
            sts = _create(session, "sts", access, context, unsigned=True)
            token = Path(file).read_text(encoding="ascii").strip()
            return _metadata(
                sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName=name, WebIdentityToken=token)
            )

        return _refreshable(fetch, "assume-role-with-web-identity")
    chain = create_credential_resolver(session, region_name=_region(session, access, context))
    chain.insert_after("container-role", ContainerProvider(environ))
    for method in ("env", "container-role"):  # those that look at the process
        chain.remove(method)
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        chain.remove("iam-role")
    return chain.load_credentials()


class _AssumedRole:
    """Fetches the credentials of the configured role: with a fresh identity token, else with our own credentials."""

    def __init__(self, session: Any, access: AwsAccess, context: ProviderContext, policy: str | None) -> None:
        self._session = session
        self._access = access
        self._context = context
        self._parameters: dict[str, Any] = {"RoleArn": access.role, "RoleSessionName": session_name(context.run)}
        if policy is not None:
            self._parameters["Policy"] = policy

    def __call__(self) -> dict[str, Any]:
        """Raises `SecretError` if there is neither a token nor a credential."""
        if self._access.access_key_id is not None:
            return self._chained(_own(self._session, self._access, self._context))
        try:
            token = self._context.identity(self._access.audience)
        except SecretError:
            own = _ambient(_session(self._context), self._access, self._context)
            if own is None:
                raise
            return self._chained(own)
        sts = _create(self._session, "sts", self._access, self._context, unsigned=True)
        text = token.reveal().decode()
        return _metadata(sts.assume_role_with_web_identity(**self._parameters, WebIdentityToken=text))

    def _chained(self, own: Any) -> dict[str, Any]:
        session = _session(self._context)
        session.register_component("credential_provider", _Given(own))
        sts = _create(session, "sts", self._access, self._context)
        return _metadata(sts.assume_role(**self._parameters))


def _refreshable(fetch: Callable[[], dict[str, Any]], method: str) -> Any:
    return DeferredRefreshableCredentials(refresh_using=fetch, method=method)


def _metadata(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of STS as botocore's credentials want it."""
    credentials = answer["Credentials"]
    return {
        "access_key": credentials["AccessKeyId"],
        "secret_key": credentials["SecretAccessKey"],
        "token": credentials["SessionToken"],
        "expiry_time": credentials["Expiration"].isoformat(),
    }
