"""`ci-acme plan`: `issue` that stops before it does anything; or a job matrix of what is to do."""

from __future__ import annotations

import json
import os
from typing import Any

from ci_acme.cli.console import Console
from ci_acme.cli.issue import carry_out, show


def main(options: Any, console: Console) -> int:
    """Plan, print the result or the matrix, return the exit status."""
    form = getattr(options, "matrix", None)
    result = carry_out(options, console, dry_run=True)
    if form is None:
        return show(result, options, console)
    from ci_acme.cli.announce import announce
    from ci_acme.core import matrix

    console.close()
    announce(result.as_dict(), options, console)
    names = matrix.to_do(result)
    if form == "github":
        print(json.dumps(matrix.github_matrix(names), separators=(",", ":")))
    else:
        component = os.environ.get("CI_ACME_COMPONENT") or None
        environment = getattr(options, "environment", None) or os.environ.get("CI_ACME_ENVIRONMENT") or None
        print(json.dumps(matrix.gitlab_pipeline(names, component, environment), indent=2))
    return 0
