"""What is written: the JSON Schema, `config init` and `config show`; all of it reads back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_acme.config.init import Question, questions, render
from ci_acme.config.jsonschema import schema
from ci_acme.config.load import Loaded, from_options, load_text
from ci_acme.config.show import as_json, as_yaml, describe
from ci_acme.errors import ConfigError, NotAvailable
from ci_acme.registry import names
from ci_acme.spec import PLANNED, Kind

Load = Callable[..., Loaded]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def mistakes(validator: jsonschema.Draft202012Validator, text: str) -> set[str]:
    return {error.json_path for error in validator.iter_errors(yaml.safe_load(text))}


# --- JSON Schema -------------------------------------------------------------------------------------------------


def test_the_schema_is_one(validator: jsonschema.Draft202012Validator) -> None:
    jsonschema.Draft202012Validator.check_schema(validator.schema)
    assert json.loads(json.dumps(validator.schema)) == validator.schema
    assert validator.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_contracts_example_is_valid(contract: str, validator: jsonschema.Draft202012Validator) -> None:
    assert mistakes(validator, contract) == set()


def test_every_provider_is_in_the_schema(validator: jsonschema.Draft202012Validator) -> None:
    dns = validator.schema["properties"]["dns"]["items"]
    stores = validator.schema["$defs"]["Certificate"]["properties"]["stores"]["items"]
    for kind, entry in ((Kind.DNS, dns), (Kind.STORE, stores)):
        options = entry["properties"]["provider"]["oneOf"]
        assert [option["const"] for option in options] == names(kind)
        assert all(option["description"] for option in options)


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("version: 1", "version: 2", "$.version"),
        ("directory: letsencrypt}", "directory: letsencript}", "$.authorities.le.directory"),
        ("server: 127.0.0.1", "server: 127.0.0.1, sever: x", "$.dns[0]"),
        ("server: 127.0.0.1", "ttl: 5", "$.dns[0]"),
        ("server: 127.0.0.1", "server: x, ttl: 0", "$.dns[0].ttl"),
        ("server: 127.0.0.1", "server: x, tsig_secret: hunter2", "$.dns[0].tsig_secret"),
        ("provider: rfc2136", "provider: rfc2163", "$.dns[0].provider"),
        ("directory: certs", "directory: certs, formats: pkcs13", "$.certificates.web.stores[0].formats"),
        ("    names: [www.example.com]\n", "", "$.certificates.web"),
        ("    names", "    key: dsa\n    names", "$.certificates.web.key"),
        ("    names", "    nmaes: x\n    names", "$.certificates.web"),
        ("  web:", "  w/b:", "$.certificates"),
    ],
)
def test_editors_see_mistakes(
    old: str, new: str, path: str, small: str, validator: jsonschema.Draft202012Validator
) -> None:
    assert old in small
    assert path in mistakes(validator, small.replace(old, new))


def test_editors_let_expansions_and_short_forms_pass(small: str, validator: jsonschema.Draft202012Validator) -> None:
    text = small.replace(
        "names: [www.example.com]", "names: '${environment}.example.com'\n    key: '${env.KEY}'\n    renew: 0.5"
    )
    text = text.replace("server: 127.0.0.1", "server: [a, b], ttl: '${env.TTL}'").replace(
        "le: {", "le: {rate_limits: none, contact: a@b.c, "
    )
    assert mistakes(validator, text) == set()


# --- show --------------------------------------------------------------------------------------------------------


def test_show_reads_back_as_the_same_config(built: str, load: Load, validator: jsonschema.Draft202012Validator) -> None:
    loaded = load(built.replace("directory: certs", "directory: 'a $${x} # b: [c]'"))
    text = as_yaml(loaded)
    again = load_text(text.encode(), "shown.yaml", environ={}, environment=None)
    assert again.config == loaded.config
    assert mistakes(validator, text) == set()


def test_show_says_where_each_value_comes_from(built: str, load: Load) -> None:
    lines = as_yaml(load(built)).splitlines()
    assert lines[0].endswith("; ${environment} is pr-7")
    assert "version: 1  # c.yaml:1" in lines
    assert "    tsig_secret: env:TSIG_SECRET  # c.yaml:19" in lines
    assert "    ttl: 60  # default" in lines
    assert '      - "*.pr-7.preview.example.com"  # c.yaml:25' in lines


def test_show_as_json() -> None:
    loaded = from_options(
        {"domain": ["a.example"], "dns": "rfc2136", "store": ["file:x"], "dns_option": ["server=x", "tsig_name=k"]},
        environ={"CI_ACME_RFC2136_TSIG_SECRET": "hunter2"},
        environment=None,
    )
    document = as_json(loaded)
    assert json.loads(json.dumps(document)) == document
    assert document["file"] is None
    assert document["config"]["dns"][0]["tsig_secret"] == "env:CI_ACME_RFC2136_TSIG_SECRET"
    assert document["origins"]["dns[0].server[0]"] == {"kind": "option", "where": "--dns-option"}
    assert describe(loaded.origins["dns[0].ttl"]) == "default"
    assert "hunter2" not in f"{document}{as_yaml(loaded)}"


# --- init --------------------------------------------------------------------------------------------------------

ANSWERS: list[dict[str, Any]] = [
    {},
    {"domain": ["a.example.com", "*.a.example.com"], "email": "me@example.com", "agree_terms": True},
    {"ca": "https://ca.example/directory", "ca_bundle": "ca.pem", "resolver": ["127.0.0.1:53"], "state": "sqlite:x.db"},
    {"domain": ["${env.HOST}"], "dns_option": ["server=[::1]:53", "tsig_name=k", "tsig_secret=file:/run/tsig"]},
    {"domain": ["bücher.example"], "store": ["file:/etc/tls", "file:b: c"], "name": "web", "key": "rsa-2048"},
    {"domain": ["a.example", "b.test"], "dns_option": ["zone=example", "server=x"], "profile": "shortlived"},
    {"ca": "zerossl", "eab_key_id": "env:KID", "eab_hmac_key": "env:HMAC"},
]


@pytest.mark.parametrize("answers", ANSWERS)
def test_what_init_writes_is_loaded(answers: dict[str, Any], validator: jsonschema.Draft202012Validator) -> None:
    text = render(answers)
    loaded = load_text(text.encode(), "ci-acme.yaml", environ={"HOST": "a.b.example"}, environment="pr-7")
    assert mistakes(validator, text) == set()
    assert text.startswith("# ")
    assert text.count("#") > 15
    authority = next(iter(loaded.config.authorities.values()))
    assert authority.agree_terms is answers.get("agree_terms", False)
    assert loaded.origins["version"].kind == "file"


def test_every_option_reaches_the_file() -> None:
    text = render(ANSWERS[4])
    assert '"file' not in text
    config = load_text(text.encode(), "c", environ={}, environment=None).config
    assert [store.model_dump()["directory"] for store in config.certificates["web"].stores] == ["/etc/tls", "b: c"]
    assert config.certificates["web"].names == ("xn--bcher-kva.example",)
    assert config.certificates["web"].key == "rsa-2048"


@pytest.mark.parametrize(
    ("domains", "zone"),
    [
        (["${environment}.preview.example.com", "*.${environment}.preview.example.com"], "preview.example.com"),
        (["www.example.com"], "example.com"),
        (["example.com", "*.example.com"], "example.com"),
        (["a.x.example.com", "b.x.example.com"], "x.example.com"),
        (["a.example", "b.test"], "."),
        (["a.${env.DOMAIN}"], "."),
        (["A.Example.com", "b.example.COM."], "example.com"),
    ],
)
def test_the_zone_is_guessed_from_the_names(domains: list[str], zone: str) -> None:
    assert f"zone: {zone}\n" in render({"domain": domains})


def test_questions_lead_to_a_config() -> None:
    answers: dict[str, Any] = {}
    asked: list[str] = []
    replies = {"dns_option.server": "ns1.example.com", "agree_terms": "true", "email": "me@example.com"}
    for _ in range(20):
        left = [question for question in questions(answers) if not (question.option in asked and not question.default)]
        if not left:
            break
        question: Question = left[0]
        key = f"{question.option}.{question.setting}" if question.setting else question.option
        text = replies.get(key, question.default)
        assert question.check(text) is None
        assert question.text
        asked.append(key)
        answers = question.answer(answers, text)
    assert asked == [
        "domain", "ca", "email", "agree_terms", "store", "dns",
        "dns_option.server", "dns_option.tsig_name", "dns_option.tsig_secret",
    ]  # fmt: skip
    assert questions(answers) == []
    assert "ns1.example.com" in render(answers)


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        ("domain", ""),
        ("domain", "a b.example"),
        ("domain", "1.2.3.4"),
        ("ca", "letsencript"),
        ("ca", "http://ca.example"),
        ("agree_terms", "maybe"),
        ("dns", "rfc2163"),
        ("store", "volt:x"),
        ("tsig_secret", "hunter2"),
    ],
)
def test_answers_are_checked(option: str, bad: str) -> None:
    asked = questions({"store": "file"}) + questions({"dns": "rfc2136"})
    question = next(one for one in asked if option == (one.setting or one.option))
    assert question.check(bad)


def test_bad_answers_are_config_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="IP addresses have no DNS-01"):
        render({"domain": ["1.2.3.4"]})
    monkeypatch.setitem(PLANNED, Kind.DNS, ("later",))
    with pytest.raises(NotAvailable, match="later"):
        render({"dns": "later"})


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "domain": st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3),
            "name": st.text(max_size=10),
            "email": st.text(max_size=20),
            "store": st.lists(st.text(max_size=10).map("file:{}".format), max_size=2),
            "dns_option": st.lists(st.text(max_size=10).map("server={}".format), max_size=2),
            "policy": st.text(max_size=5),
        },
    )
)
def test_any_answers_give_a_config_or_a_config_error(answers: dict[str, Any]) -> None:
    try:
        text = render(answers)
    except ConfigError:
        return
    assert load_text(text.encode(), "c", environ={}, environment="pr-7").config.version == 1
