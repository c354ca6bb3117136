"""The search APIs of Certificate Transparency logs: SSLMate's (Cert Spotter, v1) and that of crt.sh.

Fields by their documentation: https://sslmate.com/help/reference/ct_search_api_v1 (an issuance is a precertificate, its
certificate, or both; `after` pages on), and crt.sh's `output=json`, which is not documented and has both as rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from ci_acme.core.transparency import Issuance
from ci_acme.model.records import parse_time
from ci_acme.model.secret import Secret
from ci_acme.monitor.source import SourceDown
from ci_acme.ports import Deadline
from ci_acme.rest import Answer, RestClient, member
from ci_acme.wire import Unreachable

SECONDS: Final = 60.0
"""For all requests about one domain; the indexes are slow, and ask for patience."""
MOST_PAGES: Final = 500
_HEX: Final = re.compile(r"[0-9a-f]{2,128}\Z")
_WORD: Final = re.compile(r"[a-z_]{1,40}\Z")


class CtIndex:
    """The API at `base`. `form` is certspotter or crt.sh; `token` goes to it as a bearer token."""

    def __init__(self, base: str, form: str, token: Secret | None = None, ca_bundle: Path | None = None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token.reveal().decode().strip()}"}
        self._client = RestClient(base, headers=headers, ca_bundle=ca_bundle)
        self._form = form
        self._held_token = token is not None

    def certificates(self, domain: str, deadline: Deadline) -> list[Issuance]:
        """Those for the domain and all names below it that have not ended. Raises `SourceDown`, `Interrupted`."""
        within = deadline.within(SECONDS)
        try:
            found = self._certspotter(domain, within) if self._form == "certspotter" else self._crt_sh(domain, within)
            return list(found)
        except Unreachable as error:
            raise SourceDown(str(error), "try again later, or look at the network of this job") from None

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()

    def _certspotter(self, domain: str, deadline: Deadline) -> Iterator[Issuance]:
        query = [("domain", domain), ("include_subdomains", "true"), ("match_wildcards", "true")]
        query += [("expand", "dns_names"), ("expand", "issuer")]
        after: list[tuple[str, str]] = []
        for _ in range(MOST_PAGES):
            page = self._get(f"/v1/issuances?{urlencode([*query, *after])}", deadline)
            if not page:
                return
            yield from (self._read(one, _certspotter_issuance) for one in page)
            last = member(page, -1, "id")
            if not isinstance(last, (str, int)) or after == [("after", str(last))]:
                raise self._garbled("pages that do not go on")
            after = [("after", str(last))]
        raise SourceDown(
            f"{self._client.host} has more than {MOST_PAGES} pages for {domain}",
            "name narrower domains in monitor.ct.domains",
        )

    def _crt_sh(self, domain: str, deadline: Deadline) -> Iterator[Issuance]:
        for wanted in (domain, f"%.{domain}"):
            query = urlencode({"q": wanted, "output": "json", "exclude": "expired"})
            yield from (self._read(one, _crt_sh_issuance) for one in self._get(f"/?{query}", deadline))

    def _get(self, path: str, deadline: Deadline) -> Sequence[Any]:
        answer = self._client.send("GET", path, deadline=deadline)
        if not answer.ok:
            raise self._refused(answer)
        if not isinstance(answer.document, list):
            raise self._garbled("something that is no list")
        return answer.document

    def _read(self, one: Any, read: Any) -> Issuance:
        try:
            issuance: Issuance = read(one)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._garbled("a certificate without names, dates or an identity") from None
        return issuance

    def _refused(self, answer: Answer) -> SourceDown:
        code = member(answer.document, "code")
        said = f" ({code})" if isinstance(code, str) and _WORD.match(code) else ""
        text = f"{self._client.host} answered {answer.status}{said}"
        if answer.status in {401, 403}:
            given = "check the token that monitor.ct.token refers to, and what its plan allows"
            return SourceDown(text, given if self._held_token else "give an API token with monitor.ct.token")
        if answer.status == 429:
            return SourceDown(text, "look less often, or give monitor.ct.token the token of a plan with more requests")
        return SourceDown(text, "try again later; for a large domain, name narrower ones in monitor.ct.domains")

    def _garbled(self, what: str) -> SourceDown:
        return SourceDown(
            f"{self._client.host} answered {what}", f"see whether monitor.ct.api speaks as {self._form} does"
        )


def _certspotter_issuance(one: Mapping[str, Any]) -> Issuance:
    issuer = one.get("issuer")
    said = issuer if isinstance(issuer, Mapping) else {}
    names = one["dns_names"]
    tbs, key, sha256 = _hex(one.get("tbs_sha256")), _hex(one.get("pubkey_sha256")), _hex(one.get("cert_sha256"))
    if not isinstance(names, list) or not (tbs or key or sha256):
        raise ValueError("no identity")
    return Issuance(
        id=str(one["id"]),
        names=_names(names),
        issuer=_text(said.get("name") or said.get("friendly_name") or "an unknown issuer"),
        not_before=_time(one["not_before"]),
        not_after=_time(one["not_after"]),
        tbs_sha256=tbs,
        spki_sha256=key,
        sha256=sha256,
    )


def _crt_sh_issuance(one: Mapping[str, Any]) -> Issuance:
    serial = _hex(one["serial_number"])
    if serial is None:
        raise ValueError("no serial number")
    names = [*str(one["name_value"]).split("\n"), str(one.get("common_name") or "")]
    return Issuance(
        id=str(one["id"]),
        names=_names(names),
        issuer=_text(one["issuer_name"]),
        not_before=_time(one["not_before"]),
        not_after=_time(one["not_after"]),
        serial=serial,
    )


def _names(said: Sequence[Any]) -> tuple[str, ...]:
    names = tuple(sorted({_text(name).strip().lower().rstrip(".") for name in said} - {""}))
    if not names:
        raise ValueError("no names")
    return names


def _hex(value: Any) -> str | None:
    text = value.lower() if isinstance(value, str) else ""
    return text if _HEX.match(text) else None


def _text(value: Any) -> str:
    """One line without control characters: it is written by whoever had the certificate issued."""
    if not isinstance(value, str):
        raise TypeError("no text")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+", " ", value)[
        :300
    ]


def _time(value: Any) -> datetime:
    """An RFC 3339 time; crt.sh leaves the zone out and means UTC."""
    if not isinstance(value, str):
        raise TypeError("no time")
    try:
        return parse_time(value)
    except ValueError:
        return datetime.fromisoformat(value).replace(tzinfo=timezone.utc)
