"""A grown generator's picture, so many frames a step and some ahead: the work of each step is that of the first.

Every layer remembers the one frame of its input that lies before the step; at the beginning that is nothing, as it is
around a whole picture. What lies ahead is made again by the next step, which must do as the first one does. Behind the
picture's end every layer's input is zero.

A resolution takes part in this if a step is a whole number of its frames. Those that are coarser are made whole by
every step, and what is needed of the finest of them is picked by number: they cost little.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pochette.layers.progressive import Doubling, ProgressiveGenerator, enlarged, lively

State = dict[str, Tensor]


class PictureStream:
    """Makes frames of a picture in their order.

    Args:
        generator: of at least two resolutions; read anew at every step, so that it may be trimmed.
        frames: of the finest picture, a step.
        ahead: frames after those that every step makes too.
    """

    def __init__(self, generator: ProgressiveGenerator, frames: int, ahead: int) -> None:
        self.generator, self.frames = generator, frames
        self.stretches = generator.stretches(range(frames + ahead))
        finest = generator.resolutions - 1
        whole = [resolution for resolution in range(finest) if frames % (1 << (finest - resolution))]
        self.begins = max(1, len(whole))
        """The coarsest resolution of which each step makes its own frames only."""

    def _block(self, resolution: int) -> Doubling:
        block = self.generator.blocks[resolution - 1]
        assert isinstance(block, Doubling)
        return block

    def _moves(self, resolution: int) -> int:
        """Frames of a resolution from step to step."""
        return self.frames >> (self.generator.resolutions - 1 - resolution)

    def initial_state(self, batch: int) -> State:
        """Before the first frame: what each layer remembers, (batch, channel, 1, bin) each."""
        state = {}
        for resolution in range(self.begins, self.generator.resolutions):
            block = self._block(resolution)
            bins = self.generator.start[1] << resolution
            layers = {"between": block.again, "heard": block.into}
            if resolution == self.begins:
                del layers["heard"]
            for name, layer in layers.items():
                state[f"{name}_{resolution}"] = layer.weight.new_zeros(batch, layer.weight.shape[1], 1, bins)
        return state

    def advance(self, told: Tensor, step: Tensor, state: State) -> tuple[Tensor, State]:
        """The next frames, and those ahead.

        Args:
            told: (batch, latent + pitch), the same at every step.
            step: (batch, 1), number of the step.
            state: of the step before.

        Returns:
            (batch, channel, frames + ahead, bin), arbitrary behind the picture's end; and the state after.
        """
        generator, after = self.generator, {}
        x = generator.begun(told, self.begins)
        for resolution in range(self.begins, generator.resolutions):
            block, fine, moves = self._block(resolution), self.stretches[resolution], self._moves(resolution)
            if resolution == self.begins:
                heard = self._picked(x, step * moves, len(fine.heard))
            else:
                heard = torch.cat([state[f"heard_{resolution}"], enlarged(x)[:, :, : len(fine.heard)]], dim=2)
                after[f"heard_{resolution}"] = heard[:, :, moves : moves + 1]
            between = lively(block.into.along(heard, range(-1, len(fine.heard)), fine.between))
            between = self._within(between, step * moves, resolution)
            between = torch.cat([state[f"between_{resolution}"], between], dim=2)
            after[f"between_{resolution}"] = between[:, :, moves : moves + 1]
            x = lively(block.again.along(between, range(-1, len(fine.between)), fine.made))
            x = self._within(x, step * moves, resolution)
        return torch.tanh(generator.to_pictures[-1](x)), after

    def _picked(self, whole: Tensor, first: Tensor, count: int) -> Tensor:
        """Frames of a whole picture enlarged twice: the one before `first` and `count` from there, zero outside."""
        wanted, there = (torch.arange(*span, device=whole.device) for span in ((-1, count), (0, whole.shape[2])))
        away = first[..., None] + wanted[:, None] - 2 * there
        chosen = torch.where(away > -0.5, torch.where(away < 1.5, 1.0, 0.0), 0.0)
        return torch.matmul(chosen[:, None], whole).repeat_interleave(2, dim=3)

    def _within(self, x: Tensor, first: Tensor, resolution: int) -> Tensor:
        """Zero behind the picture's end: (batch, channel, frame, bin), beginning at frame `first`."""
        frames = self.generator.start[0] << resolution
        inside = first + torch.arange(x.shape[2], device=x.device) < frames - 0.5
        return torch.where(inside[:, None, :, None], x, 0.0)
