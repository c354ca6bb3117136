"""``python -P -m ci_acme`` is the same as ``ci-acme``."""

import sys

from ci_acme.cli import main

if __name__ == "__main__":
    sys.exit(main())
