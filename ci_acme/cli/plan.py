"""`ci-acme plan`: `issue` that stops before it does anything; or a job matrix of what is to do."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from ci_acme.cli.console import Console
from ci_acme.cli.issue import carry_out, show
from ci_acme.cli.source import load_config

if TYPE_CHECKING:
    from ci_acme.core.matrix import GitLabJob

_HANDED_ON: Final = ("config", "environment", "state")


def main(options: Any, console: Console) -> int:
    """Plan, print the result or the matrix, return the exit status."""
    form = getattr(options, "matrix", None)
    result = carry_out(options, console, dry_run=True)
    if form is None:
        return show(result, options, console)
    from ci_acme.cli.announce import announce
    from ci_acme.core import matrix

    console.close()
    document = result.as_dict()
    announce(document, options, console)
    names = matrix.to_do(document)
    if form == "github":
        left = len(names) - len(matrix.fitting(names))
        if left:
            console.warning(f"{left} of {len(names)} certificates do not fit into the matrix: the next run has them")
        print(json.dumps(matrix.github_matrix(names), separators=(",", ":")))
    else:
        print(json.dumps(matrix.gitlab_pipeline(names, _taken_over(options)), indent=2))
    return 0


def _taken_over(options: Any) -> GitLabJob:
    """What the child pipeline's jobs need of this one. A state with a password stays in the project's variables."""
    from ci_acme import __version__
    from ci_acme.config.extras import extras
    from ci_acme.core.matrix import GitLabJob
    from ci_acme.hosts import detect_environment, oidc

    said = {name: getattr(options, name, None) or os.environ.get(f"CI_ACME_{name.upper()}") for name in _HANDED_ON}
    said["environment"] = detect_environment(said["environment"], os.environ)
    if "@" in (said["state"] or ""):
        said["state"] = None
    return GitLabJob(
        install=f"ci-acme[{','.join(extras(load_config(options).config))}]=={__version__}",
        image=os.environ.get("CI_JOB_IMAGE"),
        variables={f"CI_ACME_{name.upper()}": value for name, value in said.items() if value},
        audiences=oidc.audiences(os.environ) if os.environ.get("GITLAB_CI") else {},
    )
