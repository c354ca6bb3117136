"""A network of the bench's own, for clients whose defaults ask port 53.

lego's propagation check asks the name servers of the zone on port 53 and the resolvers of /etc/resolv.conf. Inside a
network and mount namespace both can be BIND without touching the machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

MARK = "CI_ACME_BENCH_NAMESPACE"
DNS_PORT = 53


def inside() -> bool:
    """Whether this process runs in the namespace."""
    return MARK in os.environ


def enter(arguments: Sequence[str]) -> int:
    """Run the bench again inside; its exit status. Needs `unshare` (util-linux) and root or user namespaces."""
    unshare = shutil.which("unshare")
    if unshare is None:
        print("bench: --defaults needs unshare (util-linux)", file=sys.stderr)
        return 2
    options = ["-n", "-m"] if os.geteuid() == 0 else ["-r", "-n", "-m"]
    command = [unshare, *options, sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, env={**os.environ, MARK: "1"}, check=False).returncode


def prepare() -> None:
    """Bring loopback up, and make 127.0.0.1 the resolver."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS
    with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as resolver:
        resolver.write("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
    Path(resolver.name).chmod(0o644)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", resolver.name, str(Path("/etc/resolv.conf").resolve())], check=True)
    Path(resolver.name).unlink()
