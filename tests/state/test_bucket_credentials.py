"""Credentials for object storage from where pipelines have them, and the signatures that are made with them."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ci_acme.clock import SystemClock
from ci_acme.errors import ConfigError, StateError
from ci_acme.state.clouds.aws import AwsKeys, AwsSource
from ci_acme.state.clouds.azure import Azure
from ci_acme.state.clouds.bucket import ABSENT, Bucket
from ci_acme.state.clouds.entra import EntraSource
from ci_acme.state.clouds.gcs import Gcs
from ci_acme.state.clouds.google import GoogleSource
from ci_acme.state.clouds.s3 import S3, canonical_query, sign
from ci_acme.wire import Reply, Unreachable, Wire
from tests.servers.buckets import Buckets
from tests.state.object_support import QuickClock

CLOCK = SystemClock()
NOBODY = "http://127.0.0.1:9"
LATER = "2999-01-01T00:00:00Z"


class Routes:
    """A server by path: `routes[path]` gets (method, body or query, headers) and returns (status, text)."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[str, str, Any], tuple[int, str]]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                return

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                path, _, query = self.path.partition("?")
                route = outer.routes.get(path)
                status, text = route(self.command, body or query, self.headers) if route else (404, "")
                self.send_response_only(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = do_POST = answer  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.host}"


@pytest.fixture
def routes() -> Iterator[Routes]:
    made = Routes()
    thread = Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire()) as made:
        yield made


# --- AWS -------------------------------------------------------------------------------------------------------------


