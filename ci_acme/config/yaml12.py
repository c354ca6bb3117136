"""YAML text to plain values and the place of each: the core schema of YAML 1.2, bounded, without surprises.

PyYAML gives the event stream only. Scalars are resolved here by the rules of YAML 1.2.2 section 10.3.2, so that `on`,
`yes`, `0777` and `1:30` are what they look like. Tags beyond the core schema, merge keys, duplicate keys, further
documents and whatever is too big, too deep or too often repeated are problems with a line and a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ci_acme.config.document import Document, KeyPath, Mark, show_key
from ci_acme.config.problems import Problem, problem
from ci_acme.config.scalars import not_allowed, resolve
from ci_acme.dataclass import dataclass, field

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 100_000
_TAG: Final = "tag:yaml.org,2002:"
_TAGGED: Final[dict[str, tuple[type, ...]]] = {
    _TAG + "null": (type(None),),
    _TAG + "bool": (bool,),
    _TAG + "int": (int,),
    _TAG + "float": (int, float),
}
_SYNTAX: Final = (
    (r"tab character|character '\\t'", "a tab cannot indent; use spaces"),
    (r"mapping values are not allowed", "a ':' is not expected here; quote a value that holds ': '"),
    (r"mapping keys are not allowed", "a '?' is not expected here; quote the value"),
    (r"sequence entries are not allowed", "a list item is not expected here; quote a value that starts with '- '"),
    (r"could not find expected ':'", "a ':' is missing after the key"),
    (r"unexpected end of stream|unexpected document separator", "the quote that opens here is not closed"),
    (r"unknown escape|escape code|hexdecimal", "the backslash escape is unknown; single quotes take text as it is"),
    (r"cannot start any token", "a plain value cannot start with this character; quote the value"),
    (r"expected ',' or", "a ',' or the closing bracket is missing; quote a value that holds one of []{},"),
    (r"expected ('?<document start>|<block end>|key|'-' indicator)", "the indentation does not fit what is above"),
    (r"node content", "a value is missing here"),
    (
        r"scanning an? (alias|anchor)|duplicate anchor",
        "quote a value that starts with '*' or '&', as in \"*.example.com\"",
    ),
    (r"scanning a block scalar", "nothing may follow the '|' or '>' of a text block; quote the value"),
    (r"directive|incompatible YAML", "the directive is not one of YAML 1.2"),
    (r"undefined tag handle|tag", "tags are not used here"),
    (r"maximum nesting depth", f"nested deeper than {MAX_DEPTH} levels"),
)
"""What PyYAML's two parsers say, in words that help."""


