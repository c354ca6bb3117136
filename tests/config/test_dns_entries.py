"""Entries of `dns:` with further providers, and what `resolver` may say."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
import yaml

from ci_acme.config.jsonschema import schema
from ci_acme.config.schema import PUBLIC_DOH
from ci_acme.config.show import as_yaml
from ci_acme.settings import DnsSettings
from tests.config.conftest import SMALL, Load, Problems
from tests.structure.project import ROOT

ENTRY = "{zone: example.com, provider: rfc2136, server: 127.0.0.1}"


def with_also(*items: str) -> str:
    """The small config with further providers; line 5 begins each."""
    return SMALL.replace(ENTRY, f"{ENTRY[:-1]}, also: [{', '.join(items)}]}}")


def test_further_providers_have_the_zone_of_their_entry(load: Load) -> None:
    loaded = load(
        with_also("{provider: rfc2136, server: 127.0.0.2, ttl: 30}", "{provider: rfc2136, server: a.example}")
    )
    (entry,) = loaded.config.dns
    assert [item.zone for item in entry.also] == ["example.com", "example.com"]
    assert [getattr(item, "server", None) for item in entry.also] == [("127.0.0.2",), ("a.example",)]
    assert [item.ttl for item in entry.also] == [30, 60]
    assert isinstance(entry, DnsSettings)


@pytest.mark.parametrize("key", ["", "tsig_name: k, tsig_secret: env:K", "tsig_name: k, tsig_secret: env:K, ttl: 9"])
def test_what_is_shown_loads_to_the_same(load: Load, key: str) -> None:
    text = with_also(f"{{provider: rfc2136, server: 127.0.0.2, zone_id: example.com, {key}}}")
    loaded = load(text.replace("server: 127.0.0.1,", f"server: 127.0.0.1, {key},") if key else text)
    assert load(as_yaml(loaded)).config == loaded.config


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("{provider: rfc2136}", "dns[0].also[0].server: is required"),
        ("{server: a}", "dns[0].also[0].provider: is required"),
        ("{provider: nope}", "dns[0].also[0].provider: unknown dns provider"),
        ("word", "dns[0].also[0]: must be a mapping, not a string"),
        ("{provider: rfc2136, server: a, ttl: 0}", "dns[0].also[0].ttl: must be at least 1, found 0"),
        ("{provider: rfc2136, server: a, tll: 1}", "dns[0].also[0].tll: unknown key; did you mean 'ttl'?"),
        ("{provider: rfc2136, server: a, zone: b.example}", "dns[0].also[0].zone: is that of the entry"),
        ("{provider: rfc2136, server: a, also: [{}]}", "dns[0].also[0].also: is said once"),
        (
            "{provider: rfc2136, server: a, tsig_name: k, tsig_secret: hunter2}",
            "dns[0].also[0].tsig_secret: must be a reference to a secret",
        ),
    ],
)
def test_mistakes_have_their_place(item: str, expected: str, problems: Problems) -> None:
    (found,) = problems(with_also(item))
    assert expected in found
    assert found.startswith("5:")
    assert "hunter2" not in found


def test_a_bad_zone_is_told_once(problems: Problems) -> None:
    text = with_also("{provider: rfc2136, server: a}").replace("zone: example.com", "zone: 'a b'")
    assert problems(text) == ["5:12: dns[0].zone: 'a b' is not a DNS name"]


def test_zones_and_flags_as_they_may_be_written(load: Load) -> None:
    text = SMALL.replace("zone: example.com", "zone: BÜCHER.example., private: 'true', propagation_wait: 5")
    (entry,) = load(text).config.dns
    assert (entry.zone, entry.private, entry.propagation_wait) == ("xn--bcher-kva.example", True, 5.0)


def test_who_is_asked_where_port_53_is_closed(load: Load) -> None:
    def resolver(text: str) -> Any:
        return load(f"{SMALL}resolver: {text}\n").config.resolver

    assert resolver("{doh: 'https://dns.example/dns-query'}").fallback == ("https://dns.example/dns-query",)
    assert resolver("{doh: []}").fallback == ()
    assert resolver("{nameservers: 127.0.0.1}").fallback == (), "the config says who is asked: nobody else is"
    assert all(url.startswith("https://") for url in PUBLIC_DOH)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{doh: [ftp://a.example/]}", "resolver.doh[0]: the URL must start with https://"),
        ("{doh: 'http://dns.example/q'}", "resolver.doh: http:// is for loopback only; use https://"),
        ("{ca_bundle: roots.pem}", "resolver.nameservers: is required"),
    ],
)
def test_what_is_no_resolver(text: str, expected: str, problems: Problems) -> None:
    (found,) = problems(f"{SMALL}resolver: {text}\n")
    assert expected in found


def test_editors_are_told_of_it() -> None:
    document = schema()
    jsonschema.Draft202012Validator.check_schema(document)
    judge = jsonschema.Draft202012Validator(document)
    good = yaml.safe_load(with_also("{provider: rfc2136, server: 127.0.0.2}"))
    assert list(judge.iter_errors(good)) == []
    assert list(judge.iter_errors(yaml.safe_load(with_also("{provider: rfc2136}"))))
    assert list(judge.iter_errors(yaml.safe_load(with_also("{server: a}"))))
    without_zone = yaml.safe_load(SMALL.replace("zone: example.com, ", ""))
    assert list(judge.iter_errors(without_zone))


def test_the_example_of_the_documentation_is_valid(load: Load) -> None:
    text = (ROOT / "docs" / "dns.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (entry,) = load(example).config.dns
    assert len(entry.also) == 1
