"""``python -P -m ci_acme`` is the same as ``ci-acme``."""

import sys

if __name__ == "__main__":
    try:
        from ci_acme.cli import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
