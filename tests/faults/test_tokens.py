"""Credentials as nobody would choose them: they are refused or used, and in nothing that any command tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ci_acme.model.material import Bundle
from ci_acme.model.secret import Secret, harmless
from ci_acme.wire import Reply, Request
from tests.faults.canary import Canary
from tests.faults.matrix import laboratory

TOKENS = {
    "quotes": "a \"token\" with 'quotes' of every kind \\ and a slash",
    "a line break": "the-first-line-of-a-token\nthe-second-line-of-a-token",
    "a header": "a-token-that-goes-on\r\nX-Injected: as-another-header",
    "letters": "ein-Schlüssel-für-größere-Türen-ключ-鍵",
    "formats": "%s{0!r}$HOME${env.TSIG}`id`%(token)s-and-more-of-it",
    "a command": "::set-output name=token::the-value-of-a-token",
    "PEM": "-----BEGIN TOKEN-----the-inner-part-of-a-token-----END TOKEN-----",
    "an escape": "\x1b[31mred-and-blinking-token\x07-with-a-bell",
    "no text": "bytes-that-are-no-text-\udcff\udcfe-in-the-environment",
    "markdown": "<b>a|token</b>|of *markdown* | and `code` | <script>",
    "YAML": "key: [a, token, that is] # {a: document}",
}
WHERE = {
    "vault": "VAULT_PAT",
    "kubernetes": "KUBE_TOKEN",
    "github-secrets": "GITHUB_PAT",
    "gitlab-variables": "GITLAB_PAT",
    "azure-key-vault": "AZURE_SIGN_IN",
    "aws-s3": "AWS_SESSION_TOKEN",
    "gcp-secret-manager": "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
}
COMMANDS = (
    ("config", "show"),
    ("config", "show", "--output", "json"),
    ("config", "validate"),
    ("permissions", "--offline"),
    ("plan",),
    ("check",),
    ("issue", "--allow-new-account", "--output", "json"),
    ("retire",),
)


@pytest.mark.skipif(sys.platform == "win32", reason="the laboratory's disk is of POSIX")
@pytest.mark.parametrize("store", WHERE)
def test_no_command_tells_a_credential_whatever_it_looks_like(tmp_path: Path, store: str) -> None:
    with laboratory(tmp_path / "lab", store) as matrix:
        matrix.aim()
        matrix.new_names()
        for what, token in TOKENS.items():
            matrix.environ[WHERE[store]] = token
            for part in token.splitlines():
                matrix.canary.add_text(part, what)
            for command in COMMANDS:
                status = matrix.run(*command, "--log-level", "debug", "--timeout", "30")  # looks for what is told
                assert status != 1, (what, command, matrix.last)


@pytest.mark.skipif(sys.platform == "win32", reason="the laboratory's disk is of POSIX")
@pytest.mark.parametrize("name", ["TSIG", "STATE_KEY", "P12_PASSWORD"])
def test_nor_another_secret(tmp_path: Path, name: str) -> None:
    with laboratory(tmp_path / "lab", "file") as matrix:
        matrix.aim()
        for what, token in TOKENS.items():
            matrix.new_names()
            matrix.environ[name] = token
            for part in token.splitlines():
                matrix.canary.add_text(part, what)
            for command in (COMMANDS[0], *COMMANDS[5:7]):
                status = matrix.run(*command, "--log-level", "debug", "--timeout", "30")
                assert status != 1, (what, command, matrix.last)


def test_nothing_that_holds_a_secret_shows_it() -> None:
    secret = b"the-bytes-of-a-secret-0123456789"
    shown = [
        Secret(secret),
        Bundle(Secret(secret), b"certificate", b"chain"),
        Request("PUT", "https://api.example/", {"Authorization": secret.decode()}, secret, secret.decode()),
        Reply(200, {}, secret),
    ]
    for one in shown:
        for text in (repr(one), str(one), f"{one}", f"{one!s:>10}", "{!r}".format(one)):  # noqa: UP032
            assert secret.decode() not in text, type(one)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Secret [projects/my-project/secrets/web-tls] not found.", None),
        (
            "User: arn:aws:sts::123456789012:assumed-role/deploy is not authorized to perform: acm:ImportCertificate",
            None,
        ),
        ("Permission 'secretmanager.versions.add' denied for resource 'projects/p/secrets/web'", None),
        (
            "Action: 'Microsoft.KeyVault/vaults/certificates/import/action' by 0a0a0a0a-1111-2222-3333-444444444444",
            None,
        ),
        ('secrets "preview-pr-7-tls" is forbidden: User "system:serviceaccount:ci:deployer" cannot get', None),
        ("illegal data at MIGHAgEAMBMGByqGSM49AgEGCCqG in it", "illegal data at … in it"),
        ("the value -----BEGIN PRIVATE KEY-----\nabc", "the value"),
        ("Bearer short-token is not valid", "… is not valid"),
        ("a number 12345678901234567890123456789012345678", "a number …"),
        ("hex 1f3870be274f6c49b3e31a0c6728957f1f3870be274f6c49", "hex …"),
        ('cannot get "secrets" in the namespace "default"', None),
        ("illegal value '-----BEGIN PRIVATE KEY-----\nabc' at 'value'", "illegal value"),
        ("two\n lines\tand more", "two lines and more"),
    ],
)
def test_words_of_a_server_keep_what_helps(text: str, left: str | None) -> None:
    assert harmless(text) == (text if left is None else left)


def test_the_canary_finds_parts_of_secrets_and_nothing_else() -> None:
    from base64 import b64encode

    from ci_acme.testing.material import make_bundle

    bundle = make_bundle()
    pem, canary = bundle.key.reveal(), Canary()
    canary.add_key(pem, "key")
    canary.add_text("a-token-of-some-length-and-more", "token")
    second = pem.splitlines()[2]
    for text in (
        pem,
        second[:25],
        b64encode(b"{" + pem),
        pem.replace(b"\n", b"\\n"),
    ):
        assert canary.found(text) == {"key"}, text
    assert canary.found(b"xx-token-of-some-length-and") == {"token"}
    assert canary.found(bundle.fullchain + b64encode(bundle.fullchain) + second[60:] + b"a-token-of") == set()
