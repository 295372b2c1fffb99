"""A folder of sounds in, a neural instrument small enough for a microcontroller out."""

import os

# Before torch is loaded: its threads spin while they wait for each other, and when another program has one of the
# cores a training of two threads becomes thirty times slower (142 steps against 3 in 40 s). Waiting threads sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
