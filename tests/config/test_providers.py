"""Settings of the built-in providers, CA directories, and the small parsers below them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ci_acme.config.directories import WELL_KNOWN, UnknownDirectory, is_staging, resolve_directory
from ci_acme.config.fields import parse_duration, parse_rate
from ci_acme.model.names import is_suffix, longest_suffix, normalize_zone, split_host_port
from ci_acme_providers.files.config import FileSettings
from ci_acme_providers.rfc2136.config import Rfc2136Settings


def rfc2136(**settings: object) -> Rfc2136Settings:
    return Rfc2136Settings.model_validate({"zone": "example.com", "provider": "rfc2136", "server": "x"} | settings)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("127.0.0.1", (("127.0.0.1", 53),)),
        ("127.0.0.1:5353", (("127.0.0.1", 5353),)),
        (["NS1.example.com", "[::1]:54"], (("ns1.example.com", 53), ("::1", 54))),
        ("::1", (("::1", 53),)),
    ],
)
def test_servers(server: object, expected: object) -> None:
    assert rfc2136(server=server).servers == expected


def test_a_key_is_whole_or_absent() -> None:
    assert rfc2136().tsig_name is None
    settings = rfc2136(tsig_name="Key.", tsig_secret="env:K", tsig_algorithm="HMAC-SHA512.")
    assert (settings.tsig_name, settings.tsig_algorithm) == ("key", "hmac-sha512")
    for partial in ({"tsig_name": "k"}, {"tsig_secret": "env:K"}, {"tsig_algorithm": "hmac-sha256"}):
        with pytest.raises(ValidationError):
            rfc2136(**partial)


@pytest.mark.parametrize("algorithm", ["hmac-md5", "HMAC-MD5.SIG-ALG.REG.INT.", "hmac-sha1", "gss-tsig", "sha256", 5])
def test_weak_algorithms_are_refused(algorithm: object) -> None:
    with pytest.raises(ValidationError):
        rfc2136(tsig_name="k", tsig_secret="env:K", tsig_algorithm=algorithm)


def test_errors_of_settings_hide_what_was_found() -> None:
    with pytest.raises(ValidationError) as caught:
        rfc2136(tsig_name="k", tsig_secret="hunter2", ttl="hunter2", hunter="hunter2")
    assert "hunter2" not in str(caught.value)


def test_file_settings() -> None:
    settings = FileSettings.model_validate({"provider": "file", "directory": "certs"})
    assert (settings.formats, settings.accept) == (("pem",), "any")
    settings = FileSettings.model_validate({"provider": "file", "directory": "c", "formats": "pkcs12"})
    assert settings.formats == ("pkcs12",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.example", ("a.example", 53)),
        ("a.example:1", ("a.example", 1)),
        ("a:65535", ("a", 65535)),
        ("1.2.3.4:5", ("1.2.3.4", 5)),
        ("[2001:DB8::1]", ("2001:db8::1", 53)),
        ("[::1]:853", ("::1", 853)),
        ("fe80::1", ("fe80::1", 53)),
        ("bücher.example:53", ("xn--bcher-kva.example", 53)),
    ],
)
def test_hosts_and_ports(text: str, expected: tuple[str, int]) -> None:
    assert split_host_port(text, 53) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":53",
        "a:",
        "a:0",
        "a:65536",
        "a:-1",
        "a:1.0",
        "a:٣",
        "1.2.3.256",
        "[::1",
        "[::1]x",
        "[a]:1",
        "::x",
        "a b",
        "a:1:2",
        "u@h",
        "a/b",
        "a:99999999999",
    ],
)
def test_what_is_no_host_and_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|host|address|HOST"):
        split_host_port(text, 53)


@given(st.text(max_size=30))
def test_no_text_breaks_the_host_parser_or_is_repeated(text: str) -> None:
    reason = ""
    try:
        host, port = split_host_port(text, 53)
    except ValueError as error:
        host, port, reason = "?", 53, str(error)
    assert host
    assert 0 < port < 65536
    assert len(text) < 8 or text not in reason


def test_the_root_serves_every_name_and_loses_to_every_zone() -> None:
    assert normalize_zone(" . ") == "."
    assert is_suffix(".", "a.example")
    assert longest_suffix([".", "example"], "a.example") == "example"
    assert longest_suffix([".", "e"], "a.e") == "e"
    assert longest_suffix(["e", "."], "a.test") == "."
    assert longest_suffix(["example"], "a.test") is None


def test_well_known_directories() -> None:
    assert resolve_directory("letsencrypt") == "https://acme-v02.api.letsencrypt.org/directory"
    assert resolve_directory("LetsEncrypt-Staging") == WELL_KNOWN["letsencrypt-staging"].url
    assert resolve_directory("https://ca.example:8443/acme?x=1") == "https://ca.example:8443/acme?x=1"
    assert all(directory.url.startswith("https://") for directory in WELL_KNOWN.values())
    assert len({directory.url for directory in WELL_KNOWN.values()}) == len(WELL_KNOWN)
    assert [name for name, directory in WELL_KNOWN.items() if is_staging(directory.url)] == [
        "letsencrypt-staging",
        "google-test",
    ]
    assert not is_staging("https://ca.example/")


@pytest.mark.parametrize(
    "url", ["http://localhost:14000/dir", "http://127.0.0.1/dir", "http://127.9.9.9:1/", "http://[::1]:1/d"]
)
def test_plain_http_on_loopback(url: str) -> None:
    assert resolve_directory(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://ca.example/",
        "http://127.0.0.1.example/",
        "http://localhost.example/",
        "ftp://ca.example/",
        "https://",
        "https:///x",
        "https://u@ca.example/",
        "https://:p@ca.example/",
        "https://ca.example/#x",
        "https://ca.example/a b",
        "https://ca.example:x/",
        "https://ca.example:99999/",
        "https://[::1/",
        "://x",
        "https://ca.example/\n",
        "https://ca.example:0/",
        "file:///etc/passwd",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|http|start"):
        resolve_directory(url)


def test_a_word_that_is_nearly_a_directory() -> None:
    with pytest.raises(UnknownDirectory) as caught:
        resolve_directory("lets-encrypt")
    assert caught.value.suggestion == "letsencrypt"


def test_rates_and_durations() -> None:
    assert parse_rate("50/7d") == (50, parse_duration("1w"))
    assert parse_rate("300/3h") == (300, parse_duration("180m"))
    for bad in ("0/7d", "50", "50/0d", "x/7d", "50/7", "-1/7d", "50/7d "):
        with pytest.raises(ValueError, match="COUNT/PERIOD"):
            parse_rate(bad)
