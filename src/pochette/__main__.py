"""`python -m pochette` is `pochette`."""

import sys

from pochette.cli import main

sys.exit(main())