class _Stop(Exception):
    """Nothing sensible can be read after this problem."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark


@dataclass(slots=True)
class _Node:
    """A value with its place. `size` counts the values in it, aliases expanded; `depth` the levels below it."""

    mark: Mark
    value: Any = None
    keys: dict[str, Mark] = field(default_factory=dict)
    faults: list[tuple[Mark, str]] = field(default_factory=list)
    bad: bool = False
    size: int = 1
    depth: int = 0
    open: bool = False
    pending_key: tuple[str, Mark] | None = None


def parse(data: bytes, name: str) -> tuple[Document, list[Problem]]:
    """The document in `data` and all that is wrong with it as YAML. Never raises.

    After a problem that ends the reading, the document is empty and blamed as a whole.
    """
    document = Document(name)
    problems: list[Problem] = []
    try:
        root = _Builder(name, _decode(data, name)).build()
    except _Stop as stop:
        document.blamed.add(())
        document.values[()] = stop.mark
        return document, [problem(stop.mark, (), str(stop))]
    document.data = _plain(root, (), document, problems)
    return document, list(dict.fromkeys(problems))


def _decode(data: bytes, name: str) -> str:
    start = Mark("file", name, 1, 1)
    if len(data) > MAX_BYTES:
        raise _Stop(start, f"the file has more than {MAX_BYTES} bytes, which is the limit")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        raise _Stop(start, "the file is UTF-16 or UTF-32; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace")
        raise _Stop(_place(name, before), "not UTF-8") from None
    bad = not_allowed(text).search(text)
    if bad:
        code = ord(bad.group())
        raise _Stop(_place(name, text[: bad.start()]), f"the character U+{code:04X} is not allowed")
    return text


def _place(name: str, before: str) -> Mark:
    lines = re.split(r"\r\n|\r|\n", before)
    return Mark("file", name, len(lines), len(lines[-1].removeprefix("\ufeff")) + 1)


class _Builder:
    """Makes the tree of one document from PyYAML's events, without recursion."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.anchors: dict[str, _Node] = {}
        self.stack: list[_Node] = []
        self.root: _Node | None = None

    def build(self) -> _Node:
        documents = 0
        for event in self._events():
            kind = type(event).__name__
            mark = self._mark(event.start_mark)
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise _Stop(mark, "a second document starts here; a configuration is one document")
            elif kind == "ScalarEvent":
                self._add(self._scalar(event, mark), event.anchor)
            elif kind == "AliasEvent":
                self._add(self._alias(event.anchor, mark), None)
            elif kind in ("SequenceStartEvent", "MappingStartEvent"):
                self._open(event, mark, [] if kind == "SequenceStartEvent" else {})
            elif kind in ("SequenceEndEvent", "MappingEndEvent"):
                self._close()
        if self.root is None:
            raise _Stop(Mark("file", self.name, 1, 1), "the file is empty; start it with 'version: 1'")
        if not isinstance(self.root.value, dict):
            raise _Stop(self.root.mark, "a configuration is a mapping of keys to values; start it with 'version: 1'")
        return self.root

    def _events(self) -> Iterator[Any]:
        import yaml

        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            yield from yaml.parse(self.text, Loader=loader)
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error) from None
        except (yaml.YAMLError, RecursionError):
            raise _Stop(Mark("file", self.name, 1, 1), "not YAML") from None

    def _syntax(self, error: Any) -> _Stop:
        detail = f"{error.problem} {error.context}"
        where_it_began = "end of stream" in detail or re.search("scanning an? (alias|anchor)", detail)
        mark = (error.context_mark if where_it_began else None) or error.problem_mark or error.context_mark
        if self._character(mark) == "\t":
            detail = "tab character"
        message = next((words for pattern, words in _SYNTAX if re.search(pattern, detail)), "not YAML here")
        return _Stop(self._mark(mark), message)

    def _character(self, mark: Any) -> str:
        lines = re.split(r"\r\n|\r|\n", self.text)
        return lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""

    def _mark(self, mark: Any) -> Mark:
        return Mark("file", self.name, mark.line + 1, mark.column + 1)

    def _scalar(self, event: Any, mark: Mark) -> _Node:
        tag = event.tag or ""
        if self._wants_key() or tag in ("!", _TAG + "str") or (not tag and not event.implicit[0]):
            return _Node(mark, event.value)
        if tag and tag not in _TAGGED:
            return self._bad(mark, "tags are not used here")
        try:
            value = resolve(event.value)
        except ValueError as error:
            return self._bad(mark, str(error))
        if tag and type(value) not in _TAGGED[tag]:
            return self._bad(mark, "the value does not fit its tag")
        return _Node(mark, value)

    def _bad(self, mark: Mark, message: str) -> _Node:
        return _Node(mark, None, faults=[(mark, message)], bad=True)

    def _alias(self, anchor: str, mark: Mark) -> _Node:
        target = self.anchors.get(anchor)
        if target is None and self._wants_key():
            raise _Stop(mark, "the alias has no anchor before it")
        if target is None:
            return self._bad(mark, "the alias has no anchor before it")
        if target.open:
            raise _Stop(mark, "the alias is inside what it stands for")
        if self._wants_key() and not isinstance(target.value, str):
            raise _Stop(mark, "a key must be a plain word, not a list or a mapping")
        return target

    def _wants_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].pending_key is None

    def _open(self, event: Any, mark: Mark, value: list[_Node] | dict[str, _Node]) -> None:
        if self._wants_key():
            raise _Stop(mark, "a key must be a plain word, not a list or a mapping")
        if len(self.stack) >= MAX_DEPTH:
            raise _Stop(mark, f"nested deeper than {MAX_DEPTH} levels")
        node = _Node(mark, value, open=True)
        if event.tag not in (None, "!", _TAG + ("seq" if isinstance(value, list) else "map")):
            node.faults.append((mark, "tags are not used here"))
        if event.anchor:
            self.anchors[event.anchor] = node
        self.stack.append(node)

    def _close(self) -> None:
        node = self.stack.pop()
        node.open = False
        self._add(node, None)

    def _add(self, node: _Node, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif parent.pending_key is None:
            parent.pending_key = (node.value, node.mark)
            return
        else:
            self._entry(parent, parent.pending_key, node)
        parent.size += node.size
        parent.depth = max(parent.depth, node.depth + 1)
        if parent.size > MAX_VALUES:
            raise _Stop(parent.mark, f"more than {MAX_VALUES} values, aliases counted as often as they are used")
        if len(self.stack) + parent.depth > MAX_DEPTH + 1:
            raise _Stop(parent.mark, f"nested deeper than {MAX_DEPTH} levels")

    def _entry(self, parent: _Node, pending: tuple[str, Mark], node: _Node) -> None:
        key, mark = pending
        parent.pending_key = None
        if key in parent.keys:
            parent.faults.append((mark, f"the key {show_key(key)} is there already, on line {parent.keys[key].line}"))
        elif key == "<<":
            parent.faults.append((mark, "merge keys (<<) are not part of YAML 1.2; repeat the keys"))
        elif not key:
            parent.faults.append((mark, "the key is empty"))
        else:
            parent.keys[key] = mark
            parent.value[key] = node


def _plain(node: _Node, path: KeyPath, document: Document, problems: list[Problem]) -> Any:
    document.values[path] = node.mark
    document.keys.setdefault(path, node.mark)
    problems += [problem(mark, path, message) for mark, message in node.faults]
    if node.bad:
        document.blamed.add(path)
    if isinstance(node.value, list):
        return [_plain(item, (*path, index), document, problems) for index, item in enumerate(node.value)]
    if isinstance(node.value, dict):
        plain: dict[str, Any] = {}
        for key, item in node.value.items():
            place = (*path, key)
            document.keys[place] = node.keys[key]
            plain[key] = _plain(item, place, document, problems)
        return plain
    return node.value
