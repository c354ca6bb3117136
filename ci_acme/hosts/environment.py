"""What `${environment}` stands for: what was said, else what the CI system calls this deployment."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MAX_LABEL: Final = 63
_MAX_EVENT: Final = 8 << 20
_PULL: Final = re.compile(r"refs/pull/(\d+)/(merge|head)\Z")
_NOT_LABEL: Final = re.compile(r"[^a-z0-9]+")


def detect_environment(explicit: str | None, environ: Mapping[str, str]) -> str | None:
    """The environment's name as a DNS label, None if nobody says it.

    `explicit` (`--environment`) goes first, then `CI_ACME_ENVIRONMENT`, then the CI system: on GitHub `pr-N` for a pull
    request, else the branch or tag; on GitLab the environment's slug, `mr-N` for a merge request, else the branch's
    slug.
    """
    said = explicit or environ.get("CI_ACME_ENVIRONMENT", "").strip()
    found = said or _github(environ) or _gitlab(environ)
    return dns_label(found) if found else None


def dns_label(text: str) -> str:
    """`text` as one label of a host name: lower case, accents dropped, anything else a single hyphen, at most 63.

    What would be longer is cut and ends in a hash of the whole, so that two long names stay two; a text without any
    letter or digit of ASCII becomes `e-` and its hash. Never raises.
    """
    digest = hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    label = _NOT_LABEL.sub("-", plain.lower()).strip("-")
    if not label:
        return f"e-{digest[:8]}"
    if len(label) > MAX_LABEL:
        return f"{label[: MAX_LABEL - 9].rstrip('-')}-{digest[:8]}"
    return label


def _github(environ: Mapping[str, str]) -> str | None:
    if environ.get("GITHUB_ACTIONS") != "true" and "GITHUB_REF" not in environ:
        return None
    pull = _PULL.match(environ.get("GITHUB_REF", ""))
    if pull:
        return f"pr-{pull[1]}"
    if environ.get("GITHUB_EVENT_NAME", "").startswith("pull_request"):
        # The ref of pull_request_target is the base branch, and the head's name is the contributor's choice: with
        # either, a fork could speak for an environment that is not its own.
        number = _event_number(environ.get("GITHUB_EVENT_PATH", ""))
        return None if number is None else f"pr-{number}"
    return environ.get("GITHUB_REF_NAME") or environ.get("GITHUB_REF", "").split("/", 2)[-1] or None


def _event_number(path: str) -> int | None:
    try:
        with Path(path).open("rb") as file:
            event = json.loads(file.read(_MAX_EVENT))
    except (OSError, ValueError, RecursionError):
        return None
    number = event.get("number") if isinstance(event, dict) else None
    return number if isinstance(number, int) and number > 0 else None


def _gitlab(environ: Mapping[str, str]) -> str | None:
    if environ.get("GITLAB_CI") != "true" and "CI_COMMIT_REF_SLUG" not in environ:
        return None
    merge_request = environ.get("CI_MERGE_REQUEST_IID")
    return (
        environ.get("CI_ENVIRONMENT_SLUG")
        or (f"mr-{merge_request}" if merge_request else None)
        or environ.get("CI_COMMIT_REF_SLUG")
        or None
    )
