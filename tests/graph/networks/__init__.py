"""The networks of the trimming matrix, each with answers that no engine was asked for."""

from tests.graph.networks import attention, convolution, gates, hostile, modulated, plain, recurrent, whole
from tests.graph.networks.case import Case

GROUPS: dict[str, tuple[Case, ...]] = {
    "Convolutions": tuple(convolution.CASES),
    "Recurrent layers": tuple(recurrent.CASES),
    "Gates, stacks, skips": tuple(gates.CASES),
    "Filters set by data": tuple(modulated.CASES),
    "Whole generators": tuple(whole.CASES),
    "Attention and normalisations": tuple(attention.CASES),
    "Dense layers and functions": tuple(plain.CASES),
    "Hostile": tuple(hostile.CASES),
}
CASES: tuple[Case, ...] = tuple(case for group in GROUPS.values() for case in group)
NOTHING: tuple[Case, ...] = tuple(plain.NOTHING)
"""Nothing may be removed from these."""

__all__ = ["CASES", "GROUPS", "NOTHING", "Case"]
