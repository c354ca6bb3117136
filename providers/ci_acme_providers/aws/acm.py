"""The `aws-acm` store: one imported certificate of AWS Certificate Manager, which keeps its ARN for ever.

An import to the same ARN replaces certificate and key as one, under whatever uses it. ACM counts the imports of new
ARNs for 365 days, deleted ones too, so an ARN is never given up: `retire` only marks it, and the next environment of
the same name takes it over. It is found by the tag `ci-acme-store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle, KeyType
from ci_acme.model.records import Metadata, format_time
from ci_acme.model.tags import MANAGED
from ci_acme.ports import (
    Absent,
    Deadline,
    Present,
    ProviderContext,
    Retired,
    StoreCapabilities,
    StoreState,
)
from ci_acme.shapes import fingerprint, pem_blocks
from ci_acme.storing import Refused, another_certificate, not_removed
from ci_acme_providers.aws import store_tags
from ci_acme_providers.aws.acm_search import NAME_TAG, Found, Search
from ci_acme_providers.aws.store_base import AwsStore, rounds, tag_list
from ci_acme_providers.aws.store_config import AcmSettings
from ci_acme_providers.aws.store_faults import AwsFault

MOST_KEY_BYTES: Final = 5_120
"""Of a private key (API reference, ImportCertificate)."""

RETIRED: Final = "ci-acme-retired"
"""The tag of a certificate that waits for the next environment."""

_ALGORITHMS: Final[Mapping[KeyType, str]] = {
    KeyType.EC_P256: "EC_prime256v1",
    KeyType.EC_P384: "EC_secp384r1",
    KeyType.RSA_2048: "RSA_2048",
    KeyType.RSA_3072: "RSA_3072",
    KeyType.RSA_4096: "RSA_4096",
}
_REFUSED: Final = frozenset({"ValidationException", "InvalidParameterException"})


@dataclass(frozen=True, slots=True)
class _Held:
    """What an ARN holds: certificate and chain in PEM, the certificate's SHA-256, and the tags."""

    arn: str
    certificate: bytes
    chain: bytes
    sha256: str
    tags: Mapping[str, str]

    @property
    def metadata(self) -> Metadata | None:
        """What the tags say of this certificate."""
        found = store_tags.find(self.tags, self.sha256)
        return found.metadata if found and found.metadata.sha256 == self.sha256 else None


