"""`ci-acme plan`: `issue` that stops before it does anything."""

from ci_acme.cli.issue import main

__all__ = ["main"]
