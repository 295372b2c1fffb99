"""Shares that cannot be had: one refusal for all methods, which names the smallest share that works."""

from __future__ import annotations

import math

from pochette.errors import ReductionError

DIGITS = 4
"""Of a share that is named; it is rounded up, so that it works when it is typed."""


def named(share: float) -> str:
    """A share as it is typed, no less than it is.

    Args:
        share: above 0.

    Returns:
        a few digits.
    """
    unit = 10.0 ** (math.floor(math.log10(share)) + 1 - DIGITS)
    return f"{math.ceil(share / unit * (1 - 1e-9)) * unit:.{DIGITS}g}"


def check_least(keep: float, least: float, why: str, instead: str) -> None:
    """Refuse a share that is less than can be left.

    Args:
        keep: share that is asked for.
        least: the smallest that works.
        why: what is left in any case, with its share; the sentence goes on.
        instead: what else can be done, beside keeping more.

    Raises:
        ReductionError: it cannot be reached.
    """
    if keep < least * (1 - 1e-9):
        raise ReductionError(
            f"{why}: {100 * keep:.3g} % cannot be reached.",
            where="--keep",
            remedy=f"Keep {named(least)} or more{instead}.",
        )
