"""One way to run an engine, wherever it runs: native, in the WebAssembly sandbox, or in an emulator. Torch-free."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Runner(Protocol):
    """One voice of an engine, held in some machine's memory."""

    kind: str
    """"wasm", "c", "aarch64", "cortex-m7", "torch"."""
    sample_rate_hz: int
    hop_samples: int
    n_controls: int
    latency_samples: int

    def reset(self) -> None:
        """Back to silence."""

    def process(self, controls: FloatArray, samples: int) -> FloatArray:
        """The next samples.

        Args:
            controls: (control,), in the controls' units; read when a frame begins.
            samples: how many, at least 1; more than the engine's block are made by several calls.

        Returns:
            (samples,), full scale 1.
        """


def run_frames(runner: Runner, controls: FloatArray, block_samples: int | None = None) -> FloatArray:
    """Audio of a whole control curve, from reset.

    Args:
        runner: any engine.
        controls: (frame, control); row f holds while frame f is made.
        block_samples: cut the calls to this length (the audio must not depend on it); one frame a call by default.

    Returns:
        (frame * hop_samples,).
    """
    runner.reset()
    hop = runner.hop_samples
    block = hop if block_samples is None else block_samples
    pieces: list[FloatArray] = []
    position, end = 0, len(controls) * hop
    while position < end:
        # A call that begins inside one frame and ends in the next would read the next row too late: cut it there.
        frame = position // hop
        samples = min(block, (frame + 1) * hop - position)
        pieces.append(runner.process(controls[frame], samples))
        position += samples
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
