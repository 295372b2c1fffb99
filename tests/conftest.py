"""What every test needs before torch is loaded."""

import pochette  # noqa: F401  (sets how torch's threads wait: see pochette/__init__.py)
