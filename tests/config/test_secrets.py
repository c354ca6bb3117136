"""Secrets are references; what they hold, and literals in the wrong place, are in no message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ci_acme.config.emit import scalar
from ci_acme.config.load import Loaded, from_options
from ci_acme.config.secrets import MAX_SECRET, read_secret, read_text
from ci_acme.errors import ConfigError, NotAvailable, SecretError
from ci_acme.settings import SECRET_SCHEMES

Load = Callable[..., Loaded]

HOLDER = """\
version: 1
authorities:
  le:
    directory: letsencrypt
    {authority}
dns:
  - zone: example.com
    provider: rfc2136
    server: 127.0.0.1
    tsig_name: key
    {dns}
certificates:
  web:
    names: www.example.com
    {certificate}
    stores:
      - provider: file
        directory: certs
        formats: [pkcs12]
        {store}
{top}
"""
PLACES = {
    "authority": (
        "account_key: {}", "external_account: {{key_id: k, hmac_key: {}}}", "external_account: {{key_id: k, hmac: {}}}",
        "external_account: {}", "password: {}", "account_key: [{}]", "account_key: {{key: {}}}", "agree_terms: {}",
        "contact: {}", "ca_bundle: [{}]", "rate_limits: {{certificates_per_domain: {}}}",
    ),
    "dns": (
        "tsig_secret: {}", "secret: {}", "tsig_secret: [{}]", "tsig_secret: {{a: {}}}", "tsig_secrt: {}",
        "password: {{deep: [{}, {}]}}", "tsig_name: {}", "server: {}",
    ),
    "certificate": ("private_key: {}", "renew: {}", "key: {{private: {}}}"),
    "store": ("pkcs12_password: {}", "pkcs12_password: {{x: {}}}", "token: {}", "mode: {}"),
    "top": ("secret: {}", "secrets: [{}]", "state: {}", "resolver: {{nameservers: [{}]}}"),
}  # fmt: skip
EVERYWHERE = [(section, line) for section, lines in PLACES.items() for line in lines]

secret_text = st.one_of(
    st.text(st.sampled_from("ABCDEFGHJKMNPQRSTUVWXYZabcdefghkmnpqrstuvwxyz23456789+/"), min_size=24, max_size=60),
    st.binary(min_size=16, max_size=32).map(lambda data: data.hex()),
    st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_characters="\x7f"), min_size=16, max_size=40),
    st.just("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\n-----END PRIVATE KEY-----\n"),
)


def told(load: Load, text: str) -> str:
    try:
        load(text)
    except ConfigError as error:
        return f"{error} {error!r} {error.message} {error.fix} {error.details}"
    return ""


NEUTRAL = "Zq7wXk2vJm9sTb4nRf6h"


def with_secret(place: tuple[str, str], written: str) -> str:
    """A config that has a literal where a reference belongs."""
    section, line = place
    return HOLDER.format_map(dict.fromkeys(PLACES, "") | {section: line.format(written, written)})


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=secret_text, place=st.sampled_from(EVERYWHERE), quoted=st.booleans())
def test_a_literal_secret_is_never_echoed(secret: str, place: tuple[str, str], quoted: bool, load: Load) -> None:
    written = scalar(secret) if quoted else secret
    assume(not secret.startswith("env."))
    assume(secret.partition(":")[0] not in SECRET_SCHEMES)  # a reference, and no literal
    message = told(load, with_secret(place, written))
    without = told(load, with_secret(place, NEUTRAL))
    for fragment in (secret, secret[:12], secret[-12:]):
        assume(fragment not in without)  # our own words: hypothesis draws them from the sources
        assert fragment not in message
        assert repr(fragment)[1:-1] not in message


@pytest.mark.parametrize(
    "entry",
    [
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret:c2VjcmV0c2VjcmV0}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret=c2VjcmV0c2VjcmV0}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, c2VjcmV0c2VjcmV0}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret: !c2VjcmV0c2VjcmV0 x}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret: !c2VjcmV0!c2VjcmV0 x}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret: *c2VjcmV0c2VjcmV0}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret: c2VjcmV0c2VjcmV0: x}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret: 'c2VjcmV0c2VjcmV0}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret: ${env.c2VjcmV0c2VjcmV0}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: k, tsig_secret: '${c2VjcmV0c2VjcmV0}'}",
        "{provider: rfc2136, zone: a.example, server: x, tsig_name: c2VjcmV0c2VjcmV0=, tsig_secret: k}",
        "{provider: c2VjcmV0c2VjcmV0/c2VjcmV0, zone: a.example}",
    ],
)
def test_a_secret_that_yaml_takes_for_something_else(entry: str, load: Load, small: str) -> None:
    lines = small.splitlines()
    lines[4] = f"  - {entry}"
    message = told(load, "\n".join(lines))
    assert message
    assert "c2VjcmV0" not in message


@given(
    secret=secret_text, option=st.sampled_from(["tsig_secret={}", "secret={}", "{}", "server={}:x", "tsig_name={}!"])
)
@settings(max_examples=150, deadline=None)
def test_a_literal_secret_on_the_command_line_is_never_echoed(secret: str, option: str) -> None:
    options = {"domain": ["a.example"], "dns": "rfc2136", "store": ["file:x"], "dns_option": [option.format(secret)]}
    assume("=" not in secret)
    with pytest.raises(ConfigError) as caught:
        from_options(options, environ={}, environment=None)
    message = f"{caught.value.message}{caught.value.details}"
    assert secret not in message
    assert secret[:12] not in message


def test_reading_from_the_environment() -> None:
    secret = read_secret("env:TOKEN", {"TOKEN": " hunter2 \n"})
    assert secret.reveal() == b" hunter2 \n"
    assert "hunter2" not in f"{secret} {secret!r}"
    assert read_secret("env:TOKEN", {"TOKEN": os.fsdecode(b"\xff\xfe")}).reveal() == b"\xff\xfe"


def test_reading_from_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_ACME_TEST_SECRET", "x")
    assert read_secret("env:CI_ACME_TEST_SECRET").reveal() == b"x"


@pytest.mark.parametrize(
    ("written", "expected"),
    [(b"x", b"x"), (b"x\n", b"x"), (b"x\r\n", b"x"), (b"x\n\n", b"x\n"), (b"a\nb\n", b"a\nb"), (b" x", b" x")],
)
def test_reading_a_file_strips_one_line_break(tmp_path: Path, written: bytes, expected: bytes) -> None:
    (tmp_path / "s").write_bytes(written)
    assert read_secret(f"file:{tmp_path / 's'}").reveal() == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_a_pipe_is_read_to_its_end_and_not_waited_for_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(pipe.write_bytes, b"hunter2\n")
        assert read_secret(f"file:{pipe}").reveal() == b"hunter2"
        written.result(10)
    monkeypatch.setattr("ci_acme.config.secrets._PIPE_SECONDS", 0.1)
    with pytest.raises(SecretError, match="nobody writes to the end of this pipe"):
        read_secret(f"file:{pipe}")


def test_files_below_home_and_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s").write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert read_secret("file:s").reveal() == b"x"
    assert read_secret("file:~/s").reveal() == b"x"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("env:MISSING", "env:MISSING cannot be read: the environment variable MISSING is not set"),
        ("env:EMPTY", "env:EMPTY cannot be read: the environment variable EMPTY is empty"),
        ("file:none", "file:none cannot be read: no such file"),
        ("file:dir", "file:dir cannot be read: it is a directory"),
        ("file:empty", "file:empty is empty"),
        ("file:big", f"file:big is bigger than {MAX_SECRET} bytes"),
        ("file:a\0b", "cannot be read: not a usable path"),
        ("hunter2-hunter2", "a secret is given as a reference, and this is none"),
        ("env:", "a secret is given as a reference, and this is none"),
        ("https:x", "a secret is given as a reference, and this is none"),
    ],
)
def test_what_cannot_be_read(reference: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dir").mkdir()
    (tmp_path / "empty").write_bytes(b" \n")
    (tmp_path / "big").write_bytes(b"hunter2" * MAX_SECRET)
    if reference == "file:dir" and os.name == "nt":
        reason = "permission denied"
    with pytest.raises(SecretError) as caught:
        read_secret(reference, {"EMPTY": " "})
    assert reason in caught.value.message
    assert caught.value.fix
    assert caught.value.exit_status == 2
    assert "hunter2" not in f"{caught.value.message}{caught.value.fix}"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("hunter2")
    (tmp_path / "s").chmod(0)
    with pytest.raises(SecretError, match="permission denied"):
        read_secret(f"file:{tmp_path / 's'}")


@pytest.mark.parametrize(
    "reference", ["vault:kv/x#y", "aws-secrets-manager:x", "gcp-secret-manager:x", "azure-key-vault:v/x"]
)
def test_sources_of_platforms_need_their_adapters(reference: str) -> None:
    with pytest.raises(NotAvailable, match="cannot be read here"):
        read_secret(reference, {})


def test_a_key_id_may_be_a_reference() -> None:
    assert read_text("kid-1", {}) == "kid-1"
    assert read_text("env:KID", {"KID": "kid-1\n"}) == "kid-1"
    assert read_text("kid:with:colons", {}) == "kid:with:colons"
    with pytest.raises(SecretError, match="does not hold text"):
        read_text("env:KID", {"KID": os.fsdecode(b"\xff")})
