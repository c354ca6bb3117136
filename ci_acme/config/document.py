"""Where every value of a configuration was said: plain data beside the marks of its keys and values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

from ci_acme.dataclass import dataclass, field

KeyPath: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys and list indexes, as in pydantic's `loc`."""

OriginKind: TypeAlias = Literal["option", "environment", "file", "default"]
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_*-]{1,64}\Z")
_DOTTED_KEY: Final = re.compile(r"[A-Za-z0-9_*.-]{1,254}\Z")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_*.-]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Who said a value. `where` is `ci-acme.yaml:12`, `--ca`, `CI_ACME_CA`, or empty for a default."""

    kind: OriginKind
    where: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place: `source` is a file, an option or an environment variable; line and column (1-based) for files only."""

    kind: OriginKind
    source: str
    line: int | None = None
    column: int | None = None

    @property
    def origin(self) -> Origin:
        """The place without its column."""
        return Origin(self.kind, self.source if self.line is None else f"{self.source}:{self.line}")

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}:{self.column}"


@dataclass(slots=True)
class Document:
    """Plain data and the marks of all that was said in it.

    `keys` has the mark of each key (list items: of the value), `values` that of each value. `blamed` are paths that
    have a problem already, whose value is None. `from_environment` are the values that hold an expanded `${env.…}`.
    """

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    keys: dict[KeyPath, Mark] = field(default_factory=dict)
    values: dict[KeyPath, Mark] = field(default_factory=dict)
    blamed: set[KeyPath] = field(default_factory=set)
    from_environment: set[KeyPath] = field(default_factory=set)

    def put(self, path: KeyPath, value: Any, mark: Mark) -> None:
        """Say `value` at `path` (mappings on the way are made), in place of whatever was said there."""
        parent = self._make(path)
        if parent is None:
            return  # the file has something else on the way, which is a problem of its own
        parent[path[-1]] = value
        self.forget(path)
        for length in range(1, len(path)):
            self.keys.setdefault(path[:length], mark)
        self.keys[path] = mark
        for place, _ in leaves(value, path):
            self.values[place] = mark
        self.values[path] = mark

    def _make(self, path: KeyPath) -> Any:
        """What holds `path`, made if need be; None if it cannot."""
        here: Any = self.data
        for part, following in pairwise(path):
            below: Any = here[part] if isinstance(part, int) else here.setdefault(part, {})
            if type(below) is not (list if isinstance(following, int) else dict):
                return None
            here = below
        return here

    def forget(self, path: KeyPath) -> None:
        """Remove the marks and blame of `path` and all below."""
        for table in (self.keys, self.values):
            for place in [place for place in table if place[: len(path)] == path]:
                del table[place]
        for places in (self.blamed, self.from_environment):
            places -= {place for place in places if place[: len(path)] == path}

    def at(self, path: KeyPath) -> Any:
        """The value at `path`, None if there is none."""
        here: Any = self.data
        for part in path:
            if isinstance(here, dict):
                here = here.get(part)
            elif isinstance(here, list) and isinstance(part, int) and part < len(here):
                here = here[part]
            else:
                return None
        return here

    def key_mark(self, path: KeyPath) -> Mark:
        """Where the key at `path` is, or the nearest thing above it that was said."""
        return self._nearest(path, self.keys)

    def value_mark(self, path: KeyPath) -> Mark:
        """Where the value at `path` is, or the nearest thing above it that was said."""
        return self._nearest(path, self.values)

    def _nearest(self, path: KeyPath, table: Mapping[KeyPath, Mark]) -> Mark:
        places = (path[:length] for length in range(len(path), -1, -1))
        return next((table[place] for place in places if place in table), Mark("default", self.name))

    def is_blamed(self, path: KeyPath) -> bool:
        """Whether `path` or anything above it has a problem already."""
        return any(path[:length] in self.blamed for length in range(len(path) + 1))


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every scalar at or below `path`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def show_path(path: KeyPath) -> str:
    """`certificates.preview.names[0]`; a key with dots is quoted: `certificates."a.example".key`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + show_key(part)
    return text


def show_key(key: str) -> str:
    """A key as it may be printed: what follows a character that no key of ours has is cut.

    `{tsig_secret:hunter2}` is a key to YAML, for want of a space; its second half is nobody's business.
    """
    if _PLAIN_KEY.match(key):
        return key
    if _DOTTED_KEY.match(key):
        return f'"{key}"'
    return _UNSAFE.split(key, maxsplit=1)[0][:64] + "…"
