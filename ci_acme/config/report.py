"""pydantic's errors in our words and at their places. The only module that decides whether a found value is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from ci_acme.config.document import Document, KeyPath, show_key
from ci_acme.config.problems import Problem, nearest, problem
from ci_acme.config.shape import model_at

_MESSAGES: Final[dict[str, str]] = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_unicode": "must be text",
    "string_too_short": "must not be empty",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "is not one of the allowed values",
    "enum": "is not one of the allowed values",
    "string_pattern_mismatch": "has not the right form",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_long": "has more than {max_length} items",
    "string_too_long": "has more than {max_length} characters",
}
_SHOWN_TYPES: Final = re.compile(r"(choice|literal_error|enum|(int|float|bool)_\w+|(greater|less)_than\w*)\Z")
_SHOWABLE: Final = re.compile(r"[A-Za-z0-9-][A-Za-z0-9 ._-]{0,31}\Z")
_SHORT: Final = 14
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”")
_NAME_FIELDS: Final = re.compile(r"certificates/[^/]+/names(/\d+)?\Z|dns/\d+/zone\Z")
_TYPE_WORDS: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "a string"),
    (Mapping, "a mapping"),
    (list, "a list"),
)


def translate(error: ValidationError, document: Document) -> list[Problem]:
    """A problem for each of pydantic's errors, except at places that have one already."""
    items = error.errors(include_url=False, include_input=False)
    unknown = [(tuple(item["loc"]), _suggestion(item, document)) for item in items if item["type"] == "extra_forbidden"]
    meant = {(*loc[:-1], suggestion) for loc, suggestion in unknown if suggestion}
    problems: list[Problem] = []
    for item in items:
        path = _path(item["loc"], document)
        if not _excused(item, path, meant, document) and not document.is_blamed(path):
            problems.append(_problem(item, path, document))
    return problems


def _excused(item: Mapping[str, Any], path: KeyPath, meant: set[KeyPath], document: Document) -> bool:
    """Whether the error only follows from another: a key that was misspelled, or a list short of its bad items."""
    if item["type"] == "missing":
        return tuple(item["loc"]) in meant
    value = document.at(path)
    least = (item.get("ctx") or {}).get("min_length", 0)
    return item["type"] == "too_short" and (isinstance(value, str) or (isinstance(value, list) and len(value) >= least))


def _problem(item: Mapping[str, Any], path: KeyPath, document: Document) -> Problem:
    kind, context = item["type"], item.get("ctx") or {}
    value = document.at(path)
    if item["loc"] and item["loc"][-1] == "[key]":
        return problem(document.key_mark(path), path, "a name is letters, digits, '.', '_' and '-', at most 200")
    if kind == "extra_forbidden":
        return _unknown_key(path, document)
    if kind == "missing":
        return problem(document.key_mark(path[:-1]), path, "is required", allowed=context.get("allowed", ()))
    allowed = list(context.get("allowed") or _expected(kind, context))
    word = value if isinstance(value, str) else ""
    suggestion = nearest(word, allowed) if word and allowed else None
    if kind == "bool_type" and word.lower() in _BOOLEAN_WORDS:
        suggestion = _BOOLEAN_WORDS[word.lower()]
    return problem(
        document.value_mark(path),
        path,
        _message(kind, context, path, document),
        found=_found(kind, value, path, document, near=suggestion is not None),
        allowed=allowed,
        suggestion=suggestion,
        fix=context.get("fix", ""),
        unavailable=kind == "unavailable",
    )


_BOOLEAN_WORDS: Final = {
    **dict.fromkeys(("yes", "y", "on", "1"), "true"),
    **dict.fromkeys(("no", "n", "off", "0"), "false"),
}


def _unknown_key(path: KeyPath, document: Document) -> Problem:
    allowed = _allowed_keys(path[:-1], document)
    key = str(path[-1])
    suggestion = nearest(show_key(key).strip('"…'), allowed)
    shown = path
    if document.at(path) is None and suggestion is None:
        shown = (*path[:-1], "…")  # `{hunter2}` is a key without a value to YAML
    return problem(document.key_mark(path), shown, "unknown key", allowed=allowed, suggestion=suggestion)


def _suggestion(item: Mapping[str, Any], document: Document) -> str | None:
    loc = tuple(item["loc"])
    return nearest(show_key(str(loc[-1])).strip('"…'), _allowed_keys(loc[:-1], document))


def _allowed_keys(path: KeyPath, document: Document) -> list[str]:
    model = model_at(document.data, path)
    return [] if model is None else list(model.model_fields)


def _message(kind: str, context: Mapping[str, Any], path: KeyPath, document: Document) -> str:
    if kind in ("choice", "unavailable"):
        return str(context["reason"])
    if kind == "value_error":
        return _scrub(str(context.get("reason") or context.get("error") or "is not valid"), path, document)
    if kind == "too_short":
        return "must not be empty" if context.get("min_length") == 1 else f"needs {context.get('min_length')} items"
    template = _MESSAGES.get(kind, "is not valid")
    numbers = {key: f"{value:g}" for key, value in context.items() if isinstance(value, (int, float))}
    message = template.format_map(numbers)
    if kind.endswith("_type"):
        message += ", and is empty" if document.at(path) is None else f", not {_type_word(document.at(path))}"
        if kind == "string_type" and isinstance(document.at(path), (int, float)):
            message += "; put it in quotes"
    return message


def _type_word(value: Any) -> str:
    return next((word for kind, word in _TYPE_WORDS if isinstance(value, kind)), "this")


def _scrub(message: str, path: KeyPath, document: Document) -> str:
    """A validator's message without what it may repeat of the value; DNS names of the file itself are no secret."""
    from_environment = path in document.from_environment
    if _NAME_FIELDS.match("/".join(map(str, path))) and not from_environment:
        return _QUOTED.sub(lambda match: match.group() if len(match.group()) <= 66 else "…", message)
    value = document.at(path)
    text = _QUOTED.sub("…", message)
    return text.replace(value, "…") if isinstance(value, str) and len(value) > 3 else text


def _found(kind: str, value: Any, path: KeyPath, document: Document, *, near: bool) -> str | None:
    """The value, if its field is an enumeration, a number or a flag, and if it is short or nearly an allowed word.

    Somebody's secret in the wrong field is neither.
    """
    if not _SHOWN_TYPES.match(kind) or path in document.from_environment:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, (int, float)) else f"'{value}'" if isinstance(value, str) else ""
    return text if _SHOWABLE.match(text.strip("'")) and (near or len(text) <= _SHORT) else None


def _expected(kind: str, context: Mapping[str, Any]) -> Sequence[str]:
    if kind not in ("literal_error", "enum"):
        return ()
    return re.findall(r"'([^']*)'", str(context.get("expected", "")))


def _path(loc: Sequence[str | int], document: Document) -> KeyPath:
    """`loc` without what is not in the data: tags of unions, and the index into a list that was a single string."""
    path: KeyPath = ()
    here: Any = document.data
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(here, dict) and isinstance(part, str) and (part in here or (last and part != "[key]")):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            continue
        path = (*path, part)
    return path
