"""CAA as RFC 8659 and RFC 8657 have it, and as the large CAs read it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_acme.core.caa import (
    NEW_ACCOUNT,
    CaaRecord,
    Ruling,
    Verdict,
    judge,
    parse_issue_value,
    parse_rdata,
    record_to_publish,
)

US = "letsencrypt.org"
ACCOUNT = "https://acme-v02.api.letsencrypt.org/acme/acct/12345"
PERMITTED, FORBIDDEN, UNKNOWN = Ruling.PERMITTED, Ruling.FORBIDDEN, Ruling.UNKNOWN


def records(*texts: str) -> list[CaaRecord]:
    """From zone file text: `0 issue ca.example; a=b`."""
    parts = [text.split(None, 2) for text in texts]
    return [CaaRecord(int(part[0]), part[1], part[2] if len(part) > 2 else "") for part in parts]


def ruled(found: list[CaaRecord], **more: Any) -> Verdict:
    settings = {
        "owner": "example.com",
        "wildcard": False,
        "ca_identities": (US, "le.example"),
        "account_url": ACCOUNT,
        "method": "dns-01",
        **more,
    }
    return judge(found, **settings)


def judged(*texts: str, **more: Any) -> Verdict:
    return ruled(records(*texts), **more)


@pytest.mark.parametrize(
    ("ruling", "texts"),
    [
        (PERMITTED, []),
        (PERMITTED, ["0 iodef mailto:a@example.com"]),
        (PERMITTED, ["0 foo bar"]),
        (PERMITTED, ["0 issuewild ;"]),
        (PERMITTED, [f"0 issue {US}"]),
        (PERMITTED, ["0 issue le.example"]),
        (PERMITTED, ["0 issue other.example", f"0 issue {US}"]),
        (PERMITTED, [f"128 issue {US}"]),
        (PERMITTED, [f"0 issue {US}; vendor=1"]),
        (PERMITTED, [f"0 issue {US};"]),
        (PERMITTED, [f"0 issue \t {US} \t ; \t accounturi = {ACCOUNT} \t"]),
        (PERMITTED, [f"0 issue {US}; accounturi={ACCOUNT}; validationmethods=http-01,dns-01"]),
        (PERMITTED, [f"0 issue {US}; accounturi=https://ca.example/1", f"0 issue {US}; accounturi={ACCOUNT}"]),
        (FORBIDDEN, ["0 issue ;"]),
        (FORBIDDEN, ["0 issue"]),
        (FORBIDDEN, ["0 issue other.example"]),
        (FORBIDDEN, ["0 issue LetsEncrypt.org"]),
        (FORBIDDEN, [f"0 issue www.{US}"]),
        (FORBIDDEN, [f"0 issue {US}."]),
        (FORBIDDEN, [f"0 issue {US} other.example"]),
        (FORBIDDEN, [f"0 issue {US}; nonsense"]),
        (FORBIDDEN, [f"0 issue {US}; a=b;"]),
        (FORBIDDEN, [f"0 issue {US}", "128 foo bar"]),
        (FORBIDDEN, [f"0 issue {US}; accounturi={ACCOUNT}0"]),
        (FORBIDDEN, [f"0 issue {US}; accounturi={ACCOUNT}; accounturi={ACCOUNT}"]),
        (FORBIDDEN, [f"0 issue {US}; validationmethods=http-01"]),
        (FORBIDDEN, [f"0 issue {US}; validationmethods="]),
        (FORBIDDEN, [f"0 issue {US}; validationmethods=dns-01,?"]),
        (FORBIDDEN, [f"0 issue {US}; validationmethods=dns-01; validationmethods=dns-01"]),
    ],
    ids=str,
)
def test_rulings(ruling: Ruling, texts: list[str]) -> None:
    verdict = judged(*texts)
    assert verdict.ruling is ruling, verdict
    if ruling is not PERMITTED:
        assert verdict.record in records(*texts)
        assert f"example.com CAA {verdict.record}" in verdict.reason


@pytest.mark.parametrize(
    ("ruling", "texts"),
    [
        (PERMITTED, [f"0 issue {US}"]),
        (PERMITTED, ["0 issue ;", f"0 issuewild {US}"]),
        (FORBIDDEN, ["0 issue ;"]),
        (FORBIDDEN, [f"0 issue {US}", "0 issuewild ;"]),
        (FORBIDDEN, [f"0 issue {US}", "0 issuewild other.example"]),
    ],
    ids=str,
)
def test_issuewild_stands_before_issue_for_wildcards_only(ruling: Ruling, texts: list[str]) -> None:
    verdict = judged(*texts, wildcard=True)
    assert verdict.ruling is ruling
    if ruling is FORBIDDEN and len(texts) > 1:
        assert '0 issuewild "letsencrypt.org; ' in verdict.fix


def test_what_an_account_that_is_not_known_cannot_tell() -> None:
    bound = f"0 issue {US}; accounturi={ACCOUNT}"
    assert judged(bound, account_url=None).ruling is UNKNOWN
    assert "not known yet" in judged(bound, account_url=None).reason
    new = judged(bound, account_url=NEW_ACCOUNT)
    assert new.ruling is FORBIDDEN
    assert "would register a new one" in new.reason
    assert "accounturi" not in new.fix
    assert judged(f"0 issue {US}", account_url=None).ruling is PERMITTED
    assert judged(bound, "0 issue other.example", account_url=None).ruling is UNKNOWN


def test_a_ca_that_does_not_say_its_name_cannot_be_judged() -> None:
    assert judged(f"0 issue {US}", ca_identities=()).ruling is UNKNOWN
    assert judged("128 foo bar", ca_identities=()).ruling is UNKNOWN
    assert judged("0 iodef mailto:a@example.com", ca_identities=()).ruling is PERMITTED
    assert judged(ca_identities=()).ruling is PERMITTED


def test_the_reason_is_that_of_the_record_nearest_to_permitting() -> None:
    verdict = judged("0 issue other.example", f"0 issue {US}; accounturi={ACCOUNT}0", "0 issue ;")
    assert f"binds the CA to the account {ACCOUNT}0, and this run uses {ACCOUNT}" in verdict.reason
    assert verdict.fix == (
        f'publish at example.com: CAA 0 issue "{US}; accounturi={ACCOUNT}; validationmethods=dns-01"'
    )
    assert "in this spelling" in judged("0 issue LetsEncrypt.org").reason


def test_a_critical_record_is_to_be_cleared() -> None:
    verdict = judged("128 foo bar")
    assert "'foo'" in verdict.reason
    assert 'CAA 0 foo "bar"' in verdict.fix


def test_rdata() -> None:
    assert parse_rdata(b"\x80\x05ISSUEca.example; x=y") == CaaRecord(128, "issue", "ca.example; x=y")
    assert parse_rdata(b"\0\x05issue") == CaaRecord(0, "issue", "")
    for bad in (b"", b"\0", b"\0\0", b"\0\x06issue", b"\0\x05iss e", b"\0\x02\xc3\xa9"):
        with pytest.raises(ValueError, match="CAA"):
            parse_rdata(bad)
    assert str(CaaRecord(0, "issue", 'a"\\\n')) == r'0 issue "a\"\\\010"'


# --- properties

LABEL = st.from_regex(r"[A-Za-z0-9](-{0,2}[A-Za-z0-9]){0,3}", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=";"), max_size=12)
PARAMETERS = st.lists(st.tuples(LABEL, VALUE), max_size=4)
SPACE = st.text(" \t", max_size=2)


@given(DOMAIN | st.just(""), PARAMETERS, st.lists(SPACE, min_size=20, max_size=20))
def test_whatever_the_grammar_makes_is_read_back(
    issuer: str, parameters: list[tuple[str, str]], gaps: list[str]
) -> None:
    gap = iter(gaps)
    parts = [next(gap) + issuer + next(gap)]
    parts += [next(gap) + tag + next(gap) + "=" + next(gap) + value + next(gap) for tag, value in parameters]
    text = ";".join(parts)
    parsed = parse_issue_value(text)
    assert parsed is not None
    assert parsed.issuer == issuer
    assert parsed.parameters == tuple((tag.lower(), value) for tag, value in parameters)


@given(st.text(st.characters(max_codepoint=0xFF), max_size=40))
def test_any_value_is_read_or_refused_and_what_is_read_is_clean(text: str) -> None:
    parsed = parse_issue_value(text)
    if parsed is not None:
        assert re.fullmatch(r"[A-Za-z0-9.-]*", parsed.issuer)
        assert all(re.fullmatch(r"[a-z0-9-]+", tag) and ";" not in value for tag, value in parsed.parameters)


@given(st.binary(max_size=40))
def test_any_rdata_is_a_record_or_a_value_error(data: bytes) -> None:
    try:
        record = parse_rdata(data)
    except ValueError:
        return
    assert bytes([record.flags, len(record.tag)]) + record.tag.encode() == data[:2] + data[2 : 2 + data[1]].lower()
    assert str(record).isascii()
    assert str(record).isprintable()


RECORD = st.builds(
    CaaRecord,
    st.sampled_from([0, 1, 128]),
    st.sampled_from(["issue", "issuewild", "iodef", "foo"]),
    st.sampled_from(["", ";", US, "other.example", f"{US}; accounturi={ACCOUNT}", f"{US}; accounturi=x", f"{US}; ="]),
)
RECORDS = st.lists(RECORD, max_size=5)


@given(RECORDS, st.booleans(), st.sampled_from([None, NEW_ACCOUNT, ACCOUNT]))
def test_a_refusal_always_has_its_record_and_the_fix_works(
    found: list[CaaRecord], wildcard: bool, account: str | None
) -> None:
    verdict = ruled(found, wildcard=wildcard, account_url=account)
    if verdict.ruling is PERMITTED:
        return
    assert verdict.record in found
    told = re.search(r'CAA (\d+) (\w+) "(.*)"$', verdict.fix)
    assert told is not None
    repaired = CaaRecord(int(told[1]), told[2], told[3])
    if verdict.record.tag == "foo":
        cleared = [repaired if one == verdict.record else one for one in found]
        assert ruled(cleared, wildcard=wildcard, account_url=account) != verdict
    else:
        assert ruled([*found, repaired], wildcard=wildcard, account_url=account).ruling is PERMITTED


@given(RECORDS, st.booleans())
def test_the_order_of_records_does_not_matter(found: list[CaaRecord], wildcard: bool) -> None:
    assert ruled(found, wildcard=wildcard).ruling is ruled(found[::-1], wildcard=wildcard).ruling


@given(RECORDS, st.booleans())
def test_a_record_of_another_ca_never_permits_more(found: list[CaaRecord], wildcard: bool) -> None:
    more = [*found, CaaRecord(0, "issue", "another.example")]
    if ruled(found, wildcard=wildcard).ruling is FORBIDDEN:
        assert ruled(more, wildcard=wildcard).ruling is FORBIDDEN


def test_the_record_to_publish() -> None:
    assert record_to_publish("issue", US, None, "dns-01") == f'0 issue "{US}; validationmethods=dns-01"'


def test_a_method_of_the_ca_s_own_is_not_judged() -> None:
    """A CA that validates names in its console has a name for that, which we do not know."""
    bound = f"0 issue {US}; validationmethods=ca-example-console"
    assert judged(bound, method=None).ruling is UNKNOWN
    assert judged(bound).ruling is FORBIDDEN
    other = judged("0 issue other.example", method=None)
    assert other.ruling is FORBIDDEN
    assert "validationmethods" not in other.fix
