"""Mu-law: 256 codes for a sample, spaced by the logarithm of its size (ITU-T G.711's curve, continuous, mu = 255).

    f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu),     code = floor((f(x) + 1) / 2 * mu + 1/2)

The code is rounded, not cut off: silence is code 128 on its own side, and encoding a decoded code gives it back for all
256. (Half a level of silence remains: no code decodes to exactly 0.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

MU = 255
"""Parameter of the curve; the codes are 0 to MU."""
CODES = MU + 1
"""How many codes there are."""
SILENCE = 128
"""Code of a sample of 0."""

Codes = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def encode(samples: npt.NDArray[np.floating[Any]]) -> Codes:
    """Codes of samples.

    Args:
        samples: any shape, full scale 1; what lies beyond is clipped.

    Returns:
        the same shape, 0 to 255.
    """
    x = np.clip(np.asarray(samples, np.float64), -1.0, 1.0)
    curve = np.sign(x) * np.log1p(MU * np.abs(x)) / math.log1p(MU)
    codes: Codes = np.floor((curve + 1.0) / 2.0 * MU + 0.5).astype(np.int64)
    return codes


def decode(codes: npt.NDArray[np.integer[Any]]) -> Doubles:
    """Samples in the middle of their codes' ranges on the curve.

    Args:
        codes: any shape, 0 to 255.

    Returns:
        the same shape, -1 to 1.
    """
    return _inverse_curve(2.0 * np.asarray(codes, np.float64) / MU - 1.0)


def edges() -> Doubles:
    """Samples at which one code ends and the next begins, (255,), ascending: code c lies in [edges[c-1], edges[c])."""
    return _inverse_curve(2.0 * (np.arange(1, CODES) - 0.5) / MU - 1.0)


def _inverse_curve(y: Doubles) -> Doubles:
    out: Doubles = np.sign(y) * np.expm1(np.abs(y) * math.log1p(MU)) / MU
    return out
