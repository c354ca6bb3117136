"""Plain data as YAML text with a comment at each line. Reading it back gives the same data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ci_acme.config.document import KeyPath
from ci_acme.config.scalars import not_allowed, resolve

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*\Z")


def emit(
    data: Mapping[str, Any],
    *,
    above: Callable[[KeyPath], str] = lambda _: "",
    beside: Callable[[KeyPath], str] = lambda _: "",
    below: Callable[[KeyPath], list[str]] = lambda _: [],
) -> str:
    """`data` as a YAML document of block mappings and lists; keys without a value (None) are left out.

    `above` and `beside` give the comment of a key or value, empty for none; `below` gives whole comment lines for the
    end of a mapping.
    """
    return "\n".join(_Emitter(above, beside, below).mapping(data, ())) + "\n"


def scalar(value: Any) -> str:
    """A scalar as YAML 1.2 and YAML 1.1 both read it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.match(value) and isinstance(resolve(value), str) and not _read_otherwise(value):
        return value
    return _flow(value)


def _flow(value: Any) -> str:
    """Any value in YAML's flow style: JSON, with the characters escaped that YAML does not allow."""
    text = json.dumps(value, ensure_ascii=False)
    return not_allowed(text).sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _read_otherwise(text: str) -> bool:
    """Whether other readers take the text for a boolean, a number, a time or a date (YAML 1.1)."""
    if text.lower() in ("y", "n", "yes", "no", "on", "off"):
        return True
    return text[0].isdigit() and not re.search("[a-z]{2}", text)


class _Emitter:
    def __init__(
        self,
        above: Callable[[KeyPath], str],
        beside: Callable[[KeyPath], str],
        below: Callable[[KeyPath], list[str]],
    ) -> None:
        self.above, self.beside, self.below = above, beside, below

    def mapping(self, data: Mapping[str, Any], path: KeyPath) -> Iterator[str]:
        for key, value in data.items():
            if value is None:
                continue
            place = (*path, key)
            if self.above(place):
                yield f"# {self.above(place)}"
            yield from self._value(f"{scalar(key)}:", value, place)
        yield from (f"# {line}" for line in self.below(path))

    def _value(self, lead: str, value: Any, path: KeyPath) -> Iterator[str]:
        if isinstance(value, Mapping) and value:
            yield lead
            yield from (f"  {line}" for line in self.mapping(value, path))
        elif isinstance(value, list) and value:
            yield lead
            for index, item in enumerate(value):
                yield from self._item(item, (*path, index))
        else:
            text = "{}" if isinstance(value, Mapping) else "[]" if isinstance(value, list) else scalar(value)
            yield f"{lead} {text}{self._comment(path)}"

    def _item(self, item: Any, path: KeyPath) -> Iterator[str]:
        if not isinstance(item, Mapping) or not item:
            text = _flow(item) if isinstance(item, (list, dict)) else scalar(item)
            yield f"  - {text}{self._comment(path)}"
            return
        for number, line in enumerate(self.mapping(item, path)):
            yield f"    {line}" if number else f"  - {line}"

    def _comment(self, path: KeyPath) -> str:
        comment = self.beside(path)
        return f"  # {comment}" if comment else ""
