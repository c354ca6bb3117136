"""Which ARN of ACM is ours: the one with our tag, looked for in all that was imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme_providers.aws.store_base import tag_map
from ci_acme_providers.aws.store_faults import AwsFault

NAME_TAG: Final = "ci-acme-store"
"""The tag that holds the store's name."""

_KEY_TYPES: Final = (
    "RSA_1024",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "EC_prime256v1",
    "EC_secp384r1",
    "EC_secp521r1",
)
"""ListCertificates leaves out what is not asked for: by default it shows RSA_1024 and RSA_2048 only."""

Call = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Found:
    """An ARN with its tags."""

    arn: str
    tags: Mapping[str, str]


class Search:
    """Finds the ARN once. `call` is the store's."""

    def __init__(self, name: str | None, arn: str | None, call: Call) -> None:
        self._name = name
        self._arn = arn
        self._call = call
        self._known: str | None = None

    def only(self) -> Found | None:
        """Ours, the first of several; None if there is none."""
        return next(iter(self.all()), None)

    def all(self) -> list[Found]:
        """All with our tag; the first is the one to use: what is in use before others, then the oldest."""
        if self._arn is not None:
            tags = self._tags(self._arn)
            if tags is None:
                raise AwsFault("ResourceNotFoundException", "acm:ListTagsForCertificate", "there is no such ARN")
            return [Found(self._arn, tags)]
        if self._known is not None:
            tags = self._tags(self._known)
            if tags is not None and tags.get(NAME_TAG) == self._name:
                return [Found(self._known, tags)]
            self._known = None
        found: list[tuple[tuple[bool, str, str], Found]] = []
        for summary in self._imported():
            arn = str(summary["CertificateArn"])
            tags = self._tags(arn)
            if tags is not None and tags.get(NAME_TAG) == self._name:
                order = (not summary.get("InUse"), str(summary.get("CreatedAt", "")), arn)
                found.append((order, Found(arn, tags)))
        found.sort(key=lambda each: each[0])
        if len(found) == 1:
            self._known = found[0][1].arn
        return [each for _, each in found]

    def again(self, found: Found) -> Found:
        """The same ARN with its tags of now."""
        return Found(found.arn, self._tags(found.arn) or {})

    def forget(self) -> None:
        """Look for it again next time."""
        self._known = None

    def _imported(self) -> list[Mapping[str, Any]]:
        """Everything that was imported, the newest first."""
        seen: list[Mapping[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            answer = self._call(
                "list_certificates",
                Includes={"keyTypes": list(_KEY_TYPES)},
                MaxItems=1000,
                SortBy="CREATED_AT",
                SortOrder="DESCENDING",
                **more,
            )
            seen += [each for each in answer.get("CertificateSummaryList", ()) if each.get("Type") == "IMPORTED"]
            if not answer.get("NextToken"):
                return seen
            more = {"NextToken": str(answer["NextToken"])}

    def _tags(self, arn: str) -> dict[str, str] | None:
        try:
            return tag_map(self._call("list_tags_for_certificate", CertificateArn=arn).get("Tags"))
        except AwsFault as fault:
            if fault.code == "ResourceNotFoundException":
                return None
            raise
