"""Settings of the store `kubernetes`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from ci_acme.settings import SecretReference, Settings, ShapedSettings, at
from ci_acme.shapes import Part, ShapeName

PENDING_SUFFIX = "-ci-acme-pending"

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = rf"^{_LABEL}(\.{_LABEL})*$"
_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"


def _url(text: str) -> str:
    from ci_acme.rest import api_url

    return api_url(text)


Url = Annotated[str, AfterValidator(_url)]


class KubernetesAccess(Settings):
    """Which cluster, and as whom. Without a word: KUBECONFIG, the pod's service account, ~/.kube/config."""

    server: Url | None = Field(None, description="The API server: https://HOST:PORT; needs token.")
    token: SecretReference | None = Field(None, description="A reference to a bearer token.")
    ca_bundle: str | None = Field(None, min_length=1, description="Roots to trust for server, PEM.")
    kubeconfig: str | None = Field(None, min_length=1, description="A kubeconfig file.")
    context: str | None = Field(
        None, min_length=1, description="A context of the kubeconfig; the current one otherwise."
    )


class KubernetesSettings(ShapedSettings, KubernetesAccess):
    """A Secret: of type kubernetes.io/tls where tls.crt and tls.key are among its fields, else Opaque."""

    SHAPE: ClassVar[ShapeName] = "kubernetes"

    provider: str = "kubernetes"
    name: str = Field(max_length=253 - len(PENDING_SUFFIX), pattern=_NAME, description="The name of the Secret.")
    namespace: str | None = Field(
        None, max_length=63, pattern=rf"^{_LABEL}$", description="Its namespace; that of the context otherwise."
    )
    adopt: bool = Field(
        default=False, description="Write over a Secret of this name that ci-acme did not make; its other fields stay."
    )
    pending: bool = Field(
        default=True,
        description="Keep the key of an order under way in the Secret NAME-ci-acme-pending, until it is stored.",
    )
    labels: dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)]] = (
        Field(default_factory=dict, description="Labels to put on the Secret, beside our own.")
    )
    fields: dict[Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)], Part] | None = Field(
        None,
        min_length=1,
        description="Names of fields of your own, each with its part: key, certificate, chain, fullchain, combined, "
        "pkcs12 or truststore.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> KubernetesSettings:
        if self.server is not None and self.token is None:
            raise at({("token",): "is required with server"})
        if self.server is None and (self.token or self.ca_bundle):
            raise at({("server",): "is required with token or ca_bundle"})
        if self.server is not None and (self.kubeconfig or self.context):
            raise at({("server",): "stands in place of kubeconfig and context"})
        return self
