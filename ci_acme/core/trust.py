"""From the claims of a job's identity token to the trust policies that let exactly this job in, and what is wrong with
a policy that somebody wrote. Pure; nothing here is a proof: whoever trusts a token verifies it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.ports import PolicyDocument

AWS_AUDIENCE: Final = "sts.amazonaws.com"
AZURE_AUDIENCE: Final = "api://AzureADTokenExchange"
_ASSUME: Final = "sts:AssumeRoleWithWebIdentity"


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a trust policy; `kind` is stable, for scripts."""

    kind: str
    message: str
    fix: str


def subject_of(claims: Mapping[str, Any]) -> str:
    """The `sub` to write into a policy: with the numbers of owner and repository where the token names them.

    A name can be given up and taken by somebody else, a number cannot. GitHub's own `sub` has them for repositories
    that are made or renamed since 2026-07-15; before that the policy has the token's `sub` as it is.
    """
    return str(claims.get("sub", ""))


def immutable_subject(claims: Mapping[str, Any]) -> str | None:
    """The `sub` in the form with numbers, None where the token does not name them or has that form already."""
    repository, number = str(claims.get("repository", "")), claims.get("repository_id")
    owner_number, subject = claims.get("repository_owner_id"), str(claims.get("sub", ""))
    owner, _, name = repository.partition("/")
    head = f"repo:{repository}:"
    if not name or number is None or owner_number is None or not subject.startswith(head):
        return None
    return f"repo:{owner}@{owner_number}/{name}@{number}:{subject.removeprefix(head)}"


def policies(claims: Mapping[str, Any]) -> list[PolicyDocument]:
    """The trust policies for AWS, Google Cloud, Azure and Vault that this job's token matches, and no other job's."""
    issuer, subject = str(claims.get("iss", "")), subject_of(claims)
    host = issuer.removeprefix("https://")
    subjects = [one for one in (subject, immutable_subject(claims)) if one]
    aws = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": f"arn:aws:iam::ACCOUNT:oidc-provider/{host}"},
                "Action": _ASSUME,
                "Condition": {"StringEquals": {f"{host}:aud": AWS_AUDIENCE, f"{host}:sub": subjects}},
            }
        ],
    }
    azure = {"name": "ci-acme", "issuer": issuer, "subject": subject, "audiences": [AZURE_AUDIENCE]}
    vault = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": ["https://VAULT"],
        "bound_claims": {"iss": issuer, "sub": subjects},
    }
    google = (
        f"--issuer-uri={issuer}\n--attribute-mapping=google.subject=assertion.sub\n"
        "--attribute-condition=" + " || ".join(f"assertion.sub == {json.dumps(one)}" for one in subjects)
    )
    return [
        PolicyDocument("AWS: trust policy of the role", "json", json.dumps(aws, indent=2)),
        PolicyDocument("Google Cloud: workload identity provider", "text", google),
        PolicyDocument("Azure: federated credential of the application", "json", json.dumps(azure, indent=2)),
        PolicyDocument("Vault, OpenBao: role of the JWT auth method", "json", json.dumps(vault, indent=2)),
    ]


# --- an AWS trust policy that somebody wrote


def judge(policy: Any, claims: Mapping[str, Any]) -> list[Mistake]:
    """What is wrong with an AWS trust policy for this token: what keeps the job out, and what lets others in."""
    statements = policy.get("Statement") if isinstance(policy, Mapping) else None
    found = [statements] if isinstance(statements, Mapping) else statements
    if not isinstance(found, Sequence) or isinstance(found, str):
        return [Mistake("no-statement", "the file is no trust policy: it has no Statement", "give the role's JSON")]
    issuer = str(claims.get("iss", "")).removeprefix("https://")
    mistakes = [
        mistake
        for statement in found
        if isinstance(statement, Mapping) and statement.get("Effect", "Allow") == "Allow"
        for mistake in _judge_statement(statement, issuer, claims)
    ]
    return list(dict.fromkeys(mistakes))


