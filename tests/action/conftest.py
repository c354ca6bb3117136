"""The laboratory of the end-to-end tests, for the action."""

from tests.e2e.conftest import lab, make_lab

__all__ = ["lab", "make_lab"]
