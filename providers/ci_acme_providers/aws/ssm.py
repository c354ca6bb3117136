"""The `aws-ssm` store: one SecureString parameter of Systems Manager.

A parameter is replaced as one, and without a condition: whoever writes last wins. Its description, which is written
together with the value, says which certificate it is, and in which version: who overwrites the value alone may leave
the description as it is. The metadata are in tags that were there before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ci_acme.dataclass import dataclass
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.ports import (
    Absent,
    Deadline,
    Present,
    ProviderContext,
    Retired,
    StoreState,
    Unusable,
)
from ci_acme.shapes import likely
from ci_acme.storing import OTHER_SHAPE, Content, Refused, another_certificate, not_removed
from ci_acme_providers.aws import store_tags
from ci_acme_providers.aws.store_base import (
    AwsStore,
    most_bytes,
    rounds,
    tag_list,
    tag_map,
)
from ci_acme_providers.aws.store_config import SsmSettings
from ci_acme_providers.aws.store_faults import AwsFault

_POINTER: Final = re.compile(r"ci-acme:([0-9a-f]{64})(?: as version (\d+))?")
_DESCRIPTION: Final = "TLS certificate and key, written by ci-acme:{} as version {}"
_PASSING: Final = frozenset({"InvalidResourceId", "ParameterAlreadyExists", "ParameterNotFound", "TooManyUpdates"})


@dataclass(frozen=True, slots=True)
class _Seen:
    """A parameter without its value: `identity` is what its description points at, if it is of this version."""

    version: int
    identity: str | None
    tags: Mapping[str, str]


class SsmStore(AwsStore):
    """A `ports.CertificateStore` in one parameter. The version is the parameter's."""

    PROVIDER = "aws-ssm"
    SERVICE = "ssm"

    def __init__(self, settings: SsmSettings, context: ProviderContext) -> None:
        super().__init__(settings, context)
        self._settings = settings
        self.content = Content(
            settings,
            context,
            most=settings.most,
            where=f"a parameter of the tier {settings.tier} holds",
            smaller=self._larger(),
        )

    @property
    def target(self) -> str:
        """The name of the parameter."""
        return self._settings.name

    def read(self, *, deadline: Deadline) -> StoreState:
        """What DescribeParameters and the tags say; the value is not asked for."""
        with self.errors(StoreReadError, "read", deadline):
            seen, found = self._look(deadline)
            if seen is None:
                return Absent()
            if found is None:
                return Unusable("its current version was not written by ci-acme")
            same = found.shape == store_tags.shape_name(self.content.shape)
            lacks = None if same else OTHER_SHAPE
            return Present(None, b"", found.metadata, str(seen.version), lacks)

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain, decrypted."""
        with self.errors(StoreReadError, "read", deadline):
            for _ in rounds(deadline, "ssm:GetParameter"):
                seen, found = self._look(deadline)
                if seen is None:
                    return None
                shape = store_tags.shape_named(found.shape if found else None) or self.content.shape
                parameter = self._parameter(self.target)
                if parameter is not None and parameter["Version"] == seen.version:
                    return self.content.bundle(str(parameter["Value"]).encode(), shape)
        raise AssertionError("rounds() ends by raising")

    def probe(self, *, deadline: Deadline) -> None:
        """Say whether it fits, and ask for the right to write without writing."""
        with self.errors(StoreNotWritable, "write", deadline):
            self._require_room()
            self.content.password()
            seen = self._seen()
            if seen is None:
                return  # the right to create it shows when it is created
            full = store_tags.no_room(seen.tags)
            if full is not None:
                raise Refused(full, fix="remove tags of your own")
            try:
                self._call(
                    "put_parameter", Name=self.target, Value="ci-acme asks", Type="SecureString", Overwrite=False
                )
            except AwsFault as fault:
                if fault.code != "ParameterAlreadyExists":
                    raise

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Describe the certificate, replace the value, and read it back; the same content again writes nothing."""
        with self.errors(DeliveryError, "write", deadline):
            value = self._text(bundle)
            identity = store_tags.identity_of(metadata.sha256, self.content.shape)
            tags = store_tags.tags_of(metadata, identity, self.content.shape)
            for _ in rounds(deadline, "ssm:PutParameter"):
                seen = self._seen()
                if seen is not None and seen.identity == identity:
                    self._tidy(seen.tags, tags, identity, None)
                    return str(seen.version)
                version = self._write(value, tags, identity, seen)
                if version is not None and self._reads_back(version, value):
                    if seen is not None:
                        self._tidy(self._tags(), tags, identity, seen.identity)
                    return str(version)
        raise AssertionError("rounds() ends by raising")

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Replace the tags, if the parameter still holds the certificate that they speak of."""
        with self.errors(DeliveryError, "annotate", deadline):
            seen, found = self._look(deadline)
            if seen is None or seen.identity is None or found is None or found.metadata.sha256 != metadata.sha256:
                raise another_certificate()
            wanted = store_tags.tags_of(
                metadata, seen.identity, store_tags.shape_named(found.shape) or self.content.shape
            )
            self._tidy(seen.tags, wanted, seen.identity, None)

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Delete the parameter with its versions: Parameter Store keeps nothing for recovery."""
        del purge
        with self.errors(DeliveryError, "remove", deadline):
            seen, found = self._look(deadline)
            if seen is None:
                return Retired.ABSENT
            if found is None:
                raise not_removed("it holds what ci-acme did not write", what="the parameter")
            try:
                self._call("delete_parameter", Name=self.target)
            except AwsFault as fault:
                if fault.code != "ParameterNotFound":  # our own answer may have been lost
                    raise
            return Retired.REMOVED

    # --- steps

    def _look(self, deadline: Deadline) -> tuple[_Seen | None, store_tags.Described | None]:
        """The parameter with its own tags: a writer may come in between the two calls that this takes."""
        before: str | None = None
        for _ in rounds(deadline, "ssm:DescribeParameters"):
            seen = self._seen()
            found = store_tags.find(seen.tags, seen.identity) if seen and seen.identity else None
            if seen is None or seen.identity is None or found is not None or seen.identity == before:
                return seen, found
            before = seen.identity
        raise AssertionError("rounds() ends by raising")

    def _write(self, value: str, tags: Mapping[str, str], identity: str, seen: _Seen | None) -> int | None:
        """The new version; None if somebody else was faster, or a deletion is not through yet."""
        try:
            if seen is None:
                return self._put(value, identity, 1, Overwrite=False, Tags=tag_list(tags))
            if len({**seen.tags, **tags}) > store_tags.LIMIT:
                self._untag(store_tags.others(seen.tags, identity, seen.identity))
            self._tag(store_tags.with_blanks(seen.tags, tags, identity))
            return self._put(value, identity, seen.version + 1, Overwrite=True)
        except AwsFault as fault:
            if fault.code in _PASSING:
                return None
            raise

    def _put(self, value: str, identity: str, version: int, **more: Any) -> int | None:
        """The version that was made; None if it is not the one that the description says."""
        key = {"KeyId": self._settings.kms_key} if self._settings.kms_key else {}
        answer = self._call(
            "put_parameter",
            Name=self.target,
            Value=value,
            Type="SecureString",
            Tier=self._settings.tier.capitalize(),
            Description=_DESCRIPTION.format(identity, version),
            **key,
            **more,
        )
        return version if int(answer["Version"]) == version else None

    def _reads_back(self, version: int, value: str) -> bool:
        """Whether this version has the value, as far as we may read it; a parameter may show a moment later."""
        try:
            parameter = self._parameter(f"{self.target}:{version}")
        except AwsFault as fault:
            if fault.denied:
                return True
            raise
        if parameter is not None and parameter["Value"] != value:
            raise AwsFault("Mismatch", "ssm:GetParameter", "what is read back is not what was written")
        return parameter is not None

    def _tidy(self, there: Mapping[str, str], tags: Mapping[str, str], identity: str, replaced: str | None) -> None:
        """The tags of the value that serves are there, and those of the one before are not."""
        tags = store_tags.with_blanks(there, tags, identity)
        if any(there.get(key) != value for key, value in tags.items()):
            self._tag(tags)
        with self._tidying():
            self._untag(store_tags.done_with({**there, **tags}, identity, replaced if replaced != identity else None))

    # --- single calls

    def _seen(self) -> _Seen | None:
        described = self._described()
        if described is None:
            return None
        pointer = _POINTER.search(str(described.get("Description", "")))
        try:
            tags = self._tags()
        except AwsFault as fault:
            if fault.code == "InvalidResourceId":
                return None  # deleted meanwhile
            raise
        version = int(described["Version"])
        ours = pointer is not None and int(pointer[2] or version) == version
        return _Seen(version, pointer[1] if pointer is not None and ours else None, tags)

    def _described(self) -> Mapping[str, Any] | None:
        """A page may be empty and not the last."""
        wanted = [{"Key": "Name", "Option": "Equals", "Values": [self.target]}]
        more: dict[str, str] = {}
        while True:
            answer = self._call("describe_parameters", ParameterFilters=wanted, **more)
            for parameter in answer.get("Parameters", ()):
                found: Mapping[str, Any] = parameter
                return found
            if not answer.get("NextToken"):
                return None
            more = {"NextToken": str(answer["NextToken"])}

    def _tags(self) -> dict[str, str]:
        answer = self._call("list_tags_for_resource", ResourceType="Parameter", ResourceId=self.target)
        return tag_map(answer.get("TagList"))

    def _tag(self, tags: Mapping[str, str]) -> None:
        self._call("add_tags_to_resource", ResourceType="Parameter", ResourceId=self.target, Tags=tag_list(tags))

    def _untag(self, keys: list[str]) -> None:
        if keys:
            self._call("remove_tags_from_resource", ResourceType="Parameter", ResourceId=self.target, TagKeys=keys)

    def _parameter(self, name: str) -> Mapping[str, Any] | None:
        try:
            answer = self._call("get_parameter", Name=name, WithDecryption=True)
        except AwsFault as fault:
            if fault.code in {"ParameterNotFound", "ParameterVersionNotFound"}:
                return None
            raise
        parameter: Mapping[str, Any] = answer["Parameter"]
        return parameter

    # --- values

    def _text(self, bundle: Bundle) -> str:
        text = self.content.value(bundle).decode("ascii")
        if "{{" in text:
            raise Refused("it cannot hold {{, which is in the bundle", fix="choose another shape")
        return text

    def _require_room(self) -> None:
        """Refuse what will not fit; warn of what may not, if the CA's chain is long."""
        key, names, most = self.context.key, max(1, len(self.context.names)), self._settings.most
        if key is None:
            return  # publish() says it
        usual, largest = likely(self.content.shape, key, names), most_bytes(self.context, self.content.shape)
        if usual > most:
            raise Refused(
                f"a bundle of about {usual} bytes ({key.value}, {names} names) does not fit: it holds {most} in the "
                f"tier {self._settings.tier}",
                fix=self._larger(),
                details={"bytes": usual, "most": most},
            )
        if largest > most:
            self.context.warn(
                f"{self.target} holds {most} bytes: a bundle has about {usual}, up to {largest} if the chain is long"
            )

    def _larger(self) -> str:
        tier = "set tier: advanced, " if self._settings.tier == "standard" else ""
        return f"{tier}use shape: pem or fields without the chain, a smaller key, or aws-secrets-manager"
