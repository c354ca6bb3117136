"""Every kind of mistake: its line and column, its path, what is allowed, the nearest key, and all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ci_acme.config.load import Loaded
from ci_acme.config.problems import MOST_SHOWN, nearest
from ci_acme.errors import ConfigError, NotAvailable
from ci_acme.registry import names
from ci_acme.spec import PLANNED, Kind

Problems = Callable[..., list[str]]
Load = Callable[..., Loaded]

CERTIFICATE_KEYS = "names, authority, key, owner, renew, profile, lifetime, not_before, expect, stores"
DNS_PROVIDERS = ", ".join(names(Kind.DNS))
KEYS = "ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096"


def test_the_contracts_example_is_a_config(contract: str, load: Load) -> None:
    config = load(contract).config
    assert [entry.provider for entry in config.dns] == ["route53", "rfc2136"]
    assert [store.provider for store in config.certificates["preview"].stores] == ["file", "aws-secrets-manager"]


def test_a_provider_that_comes_later_is_told_from_a_mistake(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANNED, Kind.DNS, ("later",))
    text = SMALL.replace("provider: rfc2136", "provider: later")
    with pytest.raises(
        NotAvailable, match="the dns provider 'later' is not part of this version; use one of: "
    ) as caught:
        load(text)
    assert caught.value.exit_status == 2
    with pytest.raises(ConfigError) as both:
        load(text.replace("stores:", "store:"))
    assert not isinstance(both.value, NotAvailable)


SMALL = (
    "version: 1\n"
    "authorities:\n"
    "  le: {directory: letsencrypt}\n"
    "dns:\n"
    "  - {zone: example.com, provider: rfc2136, server: 127.0.0.1}\n"
    "certificates:\n"
    "  web:\n"
    "    names: [www.example.com]\n"
    "    stores: [{provider: file, directory: certs}]\n"
)
DNS = "  - {zone: example.com, provider: rfc2136, server: 127.0.0.1}\n"
AUTHORITY = "  le: {directory: letsencrypt}\n"
NAMES = "    names: [www.example.com]\n"
STORES = "    stores: [{provider: file, directory: certs}]\n"
REFERENCE = (
    "must be a reference to a secret, not the secret itself: env:NAME, file:PATH, aws-secrets-manager:NAME, "
    "gcp-secret-manager:NAME, azure-key-vault:VAULT/NAME or vault:PATH#FIELD"
)
ACCOUNT_KEY = (
    "must be a reference, not the key itself: file:PATH, env:NAME, another secret reference, or a signer "
    "(aws-kms:, gcp-kms:, azure-key:, vault-transit:)"
)
BOTH = "to publish at both providers, make this an item of also: in dns[0]"
RFC2136_KEYS = (
    "zone, provider, zone_id, private, propagation_timeout, propagation_wait, ttl, also, server, tsig_name, "
    "tsig_secret, tsig_algorithm"
)
CASES: list[tuple[str, str, list[str]]] = [
    ("version: 1\n", "", ["1:1: version: is required"]),
    ("version: 1", "version: 2", ["1:10: version: must be 1, the only version of this format"]),
    ("version: 1", "version: true", ["1:10: version: must be 1, the only version of this format"]),
    ("version: 1", "version: '1'", ["1:10: version: must be 1, the only version of this format"]),
    (
        "version: 1",
        "version: 1\npolici: x",
        [
            (
                "2:1: polici: unknown key; did you mean 'policy'? allowed: version, state, "
                "state_key, authorities, dns, resolver, certificates, policy, monitor, experimental"
            )
        ],
    ),
    (
        "version: 1",
        "version: 1\nqqqqqqq: x",
        [
            (
                "2:1: qqqqqqq: unknown key; allowed: "
                "version, state, state_key, authorities, dns, resolver, certificates, policy, monitor, experimental"
            )
        ],
    ),
    (
        "version: 1",
        "version: 1\nstate: redis://x",
        [("2:8: state: must be sqlite:PATH, postgresql://…, s3://BUCKET/PREFIX, gs://… or az://CONTAINER/PREFIX")],
    ),
    (
        "version: 1",
        "version: 1\nstate: postgresql://u:hunter2@h/d",
        [("2:8: state: must not hold a password; PGPASSWORD or PGPASSFILE gives it to PostgreSQL")],
    ),
    (
        "version: 1",
        "version: 1\nstate: postgresql://u@h/d?sslmode=require&password=hunter2",
        [("2:8: state: must not hold a password; PGPASSWORD or PGPASSFILE gives it to PostgreSQL")],
    ),
    ("version: 1", "version: 1\nstate:", ["2:7: state: must be a string, and is empty"]),
    ("version: 1", "version: 1\npolicy: ''", ["2:9: policy: must not be empty"]),
    ("authorities:\n" + AUTHORITY, "authorities: {}\n", ["2:14: authorities: must not be empty"]),
    ("authorities:\n" + AUTHORITY, "authorities: [le]\n", ["2:14: authorities: must be a mapping, not a list"]),
    ("  le:", "  le/x:", ["3:3: authorities.le…: a name is letters, digits, '.', '_' and '-', at most 200"]),
    (
        "letsencrypt}",
        "letsencript}",
        [
            (
                "3:19: authorities.le.directory: is not a well-known CA, and no https URL, found "
                "'letsencript'; did you mean 'letsencrypt'? allowed: letsencrypt, "
                "letsencrypt-staging, google, google-test, zerossl, sslcom-rsa, sslcom-ecc, "
                "sectigo-dv, sectigo-ov, sectigo-ev, digicert, globalsign, actalis"
            )
        ],
    ),
    (
        "letsencrypt}",
        "http://ca.example/d}",
        ["3:19: authorities.le.directory: http:// is for loopback only; use https://"],
    ),
    ("letsencrypt}", "https://u:p@ca.example/d}", ["3:19: authorities.le.directory: the URL holds credentials"]),
    (
        "letsencrypt}",
        "letsencrypt, contact: 'mailto:a@b.example?subject=x'}",
        [("3:41: authorities.le.contact: must be one address without header fields (RFC 8555 section 7.3)")],
    ),
    (
        "letsencrypt}",
        "letsencrypt, contact: ['a@b.example', 'x,y@b.example']}",
        [("3:57: authorities.le.contact[1]: must be one address without header fields (RFC 8555 section 7.3)")],
    ),
    (
        "letsencrypt}",
        "letsencrypt, contact: nobody}",
        ["3:41: authorities.le.contact: is not an e-mail address (ASCII before the @)"],
    ),
    (
        "letsencrypt}",
        "letsencrypt, agree_terms: yes}",
        [("3:45: authorities.le.agree_terms: must be true or false, not a string, found 'yes'; did you mean 'true'?")],
    ),
    (
        "letsencrypt}",
        "letsencrypt, agree_terms: 1}",
        ["3:45: authorities.le.agree_terms: must be true or false, not a number, found 1"],
    ),
    ("letsencrypt}", "letsencrypt, account_key: hunter2}", [f"3:45: authorities.le.account_key: {ACCOUNT_KEY}"]),
    (
        "letsencrypt}",
        "letsencrypt, account_key: 'aws-kms:alias/x'}",
        [
            (
                "3:45: authorities.le.account_key: the signer provider 'aws-kms' is not part of this "
                "version; keep the account key in env:NAME or file:PATH, or install a plug-in"
            )
        ],
    ),
    (
        "letsencrypt}",
        "letsencrypt, external_account: {key_id: 12, hmac_key: hunter2}}",
        [
            ("3:59: authorities.le.external_account.key_id: must be a string, not a number; put it in quotes"),
            f"3:73: authorities.le.external_account.hmac_key: {REFERENCE}",
        ],
    ),
    (
        "letsencrypt}",
        "letsencrypt, external_account: {key_id: k}}",
        ["3:32: authorities.le.external_account.hmac_key: is required"],
    ),
    (
        "letsencrypt}",
        "letsencrypt, rate_limits: letsencrypt-stagin}",
        [
            (
                "3:45: authorities.le.rate_limits: is not one of the allowed values, found "
                "'letsencrypt-stagin'; did you mean 'letsencrypt-staging'? allowed: letsencrypt, "
                "letsencrypt-staging, none"
            )
        ],
    ),
    (
        "letsencrypt}",
        "letsencrypt, rate_limits: {certificates_per_domain: 50}}",
        [
            (
                "3:71: authorities.le.rate_limits.certificates_per_domain: must be a string, not a "
                "number; put it in quotes"
            )
        ],
    ),
    (
        "letsencrypt}",
        "letsencrypt, rate_limits: {certificates_per_domain: 50/week}}",
        [("3:71: authorities.le.rate_limits.certificates_per_domain: must be COUNT/PERIOD: 50/7d, 300/3h")],
    ),
    (DNS, "  - 3\n", ["5:5: dns[0]: must be a mapping, not a number"]),
    (
        "provider: rfc2136, ",
        "",
        [(f"5:5: dns[0].provider: is required; allowed: {DNS_PROVIDERS}")],
    ),
    (
        "provider: rfc2136",
        "provider: rfc2163",
        [
            (
                "5:35: dns[0].provider: unknown dns provider, found 'rfc2163'; did you mean "
                f"'rfc2136'? allowed: {DNS_PROVIDERS}"
            )
        ],
    ),
    (
        "provider: rfc2136",
        "provider: 2136",
        ["5:35: dns[0].provider: must be a string, not a number; put it in quotes"],
    ),
    ("zone: example.com, ", "", ["5:5: dns[0].zone: is required"]),
    (
        "zone: example.com",
        "zoone: example.com",
        [f"5:6: dns[0].zoone: unknown key; did you mean 'zone'? allowed: {RFC2136_KEYS}"],
    ),
    ("zone: example.com", "zone: 'a b'", ["5:12: dns[0].zone: 'a b' is not a DNS name"]),
    (
        DNS,
        DNS + DNS.replace("example.com", "EXAMPLE.com."),
        [f"6:12: dns[1].zone: the zone is there already, in dns[0]; {BOTH}"],
    ),
    ("server: 127.0.0.1", "server: '127.0.0.1:0'", ["5:52: dns[0].server: the port is not a number from 1 to 65535"]),
    ("server: 127.0.0.1", "server: [a, '::x']", ["5:56: dns[0].server[1]: the IPv6 address is not one"]),
    ("server: 127.0.0.1", "server: []", ["5:52: dns[0].server: must not be empty"]),
    ("server: 127.0.0.1", "server: x, ttl: 0", ["5:60: dns[0].ttl: must be at least 1, found 0"]),
    (
        "server: 127.0.0.1",
        "server: x, ttl: true",
        ["5:60: dns[0].ttl: must be a whole number, not true or false, found true"],
    ),
    ("server: 127.0.0.1", "server: x, ttl: 1m", ["5:60: dns[0].ttl: must be a whole number, found '1m'"]),
    (
        "server: 127.0.0.1",
        "server: x, propagation_timeout: .inf",
        ["5:76: dns[0].propagation_timeout: must be at most 3600, found inf"],
    ),
    (
        "server: 127.0.0.1",
        "server: x, tsig_name: k",
        [("5:5: dns[0].tsig_secret: is required: tsig_name and tsig_secret belong together")],
    ),
    (
        "server: 127.0.0.1",
        "server: x, tsig_secret: env:K",
        ["5:5: dns[0].tsig_name: is required: tsig_name and tsig_secret belong together"],
    ),
    (
        "server: 127.0.0.1",
        "server: x, tsig_algorithm: hmac-sha512",
        [("5:5: dns[0].tsig_name: is required: tsig_algorithm says nothing without tsig_name and tsig_secret")],
    ),
    ("server: 127.0.0.1", "server: x, tsig_name: k, tsig_secret: hunter2", [f"5:82: dns[0].tsig_secret: {REFERENCE}"]),
    (
        "server: 127.0.0.1",
        "server: x, tsig_name: k, tsig_secret: 'aws-kms:x'",
        [f"5:82: dns[0].tsig_secret: {REFERENCE}"],
    ),
    (
        "server: 127.0.0.1",
        "server: x, tsig_name: k, tsig_secret: env:K, tsig_algorithm: hmac-md5",
        [
            (
                "5:105: dns[0].tsig_algorithm: MD5, SHA-1 and GSS keys are not taken (RFC 8945 "
                "section 6); make a key of hmac-sha256"
            )
        ],
    ),
    (
        "certificates:",
        "resolver: {nameservers: ['x:y:z']}\ncertificates:",
        ["6:26: resolver.nameservers[0]: the IPv6 address is not one"],
    ),
    (
        "certificates:",
        "resolver: {nameservers: 'http://dns.example/q'}\ncertificates:",
        ["6:25: resolver.nameservers: http:// is for loopback only; use https://"],
    ),
    ("certificates:", "resolver: {}\ncertificates:", ["6:1: resolver.nameservers: is required"]),
    (NAMES, "", ["7:3: certificates.web.names: is required"]),
    (NAMES, "    names: []\n", ["8:12: certificates.web.names: must not be empty"]),
    (
        NAMES,
        "    names: 10.0.0.1\n",
        [
            (
                "8:12: certificates.web.names: IP addresses have no DNS-01 challenge (RFC 8738 "
                "allows http-01 and tls-alpn-01 only)"
            )
        ],
    ),
    (
        NAMES,
        "    names: [a.example, 'a.*.example']\n",
        [("8:24: certificates.web.names[1]: a wildcard is one whole leftmost label: *.example.com")],
    ),
    (
        NAMES,
        "    names: [a.example, B.example, A.example., b.example]\n",
        [
            "8:35: certificates.web.names[2]: is the same name as names[0]",
            "8:47: certificates.web.names[3]: is the same name as names[1]",
        ],
    ),
    (
        NAMES,
        "    names: [bücher.example, xn--bcher-kva.example]\n",
        ["8:29: certificates.web.names[1]: is the same name as names[0]"],
    ),
    (
        NAMES,
        f"    names: [{', '.join(f'n{i}.example' for i in range(101))}]\n",
        ["8:12: certificates.web.names: has more than 100 items"],
    ),
    (
        NAMES,
        NAMES + "    authority: lee\n",
        [("9:16: certificates.web.authority: no authority has this name; did you mean 'le'? allowed: le")],
    ),
    (
        NAMES,
        NAMES + "    authority: [le, le]\n",
        ["9:21: certificates.web.authority[1]: the authority is in the list already"],
    ),
    (NAMES, NAMES + "    authority: []\n", ["9:16: certificates.web.authority: must not be empty"]),
    (
        AUTHORITY,
        AUTHORITY + AUTHORITY.replace("le:", "two:"),
        [("8:3: certificates.web.authority: is required, as there are several authorities; allowed: le, two")],
    ),
    (
        NAMES,
        NAMES + "    keyy: ec-p256\n",
        [f"9:5: certificates.web.keyy: unknown key; did you mean 'key'? allowed: {CERTIFICATE_KEYS}"],
    ),
    (
        NAMES,
        NAMES + "    key: ec-p257\n",
        [
            (
                "9:10: certificates.web.key: is not one of the allowed values, found 'ec-p257'; "
                f"did you mean 'ec-p256'? allowed: {KEYS}"
            )
        ],
    ),
    (
        NAMES,
        NAMES + "    renew: 30\n",
        [
            (
                "9:12: certificates.web.renew: must be auto, a time before the end (30d, 12h, 90m, "
                "2w), or a fraction below 1 (0.33)"
            )
        ],
    ),
    (
        NAMES,
        NAMES + "    not_before: +1d\n",
        [
            (
                "9:17: certificates.web.not_before: must be a time before the order: -1h, -30m. Later or fixed times "
                "are not taken: a certificate that is not valid yet would replace one that is"
            )
        ],
    ),
    (
        NAMES,
        NAMES + "    not_before: -3d\n",
        [
            (
                "9:17: certificates.web.not_before: must be between -1m and -48h: no CA that browsers trust begins a "
                "certificate earlier"
            )
        ],
    ),
    (
        NAMES,
        NAMES + "    not_before: -2h\n    lifetime: 7h\n",
        [("9:17: certificates.web.not_before: is more than a quarter of lifetime: it would soon be due for renewal")],
    ),
    (STORES, "    stores: []\n", ["9:13: certificates.web.stores: must not be empty"]),
    (STORES, "    stores: file\n", ["9:13: certificates.web.stores: must be a list, not a string"]),
    (STORES, "    stores: {provider: file}\n", ["9:13: certificates.web.stores: must be a list, not a mapping"]),
    ("provider: file, directory: certs", "provider: file", ["9:14: certificates.web.stores[0].directory: is required"]),
    (
        "directory: certs",
        "directory: certs, accept: prod",
        [
            (
                "9:57: certificates.web.stores[0].accept: is not one of the allowed values, found "
                "'prod'; did you mean 'production'? allowed: production, staging, any"
            )
        ],
    ),
    (
        "directory: certs",
        "directory: certs, formats: [pem, pkcs13]",
        [
            (
                "9:64: certificates.web.stores[0].formats[1]: is not one of the allowed values, "
                "found 'pkcs13'; did you mean 'pkcs12'? allowed: pem, pkcs12"
            )
        ],
    ),
    (
        "directory: certs",
        "directory: certs, pkcs12_password: env:P",
        [("9:66: certificates.web.stores[0].pkcs12_password: is of no use: formats does not hold pkcs12")],
    ),
    (
        "[www.example.com]",
        "['${env.NOPE}']",
        ["8:13: certificates.web.names[0]: the environment variable NOPE is not set"],
    ),
    (
        "[www.example.com]",
        "['${nope}']",
        [
            (
                "8:13: certificates.web.names[0]: this ${…} is not one that is expanded; allowed: "
                "${environment}, ${env.NAME}, $$"
            )
        ],
    ),
    (
        "[www.example.com]",
        "['${environment']",
        [
            (
                "8:13: certificates.web.names[0]: a '${' is not closed; write '$$' for a '$'; "
                "allowed: ${environment}, ${env.NAME}, $$"
            )
        ],
    ),
    (
        "directory: certs",
        'directory: "a\\nb"',
        [("9:42: certificates.web.stores[0].directory: control characters and line breaks are not allowed in a value")],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), CASES, ids=[f"{new.strip()[:40]}" for _, new, _ in CASES])
def test_a_mistake_has_its_place_and_its_words(old: str, new: str, expected: list[str], problems: Problems) -> None:
    assert old in SMALL
    assert problems(SMALL.replace(old, new, 1)) == expected


def test_the_environment_that_nobody_knows(problems: Problems) -> None:
    text = SMALL.replace("[www.example.com]", "['${environment}.example.com']")
    assert problems(text, environment=None) == [
        "8:13: certificates.web.names[0]: ${environment} is not known here; set --environment or CI_ACME_ENVIRONMENT"
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_their_places(problems: Problems) -> None:
    text = "\n".join(
        [
            "authorities:",
            "  le: {directory: letsencript, agree_terms: no, x: 1}",
            "dns:",
            "  - {provider: rfc2136, zone: a.example, server: ':0', tsig_secret: hunter2}",
            "  - {provider: route53, zone: A.example}",
            "certificates:",
            "  web:",
            "    names: [1.2.3.4, a, '${env.NOPE}', b.example, b.example]",
            "    key: dsa",
            "    stores: []",
            "  web: {}",
            "state: !x y",
        ]
    )
    assert [line.split(": ")[:2] for line in problems(text)] == [
        ["1:1", "version"],
        ["2:19", "authorities.le.directory"],
        ["2:45", "authorities.le.agree_terms"],
        ["2:49", "authorities.le.x"],
        ["4:50", "dns[0].server"],
        ["4:69", "dns[0].tsig_secret"],
        ["5:31", "dns[1].zone"],
        ["8:13", "certificates.web.names[0]"],
        ["8:22", "certificates.web.names[1]"],
        ["8:25", "certificates.web.names[2]"],
        ["8:51", "certificates.web.names[4]"],
        ["9:10", "certificates.web.key"],
        ["10:13", "certificates.web.stores"],
        ["11:3", "certificates"],
        ["12:8", "state"],
    ]


def test_details_have_the_fields_of_each_problem(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(SMALL.replace("    names", "    key: ec-p257\n    names"))
    assert caught.value.details["problems"] == [
        {
            "file": "c.yaml",
            "line": 8,
            "column": 10,
            "path": "certificates.web.key",
            "message": "is not one of the allowed values",
            "found": "'ec-p257'",
            "allowed": ["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"],
            "suggestion": "ec-p256",
        }
    ]


def test_a_flood_of_problems_is_cut(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(SMALL + "".join(f"x{i}: 1\n" for i in range(2000)))
    lines = caught.value.message.splitlines()
    assert len(lines) == MOST_SHOWN + 2
    assert lines[0] == "c.yaml has 2000 problems"
    assert lines[-1] == f"… and {2000 - MOST_SHOWN} more"


@pytest.mark.parametrize(
    ("word", "allowed", "expected"),
    [
        ("tsig-secret", ["tsig_name", "tsig_secret"], "tsig_secret"),
        ("TTL", ["ttl"], "ttl"),
        ("rote53", ["route53", "rfc2136"], "route53"),
        ("x" * 100_000, ["route53"], None),
        ("", ["a"], None),
        ("zone", [], None),
    ],
)
def test_the_nearest_word(word: str, allowed: list[str], expected: Any) -> None:
    assert nearest(word, allowed) == expected
