"""A CA that is not what it seems gets nobody to publish a record for somebody else's account."""

from __future__ import annotations

from typing import Any

import pytest

from ci_acme.ca.challenges import permitted_issuers, to_solve
from ci_acme.ca.messages import DNS_PERSIST, AcmeChallenge, Authorization
from ci_acme.errors import CaProtocolError
from ci_acme.ports import StandingChallenge
from tests.ca.support import BASE, Fake, fake

ACCOUNT = f"{BASE}/acct/1"


def world(*identities: str) -> Fake:
    return fake(meta={"caaIdentities": list(identities)})


def challenge(*issuers: str, account: str = "") -> AcmeChallenge:
    return AcmeChallenge(DNS_PERSIST, f"{BASE}/chall/1", "pending", "", issuers=issuers, account=account)


def permitted(at: Fake, offered: AcmeChallenge, account: str = ACCOUNT) -> tuple[str, ...]:
    return permitted_issuers(at.client, at.scope(), offered, account)


def test_the_issuers_are_those_that_the_directory_names() -> None:
    assert permitted(world("ca.example"), challenge("elsewhere.example", "ca.example")) == ("ca.example",)
    assert permitted(world(), challenge("ca.example")) == ("ca.example",)


@pytest.mark.parametrize(
    ("identities", "offered", "account"),
    [
        (["ca.example"], challenge(), ACCOUNT),
        (["ca.example"], challenge(*[f"i{number}.example" for number in range(11)]), ACCOUNT),
        (["ca.example"], challenge("letsencrypt.org"), ACCOUNT),
        (["ca.example"], challenge("ca.example", account=f"{BASE}/acct/2"), ACCOUNT),
        (["ca.example"], challenge("ca.example"), "https://acme-v02.api.letsencrypt.org/acme/acct/7"),
        ([], challenge('ca.example"; x', "ca.example; accounturi=y"), ACCOUNT),
    ],
)
def test_a_challenge_that_breaks_a_rule_is_not_answered(
    identities: list[str], offered: AcmeChallenge, account: str
) -> None:
    with pytest.raises(CaProtocolError) as raised:
        permitted(world(*identities), offered, account)
    assert "do not publish" in raised.value.fix


@pytest.mark.parametrize("spelling", ["issuer-domain-names", "issuerDomainNames"])
def test_it_is_read_as_the_drafts_spell_it(spelling: str) -> None:
    at = world("ca.example")
    document: dict[str, Any] = {"type": DNS_PERSIST, "url": f"{BASE}/chall/1", "status": "pending"}
    document[spelling] = ["CA.example"]
    document["accounturi"] = ACCOUNT
    from ci_acme.ca.messages import _challenge

    offered = _challenge(document, BASE)
    authorization = Authorization(f"{BASE}/authz/1", "*.www.example.com", "pending", (offered,))
    assert authorization.challenge(DNS_PERSIST) == offered
    assert to_solve(at.client, at.scope(), authorization, offered) == StandingChallenge(
        "*.www.example.com",
        "_validation-persist.www.example.com",
        f"ca.example; accounturi={ACCOUNT}; policy=wildcard",
        ("ca.example",),
        ACCOUNT,
        wildcard=True,
    )
