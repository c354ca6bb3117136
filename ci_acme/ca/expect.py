"""Whether a certificate is as the config expects it, beyond being the one that was ordered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ci_acme.ca.verify import Chain
from ci_acme.core.renewal import without_ari
from ci_acme.core.requirements import lifetime_problem
from ci_acme.errors import CertificateRejected
from ci_acme.model.spec import Expectation, RenewPolicy


class NotAsExpected(CertificateRejected):
    """A good certificate that the config does not want. Ordering it once more would give the same again."""


def require(expect: Expectation, chain: Chain, *, url: str) -> None:
    """Raises `NotAsExpected` with everything that differs."""
    problems = list(_problems(expect, chain))
    if problems:
        raise NotAsExpected(
            f"the certificate that the CA issued was not stored: it {'; it '.join(problems)}",
            fix="use a CA, a profile or (at a private CA) a template that gives it, or change expect; the same config "
            "orders again only with --force",
            details={"certificate": url, "usages": sorted(chain.usages), "chain": sorted(chain.common_names)},
        )


def require_news(chain: Chain, renew: RenewPolicy, now: datetime, *, url: str) -> None:
    """Raises `NotAsExpected` for a certificate that began so long ago that every run would renew it."""
    facts = chain.facts
    if now < without_ari(facts.not_before, facts.not_after, renew):
        return
    raise NotAsExpected(
        "the certificate that the CA issued was not stored: by not_before it began so long ago that it is due for "
        "renewal already",
        fix="shorten not_before, or ask for a longer certificate with lifetime; the same config orders again only with "
        "--force",
        details={"certificate": url},
    )


def _problems(expect: Expectation, chain: Chain) -> Iterator[str]:
    lacking = [usage for usage in expect.eku if usage not in chain.usages]
    if lacking:
        has = ", ".join(sorted(usage for usage in chain.usages if not usage[:1].isdigit())) or "none that has a name"
        yield f"lacks the extended key usage {', '.join(lacking)} (it has: {has})"
    if expect.chain is not None and not chain.matches(expect.chain):
        above = ", ".join(sorted(chain.common_names)) or "no common name"
        yield f"has no {expect.chain!r} in its chain ({above})"
    life = lifetime_problem(expect, chain.facts.not_after - chain.facts.not_before)
    if life is not None:
        yield life
