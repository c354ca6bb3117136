"""From options to a loaded config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ci_acme.config.load import Loaded, open_config
from ci_acme.errors import UsageError
from ci_acme.hosts import detect_environment


def load_config(options: Any) -> Loaded:
    """The config that the options, the environment and the file say. Raises `ConfigError` or `UsageError`."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise UsageError("the working directory was removed", fix="change into one that exists") from None
    return open_config(
        vars(options),
        environ=os.environ,
        cwd=here,
        environment=detect_environment(getattr(options, "environment", None), os.environ),
    )


def chosen_authority(options: Any, loaded: Loaded) -> str | None:
    """The authority of the config that `--ca` or its variable means; None if neither is given."""
    said = getattr(options, "ca", None) or os.environ.get("CI_ACME_CA", "").strip()
    known = list(loaded.config.authorities)
    if not said or said in known:
        return said or None
    return known[0]  # the only one, which has got this directory
