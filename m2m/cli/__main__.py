"""`python -m m2m.cli`, for a source tree that is not installed."""

import sys

from m2m.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
