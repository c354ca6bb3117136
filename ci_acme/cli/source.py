"""From options to a loaded config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ci_acme.config.load import Loaded, open_config
from ci_acme.hosts import detect_environment


def load_config(options: Any) -> Loaded:
    """The config that the options, the environment and the file say. Raises `ConfigError` or `UsageError`."""
    return open_config(
        vars(options),
        environ=os.environ,
        cwd=Path.cwd(),
        environment=detect_environment(getattr(options, "environment", None), os.environ),
    )
