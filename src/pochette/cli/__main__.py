"""`python -m pochette.cli`: the same as `pochette`."""

import sys

from pochette.cli import main

if __name__ == "__main__":
    sys.exit(main())
