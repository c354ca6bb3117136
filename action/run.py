"""Runs ci-acme from this checkout, without having been installed: nothing of the caller's is on the path."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "providers")]

from ci_acme.cli import main  # noqa: E402

sys.exit(main())