class AcmStore(AwsStore):
    """A `ports.CertificateStore` at one ARN. The version is the certificate's SHA-256."""

    PROVIDER = "aws-acm"
    SERVICE = "acm"

    def __init__(self, settings: AcmSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self._search = Search(settings.name, settings.arn, self._call)

    @property
    def target(self) -> str:
        """The name, or the ARN of the config."""
        return self._settings.name or self._settings.arn or ""

    @property
    def capabilities(self) -> StoreCapabilities:
        """ACM never gives a key back."""
        return StoreCapabilities(holds_pending=False, returns_key=False)

    def read(self, *, deadline: Deadline) -> StoreState:
        """The certificate itself, which is public, and its tags."""
        with self.errors(StoreReadError, "read", deadline):
            held = self._held(deadline)
            if held is None:
                return Absent()
            if RETIRED in held.tags:
                return Absent(f"retired at {held.tags[RETIRED]}; its ARN {held.arn} is kept for the next certificate")
            return Present(held.certificate, held.chain, held.metadata, held.sha256)

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """None: the key stays in ACM."""
        del deadline
        return None

    def probe(self, *, deadline: Deadline) -> None:
        """Say whether the key type fits, and ask for the right to import with what is no certificate."""
        with self.errors(StoreNotWritable, "write", deadline):
            key = self.context.key
            if key is KeyType.EC_P384 and self._settings.used_by == "cloudfront":
                raise Refused(f"it is for CloudFront, which serves no {key.value} key", fix="set key: ec-p256")
            found = self._search.only()
            if self._settings.used_by == "cloudfront" and self.region != "us-east-1":
                text = f"it is for CloudFront, which looks in us-east-1, and not in {self.region}"
                raise Refused(text, fix="set region: us-east-1 in the store")
            if found is not None:
                self._require_room(found, key)
            where: dict[str, Any] = {"Tags": tag_list(self._name_tag())}  # a policy may ask for it
            if found is not None:
                where = {"CertificateArn": found.arn}
            try:
                self._call("import_certificate", Certificate=b"none", PrivateKey=b"none", **where)
            except AwsFault as fault:
                if fault.code not in _REFUSED:
                    raise

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Import to the ARN, or to a new one if there is none; the same certificate again imports nothing."""
        tags = store_tags.tags_of(metadata, metadata.sha256)
        with self.errors(DeliveryError, "write", deadline):
            if len(bundle.key.reveal()) > MOST_KEY_BYTES:
                raise Refused(f"the key has more than {MOST_KEY_BYTES} bytes, which ACM takes", fix="use a smaller key")
            made: str | None = None
            for _ in rounds(deadline, "acm:GetCertificate"):
                found = self._search.all()
                if not found and made is None:
                    made = self._import(bundle, Tags=tag_list({**tags, **self._name_tag()}))
                    found = self._search.all()  # a lost answer, or another run, may have made a second one
                if not found:
                    continue  # the list does not show it yet: never a second ARN
                chosen, *more = found
                if self._brought(chosen, bundle, metadata, tags):
                    self._remove_twins(more)
                    return metadata.sha256
        raise AssertionError("rounds() ends by raising")

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the tags, if the ARN still holds the certificate that they speak of."""
        with self.errors(DeliveryError, "annotate", deadline):
            held = self._held(deadline)
            if held is None or held.sha256 != metadata.sha256 or RETIRED in held.tags:
                raise another_certificate()
            self._tidy(held, store_tags.tags_of(metadata, held.sha256), None)

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Mark the ARN as free for the next certificate; with `purge` delete it, and its key, for good."""
        with self.errors(DeliveryError, "remove", deadline):
            held = self._held(deadline)
            if held is None or (RETIRED in held.tags and not purge):
                return Retired.ABSENT
            if MANAGED not in held.tags or (held.metadata is None and RETIRED not in held.tags):
                raise not_removed("it holds a certificate that ci-acme did not import", what="the certificate")
            users = self._users(held.arn)
            if purge:
                self._delete(held.arn, users)
                return Retired.REMOVED
            if users:
                self.context.warn(f"{self.target} is retired, and still used by {', '.join(users)}")
            self._tag(held.arn, {RETIRED: format_time(self.context.clock.now())})
            return Retired.REMOVED

    # --- steps

    def _brought(self, found: Found, bundle: Bundle, metadata: Metadata, tags: Mapping[str, str]) -> bool:
        """Whether the ARN holds the bundle, described; if not, an attempt was made and is to be looked at."""
        held = self._at(found)
        if held is None:
            self._search.forget()
            return False
        if held.sha256 == metadata.sha256:
            self._tidy(held, tags, None)
            return True
        if len({**held.tags, **tags}) > store_tags.LIMIT:
            self._untag(held, store_tags.others(held.tags, metadata.sha256, held.sha256))
        self._tag(found.arn, {**store_tags.with_blanks(held.tags, tags, metadata.sha256), **self._name_tag()})
        self._import(bundle, CertificateArn=found.arn)
        now = self._at(self._search.again(found))
        if now is None or now.sha256 == held.sha256:
            return False  # not visible yet
        if now.sha256 != metadata.sha256:
            raise Refused("another run imported to it at the same time", fix="run again")
        self._tidy(now, tags, held.sha256)
        return True

    def _import(self, bundle: Bundle, **more: Any) -> str:
        chain = {"CertificateChain": bundle.chain} if bundle.chain else {}
        try:
            answer = self._call(
                "import_certificate",
                Certificate=bundle.certificate,
                PrivateKey=bundle.key.reveal(),
                **chain,
                **more,
            )
            return str(answer["CertificateArn"])
        except AwsFault as fault:
            if fault.code not in _REFUSED:
                raise
            refused = fault
        raise Refused(
            f"ACM does not take the certificate: {refused.said or refused.code}",
            fix="an ARN keeps its key type, and key usages that it has: keep them, or give the store another name",
        )

    def _tidy(self, held: _Held, tags: Mapping[str, str], replaced: str | None) -> None:
        """The tags of what is held are there; those of what was held, and the mark of retirement, are not."""
        wanted = {**store_tags.with_blanks(held.tags, tags, held.sha256), **self._name_tag()}
        if any(held.tags.get(key) != value for key, value in wanted.items()):
            self._tag(held.arn, wanted)
        there = {**held.tags, **wanted}
        gone = store_tags.done_with(there, held.sha256, replaced)
        if RETIRED in held.tags:
            self._untag(held, [RETIRED])
        with self._tidying():
            self._untag(held, gone)

    def _remove_twins(self, twins: list[Found]) -> None:
        """What a lost answer, or two runs at once, left beside the one that was chosen."""
        for twin in twins:
            try:
                self._call("delete_certificate", CertificateArn=twin.arn)
            except AwsFault as fault:
                self.context.warn(
                    f"{twin.arn} has the same tag {NAME_TAG}={self.target} and was not removed: {fault.code}"
                )

    def _delete(self, arn: str, users: list[str]) -> None:
        try:
            self._call("delete_certificate", CertificateArn=arn)
        except AwsFault as fault:
            if fault.code not in {"ResourceInUseException", "ResourceNotFoundException"}:
                raise
            in_use = fault.code == "ResourceInUseException"
        else:
            in_use = False
        self._search.forget()
        if in_use:
            raise Refused(
                f"its ARN {arn} is still used by {', '.join(users) or 'another service of AWS'}",
                fix="take the certificate off what uses it, and run again",
            )

    # --- reading

    def _held(self, deadline: Deadline) -> _Held | None:
        """The ARN with the tags of what it holds: a writer may come in between the calls that this takes."""
        found, before = self._search.only(), None
        for _ in rounds(deadline, "acm:GetCertificate"):
            held = self._at(found) if found else None
            if found is None or held is None or held.metadata is not None or held.sha256 == before:
                return held
            before = held.sha256
            found = self._search.again(found)
        raise AssertionError("rounds() ends by raising")

    def _at(self, found: Found) -> _Held | None:
        try:
            answer = self._call("get_certificate", CertificateArn=found.arn)
        except AwsFault as fault:
            if fault.code in {"ResourceNotFoundException", "RequestInProgressException"}:
                return None
            raise
        blocks = list(pem_blocks(str(answer.get("Certificate", "")).encode(), "CERTIFICATE"))
        chain = b"".join(pem_blocks(str(answer.get("CertificateChain") or "").encode(), "CERTIFICATE"))
        sha256 = fingerprint(blocks[0]) if blocks else None
        return None if sha256 is None else _Held(found.arn, blocks[0], chain, sha256, found.tags)

    def _users(self, arn: str) -> list[str]:
        return [str(user) for user in self._detail(arn).get("InUseBy", ())]

    def _detail(self, arn: str) -> Mapping[str, Any]:
        detail: Mapping[str, Any] = self._call("describe_certificate", CertificateArn=arn)["Certificate"]
        return detail

    def _require_room(self, found: Found, key: KeyType | None) -> None:
        """What the ARN has must allow what will come. Raises `Refused`."""
        full = store_tags.no_room(found.tags)
        if full is not None:
            raise Refused(full, fix="remove tags of your own")
        has = str(self._detail(found.arn).get("KeyAlgorithm", ""))
        if key is not None and has.replace("-", "_") != _ALGORITHMS[key]:
            raise Refused(
                f"{found.arn} has a key of the type {has}, which an import cannot change to {key.value}",
                fix="give the store another name, for a new ARN; or keep the key type",
                details={"arn": found.arn, "has": has, "wanted": _ALGORITHMS[key]},
            )

    def _name_tag(self) -> dict[str, str]:
        return {NAME_TAG: self._settings.name} if self._settings.name else {}

    def _tag(self, arn: str, tags: Mapping[str, str]) -> None:
        self._call("add_tags_to_certificate", CertificateArn=arn, Tags=tag_list(tags))

    def _untag(self, held: _Held, keys: list[str]) -> None:
        if keys:
            self._call("remove_tags_from_certificate", CertificateArn=held.arn, Tags=[{"Key": key} for key in keys])
