"""Stores without check-and-set whose values give nothing back: the metadata are in a companion beside the values.

A companion says which writing of each value it speaks of, by a mark (a time, a random word). It is written before the
values, with what is there and what will be there, and again after them. A reader believes the part whose marks are what
it finds. Two writers at once are found out by their marks, and the one that was overtaken writes again: the last one
wins, with its values and its companion together.
"""

from __future__ import annotations

import json
import secrets
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ci_acme import shapes
from ci_acme.dataclass import dataclass, field, replace
from ci_acme.errors import DeliveryError, StoreNotWritable, StoreReadError
from ci_acme.model.material import Bundle
from ci_acme.model.records import Metadata
from ci_acme.ports import Absent, Deadline, Present, ProviderContext, Retired, StoreState, Unusable
from ci_acme.rest_store import RestStore
from ci_acme.storing import OTHER_SHAPE, Content, Refused, another_certificate, not_read_back, not_removed

if TYPE_CHECKING:
    from ci_acme.settings import ShapedSettings  # pydantic, which the caller has loaded

SCHEMA: Final = "ci-acme/companion/1"
_TRIES: Final = 6
_LOOKS: Final = 20
"""A look is several requests: a writer may be between them."""
_PAUSE: Final = 0.2
_YOUNG: Final = 300.0
"""Seconds for which a write that was begun may be under way."""


@dataclass(frozen=True, slots=True)
class Claim:
    """That values with these marks hold this certificate in this shape. An empty mark is one that is not known yet."""

    metadata: Metadata
    shape: str
    marks: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"metadata": self.metadata.to_json(), "shape": self.shape, "marks": dict(self.marks)}

    @classmethod
    def from_json(cls, document: Any) -> Claim | None:
        """The inverse of `to_json`; None for anything else."""
        if not isinstance(document, dict) or not isinstance(document.get("marks"), dict):
            return None
        try:
            metadata = Metadata.from_json(document["metadata"])
        except (KeyError, ValueError, AttributeError):
            return None
        marks = {str(name): str(mark) for name, mark in document["marks"].items()}
        return cls(metadata, str(document.get("shape")), marks)


@dataclass(frozen=True, slots=True)
class Companion:
    """What is there, what a write that was begun will put there, and who wrote this last."""

    current: Claim | None = None
    following: Claim | None = None
    writer: str = ""

    def to_text(self) -> str:
        """JSON, in one line."""
        document: dict[str, Any] = {"schema": SCHEMA, "writer": self.writer}
        for name, claim in (("current", self.current), ("following", self.following)):
            if claim is not None:
                document[name] = claim.to_json()
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Companion | None:
        """The inverse of `to_text`; None for what is not ours."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            return None
        current, following = Claim.from_json(document.get("current")), Claim.from_json(document.get("following"))
        return cls(current, following, str(document.get("writer")))


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there: the marks of the values by their names, without those that are not there.

    `age` is how many seconds ago the companion was written, 0 if that cannot be told. `leaf` is the SHA-256 of the
    certificate in the values, where they show it. `taken`: what has the companion's name is not ours.
    """

    companion: Companion | None
    marks: Mapping[str, str]
    age: float = 0.0
    taken: bool = False
    leaf: str | None = None
    values: Mapping[str, str] | None = field(default=None, repr=False)

    def claim(self) -> Claim | None:
        """What the companion says of exactly these values, with their marks; None if it speaks of others."""
        if self.companion is None:
            return None
        current, following = self.companion.current, self.companion.following
        if current is not None and self._fits(current):
            return current
        before = {} if current is None else current.marks
        if following is None or not self._fits(following, before):
            return None
        return replace(following, marks={name: self.marks[name] for name in following.marks})

    def _fits(self, claim: Claim, before: Mapping[str, str] | None = None) -> bool:
        if self.leaf is not None and self.leaf != claim.metadata.sha256:
            return False
        return all(self._is(name, mark, before) for name, mark in claim.marks.items())

    def _is(self, name: str, mark: str, before: Mapping[str, str] | None) -> bool:
        found = self.marks.get(name)
        if mark or before is None:
            return found == mark
        return found is not None and found != before.get(name) and self.age < _YOUNG


