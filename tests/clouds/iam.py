"""IAM and STS as far as a pipeline meets them: policies are evaluated, sessions made, nothing is assumed to be allowed.

The evaluation is that of the IAM User Guide: an explicit Deny wins; an action needs an Allow of an identity policy and,
in a session that was made with one, of the session policy too. An operator or a key that is not known here is an error
of the test, never a silent yes.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.clouds import aws_wire
from tests.clouds.api import Answer, Call

ACCOUNT = "123456789012"
STS = aws_wire.service("sts")
Context = Mapping[str, Sequence[str]]
_KEYS = {"Version", "Statement"}
_STATEMENT_KEYS = {"Sid", "Effect", "Action", "Resource", "Condition"}


def allows(policies: Sequence[str], action: str, resource: str, context: Context) -> bool:
    """Whether one of the policies (JSON) allows it and none denies it."""
    effects = [
        statement["Effect"]
        for policy in policies
        for statement in statements(policy)
        if _applies(statement, action, resource, context)
    ]
    return "Allow" in effects and "Deny" not in effects


def statements(policy: str) -> list[dict[str, Any]]:
    """Raises `ValueError` for what IAM would call malformed."""
    document = json.loads(policy)
    if set(document) - _KEYS or document.get("Version") != "2012-10-17":
        raise ValueError(f"malformed policy: {policy}")
    found = _list(document["Statement"])
    for statement in found:
        if set(statement) - _STATEMENT_KEYS or not {"Effect", "Action", "Resource"} <= set(statement):
            raise ValueError(f"malformed statement: {statement}")
        if statement["Effect"] not in {"Allow", "Deny"}:
            raise ValueError(f"malformed effect: {statement}")
    return found


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    if not any(_like(pattern.lower(), action.lower()) for pattern in _list(statement["Action"])):
        return False
    if not any(_like(pattern, resource) for pattern in _list(statement["Resource"])):
        return False
    return all(
        _holds(operator, key, _list(wanted), context)
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, key: str, wanted: Sequence[str], context: Context) -> bool:
    values = context.get(key)
    if operator == "Null":
        return (not values) == (wanted == ["true"])
    quantifier, _, name = operator.rpartition(":")
    compare = {"StringEquals": lambda a, b: a == b, "StringLike": _like}[name]
    matches = [any(compare(pattern, value) for pattern in wanted) for value in values or ()]
    if quantifier == "ForAllValues":
        return all(matches)  # true where the key is absent, which is why a Null guard is needed
    if quantifier == "ForAnyValue":
        return any(matches)
    if quantifier:
        raise ValueError(f"unknown quantifier {quantifier}")
    if values is not None and len(values) > 1:
        raise ValueError(f"{key} has several values and needs a quantifier")
    return any(matches)


def _like(pattern: str, text: str) -> bool:
    parts = re.split(r"([*?])", pattern)
    return bool(
        re.fullmatch("".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts), text, re.DOTALL)
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- principals


@dataclass
class Principal:
    """Who has a key: a user, or a session of a role. `expires` is None for a user."""

    arn: str
    key_id: str
    secret: str
    policies: list[str]
    token: str | None = None
    session_policy: str | None = None
    expires: datetime | None = None

    def refusal(self, action: str, resource: str, context: Context) -> str | None:
        """Why AWS refuses, in its words; None if it does not."""
        start = f"User: {self.arn} is not authorized to perform: {action} on resource: {resource} because no "
        if not allows(self.policies, action, resource, context):
            return f"{start}identity-based policy allows the {action} action"
        if self.session_policy is not None and not allows([self.session_policy], action, resource, context):
            return f"{start}session policy allows the {action} action"
        return None


@dataclass
class Role:
    """A role: what it may do, and the claims that a token must have. `principals` may assume it with their own keys."""

    name: str
    policies: list[str]
    claims: dict[str, str] = field(default_factory=dict)
    principals: list[str] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:role/{self.name}"


class Accounts:
    """Keys, roles and the sessions that STS made, oldest first."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}
        self.roles: dict[str, Role] = {}
        self.sessions: list[Principal] = []
        self.seconds = 3600
        self.packed_characters = 1 << 20
        """How long a session policy may be before STS calls it too large when packed."""

    def user(self, *policies: str) -> Principal:
        made = Principal(f"arn:aws:iam::{ACCOUNT}:user/ci", _key_id("AKIA"), secrets.token_hex(20), list(policies))
        self.principals[made.key_id] = made
        return made

    def role(self, name: str, *policies: str, claims: dict[str, str] | None = None) -> Role:
        made = Role(name, list(policies), claims or {})
        self.roles[made.arn] = made
        return made

    def identify(self, call: Call, url: str, now: datetime) -> Principal | Answer:
        """Who sent the call, or the reply to somebody unknown."""
        model = aws_wire.service("route53")
        key_id = aws_wire.key_id_of(call)
        if key_id is None:
            return aws_wire.error(model, 403, "MissingAuthenticationToken", "Missing Authentication Token")
        principal = self.principals.get(key_id)
        if principal is None:
            text = "The security token included in the request is invalid."
            return aws_wire.error(model, 403, "InvalidClientTokenId", text)
        if aws_wire.skew(call, now) > aws_wire.SKEW:
            text = f"Signature expired: {call.headers['x-amz-date']} is now earlier than the server's time"
            return aws_wire.error(model, 403, "SignatureDoesNotMatch", text)
        if not aws_wire.signed_by(call, principal.secret, principal.token, url):
            text = "The request signature we calculated does not match the signature you provided."
            return aws_wire.error(model, 403, "SignatureDoesNotMatch", text)
        if principal.expires is not None and now >= principal.expires:
            text = "The security token included in the request is expired"
            return aws_wire.error(model, 403, "ExpiredToken", text)
        return principal

    # --- STS

    def sts(self, call: Call, url: str, now: datetime) -> Answer:
        """AssumeRole and AssumeRoleWithWebIdentity."""
        name, wanted = aws_wire.read_query(STS, call)
        role = self.roles.get(wanted["RoleArn"])
        refusal = self._refused(name, wanted, role, call, url, now)
        if refusal is not None:
            return refusal
        assert role is not None
        principal = Principal(
            f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/{wanted['RoleSessionName']}",
            _key_id("ASIA"),
            secrets.token_hex(20),
            role.policies,
            secrets.token_hex(60),
            wanted.get("Policy"),
            (now + timedelta(seconds=self.seconds)).replace(microsecond=0),
        )
        self.principals[principal.key_id] = principal
        self.sessions.append(principal)
        credentials = {
            "AccessKeyId": principal.key_id,
            "SecretAccessKey": principal.secret,
            "SessionToken": principal.token,
            "Expiration": principal.expires,
        }
        user = {"AssumedRoleId": f"AROA:{wanted['RoleSessionName']}", "Arn": principal.arn}
        return aws_wire.answer(STS, name, {"Credentials": credentials, "AssumedRoleUser": user})

    def _refused(
        self, name: str, wanted: Mapping[str, str], role: Role | None, call: Call, url: str, now: datetime
    ) -> Answer | None:
        if name == "AssumeRole":
            caller = self.identify(call, url, now)
            if isinstance(caller, Answer):
                return caller
            trusted = role is not None and caller.arn in role.principals
        else:
            if "authorization" in call.headers:
                raise aws_wire.WireFault("AssumeRoleWithWebIdentity is not signed")
            claims = claims_of(wanted["WebIdentityToken"])
            if claims.get("exp", 0) <= now.timestamp():
                return aws_wire.error(STS, 400, "ExpiredTokenException", "Token expired")
            wishes = {} if role is None else role.claims
            trusted = role is not None and all(_like(wish, str(claims.get(key))) for key, wish in wishes.items())
        if not trusted:
            return aws_wire.error(STS, 403, "AccessDenied", f"Not authorized to perform sts:{name}")
        return self._policy_refused(wanted.get("Policy"))

    def _policy_refused(self, policy: str | None) -> Answer | None:
        if policy is None:
            return None
        if len(policy) > 2048:
            return aws_wire.error(STS, 400, "ValidationError", "1 validation error detected: 'policy' is too long")
        if len(policy) > self.packed_characters:
            text = "Packed policy consumes 101% of allotted space, please use smaller policy."
            return aws_wire.error(STS, 400, "PackedPolicyTooLarge", text)
        try:
            statements(policy)
        except (ValueError, KeyError):
            return aws_wire.error(STS, 400, "MalformedPolicyDocument", "Syntax errors in policy.")
        return None


def token(seconds: float = 300, **claims: Any) -> str:
    """What a CI system would give a job; nobody checks the signature here."""
    now = datetime.now(timezone.utc).timestamp()
    body = {"iat": now, "exp": now + seconds, "jti": secrets.token_hex(8), **claims}
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, body)] + [b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def claims_of(text: str) -> dict[str, Any]:
    body = text.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


def _key_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))
