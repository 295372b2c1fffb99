"""Filters made narrow on two sides, inputs and outputs, by the singular vectors of each (Tucker-2, as truncated HOSVD).

W of (output, input, tap) becomes U_out C U_in^T tap by tap: C holds what is left between the first directions of either
side (De Lathauwer et al. 2000; for filters Kim et al. 2016). As both bases are orthonormal, what is lost is exactly the
energy of the core's entries left out, for every pair of ranks at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tucker:
    """Filters, by what they do between each direction of their inputs and each of their outputs."""

    outputs: Tensor
    """(output, direction), the most energetic first."""
    core: Tensor
    """(direction of outputs, direction of inputs, tap)."""
    inputs: Tensor
    """(input, direction)."""

    @classmethod
    def of(cls, weight: Tensor) -> Tucker:
        """That of filters.

        Args:
            weight: (output, input, tap...).

        Returns:
            in double precision.
        """
        whole = weight.detach().double().flatten(2)
        outputs = _directions(whole)
        inputs = _directions(whole.transpose(0, 1))
        return cls(outputs, torch.einsum("oit,op,iq->pqt", whole, outputs, inputs), inputs)

    def lost(self) -> Tensor:
        """Of the sum of squares the share that goes, (rank of inputs - 1, rank of outputs - 1)."""
        energy = self.core.square().sum(-1).T
        kept = energy.cumsum(0).cumsum(1)
        return 1.0 - kept / kept[-1, -1].clamp(min=1e-300)

    def size(self, rank: tuple[int, int]) -> int:
        """Numbers of the three filters, and multiplications a step."""
        inputs, outputs = rank
        return inputs * len(self.inputs) + inputs * outputs * self.core.shape[-1] + outputs * len(self.outputs)

    def rank_for(self, error: float) -> tuple[int, int]:
        """The ranks of inputs and outputs that take the fewest numbers, of those whose error is no greater.

        Args:
            error: of the sum of squares, the share that goes.

        Returns:
            all directions where nothing less will do.
        """
        lost = self.lost()
        inputs, outputs = (torch.arange(1, size + 1) for size in lost.shape)
        sizes = inputs[:, None] * len(self.inputs) + outputs * len(self.outputs)
        sizes = sizes + inputs[:, None] * outputs * self.core.shape[-1]
        fits = lost <= error
        fits[-1, -1] = True
        best = int(torch.where(fits, sizes, sizes.max() + 1).argmin())
        return best // lost.shape[1] + 1, best % lost.shape[1] + 1

    def factors(self, rank: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """The three filters; all have about the same size of numbers.

        Args:
            rank: of inputs and outputs.

        Returns:
            (rank of inputs, input), (rank of outputs, rank of inputs, tap) and (output, rank of outputs).
        """
        inputs, outputs = rank
        core = self.core[:outputs, :inputs]
        # Orthonormal columns are small where the core is large: training moves all by like steps.
        scale = (float(core.norm()) or 1.0) ** (1.0 / 3.0)
        narrow, wide = self.inputs[:, :inputs].T * scale, self.outputs[:, :outputs] * scale
        return narrow, core / scale**2, wide


def _directions(side_first: Tensor) -> Tensor:
    """Left singular vectors of a tensor with one side against all others."""
    left: Tensor = torch.linalg.svd(side_first.reshape(len(side_first), -1), full_matrices=False).U
    return left