class CompanionStore(RestStore):
    """Base of such a store: a subclass reads and writes single values, and says what a companion is there.

    A shape with several fields is several values, but for `json`, which is one.
    """

    def __init__(
        self, settings: ShapedSettings, context: ProviderContext, *, name: str, adopt: bool, most: int | None
    ) -> None:
        super().__init__(context)
        self.content = Content(settings, context, most=most)
        self.name = name
        self.companion_name = shapes.companion_name(name)
        self._adopt = adopt
        self._document = shapes.is_document(settings.shape or settings.SHAPE, settings.fields)

    # --- what a subclass does: raises `Refused`, `SecretError`, `ci_acme.wire.Unreachable`

    @abstractmethod
    def look(self, deadline: Deadline) -> Seen:
        """What is there of the companion, of `names()`, and of all names that the companion speaks of."""

    @abstractmethod
    def put_values(self, values: Mapping[str, str], mark: str, deadline: Deadline) -> None:
        """Write the values, each with the mark, if the platform keeps one."""

    @abstractmethod
    def put_companion(self, text: str, deadline: Deadline) -> None:
        """Write the companion."""

    @abstractmethod
    def remove(self, name: str, deadline: Deadline) -> None:
        """Remove a value; nothing there is success."""

    @abstractmethod
    def remove_companion(self, deadline: Deadline) -> None:
        """Remove the companion; nothing there is success."""

    @abstractmethod
    def check(self, deadline: Deadline) -> None:
        """Find out whether writing is allowed, as far as the platform tells."""

    def settle(self, deadline: Deadline) -> None:
        """Wait until the mark of a write that was just made can be told from that of any later one."""

    MARKS: bool = True
    """Whether the platform keeps our marks; else it has its own, which are known after a write only."""

    # --- the port

    def names(self) -> list[str]:
        """The names of the values."""
        if self.content.shape.single or self._document:
            return [self.name]
        return [shapes.value_name(self.name, part) for part in self.content.shape.fields]

    def all_names(self, companion: Companion | None) -> list[str]:
        """Those, and all that a companion speaks of: of an earlier shape, or of a write that was begun."""
        claims = [companion.current, companion.following] if companion is not None else []
        spoken = [name for claim in claims if claim is not None for name in claim.marks]
        return list(dict.fromkeys([*self.names(), *spoken]))

    def read(self, *, deadline: Deadline) -> StoreState:
        """What the companion says, if it speaks of the values that are there."""
        with self.errors(StoreReadError, "read", deadline):
            return self._judge(self._observe(deadline))

    def read_bundle(self, *, deadline: Deadline) -> Bundle | None:
        """Key and chain, where the platform gives values back."""
        with self.errors(StoreReadError, "read", deadline):
            seen = self._observe(deadline)
            claim = seen.claim()
            if seen.values is None or claim is None:
                return None
            return self._bundle(seen.values, claim)

    def probe(self, *, deadline: Deadline) -> None:
        """Look at what is there, and ask for our rights."""
        with self.errors(StoreNotWritable, "write", deadline):
            self.content.password()
            self._require_ours(self.look(deadline))
            self.check(deadline)

    def publish(self, bundle: Bundle, metadata: Metadata, *, deadline: Deadline) -> str | None:
        """Write companion, values and companion, until all three are ours."""
        with self.errors(DeliveryError, "write", deadline):
            values = self._values(bundle)
            for value in values.values():
                self.content.require_size(len(value))
            for attempt in range(_TRIES):
                if attempt:
                    deadline.clock.sleep(_PAUSE * attempt * (1 + secrets.randbelow(100) / 100))
                seen = self.look(deadline)
                self._require_ours(seen)
                claim = seen.claim()
                finished = seen.companion is not None and seen.companion.following is None
                if claim is not None and finished and claim == self._claim(metadata, claim.marks):
                    return self._version(claim)
                version = self._write(seen, values, metadata, deadline)
                if version is not None:
                    return version
            raise Refused("other runs write it at the same time", fix="let one run at a time write this store")

    def annotate(self, metadata: Metadata, *, deadline: Deadline) -> None:
        """Write the companion anew, if the certificate that it speaks of is still there."""
        with self.errors(DeliveryError, "annotate", deadline):
            claim = self._observe(deadline).claim()
            if claim is None or claim.metadata.sha256 != metadata.sha256:
                raise another_certificate()
            companion = Companion(Claim(metadata, claim.shape, claim.marks), None, secrets.token_hex(8))
            self.put_companion(companion.to_text(), deadline)

    def retire(self, *, purge: bool, deadline: Deadline) -> Retired:
        """Remove the values, then the companion: what is left of a run that was killed is removed by the next."""
        del purge  # nothing is kept for recovery
        with self.errors(DeliveryError, "remove", deadline):
            seen = self._observe(deadline)
            if seen.companion is None and not seen.marks:
                return Retired.ABSENT
            if seen.companion is None:
                raise not_removed("it was not written by ci-acme")
            for name in seen.marks:
                self.remove(name, deadline)
            self.remove_companion(deadline)
        return Retired.REMOVED

    # --- helpers

    def _observe(self, deadline: Deadline) -> Seen:
        """What is there when nobody has changed it between one look and the next, unless it makes sense at once."""
        seen = self.look(deadline)
        for _ in range(_LOOKS):
            if not seen.marks or seen.claim() is not None:
                break
            again = self.look(deadline)
            if (again.companion, again.marks) == (seen.companion, seen.marks):
                break
            seen = again
        return seen

    def _judge(self, seen: Seen) -> StoreState:
        if not seen.marks:
            return Absent()
        if seen.companion is None:
            return Unusable(f"{self.companion_name} is missing: ci-acme did not write it, or did not come to an end")
        claim = seen.claim()
        if claim is None:
            return Unusable(f"it was changed since {self.companion_name} was written, or its writer was stopped")
        lacks = None if claim.shape == self.content.shape.fingerprint else OTHER_SHAPE
        return Present(None, b"", claim.metadata, self._version(claim), lacks)

    def _write(self, seen: Seen, values: Mapping[str, str], metadata: Metadata, deadline: Deadline) -> str | None:
        """Once; the version if everything is ours then, None if somebody else has written meanwhile."""
        writer = secrets.token_hex(8)
        mark = writer if self.MARKS else ""
        begun = Companion(seen.claim(), self._claim(metadata, dict.fromkeys(values, mark)), writer)
        self.put_companion(begun.to_text(), deadline)
        self.put_values(values, mark, deadline)
        after = self.look(deadline)
        self.settle(deadline)
        if not self._is_by(after, writer) or not self._is_by(self.look(deadline), writer):
            return None
        marks = {name: after.marks.get(name, "") for name in values}
        if not all(self._is_new(found, mark, seen.marks.get(name)) for name, found in marks.items()):
            return None
        for name in set(after.marks) - set(values):
            self.remove(name, deadline)  # a field of an earlier shape
        self.put_companion(Companion(self._claim(metadata, marks), None, writer).to_text(), deadline)
        final = self.look(deadline)
        claim = final.claim()
        if not self._is_by(final, writer) or claim is None or claim.marks != marks:
            return None
        if final.values is not None and {name: final.values.get(name) for name in values} != dict(values):
            raise not_read_back()
        return self._version(claim)

    def _is_new(self, found: str, mark: str, before: str | None) -> bool:
        return found == mark if self.MARKS else found != before

    @staticmethod
    def _is_by(seen: Seen, writer: str) -> bool:
        return seen.companion is not None and seen.companion.writer == writer

    def _claim(self, metadata: Metadata, marks: Mapping[str, str]) -> Claim:
        return Claim(metadata, self.content.shape.fingerprint, marks)

    @staticmethod
    def _version(claim: Claim) -> str | None:
        return next(iter(claim.marks.values()), None)

    def _values(self, bundle: Bundle) -> dict[str, str]:
        fields = self.content.fields(bundle)
        if self._document:
            return {self.name: shapes.as_one(fields, self.content.shape).decode("ascii")}
        texts = shapes.as_texts(fields, self.content.shape)
        return dict(zip(self.names(), texts.values(), strict=True))

    def fields_of(self, values: Mapping[str, str]) -> dict[str, bytes]:
        """The fields that values of our shape hold. Raises `ValueError` if they are of another."""
        if self._document:
            return shapes.fields_of(values.get(self.name, "").encode(), self.content.shape)
        texts = {part: values.get(name) for part, name in zip(self.content.shape.fields, self.names(), strict=True)}
        return shapes.of_texts(texts, self.content.shape)

    def _bundle(self, values: Mapping[str, str], claim: Claim) -> Bundle | None:
        try:
            return shapes.load(self.fields_of(values), self.content.shape, self.content.password())
        except ValueError:
            return shapes.recover(
                [text.encode() for text in values.values()], claim.metadata.sha256, self.content.password()
            )

    def _require_ours(self, seen: Seen) -> None:
        found = [*([self.companion_name] if seen.taken else []), *seen.marks]
        if seen.companion is None and found and not self._adopt:
            raise Refused(
                f"{', '.join(found)} is there and was not written by ci-acme",
                fix="set adopt: true in the store, or choose another name",
            )
