"""The tiers of SampleRNN (Mehri et al., ICLR 2017): recurrent layers that each turn so many samples once.

    tier 3, every 8 samples      8 samples ----------------------- GRU -- linear, a vector for each turn of tier 2
    tier 2, every 2 samples      2 samples -- linear ------- + --- GRU -- linear, a vector for each sample
    tier 1, every sample         2 codes -- table of each -- + --- linear, ReLU, linear, ReLU, linear -- distribution

A tier runs over a stretch of known sound, or turn by turn, on the same weights. Every width is read from the weights: a
trimmed network has fewer units than it was built with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pochette.layers.sampling import look_up

SCALE = 2.0
"""Tiers are given samples between -2 and 2."""


class FrameTier(nn.Module):
    """One recurrent tier.

    Args:
        frame_samples: that it is given at a turn.
        known: numbers beside them that tell of controls.
        units: of each recurrent layer.
        layers: recurrent ones.
        below: width of the vectors that it hands down.
        turns: of the tier below in one of its own.
        top: gives the frame straight to the recurrent layers; else it is brought to the width of what comes from above.
    """

    def __init__(
        self, *, frame_samples: int, known: int, units: int, layers: int, below: int, turns: int, top: bool
    ) -> None:
        super().__init__()
        self.frame_samples, self.turns = frame_samples, turns
        inputs = frame_samples + known
        self.enter = None if top else nn.Linear(inputs, units)
        self.recurrent = nn.GRU(inputs if top else units, units, layers, batch_first=True)
        self.rest = nn.Parameter(torch.zeros(1, layers, units))
        self.leave = nn.Linear(units, turns * below)

    def at_rest(self, batch: int) -> Tensor:
        """The state in which a sound begins; it is learnt.

        Args:
            batch: number of voices.

        Returns:
            (batch, layer, unit).
        """
        return self.rest.expand(batch, -1, -1)

    def forward(self, frames: Tensor, known: Tensor | None, above: Tensor | None, hidden: Tensor) -> tuple[Tensor, ...]:
        """Some turns.

        Args:
            frames: (batch, turn, frame_samples), -1 to 1: the samples before each turn.
            known: what is known of controls at each turn, (batch, turn, channel), or None.
            above: what the tier above says for each turn, (batch, turn, unit); None at the top.
            hidden: state, (batch, layer, unit).

        Returns:
            what it says for each turn of the tier below, (batch, turn * turns, below), and the state after.
        """
        x = SCALE * frames
        if known is not None:
            x = torch.cat([x, known], dim=-1)
        if self.enter is not None:
            x = self.enter(x)
            if above is not None:
                x = x + above
        made, hidden = self.recurrent(x, hidden.transpose(0, 1).contiguous())
        said = self.leave(made)
        return said.view(len(said), said.shape[1] * self.turns, -1), hidden.transpose(0, 1)


class SampleTier(nn.Module):
    """The tier of single samples: the codes before each, and what the tiers above say of it, to its distribution.

    An embedding followed by a matrix is a table, one row a code: for each place before the sample one. Playing looks
    rows up, and so does training, where a stretch has more samples than there are codes.

    Args:
        places: codes before the sample that it is given.
        codes: how many different ones there are.
        embedding: numbers that stand for a code.
        units: width of the hidden layers.
    """

    def __init__(self, *, places: int, codes: int, embedding: int, units: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, embedding)
        self.enter = nn.ModuleList(nn.Linear(embedding, units, bias=False) for _ in range(places))
        bound = 1.0 / math.sqrt(places * embedding)
        for place in self.enter:  # one matrix over all places, as far as its first weights are concerned
            nn.init.uniform_(place.get_parameter("weight"), -bound, bound)
        self.first, self.second = nn.Linear(units, units), nn.Linear(units, units)
        self.head = nn.Linear(units, codes)

    def tables(self) -> list[Tensor]:
        """What each code comes to at each place, oldest first: (code, unit) each."""
        return [place(self.embedding.weight) for place in self.enter]

    def unfolded(self, codes: Tensor) -> Tensor:
        """What codes come to by embedding and matrix, without a table.

        Args:
            codes: (..., place), oldest first.

        Returns:
            (..., unit).
        """
        made = [place(look_up(self.embedding.weight, codes[..., n])) for n, place in enumerate(self.enter)]
        return torch.stack(made).sum(dim=0)

    def folded(self, codes: Tensor) -> Tensor:
        """The same by tables.

        Args:
            codes: (..., place), oldest first.

        Returns:
            (..., unit).
        """
        tables = self.tables()
        total = look_up(tables[0], codes[..., 0])
        for n, table in enumerate(tables[1:], start=1):
            total = total + look_up(table, codes[..., n])
        return total

    def forward(self, codes: Tensor, above: Tensor) -> Tensor:
        """Distributions of samples.

        Args:
            codes: of the samples before each, (..., place), oldest first, int64.
            above: what the tier above says of each, (..., unit).

        Returns:
            logits, (..., code).
        """
        many = codes[..., 0].numel() >= len(self.embedding.weight)
        entered = self.folded(codes) if many or torch.compiler.is_exporting() else self.unfolded(codes)
        hidden = torch.relu(self.second(torch.relu(self.first(entered + above))))
        logits: Tensor = self.head(hidden)
        return logits
