"""From options to a loaded config: the file, or the file-less form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ci_acme.config.load import Loaded, find_config, from_options, load
from ci_acme.errors import ConfigError, UsageError
from ci_acme.hosts import detect_environment

FILELESS = ("domain", "dns", "dns_option", "store", "name")
OVERRIDES = ("ca", "ca_bundle", "email", "agree_terms", "account_key", "profile", "key", "resolver", "state")


def load_config(options: Any) -> Loaded:
    """The config that the options name. Raises `ConfigError` or `UsageError`."""
    environment = getattr(options, "environment", None) or detect_environment(os.environ)
    given = {name: getattr(options, name) for name in (*FILELESS, *OVERRIDES) if hasattr(options, name)}
    if given.get("domain"):
        if options.origins.get("config") == "--config":
            raise UsageError("--domain and --config do not go together", fix="give the names in the config file")
        return from_options(given, environ=os.environ, environment=environment, origins=options.origins)
    stray = [name for name in FILELESS if options.origins.get(name, "").startswith("--")]
    if stray:
        flag = "--" + stray[0].replace("_", "-")
        raise UsageError(f"{flag} is of the form without a config file", fix="give --domain too, or leave it out")
    path = find_config(getattr(options, "config", None), os.environ, Path.cwd())
    if path is None:
        raise ConfigError(
            "there is no config file: ci-acme.yaml, .ci-acme.yaml or .github/ci-acme.yaml",
            fix="run `ci-acme config init`, name one with --config, or use the form without a file: ci-acme issue "
            "--domain NAME --dns PROVIDER --store file:certs --ca letsencrypt --email ADDRESS",
        )
    overrides = {name: given[name] for name in OVERRIDES if name in given}
    return load(path, overrides=overrides, environ=os.environ, environment=environment, origins=options.origins)
