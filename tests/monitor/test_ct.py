"""The search APIs of CT logs, on strict fakes: pages, tokens, limits, and answers that are none."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ci_acme.clock import SystemClock
from ci_acme.core.transparency import Issuance
from ci_acme.model.secret import Secret
from ci_acme.monitor.ct import CtIndex
from ci_acme.monitor.source import SourceDown
from ci_acme.ports import Deadline
from tests.clouds.api import Answer, lose_call, refuse
from tests.clouds.ct import FakeCertSpotter, FakeCrtSh, Logged, Logs

NOW = datetime.now(timezone.utc).replace(microsecond=0)
DAY = timedelta(days=1)


def logged(*names: str, number: int = 1, **more: object) -> Logged:
    mark = f"{number:02x}"
    hashes = {"tbs_sha256": mark * 32, "pubkey_sha256": mark[::-1] * 32, "cert_sha256": f"c{mark[0]}" * 32}
    known = {"not_before": NOW - DAY, "not_after": NOW + DAY, **hashes, "serial": f"00{mark}"}
    return Logged(names, **{**known, **more})  # type: ignore[arg-type]


LOGS = Logs(
    [
        logged("www.example.com", "example.com", number=1),
        logged("*.pr.example.com", number=2),
        logged("other.test", number=3),
        logged("old.example.com", number=4, not_after=NOW - DAY),
        logged("a.b.example.com", number=5),
    ]
)


def ask(url: str, form: str, domain: str = "example.com", token: str = "", seconds: float = 20) -> list[Issuance]:
    index = CtIndex(url, form, Secret(token.encode()) if token else None)
    try:
        return index.certificates(domain, Deadline(SystemClock(), seconds))
    finally:
        index.close()


def test_cert_spotter_page_by_page() -> None:
    with FakeCertSpotter(LOGS, token="t0ken") as api:
        found = ask(api.url, "certspotter", token="t0ken")
        assert [one.names for one in found] == [
            ("example.com", "www.example.com"),
            ("*.pr.example.com",),
            ("a.b.example.com",),
        ]
        assert len(api.calls) == 3, "two, one, none"
    first = found[0]
    assert (first.tbs_sha256, first.spki_sha256, first.sha256) == ("01" * 32, "10" * 32, "c0" * 32)
    assert (first.not_before, first.not_after) == (NOW - DAY, NOW + DAY)
    assert first.issuer == "C=US, O=Let's Encrypt, CN=R3"
    assert first.serial is None


def test_crt_sh_has_rows_for_both_and_no_hashes() -> None:
    with FakeCrtSh(LOGS) as api:
        found = ask(api.url, "crt.sh")
    assert [one.serial for one in found if "www.example.com" in one.names] == ["0001"] * 4
    assert {one.serial for one in found} == {"0001", "0002", "0005"}
    assert {one.not_before for one in found} == {NOW - DAY}
    assert {one.tbs_sha256 for one in found} == {None}
    assert len({one.identity for one in found}) == 3


def test_a_token_that_is_wrong_is_said_and_not_shown() -> None:
    with FakeCertSpotter(LOGS, token="right") as api:
        with pytest.raises(SourceDown) as down:
            ask(api.url, "certspotter", token="wr0ngt0ken")
        assert "401 (unauthorized)" in down.value.message
        assert "monitor.ct.token" in down.value.fix
        assert "wr0ngt0ken" not in down.value.message + down.value.fix
        with pytest.raises(SourceDown, match="401") as down:
            ask(api.url, "certspotter")
        assert "give an API token" in down.value.fix


def test_what_passes_is_waited_for_and_what_does_not_is_said() -> None:
    with FakeCertSpotter(LOGS) as api:
        api.fail(lambda call: True, lose_call)
        api.fail(lambda call: True, refuse(Answer(502, b"<html>")))
        api.fail(lambda call: True, refuse(Answer.of({"code": "rate_limited"}, 429, **{"Retry-After": "0"})))
        assert len(ask(api.url, "certspotter")) == 3
        api.fail(lambda call: True, refuse(Answer.of({"code": "rate_limited"}, 429, **{"Retry-After": "3600"})))
        with pytest.raises(SourceDown, match=r"429 \(rate_limited\)"):
            ask(api.url, "certspotter")
    with pytest.raises(SourceDown, match="refused"):
        ask(api.url, "certspotter", seconds=0.5)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>busy</html>",
        b"{}",
        b"[1]",
        b'[{"id": "1"}]',
        b'[{"id": "1", "dns_names": [], "tbs_sha256": "ab", "not_before": "2026-01-01T00:00:00Z", "not_after": "x"}]',
        b'[{"id": "1", "dns_names": ["a.b"], "not_before": "2026-01-01T00:00:00Z", "not_after": "2026-01-01"}]',
        b'[{"id": null, "dns_names": ["a.b"], "tbs_sha256": "x y", "not_before": 1, "not_after": 2}]',
    ],
)
@pytest.mark.parametrize("form", ["certspotter", "crt.sh"])
def test_what_is_no_answer(form: str, body: bytes) -> None:
    with FakeCertSpotter(LOGS) as api:
        api.fail(lambda call: True, refuse(Answer(200, body)), times=2)
        with pytest.raises(SourceDown, match="answered") as down:
            ask(api.url, form)
        assert "monitor.ct.api" in down.value.fix


def test_pages_that_do_not_go_on_end() -> None:
    with FakeCertSpotter(LOGS) as api:
        page = (
            b'[{"id": "7", "dns_names": ["a.example.com"], "tbs_sha256": "ab", "issuer": {"name": "CN=x"}, '
            b'"not_before": "2026-01-01T00:00:00-00:00", "not_after": "2027-01-01T00:00:00Z"}]'
        )
        api.fail(lambda call: True, refuse(Answer(200, page)), times=5)
        with pytest.raises(SourceDown, match="do not go on"):
            ask(api.url, "certspotter")


def test_names_and_issuers_of_strangers_are_one_line() -> None:
    hostile = Logs([logged("evil.example.com", issuer="CN=\x1b[31mR3\n::error::x\u202e", number=6)])
    with FakeCertSpotter(hostile) as api:
        (found,) = ask(api.url, "certspotter")
    assert found.issuer == "CN= [31mR3 ::error::x "
