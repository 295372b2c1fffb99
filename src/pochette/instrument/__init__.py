"""The .pochette file and how it is played; torch-free."""

from pochette.instrument.file import Instrument, load, save
from pochette.instrument.midi import read_midi, scale_midi
from pochette.instrument.polyphony import Message, Polyphony
from pochette.instrument.render import RenderReport, perform, render
from pochette.instrument.trust import remember_built_here

__all__ = [
    "Instrument",
    "Message",
    "Polyphony",
    "RenderReport",
    "load",
    "perform",
    "read_midi",
    "remember_built_here",
    "render",
    "save",
    "scale_midi",
]
