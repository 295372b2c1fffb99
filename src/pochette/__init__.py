"""A folder of sounds in, a neural instrument small enough for a microcontroller out."""

__version__ = "0.1.0"