KEYS = AwsKeys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
THEN = datetime(2013, 5, 24, tzinfo=timezone.utc)
HOST = "https://examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "signature"),
    [
        (
            "GET",
            f"{HOST}/test.txt",
            {"Range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            f"{HOST}/test%24file.text",
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            f"{HOST}/?{canonical_query({'prefix': 'J', 'max-keys': '2'})}",
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_signatures_are_those_of_the_manual(
    method: str, url: str, headers: dict[str, str], body: bytes, signature: str
) -> None:
    """The examples of Amazon's S3 API reference for Signature Version 4."""
    signed = sign(method, url, headers, body, keys=KEYS, region="us-east-1", now=THEN)
    assert signed["Authorization"].endswith(f"Signature={signature}")


def test_keys_from_the_environment_come_first(wire: Wire, tmp_path: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_SESSION_TOKEN": "hunter3"}
    keys = AwsSource({**environment, "AWS_ROLE_ARN": "r", "AWS_WEB_IDENTITY_TOKEN_FILE": "f"}, CLOCK, wire).keys()
    assert (keys.key_id, keys.secret, keys.token) == ("a", "hunter2", "hunter3")
    assert "hunter" not in repr(keys)


def test_keys_by_web_identity(wire: Wire, routes: Routes, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("jwt\n")
    seen: list[dict[str, str]] = []

    def assume(_method: str, body: str, _headers: object) -> tuple[int, str]:
        seen.append(dict(parse_qsl(body)))
        if seen[-1]["RoleArn"] == "wrong":
            return (
                403,
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>hunter2</Message></Error></ErrorResponse>",
            )
        members = {"AccessKeyId": "A", "SecretAccessKey": "S+/", "SessionToken": "T", "Expiration": LATER}
        return 200, "".join(f"<{name}>{value}</{name}>" for name, value in members.items())

    routes.routes["/"] = assume
    environment = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/ci",
        "AWS_ENDPOINT_URL_STS": routes.url,
    }
    keys = AwsSource(environment, CLOCK, wire).keys()
    assert (keys.key_id, keys.secret, keys.token) == ("A", "S+/", "T")
    assert not keys.stale(CLOCK.now())
    assert keys.stale(datetime(2999, 1, 1, tzinfo=timezone.utc) - timedelta(minutes=1))
    assert seen[0]["WebIdentityToken"] == "jwt"
    with pytest.raises(StateError, match="assume the role wrong: AccessDenied") as caught:
        AwsSource({**environment, "AWS_ROLE_ARN": "wrong"}, CLOCK, wire).keys()
    assert "hunter2" not in str(caught.value.as_dict())


def test_keys_and_region_of_a_profile(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[ci]\naws_access_key_id = A\naws_secret_access_key = S%\n")
    (tmp_path / ".aws" / "config").write_text(
        "[default]\nregion = us-west-1\n[profile ci]\nregion = eu-north-1\n[profile sso]\nsso_session = x\n"
    )
    home = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    source = AwsSource({**home, "AWS_PROFILE": "ci"}, CLOCK, wire)
    assert (source.keys().key_id, source.keys().secret, source.region) == ("A", "S%", "eu-north-1")
    assert AwsSource(home, CLOCK, wire).region == "us-west-1"
    assert AwsSource({**home, "AWS_REGION": "eu-west-3"}, CLOCK, wire).region == "eu-west-3"
    with pytest.raises(StateError) as caught:
        AwsSource({**home, "AWS_PROFILE": "sso"}, CLOCK, wire).keys()
    assert "aws configure export-credentials" in caught.value.fix
    with pytest.raises(StateError, match="no AWS credentials"):
        AwsSource(home, CLOCK, wire).keys()
    (tmp_path / ".aws" / "config").write_text("hunter2")
    with pytest.raises(StateError, match="cannot be read") as caught:
        AwsSource(home, CLOCK, wire).keys()
    assert "hunter2" not in str(caught.value.as_dict())


def test_keys_of_a_container_and_of_an_instance(wire: Wire, routes: Routes, tmp_path: Path) -> None:
    document = json.dumps({"AccessKeyId": "A", "SecretAccessKey": "S", "Token": "T", "Expiration": LATER})
    roles = "/latest/meta-data/iam/security-credentials/"
    routes.routes = {
        "/creds": lambda _m, _b, headers: (200, document) if headers["Authorization"] == "let me" else (403, ""),
        "/latest/api/token": lambda method, _b, _h: (200, "tok") if method == "PUT" else (405, ""),
        roles: lambda _m, _b, headers: (200, "role1\n") if headers["X-aws-ec2-metadata-token"] == "tok" else (401, ""),
        f"{roles}role1": lambda _m, _b, _h: (200, document),
    }
    (tmp_path / "auth").write_text("let me")
    home = {"HOME": str(tmp_path)}
    container = {
        **home,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{routes.url}/creds",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "auth"),
    }
    assert AwsSource(container, CLOCK, wire).keys().key_id == "A"
    instance = {**home, "AWS_EC2_METADATA_SERVICE_ENDPOINT": routes.url}
    assert AwsSource(instance, CLOCK, wire).keys().token == "T"
    with pytest.raises(StateError, match="no token is sent by http"):
        AwsSource({**home, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.test/x"}, CLOCK, wire).keys()
    with pytest.raises(StateError, match="no AWS credentials"):
        AwsSource({**home, "AWS_EC2_METADATA_SERVICE_ENDPOINT": NOBODY}, CLOCK, wire).keys()


def test_s3_addresses_and_what_it_learns(wire: Wire) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "HOME": "/nonexistent"}
    cloud = S3("bucket1", clock=CLOCK, wire=wire, environment=environment)
    assert cloud.signed(cloud.get("a b")).url == "https://bucket1.s3.us-east-1.amazonaws.com/a%20b"
    redirect = Reply(301, {"x-amz-bucket-region": "eu-west-1"}, b"<Code>PermanentRedirect</Code>")
    assert cloud.learn(redirect)
    assert not cloud.learn(redirect)
    signed = cloud.signed(cloud.get("x"))
    assert signed.url == "https://bucket1.s3.eu-west-1.amazonaws.com/x"
    assert "/eu-west-1/s3/" in signed.headers["Authorization"]
    dotted = S3("a.bucket", clock=CLOCK, wire=wire, environment={**environment, "AWS_REGION": "cn-north-1"})
    assert dotted.signed(dotted.get("x")).url == "https://s3.cn-north-1.amazonaws.com.cn/a.bucket/x"
    assert dotted.learn(Reply(400, {}, b"<Code>AuthorizationHeaderMalformed</Code><Region>cn-northwest-1</Region>"))
    assert "cn-northwest-1" in dotted.signed(dotted.get("x")).url
    skewed = Reply(403, {"date": "Wed, 25 Nov 2026 02:00:00 GMT"}, b"<Code>RequestTimeTooSkewed</Code>")
    assert cloud.learn(skewed)
    assert cloud.signed(cloud.get("x")).headers["x-amz-date"].startswith("20261125T02")
    assert not cloud.learn(Reply(403, {}, b"<Code>AccessDenied</Code>"))


# --- Google ----------------------------------------------------------------------------------------------------------


def write_json(path: Path, document: object) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def test_a_service_account_signs_for_its_token(wire: Wire, routes: Routes, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def token(_method: str, body: str, _headers: object) -> tuple[int, str]:
        form = dict(parse_qsl(body))
        head, claims, signature = form["assertion"].split(".")
        padded = [base64.urlsafe_b64decode(part + "==") for part in (claims, signature)]
        key.public_key().verify(padded[1], f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        assert json.loads(padded[0])["iss"] == "ci@p.example"
        return 200, json.dumps({"access_token": "hunter2", "expires_in": 3599})

    routes.routes["/token"] = token
    document = {
        "type": "service_account",
        "client_email": "ci@p.example",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "token_uri": f"{routes.url}/token",
    }
    path = write_json(tmp_path / "sa.json", document)
    found = GoogleSource({"GOOGLE_APPLICATION_CREDENTIALS": path}, CLOCK, wire).token()
    assert found.text == "hunter2"
    assert "hunter2" not in repr(found)
    assert found.expires is not None
    assert timedelta(minutes=50) < found.expires - CLOCK.now() < timedelta(hours=1)
    document["private_key"] = "hunter2"
    write_json(tmp_path / "sa.json", document)
    with pytest.raises(StateError, match="is not whole") as caught:
        GoogleSource({"GOOGLE_APPLICATION_CREDENTIALS": path}, CLOCK, wire).token()
    assert "hunter2" not in str(caught.value.as_dict())


@pytest.mark.parametrize("impersonated", [False, True])
@pytest.mark.parametrize("source", ["file", "url"])
def test_workload_identity_federation(
    wire: Wire, routes: Routes, tmp_path: Path, source: str, *, impersonated: bool
) -> None:
    """As the login actions of GitHub (by URL) and GitLab jobs (by file) write it."""
    forms: list[dict[str, str]] = []

    def exchange(_method: str, body: str, _headers: object) -> tuple[int, str]:
        forms.append(dict(parse_qsl(body)))
        return 200, json.dumps({"access_token": "federated", "expires_in": 3600, "token_type": "Bearer"})

    def impersonate(_method: str, _body: str, headers: Any) -> tuple[int, str]:
        assert headers["Authorization"] == "Bearer federated"
        return 200, json.dumps({"accessToken": "as the account", "expireTime": LATER})

    routes.routes = {
        "/sts": exchange,
        "/impersonate": impersonate,
        "/oidc": lambda _m, query, headers: (200, json.dumps({"value": f"jwt {query} {headers['Authorization']}"})),
    }
    (tmp_path / "jwt").write_text("jwt from file\n")
    sources: dict[str, object] = {
        "file": {"file": str(tmp_path / "jwt")},
        "url": {
            "url": f"{routes.url}/oidc?audience=x",
            "headers": {"Authorization": "Bearer ask"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
    }
    document: dict[str, object] = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{routes.url}/sts",
        "credential_source": sources[source],
    }
    if impersonated:
        document["service_account_impersonation_url"] = f"{routes.url}/impersonate"
    path = write_json(tmp_path / "wif.json", document)
    token = GoogleSource({"GOOGLE_APPLICATION_CREDENTIALS": path}, CLOCK, wire).token()
    assert token.text == ("as the account" if impersonated else "federated")
    assert forms[0]["subject_token"] == ("jwt from file" if source == "file" else "jwt audience=x Bearer ask")
    assert forms[0]["audience"] == "//iam.googleapis.com/pool"


def test_other_google_credentials(wire: Wire, routes: Routes, tmp_path: Path) -> None:
    assert GoogleSource({"GOOGLE_OAUTH_ACCESS_TOKEN": "given"}, CLOCK, wire).token().text == "given"
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    routes.routes[path] = lambda _m, _b, headers: (
        (200, '{"access_token": "machine", "expires_in": 100}') if headers["Metadata-Flavor"] == "Google" else (403, "")
    )
    home = {"HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path)}
    token = GoogleSource({**home, "GCE_METADATA_HOST": routes.host}, CLOCK, wire).token()
    assert token.text == "machine"
    assert token.stale(CLOCK.now()), "it is asked for again soon"
    with pytest.raises(StateError, match="no Google credentials"):
        GoogleSource({**home, "GCE_METADATA_HOST": "127.0.0.1:9"}, CLOCK, wire).token()
    write_json(tmp_path / "application_default_credentials.json", {"type": "gdch_service_account"})
    with pytest.raises(StateError, match="type that state does not know: gdch"):
        GoogleSource(home, CLOCK, wire).token()
    write_json(tmp_path / "application_default_credentials.json", {"type": "authorized_user"})
    with pytest.raises(StateError, match="is not whole"):
        GoogleSource(home, CLOCK, wire).token()


def test_a_token_that_expired_early_is_replaced_once(wire: Wire) -> None:
    cloud = Gcs("bucket1", clock=CLOCK, wire=wire, environment={"GOOGLE_OAUTH_ACCESS_TOKEN": "t"})
    assert cloud.signed(cloud.get("a/b c")).headers["Authorization"] == "Bearer t"
    assert cloud.get("a/b c").url == "https://storage.googleapis.com/storage/v1/b/bucket1/o/a%2Fb%20c?alt=media"
    assert cloud.learn(Reply(401, {}, b""))
    assert not cloud.learn(Reply(401, {}, b""))
    assert not cloud.learn(Reply(403, {}, b""))


# --- Azure -----------------------------------------------------------------------------------------------------------


def azure(environment: dict[str, str], wire: Wire) -> Azure:
    return Azure("container1", clock=CLOCK, wire=wire, environment={"PATH": "/nonexistent", **environment})


def test_azure_accounts_and_keys(wire: Wire) -> None:
    key = {"AZURE_STORAGE_ACCOUNT": "acc1", "AZURE_STORAGE_KEY": "aHVudGVyMg=="}
    signed = azure(key, wire).signed(azure(key, wire).get("a/b c"))
    assert signed.url == "https://acc1.blob.core.windows.net/container1/a/b%20c"
    assert signed.headers["Authorization"].startswith("SharedKey acc1:")
    whole = (
        "DefaultEndpointsProtocol=https;AccountName=acc2;AccountKey=aHVudGVyMg==;EndpointSuffix=core.chinacloudapi.cn"
    )
    other = azure({"AZURE_STORAGE_CONNECTION_STRING": whole}, wire)
    assert other.get("x").url == "https://acc2.blob.core.chinacloudapi.cn/container1/x"
    with pytest.raises(StateError, match="storage account"):
        azure({}, wire)
    with pytest.raises(ConfigError):
        Azure("no", clock=CLOCK, wire=wire, environment=key)
    wrong = azure({**key, "AZURE_STORAGE_KEY": "hunter2!"}, wire)
    with pytest.raises(StateError, match="not base64") as caught:
        wrong.signed(wrong.get("x"))
    assert "hunter2" not in str(caught.value.as_dict())


def test_a_shared_access_signature_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with Buckets("az") as server:
        environment = {
            "AZURE_STORAGE_ACCOUNT": "account1",
            "AZURE_STORAGE_BLOB_ENDPOINT": f"{server.url}/account1",
            "AZURE_STORAGE_SAS_TOKEN": "?sv=2021&sig=hunter2",
        }
        wire, clock = Wire(), QuickClock()
        cloud = Azure("bucket1", clock=clock, wire=wire, environment=environment)
        with closing(Bucket(cloud, wire, clock=clock)) as bucket:
            assert bucket.get("x") is None
            bucket.put("x", b"1", ABSENT)
            assert [listed.name for listed in bucket.list("")] == ["x"]
        environment["AZURE_STORAGE_BLOB_ENDPOINT"] = f"{NOBODY}/account1"
        cloud = Azure("bucket1", clock=clock, wire=wire, environment=environment)
        with closing(Bucket(cloud, wire, clock=clock)) as bucket, pytest.raises(StateError) as caught:
            bucket.get("x")
        assert "hunter2" not in str(caught.value.as_dict())


def test_tokens_of_entra(wire: Wire, routes: Routes, tmp_path: Path) -> None:
    forms: list[dict[str, str]] = []

    def token(_method: str, body: str, _headers: object) -> tuple[int, str]:
        forms.append(dict(parse_qsl(body)))
        if forms[-1].get("client_secret") == "wrong":
            return 401, json.dumps({"error": "invalid_client", "error_description": "hunter2"})
        return 200, json.dumps({"access_token": "T", "expires_in": 3599})

    routes.routes = {
        "/tenant1/oauth2/v2.0/token": token,
        "/msi": lambda _m, query, headers: (
            200,
            json.dumps({"access_token": f"{headers['X-IDENTITY-HEADER']} {query}", "expires_on": "32472144000"}),
        ),
    }
    principal = {"AZURE_TENANT_ID": "tenant1", "AZURE_CLIENT_ID": "app", "AZURE_AUTHORITY_HOST": routes.url}
    assert EntraSource({**principal, "AZURE_CLIENT_SECRET": "s"}, CLOCK, wire).token().text == "T"
    (tmp_path / "jwt").write_text("jwt")
    assert EntraSource({**principal, "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "jwt")}, CLOCK, wire).token()
    assert [form.get("client_secret") or form["client_assertion"] for form in forms] == ["s", "jwt"]
    with pytest.raises(StateError, match="401 invalid_client") as caught:
        EntraSource({**principal, "AZURE_CLIENT_SECRET": "wrong"}, CLOCK, wire).token()
    assert "hunter2" not in str(caught.value.as_dict())
    service = {"IDENTITY_ENDPOINT": f"{routes.url}/msi", "IDENTITY_HEADER": "h"}
    found = EntraSource(service, CLOCK, wire).token()
    assert found.text.startswith("h api-version=")
    assert found.expires is not None
    assert found.expires.year == 2999
    with pytest.raises(Unreachable):
        EntraSource({**principal, "AZURE_CLIENT_SECRET": "s", "AZURE_AUTHORITY_HOST": NOBODY}, CLOCK, wire).token()


def test_the_token_of_the_azure_cli(wire: Wire, tmp_path: Path) -> None:
    program = tmp_path / "az"
    program.write_text('#!/bin/sh\necho \'{"accessToken": "cli", "expires_on": 32472144000}\'\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    found = EntraSource({"PATH": str(tmp_path)}, CLOCK, wire).token()
    assert found.text == "cli"
    assert not found.stale(CLOCK.now())
