"""What every runner does alike: ask an engine for its numbers, distrust them, cut requests into blocks. Torch-free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pochette.engine.runner import FloatArray
from pochette.engine.source import ABI_VERSION, BLOCK_SAMPLES, MOST_CONTROLS, InfoKey
from pochette.errors import InstrumentError, ShapeError

_RANGES = {
    InfoKey.SAMPLE_RATE_HZ: (4_000, 400_000),
    InfoKey.HOP_SAMPLES: (1, 65_536),
    InfoKey.CONTROLS: (0, MOST_CONTROLS),
    InfoKey.STATE_BYTES: (1, 1 << 30),
    InfoKey.BLOCK_SAMPLES: (BLOCK_SAMPLES, BLOCK_SAMPLES),
    InfoKey.LATENCY_SAMPLES: (0, 10_000_000),
}
"""Values outside these are a damaged or hostile engine, not an unusual one."""


@dataclass(frozen=True)
class EngineInfo:
    """The numbers that an engine tells of itself, each within its sane range."""

    sample_rate_hz: int
    hop_samples: int
    n_controls: int
    state_bytes: int
    latency_samples: int


def read_info(ask: Callable[[int], int], where: str) -> EngineInfo:
    """Ask an engine for its numbers and refuse those that no honest engine gives.

    Args:
        ask: calls the engine's `pochette_info`.
        where: what is being asked, for the message.

    Returns:
        the numbers.

    Raises:
        InstrumentError: another version of the interface, or a value out of range.
    """
    version = ask(InfoKey.ABI_VERSION)
    if version != ABI_VERSION:
        raise InstrumentError(
            f"The engine speaks version {version} of the interface; this pochette speaks {ABI_VERSION}.",
            where=where,
            remedy="Export the instrument again, or install the version of pochette that made it.",
        )
    values = {key: ask(key) for key in _RANGES}
    for key, (low, high) in _RANGES.items():
        if not low <= values[key] <= high:
            raise InstrumentError(
                f"The engine claims {key.name} = {values[key]}; {low} to {high} is possible.",
                where=where,
                remedy="The engine is damaged or was not made by pochette: export the instrument again.",
            )
    return EngineInfo(
        sample_rate_hz=values[InfoKey.SAMPLE_RATE_HZ],
        hop_samples=values[InfoKey.HOP_SAMPLES],
        n_controls=values[InfoKey.CONTROLS],
        state_bytes=values[InfoKey.STATE_BYTES],
        latency_samples=values[InfoKey.LATENCY_SAMPLES],
    )


class BlockRunner(ABC):
    """A `Runner` whose machine makes at most `call_samples` a call; subclasses say how one call is made."""

    kind: str
    call_samples = BLOCK_SAMPLES
    """Where the engine writes into its own arena, that is the arena's size."""

    def __init__(self, info: EngineInfo) -> None:
        self.sample_rate_hz = info.sample_rate_hz
        self.hop_samples = info.hop_samples
        self.n_controls = info.n_controls
        self.latency_samples = info.latency_samples
        self.state_bytes = info.state_bytes

    @abstractmethod
    def reset(self) -> None:
        """Back to silence."""

    @abstractmethod
    def _make(self, controls: FloatArray, audio: FloatArray) -> None:
        """Fill `audio` (at most `call_samples`, contiguous) by one call of the engine."""

    def process(self, controls: FloatArray, samples: int) -> FloatArray:
        """The next samples.

        Args:
            controls: (control,), in the controls' units; read when a frame begins.
            samples: how many, at least 1; more than the engine's block are made by several calls.

        Returns:
            (samples,), full scale 1.

        Raises:
            ShapeError: another number of controls than the engine has, or no samples asked for.
        """
        row = np.ascontiguousarray(controls, np.float32)
        if row.shape != (self.n_controls,):
            raise ShapeError(
                f"Controls of shape {row.shape} were given to an engine with {self.n_controls} controls.",
                remedy=f"Give one row of {self.n_controls} values, in the order of the instrument's controls.",
            )
        if samples < 1:
            raise ShapeError(f"{samples} samples were asked for.", remedy="Ask for at least one sample.")
        audio = np.empty(samples, np.float32)
        for start in range(0, samples, self.call_samples):
            self._make(row, audio[start : start + self.call_samples])
        return audio
