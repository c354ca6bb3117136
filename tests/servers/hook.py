"""A hook as people write them: a shell script that changes a BIND by nsupdate."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.bind import KEY, SECRET, Bind

VARIABLES = ("NSUPDATE_SERVER", "NSUPDATE_ZONE", "NSUPDATE_KEY", "NSUPDATE_SECRET")

_SCRIPT = """#!/bin/sh
set -eu
fqdn=$2 value=$3
case $1 in
  present) change="update add $fqdn 60 TXT \\"$value\\"" ;;
  cleanup) change="update delete $fqdn TXT \\"$value\\"" ;;
  *) echo "what is $1?" >&2; exit 64 ;;
esac
echo "changing $fqdn"
nsupdate <<END
server $NSUPDATE_SERVER
zone $NSUPDATE_ZONE
key hmac-sha256:$NSUPDATE_KEY $NSUPDATE_SECRET
$change
send
END
"""


def write_hook(directory: Path) -> Path:
    """The script, executable."""
    path = directory / "dns-hook"
    path.write_text(_SCRIPT)
    path.chmod(0o755)
    return path


def hook_environment(bind: Bind, zone: str, secret: str = SECRET) -> dict[str, str]:
    """What the script needs to know."""
    values = (f"{bind.host} {bind.port}", zone, KEY, secret)
    return {"PATH": os.environ["PATH"], **dict(zip(VARIABLES, values, strict=True))}
