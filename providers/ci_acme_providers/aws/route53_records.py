"""TXT record sets as Route 53 lists them, and the exact changes that add or remove single values.

A change of a set is a compare-and-swap: a batch with `DELETE` of exactly what was seen and `CREATE` of what shall be
there is carried out whole or not at all. Sets that are multivalue already get and lose one record for each value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ci_acme.dataclass import dataclass

MOST_RECORDS: Final = 1_000
MOST_CHARACTERS: Final = 32_000
"""Of one batch: ResourceRecord elements, and the characters of their values."""
OURS: Final = "ci-acme/"
"""How the SetIdentifier of a multivalue record of ours begins."""
_PLAIN: Final = re.compile(r"[a-z0-9_-]")
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2}|.)", re.DOTALL)
_STRING: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"|(\S+)', re.DOTALL)

RecordSet = Mapping[str, Any]
"""A `ResourceRecordSet`, as botocore reads and writes it."""
Change = Mapping[str, Any]


# --- names and values --------------------------------------------------------------------------------------------


def wire_name(name: str) -> str:
    r"""A name as Route 53 normalises it: lower case, `\052` for `*`, no trailing dot."""
    labels = name.removesuffix(".").lower().split(".")
    return ".".join("".join(c if _PLAIN.match(c) else f"\\{ord(c):03o}" for c in label) for label in labels)


def plain_name(text: str) -> str:
    r"""The inverse: `\052.example.com.` is `*.example.com`."""
    return _unescape(text.removesuffix(".").encode()).decode(errors="surrogateescape").lower()


def order(name: str) -> str:
    """The key by which Route 53 sorts names: labels reversed, with the trailing dot."""
    return ".".join(reversed(wire_name(name).split("."))) + "."


def quote(value: str) -> str:
    """A TXT value in presentation format: strings of at most 255 octets, what is not printable in octal."""
    data = value.encode(errors="surrogateescape")
    strings = [data[start : start + 255] for start in range(0, len(data), 255)] or [b""]
    return " ".join('"' + "".join(map(_escaped, string)) + '"' for string in strings)


def unquote(text: str) -> str:
    """The TXT value that a text of Route 53 stands for."""
    strings = (match[1] if match[1] is not None else match[2] for match in _STRING.finditer(text.encode()))
    return b"".join(map(_unescape, strings)).decode(errors="surrogateescape")


def _escaped(octet: int) -> str:
    if octet in b'"\\':
        return "\\" + chr(octet)
    return chr(octet) if 32 <= octet < 127 else f"\\{octet:03o}"


def _unescape(data: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]) if len(match[1]) == 3 else match[1], data)


# --- record sets -------------------------------------------------------------------------------------------------


def texts_of(record_set: RecordSet) -> list[str]:
    """The values as they stand in the set."""
    return [record["Value"] for record in record_set.get("ResourceRecords", ())]


def values_of(record_sets: Iterable[RecordSet]) -> set[str]:
    """The values that are served."""
    return {unquote(text) for record_set in record_sets for text in texts_of(record_set)}


def simple(name: str, values: Iterable[str], ttl: int) -> RecordSet:
    """A set without a SetIdentifier."""
    return _with({"Name": wire_name(name) + ".", "Type": "TXT", "TTL": ttl}, map(quote, values))


def is_simple(record_sets: Sequence[RecordSet]) -> bool:
    """Whether the sets at a name are none, or one that holds all values."""
    return not record_sets or (len(record_sets) == 1 and "SetIdentifier" not in record_sets[0])


def foreign_routing(record_sets: Sequence[RecordSet]) -> str | None:
    """Why no value can be added at a name: it is an alias, or weighted, by latency, by place; None if it can."""
    for record_set in record_sets:
        if "AliasTarget" in record_set:
            return "an alias"
        if "SetIdentifier" in record_set and not record_set.get("MultiValueAnswer"):
            return "a record with a routing policy other than simple and multivalue"
    return None


@dataclass(frozen=True, slots=True)
class Edit:
    """Values to have or not to have at a name; `ttl` is for a set that is new. `run` names records of multivalue."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    ttl: int = 60
    run: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes at one name, none if all is as it should be, and the sets after them."""

    changes: tuple[Change, ...]
    after: tuple[RecordSet, ...]


def plan(name: str, record_sets: Sequence[RecordSet], edit: Edit) -> Plan:
    """What turns the sets that were seen at a name into those that are wanted."""
    there = values_of(record_sets)
    missing = [value for value in dict.fromkeys(edit.add) if value not in there]
    if is_simple(record_sets):
        return _plan_simple(name, record_sets, missing, edit)
    made = [_own_record(name, value, record_sets, edit) for value in missing]
    gone = [found for value in edit.remove if (found := _own_of(record_sets, value, edit.run)) is not None]
    after = [record_set for record_set in record_sets if record_set not in gone] + made
    return Plan((*(_change("DELETE", one) for one in gone), *(_change("CREATE", one) for one in made)), tuple(after))


def cut(plans: Mapping[str, Plan]) -> Iterator[dict[str, Plan]]:
    """The plans in as few batches as the limits allow; a name is never divided."""
    batch: dict[str, Plan] = {}
    records = characters = 0
    for name, one in plans.items():
        texts = [text for change in one.changes for text in texts_of(change["ResourceRecordSet"])]
        size = sum(map(len, texts))
        if batch and (records + len(texts) > MOST_RECORDS or characters + size > MOST_CHARACTERS):
            yield batch
            batch, records, characters = {}, 0, 0
        batch[name] = one
        records += len(texts)
        characters += size
    if batch:
        yield batch


def impossible(name: str, value: str) -> Sequence[Change]:
    """Changes that need the rights of real ones and cannot be carried out: they delete what is not there."""
    nothing = simple(name, [value], 60)
    return (_change("DELETE", nothing), _change("CREATE", nothing))


def _plan_simple(name: str, record_sets: Sequence[RecordSet], missing: Sequence[str], edit: Edit) -> Plan:
    if not record_sets:
        new = simple(name, missing, edit.ttl)
        return Plan((_change("CREATE", new),), (new,)) if missing else Plan((), ())
    old = record_sets[0]
    kept = [text for text in texts_of(old) if unquote(text) not in edit.remove]
    texts = [*kept, *map(quote, missing)]
    if texts == texts_of(old):
        return Plan((), (old,))
    new = _with(old, texts)
    made = (new,) if texts else ()
    return Plan((_change("DELETE", old), *(_change("CREATE", one) for one in made)), made)


def _own_record(name: str, value: str, record_sets: Sequence[RecordSet], edit: Edit) -> RecordSet:
    digest = hashlib.sha256(f"{name} {value}".encode(errors="surrogateescape")).hexdigest()[:16]
    ttl = record_sets[0].get("TTL", edit.ttl)
    return {**simple(name, [value], ttl), "SetIdentifier": f"{_prefix(edit.run)}{digest}", "MultiValueAnswer": True}


def _own_of(record_sets: Sequence[RecordSet], value: str, run: str) -> RecordSet | None:
    """The record of ours that holds just this value; this run's if there are twins."""
    ours = [
        record_set
        for record_set in record_sets
        if str(record_set.get("SetIdentifier", "")).startswith(OURS) and values_of([record_set]) == {value}
    ]
    return next((one for one in ours if one["SetIdentifier"].startswith(_prefix(run))), next(iter(ours), None))


def _prefix(run: str) -> str:
    return f"{OURS}{re.sub('[^A-Za-z0-9._-]+', '-', run)[:64]}/"


def _with(record_set: RecordSet, texts: Iterable[str]) -> RecordSet:
    return {**record_set, "ResourceRecords": [{"Value": text} for text in texts]}


def _change(action: str, record_set: RecordSet) -> Change:
    return {"Action": action, "ResourceRecordSet": record_set}
