"""The .pochette file and how it is played; torch-free."""

from pochette.instrument.file import Instrument, load, save
from pochette.instrument.trust import remember_built_here

__all__ = ["Instrument", "load", "remember_built_here", "save"]