def _judge_statement(statement: Mapping[str, Any], issuer: str, claims: Mapping[str, Any]) -> Iterator[Mistake]:
    if _ASSUME not in _texts(statement.get("Action")):
        yield Mistake("action", f"the statement does not allow {_ASSUME}", f'set "Action": "{_ASSUME}"')
    principal = statement.get("Principal")
    federated = _texts(principal.get("Federated")) if isinstance(principal, Mapping) else _texts(principal)
    if not any(one.endswith(f":oidc-provider/{issuer}") for one in federated):
        named = ", ".join(federated) or "nobody"
        fix = f'set "Principal": {{"Federated": "arn:aws:iam::ACCOUNT:oidc-provider/{issuer}"}}'
        yield Mistake("issuer", f"the principal is {named}; the token is of {issuer}", fix)
    conditions = statement.get("Condition")
    every = list(_rules(conditions if isinstance(conditions, Mapping) else {}))
    rules = [rule for rule in every if "Not" not in rule.operator]
    for rule in (rule for rule in every if "Not" in rule.operator and rule.claim in {"aud", "sub"}):
        text = f"{rule.operator} on {rule.key} lets everybody in but {', '.join(rule.values)}"
        yield Mistake("negated", text, "name who is let in, with StringEquals or StringLike")
    yield from _judge_audience([rule for rule in rules if rule.claim == "aud"], issuer)
    yield from _judge_subject([rule for rule in rules if rule.claim == "sub"], issuer, claims)
    for rule in rules:
        if rule.operator.startswith("ForAllValues:") or rule.operator.endswith("IfExists"):
            text = f"{rule.operator} on {rule.key} is true where the token lacks it, so that any token passes"
            yield Mistake("for-all-values", text, "use StringEquals or StringLike alone")


@dataclass(frozen=True, slots=True)
class _Rule:
    operator: str
    key: str
    values: tuple[str, ...]

    @property
    def claim(self) -> str:
        return self.key.rpartition(":")[2].lower()  # IAM does not tell upper from lower case in keys

    @property
    def like(self) -> bool:
        return "StringLike" in self.operator

    def lets_in(self, value: str) -> bool:
        if self.like:
            return any(fnmatchcase(value, one.replace("[", "[[]")) for one in self.values)
        return value in self.values


def _rules(conditions: Mapping[str, Any]) -> Iterator[_Rule]:
    for operator, entries in conditions.items():
        for key, values in entries.items() if isinstance(entries, Mapping) else ():
            yield _Rule(str(operator), str(key), tuple(_texts(values)))


def _judge_audience(rules: Sequence[_Rule], issuer: str) -> Iterator[Mistake]:
    if not rules:
        text = "the policy does not look at aud: a token that was made for another service would do"
        yield Mistake("no-audience", text, f'add "StringEquals": {{"{issuer}:aud": "{AWS_AUDIENCE}"}}')
    for rule in rules:
        if not rule.lets_in(AWS_AUDIENCE):
            text = f"the policy wants aud {', '.join(rule.values)}; the token is made for {AWS_AUDIENCE}"
            yield Mistake("audience", text, f"allow {AWS_AUDIENCE}, or set audience in the config")


def _judge_subject(rules: Sequence[_Rule], issuer: str, claims: Mapping[str, Any]) -> Iterator[Mistake]:
    subject = subject_of(claims)
    if not rules:
        text = f"the policy does not look at sub: every job of {issuer} may assume the role"
        yield Mistake("no-subject", text, f'add "StringEquals": {{"{issuer}:sub": "{subject}"}}')
    for rule in rules:
        wide = [value for value in rule.values if rule.like and _is_wide(value, claims)]
        if wide:
            text = f"the policy lets {', '.join(wide)} in: every repository of the owner, or every job of all"
            yield Mistake("wide-subject", text, f'name this one: "{subject}"')
        if not rule.like and any("*" in value or "?" in value for value in rule.values):
            text = f"{rule.operator} takes {', '.join(rule.values)} literally: a pattern needs StringLike"
            yield Mistake("literal-pattern", text, 'use "StringLike", or write the sub out')
        if not rule.lets_in(subject):
            yield Mistake("subject", _difference(rule.values, subject), f'allow "{subject}"')


def _is_wide(pattern: str, claims: Mapping[str, Any]) -> bool:
    """Whether it lets in a repository (or project) of the same owner that nobody has made yet, or any."""
    subject = subject_of(claims)
    kind, _, rest = subject.partition(":")
    repository, _, job = rest.partition(":")
    owner = repository.partition("/")[0]
    others = [
        f"{kind}:{name}:{end}" for name in (f"{owner}/xx", f"{repository}xx") for end in (job, "ref:refs/heads/x")
    ]
    return any(fnmatchcase(other, pattern) for other in others)


def _difference(wanted: Sequence[str], found: str) -> str:
    """Names the part that differs: `the policy wants ref:refs/heads/main, the token has environment:preview`."""
    nearest = max(wanted, key=lambda one: len(_shared(one, found)), default="")
    if nearest.lower() == found.lower():
        return f"sub differs by upper and lower case only: the policy has {nearest}, the token {found}"
    shared = _shared(nearest, found)
    at = shared.rfind(":") + 1
    if at and nearest[at:] and found[at:]:
        return f"sub differs: the policy wants {nearest[at:]}, the token has {found[at:]} (whole: {found})"
    return f"the policy wants sub {', '.join(wanted)}; the token has {found}"


def _shared(one: str, other: str) -> str:
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(one) for one in value] if isinstance(value, Sequence) else []
