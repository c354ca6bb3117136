"""certbot and lego issue from the sandbox: it is a CA and not a mirror of our client."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from ci_acme.sandbox import Sandbox

pytestmark = pytest.mark.servers

NAMES = ["demo.test", "*.demo.test"]


def tool(name: str) -> str:
    """The program's path. Without it the test fails in CI and is skipped elsewhere."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ci-acme" / "tools"
    own = Path(os.environ.get("CI_ACME_TEST_TOOLS") or cache) / "bin"
    found = shutil.which(name, path=os.pathsep.join([str(own), os.environ.get("PATH", "")]))
    if found is None:
        reason = f"{name} is neither in {own} nor on PATH: run scripts/test-servers"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run(arguments: list[str], environment: dict[str, str]) -> None:
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=110)
    assert result.returncode == 0, result.stdout + result.stderr


def environment(tmp_path: Path, **own: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **own}


def certbot(sandbox: Sandbox, tmp_path: Path, *arguments: str) -> Path:
    """Run certbot; the directory of the newest certificate."""
    host, _, port = sandbox.dns_address.rpartition(":")
    credentials = tmp_path / "rfc2136.ini"
    lines = {"server": host, "port": port, "name": sandbox.tsig_name, "algorithm": "HMAC-SHA256"}
    lines["secret"] = sandbox.tsig_secret.reveal().decode()
    credentials.touch(mode=0o600)
    credentials.write_text("".join(f"dns_rfc2136_{key} = {value}\n" for key, value in lines.items()))
    own = [f"--{kind}-dir={tmp_path / 'certbot'}" for kind in ("config", "work", "logs")]
    common = ["--non-interactive", "--server", sandbox.directory_url, *own]
    run([tool("certbot"), *arguments, *common], environment(tmp_path, REQUESTS_CA_BUNDLE=str(sandbox.ca_bundle)))
    return tmp_path / "certbot" / "live" / "demo.test"


def check(sandbox: Sandbox, leaf: Path, chain: Path) -> x509.Certificate:
    certificate = x509.load_pem_x509_certificate(leaf.read_bytes())
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(san.get_values_for_type(x509.DNSName)) == sorted(NAMES)
    store = Store(x509.load_pem_x509_certificates(sandbox.root.read_bytes()))
    verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName("x.demo.test"))
    verifier.verify(certificate, x509.load_pem_x509_certificates(chain.read_bytes()))
    return certificate


def test_certbot_issues_and_revokes(sandbox: Sandbox, tmp_path: Path) -> None:
    plugin = [
        "--dns-rfc2136",
        f"--dns-rfc2136-credentials={tmp_path / 'rfc2136.ini'}",
        "--dns-rfc2136-propagation-seconds=0",
    ]
    terms = ["--agree-tos", "--email", "somebody@example.com", "--no-eff-email"]
    names = [argument for name in NAMES for argument in ("-d", name)]
    live = certbot(sandbox, tmp_path, "certonly", *plugin, *terms, *names)
    check(sandbox, live / "cert.pem", live / "chain.pem")
    assert {update.rcode for update in sandbox.dns.updates} == {"NOERROR"}
    assert sandbox.dns.values("_acme-challenge.demo.test") == []
    certbot(sandbox, tmp_path, "revoke", "--cert-path", str(live / "cert.pem"), "--no-delete-after-revoke")
    assert sandbox.ca.log.counts([200])["revokeCert"] == 1


def test_certbot_survives_bad_nonces_and_processing(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.ca.faults.processing_seconds = 1.5
    plugin = [
        "--dns-rfc2136",
        f"--dns-rfc2136-credentials={tmp_path / 'rfc2136.ini'}",
        "--dns-rfc2136-propagation-seconds=0",
    ]
    names = [argument for name in NAMES for argument in ("-d", name)]
    sandbox.ca.faults.bad_nonce_percent = 5
    live = certbot(sandbox, tmp_path, "certonly", *plugin, "--agree-tos", "--register-unsafely-without-email", *names)
    check(sandbox, live / "cert.pem", live / "chain.pem")


def test_lego_issues_with_a_profile(sandbox: Sandbox, tmp_path: Path) -> None:
    own = environment(
        tmp_path,
        LEGO_CA_CERTIFICATES=str(sandbox.ca_bundle),
        DNSUPDATE_NAMESERVER=sandbox.dns_address,
        DNSUPDATE_TSIG_KEY=f"{sandbox.tsig_name}.",
        DNSUPDATE_TSIG_SECRET=sandbox.tsig_secret.reveal().decode(),
        DNSUPDATE_TSIG_ALGORITHM=f"{sandbox.tsig_algorithm}.",
        DNSUPDATE_POLLING_INTERVAL="1",
        DNSUPDATE_SEQUENCE_INTERVAL="1",
    )
    server = [
        "--server",
        sandbox.directory_url,
        "--accept-tos",
        "--email",
        "somebody@example.com",
        "--path",
        str(tmp_path / "lego"),
    ]
    dns = ["--dns", "dnsupdate", "--dns.resolvers", sandbox.dns_address, "--dns.propagation.disable-ans"]
    names = [argument for name in NAMES for argument in ("-d", name)]
    run([tool("lego"), "run", *server, *dns, "--profile", "shortlived", *names], own)
    issued = tmp_path / "lego" / "certificates"
    certificate = check(sandbox, issued / "demo.test.crt", issued / "demo.test.issuer.crt")
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 6
    assert sandbox.dns.values("_acme-challenge.demo.test") == []
