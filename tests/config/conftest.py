from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from ci_acme.config.load import Loaded, load_text
from ci_acme.errors import ConfigError

CONTRACT = """\
version: 1
state: sqlite:.ci-acme/state.db          # default; or postgresql://…, s3://bucket/prefix, gs://…, az://container/prefix
authorities:
  letsencrypt:
    directory: letsencrypt               # a well-known name, or an https URL
    contact: [ops@example.com]
    agree_terms: true
    account_key: file:.ci-acme/account.pem   # a secret reference, or a signer: aws-kms:…, gcp-kms:…, azure-key:…
    profile: shortlived                  # optional
    external_account: {key_id: env:EAB_KID, hmac_key: env:EAB_HMAC}   # optional
    ca_bundle: private-ca.pem            # optional: trust for a private CA
    preferred_chain: "ISRG Root X2"      # optional
    rate_limits: letsencrypt             # optional: a well-known profile, or a table
dns:                                     # the longest zone that is a suffix of the (CNAME-followed) challenge name
  - zone: example.com
    provider: route53
    zone_id: Z123                        # optional: skips discovery
  - zone: corp.example
    provider: rfc2136
    server: 127.0.0.1:5353
    tsig_name: ci-acme
    tsig_secret: env:TSIG_SECRET
    tsig_algorithm: hmac-sha256
resolver:                                # optional; default: the zone's authoritative servers
  nameservers: [127.0.0.1:5353]          # host[:port] or https://…/dns-query
certificates:
  preview:
    names: ["${environment}.preview.example.com", "*.${environment}.preview.example.com"]
    authority: letsencrypt               # or a list: the next serves when the one before is down or out of quota
    key: ec-p256                         # ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096
    owner: team-web
    renew: auto                          # ARI, else a third of the life left; or a duration, or "0.33"
    stores:
      - {provider: file, directory: certs}
      - {provider: aws-secrets-manager, name: "preview/${environment}/tls", accept: production}
policy: policy.yaml                      # optional
"""

SMALL = """\
version: 1
authorities:
  le: {directory: letsencrypt}
dns:
  - {zone: example.com, provider: rfc2136, server: 127.0.0.1}
certificates:
  web:
    names: [www.example.com]
    stores: [{provider: file, directory: certs}]
"""


@pytest.fixture
def contract() -> str:
    """The contract's example."""
    return CONTRACT


@pytest.fixture
def built() -> str:
    """The contract's example with the providers of this version only; 31 lines."""
    lines = CONTRACT.splitlines(keepends=True)
    return "".join(line for line in lines[:14] + lines[17:] if "aws-secrets" not in line)


@pytest.fixture
def small() -> str:
    return SMALL


Load = Callable[..., Loaded]
Problems = Callable[..., list[str]]


@pytest.fixture
def load() -> Load:
    def run(text: str | bytes, environ: Mapping[str, str] | None = None, environment: str | None = "pr-7") -> Loaded:
        data = text.encode() if isinstance(text, str) else text
        return load_text(data, "c.yaml", environ=environ or {}, environment=environment)

    return run


@pytest.fixture
def problems(load: Load) -> Problems:
    """The rendered problems of a text, without `c.yaml:`."""

    def run(text: str | bytes, environ: Mapping[str, str] | None = None, environment: str | None = "pr-7") -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, environ, environment)
        first, *rest = caught.value.message.splitlines()
        assert first == f"c.yaml has {len(rest)} problem{'s' if len(rest) > 1 else ''}"
        return [line.removeprefix("c.yaml:") for line in rest]

    return run
