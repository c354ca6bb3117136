"""What the operating system says, as errors that say what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_FIXES: Final = {
    errno.ENOSPC: "free some space on the file system of {where}",
    errno.EDQUOT: "raise the quota, or free some space on the file system of {where}",
    errno.EFBIG: "raise the file size limit of the process (ulimit -f)",
    errno.EROFS: "mount the file system of {where} read-write, or configure another directory",
    errno.EACCES: "let {who} write in {where}, or configure another directory",
    errno.EPERM: "let {who} write in {where}, or configure another directory",
    errno.ENOTDIR: "remove or rename the file that stands where a directory is needed, or configure another directory",
    errno.EEXIST: "remove or rename the file that stands where a directory is needed, or configure another directory",
    errno.ENAMETOOLONG: "give the certificate or the directory a shorter name",
    errno.ELOOP: "remove the symbolic link, or configure another directory",
    errno.EBUSY: "mount {where} instead of {target}: a mount point cannot be replaced",
    errno.EXDEV: "replace {target} by a copy of itself once: it is in a fixed layer of the container image",
    errno.EIO: "check the disk that holds {where}",
    errno.ESTALE: "mount the network file system of {where} again",
}


def reason(error: OSError) -> str:
    """The system's words and the path that they are about."""
    words = error.strerror or type(error).__name__
    path = error.filename
    return f"{words} ({os.fsdecode(path)})" if isinstance(path, (str, bytes)) else words


def fix(error: OSError, target: Path) -> str:
    """The next thing to do, as an imperative."""
    text = _FIXES.get(error.errno or 0, "check the file system of {where}")
    who = f"uid {os.geteuid()}" if hasattr(os, "geteuid") else "this user"
    return text.format(where=target.parent, target=target, who=who)


def read_fix(error: OSError, target: Path) -> str:
    """The next thing to do when reading failed."""
    if error.errno in (errno.EACCES, errno.EPERM):
        who = f"uid {os.geteuid()}" if hasattr(os, "geteuid") else "this user"
        return f"let {who} read {target}, or run as its owner"
    return fix(error, target)


def details(error: OSError) -> dict[str, str]:
    """The symbol of the error, for programs."""
    return {"errno": errno.errorcode.get(error.errno or 0, "?")}
