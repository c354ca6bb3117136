"""The imperative shell: carries a plan out through ports. Everything that costs time to import is imported on use."""

from ci_acme.runner.run import Run, RunOptions

__all__ = ["Run", "RunOptions"]
