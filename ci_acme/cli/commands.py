"""The commands and the global options, as data: the help page and the parser are made from the same two tables."""

from __future__ import annotations

COMMANDS = (
    ("issue", "make certificates valid in all their stores: keep, renew or issue"),
    ("plan", "say what `issue` would do, and why; changes nothing"),
    ("check", "look for what would go wrong, without spending an order"),
    ("cleanup", "remove challenge records that interrupted runs left"),
    ("account", "register, show, update, rotate-key, deactivate: your account at a CA"),
    ("revoke", "revoke a certificate of the config, of a file, or by its serial number"),
    ("retire", "tear an environment down: remove certificates from their stores, own records from the DNS"),
    ("permissions", "print the least privilege of every provider, for exactly this config"),
    ("report", "merge the result documents of several runs into one"),
    ("inventory", "list certificates: names, issuer, expiry, renewal, owner, stores, state"),
    ("monitor", "alert on expiry, failed renewals, spikes, drift and unknown certificates; metrics"),
    ("config", "init, validate, show, schema"),
    ("demo", "the whole main job on this machine alone"),
    ("version", "print the version"),
)

GLOBAL_OPTIONS = (
    ("--config FILE", "the config file (default: ci-acme.yaml, .ci-acme.yaml, .github/ci-acme.yaml)"),
    ("--output text|json", "what stdout carries (default: text)"),
    ("--log-level LEVEL", "error, warning, info or debug on stderr (default: info)"),
    ("--log-format text|json", "the form of the lines on stderr (default: text)"),
    ("--no-color", "no colours on a terminal; NO_COLOR does the same"),
    ("--version", "print the version"),
    ("--help", "this page"),
)
