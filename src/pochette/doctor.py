"""What this machine has for making and playing instruments, what it lacks, and what each lack costs. Torch-free."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pochette.engine.build import host_compiler
from pochette.errors import ToolError


@dataclass(frozen=True)
class Check:
    """One thing looked for."""

    name: str
    present: bool
    found: str
    """Version, path or number; empty if absent."""
    cost: str
    """What cannot be done without it."""
    remedy: str
    """The command that brings it."""

    def to_json(self) -> dict[str, Any]:
        """Give the check as plain data."""
        return dataclasses.asdict(self)


def doctor() -> list[Check]:
    """Look for everything that pochette can use.

    Nothing is started and no sound is made; a broken package counts as absent.

    Returns:
        all checks, present or not, the most needed first.
    """
    extra = "pip install 'pochette[{}]'".format
    return [
        _python(),
        _package("wasmtime", "wasmtime", "Instruments cannot be played in the sandbox.", "pip install pochette"),
        _package("torch", "torch", "Models cannot be trained, reduced or exported.", extra("train")),
        _package("soundfile", "soundfile", "Sound files other than WAV cannot be read.", extra("train")),
        _compiler(),
        _package("ziglang", "ziglang", "Nothing can be built for boards or web pages.", extra("compile")),
        _package("capstone", "capstone", "Instructions cannot be turned into cycles here.", extra("compile")),
        _package("unicorn", "unicorn", "Boards' code cannot be run or counted here.", extra("compile")),
        _package("elftools", "pyelftools", "Firmwares cannot be sized, nor run in the emulator.", extra("compile")),
        _program(["qemu-system-arm"], "No second opinion on whole Cortex-M firmwares.", "qemu-system-arm"),
        _program(["qemu-aarch64"], "No second opinion on Raspberry Pi programs.", "qemu-user"),
        _program(
            ["chromium", "chromium-browser", "google-chrome"], "Web instruments cannot be tested here.", "chromium"
        ),
        _query("audio output", "sounddevice", _audio_outputs, "Instruments cannot be heard live, only rendered."),
        _query("MIDI input", "rtmidi", _midi_inputs, "No MIDI keyboard can be played."),
    ]


def can_play() -> bool:
    """Whether there is anything here to hear an instrument by."""
    return _query("audio output", "sounddevice", _audio_outputs, "").present


def _python() -> Check:
    return Check(
        name="python",
        present=sys.version_info >= (3, 11),
        found=platform.python_version(),
        cost="pochette needs Python 3.11 or later.",
        remedy="Install Python 3.11 or later and make a new virtual environment with it.",
    )


def _package(module: str, distribution: str, cost: str, remedy: str) -> Check:
    """Look for a package without importing it: torch alone takes seconds."""
    if importlib.util.find_spec(module) is None:
        return Check(distribution, False, "", cost, remedy)
    try:
        found = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        found = "version unknown"
    return Check(distribution, True, found, cost, remedy)


def _program(names: list[str], cost: str, debian_package: str) -> Check:
    found = next(filter(None, map(shutil.which, names)), "")
    return Check(names[0], bool(found), found, cost, f"sudo apt install {debian_package}")


def _compiler() -> Check:
    cost, remedy = "Engines cannot be built for this computer; the sandbox still plays them.", "sudo apt install gcc"
    try:
        found = " ".join(host_compiler())
    except ToolError as error:
        return Check("C compiler", False, "", f"{cost} {error.what}", remedy)
    return Check("C compiler", True, found, cost, remedy)


def _query(name: str, module: str, ask: Callable[[Any], list[str]], cost: str) -> Check:
    """Ask a driver's package for its devices; a missing library of the system shows when it is imported."""
    remedy = {
        "sounddevice": "pip install 'pochette[play]' && sudo apt install libportaudio2, then connect an output",
        "rtmidi": "pip install 'pochette[play]', then connect a keyboard",
    }[module]
    try:
        devices = ask(importlib.import_module(module))
    except Exception as error:  # drivers raise whatever they like, and to be absent is no failure here
        return Check(name, False, "", f"{cost} ({type(error).__name__}: {error})", remedy)
    return Check(name, bool(devices), ", ".join(devices), cost, remedy)


def _audio_outputs(sounddevice: Any) -> list[str]:
    return [device["name"] for device in sounddevice.query_devices() if device["max_output_channels"] > 0]


def _midi_inputs(rtmidi: Any) -> list[str]:
    return list(rtmidi.MidiIn().get_ports())
