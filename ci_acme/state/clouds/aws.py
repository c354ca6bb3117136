"""AWS credentials from where a pipeline has them: environment, web identity, profile, container, instance."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from ci_acme.connect import is_loopback
from ci_acme.dataclass import dataclass, field
from ci_acme.errors import StateError
from ci_acme.model.records import parse_time
from ci_acme.ports import Clock
from ci_acme.state.clouds.token import text_of
from ci_acme.wire import Reply, Request, Unreachable, Wire

_EARLY: Final = timedelta(minutes=5)
_METADATA: Final = "http://169.254.169.254"
_METADATA_SECONDS: Final = 2.0
_STS_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """What signs requests. `expires` is None for keys without an end."""

    key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires: datetime | None = None

    def stale(self, now: datetime) -> bool:
        """Whether they end within minutes."""
        return self.expires is not None and now >= self.expires - _EARLY


class AwsSource:
    """Finds the keys in the order of the AWS tools; `keys` asks anew each time."""

    def __init__(self, environment: Mapping[str, str], clock: Clock, wire: Wire) -> None:
        self._environment = environment
        self._clock = clock
        self._wire = wire

    @property
    def region(self) -> str:
        """Where requests are sent at first; a bucket elsewhere says so itself."""
        named = self._environment.get("AWS_REGION") or self._environment.get("AWS_DEFAULT_REGION")
        return named or self._profile().get("region") or "us-east-1"

    def keys(self) -> AwsKeys:
        """Raises `StateError` if there are none, `Unreachable` if the service that gives them does not answer."""
        environment = self._environment
        key_id, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
        if key_id and secret:
            return AwsKeys(key_id, secret, environment.get("AWS_SESSION_TOKEN"))
        token_file, role = environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"), environment.get("AWS_ROLE_ARN")
        if token_file and role:
            return self._web_identity(token_file, role)
        profile = self._profile()
        if "aws_access_key_id" in profile and "aws_secret_access_key" in profile:
            token = profile.get("aws_session_token")
            return AwsKeys(profile["aws_access_key_id"], profile["aws_secret_access_key"], token)
        if profile.keys() & {"role_arn", "sso_session", "sso_start_url", "credential_process", "login_session"}:
            raise StateError(
                "the AWS profile names a role, a single sign-on or a program, which state does not follow",
                fix='run: eval "$(aws configure export-credentials --format env)"',
            )
        if container := self._container():
            return container
        if self._environment.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true" and (found := self._instance()):
            return found
        raise StateError(
            "there are no AWS credentials for the state in s3:",
            fix="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the job a role",
        )

    def _web_identity(self, token_file: str, role: str) -> AwsKeys:
        query = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": role,
            "RoleSessionName": self._environment.get("AWS_ROLE_SESSION_NAME") or "ci-acme",
            "WebIdentityToken": text_of(token_file, "the token file"),
        }
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        url = (
            self._environment.get("AWS_ENDPOINT_URL_STS")
            or self._environment.get("AWS_ENDPOINT_URL")
            or f"https://sts.{self.region}.{suffix}"
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        request = Request("POST", url.rstrip("/") + "/", headers, urlencode(query).encode())
        reply = self._wire.send(request, timeout=_STS_SECONDS)
        text = reply.body.decode(errors="replace")
        if not reply.ok:
            code = re.search(r"<Code>(\w{1,80})</Code>", text)
            if reply.status >= 500:
                raise Unreachable(f"{urlsplit(url).netloc} answered {reply.status}")
            raise StateError(
                f"AWS does not let this job assume the role {role}: {code[1] if code else reply.status}",
                fix="check the role's trust policy against the job's token (issuer, audience, subject)",
            )
        values = {name: _member(text, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
        expires = parse_time(_member(text, "Expiration"))
        return AwsKeys(values["AccessKeyId"], values["SecretAccessKey"], values["SessionToken"], expires)

    def _profile(self) -> Mapping[str, str]:
        """The keys of the chosen profile of both files, those of the credentials file first."""
        name = self._environment.get("AWS_PROFILE") or self._environment.get("AWS_DEFAULT_PROFILE") or "default"
        home = Path(self._environment.get("HOME") or self._environment.get("USERPROFILE") or "~").expanduser() / ".aws"
        config = self._environment.get("AWS_CONFIG_FILE") or home / "config"
        credentials = self._environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials"
        section = name if name == "default" else f"profile {name}"
        return {**_section(Path(config), section), **_section(Path(credentials), name)}

    def _container(self) -> AwsKeys | None:
        relative = self._environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        url = f"http://169.254.170.2{relative}" if relative else None
        url = url or self._environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if not url:
            return None
        host = urlsplit(url).hostname or ""
        if not url.startswith("https:") and not is_loopback(host) and host not in _CONTAINER_HOSTS:
            raise StateError(
                f"AWS_CONTAINER_CREDENTIALS_FULL_URI names {host}, to which no token is sent by http",
                fix="use https, or the address of the container service",
            )
        token_file = self._environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        token = (
            text_of(token_file, "the token file")
            if token_file
            else self._environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        )
        headers = {"Authorization": token} if token else {}
        return _document_keys(self._wire.send(Request("GET", url, headers), timeout=_METADATA_SECONDS), host)

    def _instance(self) -> AwsKeys | None:
        """The role of an EC2 instance (IMDSv2); None where there is no such service."""
        base = self._environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _METADATA).rstrip("/")
        path = f"{base}/latest/meta-data/iam/security-credentials/"
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        try:
            token = self._wire.send(Request("PUT", f"{base}/latest/api/token", lifetime), timeout=_METADATA_SECONDS)
            headers = {"X-aws-ec2-metadata-token": token.body.decode()}
            role = self._wire.send(Request("GET", path, headers), timeout=_METADATA_SECONDS)
            if not token.ok or not role.ok:
                return None
            name = role.body.decode().split()[0]
            reply = self._wire.send(Request("GET", path + name, headers), timeout=_METADATA_SECONDS)
        except (Unreachable, IndexError, UnicodeDecodeError):
            return None
        return _document_keys(reply, "the instance's metadata service")


_CONTAINER_HOSTS: Final = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})


def _document_keys(reply: Reply, where: str) -> AwsKeys:
    try:
        document: dict[str, Any] = json.loads(reply.body)
        expires = document.get("Expiration")
        return AwsKeys(
            document["AccessKeyId"],
            document["SecretAccessKey"],
            document.get("Token"),
            parse_time(expires) if expires else None,
        )
    except (ValueError, KeyError, TypeError):
        raise Unreachable(f"{where} gave no AWS credentials ({reply.status})") from None


def _section(path: Path, name: str) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
        return dict(parser.items(name)) if parser.has_section(name) else {}
    except (configparser.Error, OSError, UnicodeDecodeError):
        raise StateError(f"the AWS configuration {path} cannot be read", fix="correct or remove it") from None


def _member(text: str, name: str) -> str:
    """A value of an STS answer."""
    match = re.search(rf"<{name}>([^<]+)</{name}>", text)
    if match is None:
        raise Unreachable("the token service of AWS gave an answer without credentials")
    return match[1]
