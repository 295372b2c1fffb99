"""Even quantisation: 256 codes of one width each, from -1 to 1; the linear codes of SampleRNN without their faults.

    code = round(128 x) + 128, at most 255          x = (code - 128) / 128

Full scale is fixed: published figures stretch every stretch of sound to the full range first, which loses its level and
moves its silence from code to code. Silence is code 128, which decodes to exactly 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pochette.sound.mulaw import Codes, Doubles

CODES = 256
"""How many codes there are."""
SILENCE = 128
"""Code of a sample of 0."""


def encode(samples: npt.NDArray[np.floating[Any]]) -> Codes:
    """Codes of samples.

    Args:
        samples: any shape, full scale 1; what lies beyond is clipped.

    Returns:
        the same shape, 0 to 255.
    """
    steps = np.floor(np.asarray(samples, np.float64) * SILENCE + 0.5) + SILENCE
    codes: Codes = np.clip(steps, 0, CODES - 1).astype(np.int64)
    return codes


def decode(codes: npt.NDArray[np.integer[Any]]) -> Doubles:
    """Samples in the middle of their codes' ranges.

    Args:
        codes: any shape, 0 to 255.

    Returns:
        the same shape, -1 to 127/128.
    """
    return (np.asarray(codes, np.float64) - SILENCE) / SILENCE


def edges() -> Doubles:
    """Samples at which one code ends and the next begins, (255,), ascending: code c lies in [edges[c-1], edges[c])."""
    return (np.arange(1, CODES) - 0.5 - SILENCE) / SILENCE
