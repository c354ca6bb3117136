"""What CAs are known not to give is refused before an order, and nothing else is."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.quirks import BY_URL, UNKNOWN, WELL_KNOWN, Ca, known_ca
from ci_acme.core.requirements import TOLERANCE, KnownRefusal, lifetime_problem, refusal
from ci_acme.model.material import KeyType
from ci_acme.model.spec import CertificateSpec, Expectation, RenewPolicy, Source

NOW = datetime(2026, 11, 25, tzinfo=timezone.utc)
LETSENCRYPT = WELL_KNOWN["letsencrypt"]
DAY = timedelta(days=1)


def spec(
    count: int = 1, profile: str | None = None, lifetime: timedelta | None = None, **expect: object
) -> CertificateSpec:
    return CertificateSpec(
        name="web",
        names=tuple(f"n{number}.example.com" for number in range(count)),
        authority="ca",
        directory=LETSENCRYPT.url,
        profile=profile,
        key=KeyType.EC_P256,
        owner=None,
        renew=RenewPolicy(),
        lifetime=lifetime,
        expect=Expectation(**expect),  # type: ignore[arg-type] - the tests below say what each is
    )


def refused(wanted: CertificateSpec, ca: Ca = LETSENCRYPT, now: datetime = NOW) -> str:
    error = refusal(wanted, ca, now)
    assert isinstance(error, KnownRefusal)
    assert error.exit_status == 5
    assert error.fix
    return f"{error.message} | {error.fix}"


@pytest.mark.parametrize(
    ("count", "profile", "allowed"),
    [
        (100, None, True),
        (100, "classic", True),
        (101, "classic", False),
        (25, "tlsserver", True),
        (26, "tlsserver", False),
        (25, "shortlived", True),
        (26, "shortlived", False),
        (100, "a-profile-of-tomorrow", True),
    ],
)
def test_names_limits_by_profile(count: int, profile: str | None, allowed: bool) -> None:
    assert (refusal(spec(count, profile), LETSENCRYPT, NOW) is None) is allowed


def test_too_many_names_say_what_to_do() -> None:
    said = refused(spec(26, "shortlived"))
    assert "26 names" in said
    assert "25 at most" in said
    assert "the profile classic" in said


@pytest.mark.parametrize(
    ("ca", "refused_on"),
    [
        ("letsencrypt", "2026-07-08"),
        ("letsencrypt-staging", "2026-07-08"),
        ("google", "2026-04-13"),
        ("zerossl", "2025-10-15"),
        ("sslcom-ecc", "2025-09-15"),
        ("digicert", "2027-03-01"),
        ("sectigo-dv", "2027-02-10"),
        ("actalis", "2027-03-15"),
    ],
)
@pytest.mark.parametrize("usage", ["clientAuth", "1.3.6.1.5.5.7.3.2"])
def test_client_authentication_ends_at_public_cas(ca: str, refused_on: str, usage: str) -> None:
    day = datetime.fromisoformat(refused_on).replace(tzinfo=timezone.utc)
    wanted = spec(eku=("serverAuth", usage))
    assert "private CA" in refused(wanted, WELL_KNOWN[ca], day)
    assert refusal(wanted, WELL_KNOWN[ca], day - timedelta(seconds=1)) is None
    assert refusal(spec(eku=("serverAuth",)), WELL_KNOWN[ca], day) is None


def test_every_public_ca_has_a_day_on_which_client_authentication_ends() -> None:
    assert all(ca.client_auth_until is not None for ca in WELL_KNOWN.values())


@pytest.mark.parametrize("url", ["https://ca.corp.example/acme/clients/directory", "https://ca.example/dir"])
def test_a_private_ca_may_issue_for_clients(url: str) -> None:
    assert refusal(spec(eku=("clientAuth",)), known_ca(url), NOW) is None


@pytest.mark.parametrize("key", list(KeyType))
def test_a_key_that_a_ca_does_not_take(key: KeyType) -> None:
    amazon = known_ca("https://acm-acme-enroll.eu-west-1.api.aws/0f2c/directory")
    takes = key in {KeyType.RSA_2048, KeyType.EC_P256, KeyType.EC_P384}
    assert (refusal(replace(spec(), key=key), amazon, NOW) is None) is takes
    assert refusal(replace(spec(), key=key), UNKNOWN, NOW) is None


def test_a_public_ca_whose_url_looks_like_step_cas_is_not_taken_for_it() -> None:
    harica = known_ca("https://acme-v02.harica.gr/acme/1c2f8b1e/directory")
    later = datetime(2027, 3, 15, tzinfo=timezone.utc)
    assert "HARICA issues no certificate for client" in refused(spec(eku=("clientAuth",)), harica, later)


def test_a_lifetime_is_asked_for_where_it_can_be() -> None:
    week = spec(lifetime=7 * DAY)
    assert "shortlived" in refused(week)
    assert refusal(week, WELL_KNOWN["google"], NOW) is None
    assert refusal(week, UNKNOWN, NOW) is None
    assert "90 days" in refused(spec(lifetime=91 * DAY), WELL_KNOWN["google"])


def test_a_beginning_is_asked_for_where_it_can_be() -> None:
    early = replace(spec(), backdate=timedelta(hours=1))
    assert "takes no not_before" in refused(early)
    assert "takes no not_before" in refused(early, WELL_KNOWN["letsencrypt-staging"])
    assert refusal(early, WELL_KNOWN["google"], NOW) is None
    assert refusal(early, UNKNOWN, NOW) is None
    assert early.digest() != spec().digest()
    assert early.digest() == replace(spec(), backdate=timedelta(minutes=60)).digest()


@pytest.mark.parametrize(
    ("profile", "expect", "allowed"),
    [
        (None, {"max_lifetime": 47 * DAY}, False),
        ("tlsserver", {"max_lifetime": 47 * DAY}, True),
        ("tlsserver", {"min_lifetime": 90 * DAY}, False),
        (None, {"min_lifetime": 90 * DAY}, True),
        ("shortlived", {"max_lifetime": 7 * DAY, "min_lifetime": 6 * DAY}, True),
        ("unknown", {"max_lifetime": 1 * DAY}, True),
    ],
)
def test_expected_lifetimes_that_a_profile_does_not_have(
    profile: str | None, expect: dict[str, timedelta], allowed: bool
) -> None:
    assert (refusal(spec(profile=profile, **expect), LETSENCRYPT, NOW) is None) is allowed


def test_lifetimes_shrink_when_the_ca_said_they_will() -> None:
    wanted = spec(min_lifetime=65 * DAY)
    assert refusal(wanted, LETSENCRYPT, datetime(2027, 2, 9, tzinfo=timezone.utc)) is None
    assert "64 days" in refused(wanted, now=datetime(2027, 2, 10, tzinfo=timezone.utc))


@given(
    st.timedeltas(timedelta(0), 400 * DAY),
    st.timedeltas(timedelta(0), 400 * DAY),
    st.timedeltas(timedelta(0), 400 * DAY),
)
def test_a_life_is_right_exactly_between_the_bounds(low: timedelta, high: timedelta, life: timedelta) -> None:
    said = lifetime_problem(Expectation(min_lifetime=low, max_lifetime=high), life)
    assert (said is None) is (low - TOLERANCE <= life <= high + TOLERANCE)


@given(st.sampled_from(list(WELL_KNOWN.values())), st.integers(-1000, 5000))
def test_nothing_is_held_against_what_everybody_wants(ca: Ca, days: int) -> None:
    assert refusal(spec(), ca, NOW + days * DAY) is None


# the table


@pytest.mark.parametrize(
    ("url", "title"),
    [
        ("https://acm-acme-enroll.eu-west-1.api.aws/0f2c/directory", "AWS Certificate Manager"),
        ("https://acme-v02.harica.gr/acme/1c2f8b1e-0000-4000-8000-1234567890ab/directory", "HARICA"),
        ("https://acme.litessl.com/acme/v2/directory", "LiteSSL"),
        ("https://harica.gr.corp.example/acme/acme/directory", "step-ca, Smallstep"),
        ("https://ca.corp.example:9000/acme/acme/directory", "step-ca, Smallstep"),
        ("https://vault.corp.example/v1/pki/roles/web/acme/directory", "HashiCorp Vault, OpenBao"),
        ("https://pki.example/ejbca/acme/web/directory", "EJBCA"),
        ("https://pki.example/ejbca/acme/directory", "EJBCA"),
        ("https://one.us.digicert.com/mpki/api/v1/acme/v2/directory", "DigiCert"),
        ("https://one.digicert.co.jp/mpki/api/v1/acme/v2/directory?action=renew", "DigiCert"),
        ("https://one.evil.com/mpki/api/v1/acme/v2/directory", UNKNOWN.title),
        ("https://ca.example/dir", UNKNOWN.title),
        ("https://127.0.0.1:14000/dir", UNKNOWN.title),
    ],
)
def test_cas_are_known_by_the_form_of_their_url(url: str, title: str) -> None:
    assert known_ca(url).title == title


def test_no_form_takes_a_well_known_directory() -> None:
    for ca in WELL_KNOWN.values():
        assert known_ca(ca.url) is ca
        assert not any(re.fullmatch(other.form, ca.url) for other in BY_URL)


@pytest.mark.parametrize("ca", [*WELL_KNOWN.values(), *BY_URL], ids=lambda ca: ca.title)
def test_the_table_is_consistent(ca: Ca) -> None:
    assert ca.url or ca.form
    assert not (ca.url and ca.form) or re.fullmatch(ca.form, ca.url)
    assert ca.default_profile is None or ca.default_profile in ca.profiles
    assert ca.per_second is None or (ca.per_second > 0 and ca.burst > 0)
    assert ca.longest is None or ca.validity
    for profile in ca.profiles.values():
        days = [since for since, _ in profile.lifetimes]
        assert days == sorted(days)


# the spec


def test_a_request_is_another_one_by_what_is_expected_and_asked_for() -> None:
    plain = spec()
    others = [spec(lifetime=7 * DAY), spec(eku=("clientAuth",)), spec(max_lifetime=DAY)]
    assert len({plain.digest(), *(other.digest() for other in others)}) == 4
    with_fallback = replace(plain, fallbacks=(Source("b", "https://b.test/dir", None),))
    assert with_fallback.digest() == plain.digest()
    assert with_fallback.of(with_fallback.sources[1]).digest() != plain.digest()
    assert with_fallback.of(with_fallback.sources[0]) == plain
