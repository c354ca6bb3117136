"""The form without a config file."""

from __future__ import annotations

from typing import Any

import pytest

from ci_acme.config.document import Origin
from ci_acme.config.load import Loaded, from_options
from ci_acme.errors import ConfigError

FULL: dict[str, Any] = {
    "domain": ["*.Example.com", "example.com"],
    "dns": "rfc2136",
    "dns_option": ["server=127.0.0.1:5353", "tsig-name=ci-acme", "tsig_secret=env:TSIG"],
    "store": ["file:certs"],
    "ca": "https://localhost:14000/dir",
    "email": "ops@example.com",
}


def run(environ: dict[str, str] | None = None, environment: str | None = None, **options: Any) -> Loaded:
    return from_options(options, environ=environ or {}, environment=environment)


def complaints(environ: dict[str, str] | None = None, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        run(environ, **options)
    return caught.value.message.splitlines()[1:]


def test_options_alone_make_a_config() -> None:
    loaded = run(**FULL)
    config = loaded.config
    assert loaded.path is None
    assert config.authorities["default"].directory == "https://localhost:14000/dir"
    assert config.authorities["default"].contact == ("ops@example.com",)
    assert config.authorities["default"].agree_terms is False
    assert config.dns[0].model_dump(exclude_defaults=True) == {
        "zone": ".",
        "server": ("127.0.0.1:5353",),
        "tsig_name": "ci-acme",
        "tsig_secret": "env:TSIG",
    }
    certificate = config.certificates["wildcard.example.com"]
    assert certificate.names == ("*.example.com", "example.com")
    assert certificate.stores[0].model_dump()["directory"] == "certs"
    assert loaded.origins['certificates."wildcard.example.com".names[0]'] == Origin("option", "--domain")
    assert loaded.origins["dns[0].zone"] == Origin("default")
    assert loaded.origins["dns[0].server[0]"] == Origin("option", "--dns-option")


def test_variables_alone_make_the_same_config() -> None:
    environ = {
        "CI_ACME_DOMAIN": "*.Example.com, example.com",
        "CI_ACME_DNS": "rfc2136",
        "CI_ACME_DNS_OPTION": "server=127.0.0.1:5353 tsig_name=ci-acme tsig_secret=env:TSIG",
        "CI_ACME_STORE": "file:certs",
        "CI_ACME_CA": "https://localhost:14000/dir",
        "CI_ACME_EMAIL": "ops@example.com",
    }
    loaded = run(environ)
    assert loaded.config == run(**FULL).config
    assert loaded.origins["authorities.default.directory"] == Origin("environment", "CI_ACME_CA")


def test_settings_of_providers_come_from_their_variables() -> None:
    environ = {
        "CI_ACME_RFC2136_SERVER": "127.0.0.1 127.0.0.2:54",
        "CI_ACME_RFC2136_TSIG_NAME": "key",
        "CI_ACME_RFC2136_TSIG_SECRET": "aHVudGVyMg==",
        "CI_ACME_RFC2136_TTL": "30",
        "CI_ACME_FILE_FORMATS": "pem,pkcs12",
        "CI_ACME_FILE_DIRECTORY": "ignored",
    }
    loaded = run(environ, **{**FULL, "dns_option": ["tsig_name=other", "server=127.0.0.3"]})
    dns = loaded.config.dns[0].model_dump()
    assert dns["server"] == ("127.0.0.3",)
    assert dns["tsig_name"] == "other"
    assert dns["tsig_secret"] == "env:CI_ACME_RFC2136_TSIG_SECRET"
    assert dns["ttl"] == 30
    store = loaded.config.certificates["wildcard.example.com"].stores[0].model_dump()
    assert (store["directory"], store["formats"]) == ("certs", ("pem", "pkcs12"))
    assert loaded.origins["dns[0].tsig_secret"] == Origin("environment", "CI_ACME_RFC2136_TSIG_SECRET")
    assert "aHVudGVyMg" not in f"{loaded}"


def test_every_option_has_its_place() -> None:
    loaded = run(
        environment="pr-7",
        **FULL,
        name="web",
        agree_terms=True,
        ca_bundle="ca.pem",
        account_key="env:KEY",
        eab_key_id="kid",
        eab_hmac_key="env:HMAC",
        profile="shortlived",
        key="rsa-2048",
        resolver=["127.0.0.1:53"],
        state="sqlite:x.db",
    )
    authority = loaded.config.authorities["default"]
    assert list(loaded.config.certificates) == ["web"]
    assert (authority.agree_terms, authority.ca_bundle, authority.account_key) == (True, "ca.pem", "env:KEY")
    assert authority.external_account is not None
    assert authority.external_account.key_id == "kid"
    assert loaded.config.spec("web").profile == "shortlived"
    assert loaded.config.certificates["web"].key == "rsa-2048"
    assert loaded.config.state == "sqlite:x.db"
    assert "option" not in {origin.kind for path, origin in loaded.origins.items() if path == "dns[0].ttl"}


@pytest.mark.parametrize(
    ("domain", "environment", "name"),
    [
        ("example.com", None, "example.com"),
        ("EXAMPLE.com.", None, "example.com"),
        ("*.bücher.example", None, "wildcard.xn--bcher-kva.example"),
        ("${environment}.example.com", "pr-7", "pr-7.example.com"),
    ],
)
def test_a_certificate_is_called_as_its_first_name(domain: str, environment: str | None, name: str) -> None:
    assert list(run(environment=environment, **{**FULL, "domain": [domain]}).config.certificates) == [name]


def test_a_well_known_ca_gives_its_name() -> None:
    assert list(run(**{**FULL, "ca": "letsencrypt-staging"}).config.authorities) == ["letsencrypt-staging"]
    del (options := dict(FULL))["ca"]
    assert run(**options).config.authorities["letsencrypt"].directory == "letsencrypt"


def test_a_zone_may_be_said() -> None:
    assert run(**{**FULL, "dns_option": ["server=x", "zone=Example.com"]}).config.dns[0].zone == "example.com"


def test_what_is_missing_is_said_at_once() -> None:
    assert sorted(line.partition(";")[0] for line in complaints()) == [
        "--dns: is required without a config file: the DNS provider",
        "--domain: is required without a config file: a name for the certificate",
        "--store: is required without a config file: a place for the certificate, as file:certs",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dns_option": ["server=x", "ttl"]}, "--dns-option: dns[0]: must be KEY=VALUE"),
        ({"dns_option": ["=x", "server=x"]}, "--dns-option: dns[0]: must be KEY=VALUE"),
        ({"dns_option": ["server=x", "ttl=1", "ttl=2"]}, "--dns-option: dns[0].ttl: is given 2 times and takes one"),
        ({"dns_option": ["server=x", "sever=y"]}, "--dns-option: dns[0].sever: unknown key; did you mean 'server'?"),
        ({"dns_option": ["server=x", "tsig_name=k", "tsig_secret=hunter2"]}, "--dns-option: dns[0].tsig_secret: must"),
        ({"dns_option": ["server=x", "ttl=soon"]}, "--dns-option: dns[0].ttl: must be a whole number, found 'soon'"),
        ({"dns": "rfc2163"}, "--dns: dns[0].provider: unknown dns provider, found 'rfc2163'; did you mean 'rfc2136'?"),
        ({"store": ["file"]}, '--store: certificates."wildcard.example.com".stores[0].directory: is required'),
        ({"store": ["volt:x"]}, '--store: certificates."wildcard.example.com".stores[0].provider: unknown store'),
        ({"ca": "letsencrypd"}, "--ca: authorities.default.directory: is not a well-known CA, and no https URL, found"),
        ({"name": "a/b"}, "--name: certificates.a…: a name is letters, digits"),
        (
            {"domain": ["https://www.example.com/"]},
            "--domain: certificates.default.names[0]: a URL or a path is no name: give the host name alone",
        ),
        ({"domain": ["1.2.3.4"]}, '--domain: certificates."1.2.3.4".names[0]: IP addresses have no DNS-01 challenge'),
        ({"key": "dsa"}, '--key: certificates."wildcard.example.com".key: is not one of the allowed values, found'),
        ({"resolver": ["x:y"]}, "--resolver: resolver.nameservers[0]: the port is not a number from 1 to 65535"),
        ({"email": "x"}, "--email: authorities.default.contact[0]: is not an e-mail address"),
        ({"eab_key_id": "x"}, "--eab-key-id: authorities.default.external_account.hmac_key: is required"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_option(options: dict[str, Any], expected: str) -> None:
    found = complaints(**{**FULL, **options})
    assert len(found) == 1
    assert found[0].startswith(expected)
    assert "hunter2" not in found[0]


def test_a_mistake_in_a_variable_names_the_variable() -> None:
    assert complaints({"CI_ACME_RFC2136_TTL": "x"}, **FULL)[0].startswith(
        "CI_ACME_RFC2136_TTL: dns[0].ttl: must be a whole"
    )
    assert complaints({"CI_ACME_AGREE_TERMS": "perhaps"}, **FULL)[0].startswith(
        "CI_ACME_AGREE_TERMS: authorities.default.agree_terms: must be true or false"
    )


@pytest.mark.parametrize("ca", ["sectigo-dv", "https://acm-acme-enroll.eu-west-1.api.aws/0f2c/directory"])
def test_a_ca_that_validates_by_itself_needs_no_dns(ca: str) -> None:
    options = {"domain": ["www.example.com"], "ca": ca, "store": ["file:certs"]}
    assert from_options(options, environ={}, environment=None).config.dns == ()
    with pytest.raises(ConfigError, match="--dns"):
        from_options({**options, "ca": "letsencrypt"}, environ={}, environment=None)
