"""Pages that a proxy gives in place of an answer: the SDK reads one as an answer that says nothing.

What the content type says proves nothing: servers that speak AWS's protocols beside AWS send `text/html` with answers
that are theirs, and with none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_MARK: Final = "ci-acme-page"
_BEGINNING: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|title|meta|body|center|h1|p)\b",
    re.IGNORECASE | re.DOTALL,
)


def mark(*, http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """A handler of botocore's `after-call`: notes in the answer that a page came. An object is not read for it."""
    if model.has_streaming_output:
        kind = str(http_response.headers.get("content-type", ""))
        page = kind.startswith("text/html") and "ETag" not in parsed  # an object has one
    else:
        page = _BEGINNING.match(http_response.content or b"") is not None
    if page and isinstance(parsed.get("ResponseMetadata"), dict):
        parsed["ResponseMetadata"][_MARK] = True


def is_page(answer: Mapping[str, Any]) -> bool:
    """Whether `mark` has noted it."""
    return _MARK in answer.get("ResponseMetadata", {})
