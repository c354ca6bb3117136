"""Trust policies: what we print lets the job in, and the classic mistakes are all told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci_acme.core.trust import immutable_subject, judge, policies

ISSUER = "token.actions.githubusercontent.com"
PROVIDER = f"arn:aws:iam::111122223333:oidc-provider/{ISSUER}"
CLAIMS = {
    "iss": f"https://{ISSUER}",
    "sub": "repo:octo/web:environment:preview",
    "aud": "sts.amazonaws.com",
    "repository": "octo/web",
    "repository_id": "42",
    "repository_owner_id": "7",
}
GOOD = {"StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": CLAIMS["sub"]}}


def policy(condition: Any = None, **statement: Any) -> dict[str, Any]:
    one = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": GOOD if condition is None else condition,
        **statement,
    }
    return {"Version": "2012-10-17", "Statement": [one]}


def with_subject(operator: str, value: Any) -> dict[str, Any]:
    return policy({"StringEquals": AUD, operator: {f"{ISSUER}:sub": value}})


AUD = {f"{ISSUER}:aud": "sts.amazonaws.com"}
BAD: dict[str, dict[str, Any]] = {
    "no-audience": policy({"StringEquals": {f"{ISSUER}:sub": CLAIMS["sub"]}}),
    "audience": policy({"StringEquals": {f"{ISSUER}:aud": "https://github.com/octo", f"{ISSUER}:sub": CLAIMS["sub"]}}),
    "no-subject": policy({"StringEquals": AUD}),
    "wide-subject": policy({"StringEquals": AUD, "StringLike": {f"{ISSUER}:sub": "repo:octo/*"}}),
    "for-all-values": policy({"StringEquals": AUD, "ForAllValues:StringEquals": {f"{ISSUER}:sub": CLAIMS["sub"]}}),
    "literal-pattern": policy({"StringEquals": {**AUD, f"{ISSUER}:sub": "repo:octo/web:*"}}),
    "issuer": policy(Principal={"Federated": "arn:aws:iam::1:oidc-provider/gitlab.com"}),
    "action": policy(Action="sts:AssumeRole"),
    "negated": policy({"StringEquals": AUD, "StringNotLike": {f"{ISSUER}:sub": "repo:evil/*"}}),
    "subject": policy({"StringEquals": {**AUD, f"{ISSUER}:sub": "repo:octo/web:ref:refs/heads/main"}}),
}


def test_a_good_policy_has_no_mistake() -> None:
    assert judge(policy(), CLAIMS) == []
    assert judge(with_subject("StringLike", "repo:octo/web:environment:*"), CLAIMS) == []
    assert (
        judge(policy({"StringEquals": {f"{ISSUER}:AUD": AUD[f"{ISSUER}:aud"], f"{ISSUER}:Sub": CLAIMS["sub"]}}), CLAIMS)
        == []
    )


@pytest.mark.parametrize("kind", BAD)
def test_every_classic_mistake_is_told(kind: str) -> None:
    found = judge(BAD[kind], CLAIMS)
    assert kind in {mistake.kind for mistake in found}
    assert all(mistake.fix for mistake in found)


def test_the_claim_that_differs_is_named() -> None:
    (found,) = judge(BAD["subject"], CLAIMS)
    assert "the policy wants ref:refs/heads/main, the token has environment:preview" in found.message
    wrong = policy({"StringEquals": {**AUD, f"{ISSUER}:sub": "repo:Octo/Web:environment:preview"}})
    (case,) = judge(wrong, CLAIMS)
    assert "upper and lower case" in case.message


@pytest.mark.parametrize(
    "wide", ["*", "repo:*", "repo:octo/*", "repo:octo/*:environment:*", "repo:oct*", "repo:octo/web*"]
)
def test_wide_patterns(wide: str) -> None:
    assert "wide-subject" in {mistake.kind for mistake in judge(with_subject("StringLike", wide), CLAIMS)}


def test_what_is_no_policy_is_said() -> None:
    for nothing in ([], {}, "x", {"Statement": "x"}):
        assert [mistake.kind for mistake in judge(nothing, CLAIMS)] == ["no-statement"]


def test_what_we_print_lets_this_job_in_and_no_other() -> None:
    made = {document.title.split(":")[0]: document.text for document in policies(CLAIMS)}
    assert set(made) == {"AWS", "Google Cloud", "Azure", "Vault, OpenBao"}
    aws = json.loads(made["AWS"])
    assert judge(aws, CLAIMS) == []
    assert judge(aws, {**CLAIMS, "sub": "repo:octo/web:environment:production"}) != []
    assert judge(aws, {**CLAIMS, "sub": "repo:octo@7/web@42:environment:preview"}) == [], "the form with numbers, too"
    assert json.loads(made["Azure"])["subject"] == CLAIMS["sub"]
    assert f'assertion.sub == "{CLAIMS["sub"]}"' in made["Google Cloud"]


def test_the_form_with_numbers() -> None:
    assert immutable_subject(CLAIMS) == "repo:octo@7/web@42:environment:preview"
    assert immutable_subject({**CLAIMS, "sub": "repo:octo@7/web@42:ref:x"}) is None
    assert immutable_subject({"sub": "project_path:g/p:ref_type:branch:ref:main"}) is None
