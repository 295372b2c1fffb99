"""The tiers of SampleRNN (Mehri et al., ICLR 2017): recurrent layers that each turn so many samples once.

    tier 3, every 8 samples      8 samples ----------------------- GRU -- linear, a vector for each turn of tier 2
    tier 2, every 2 samples      2 samples -- linear ------- + --- GRU -- linear, a vector for each sample
    tier 1, every sample         2 codes -- table of each -- + --- linear, ReLU, linear, ReLU, linear -- distribution

A tier runs over a stretch of known sound, or turn by turn, on the same weights. Every width is read from the weights: a
trimmed network has fewer units than it was built with.
"""

from __future__ import annotations

import math
from itertools import pairwise

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

    An embedding followed by a matrix is a table, one row a code: for each place before the sample one. An engine, which
    draws one sample a call, looks rows up in tables made beforehand, and so does training, where a stretch has more
    samples than there are codes. What trimming reads is the embedding itself.

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
        samples = codes[..., 0].numel()
        fold = samples == 1 if torch.compiler.is_exporting() else samples >= len(self.embedding.weight)
        entered = self.folded(codes) if fold else self.unfolded(codes)
        hidden = torch.relu(self.second(torch.relu(self.first(entered + above))))
        logits: Tensor = self.head(hidden)
        return logits


class TieredNetwork(nn.Module):
    """The learnt part of a SampleRNN: all tiers, and the layer through which they are told of controls.

    Args:
        conditioner: scaled controls to channels; None for a network without.
        periods: samples from turn to turn of each recurrent tier, slowest first, and the frame it is given.
        units: of every layer.
        layers: recurrent ones of a tier.
        codes: how many different ones a sample has.
        embedding: numbers that stand for a code.
    """

    def __init__(
        self, *, conditioner: nn.Linear | None, periods: tuple[int, ...], units: int, layers: int, codes: int,
        embedding: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conditioner = conditioner
        self.tiers = nn.ModuleList(
            FrameTier(
                frame_samples=period,
                known=0 if conditioner is None else conditioner.out_features,
                units=units,
                layers=layers,
                below=units,
                turns=period // following,
                top=number == 0,
            )
            for number, (period, following) in enumerate(pairwise((*periods, 1)))
        )
        self.samples = SampleTier(places=periods[-1], codes=codes, embedding=embedding, units=units)

    def at_rest(self, batch: int) -> list[Tensor]:
        """The state of each recurrent tier in which a sound begins; see `FrameTier.at_rest`."""
        return [tier.at_rest(batch) for tier in self._tiers()]

    def known(self, conditioning: Tensor | None) -> Tensor | None:
        """What the tiers are told of controls.

        Args:
            conditioning: scaled controls, (..., 2), or None.

        Returns:
            (..., channel), or None.
        """
        if self.conditioner is None or conditioning is None:
            return None
        return torch.tanh(self.conditioner(conditioning))

    def forward(
        self, codes: Tensor, heard: Tensor, conditioning: Tensor | None, hidden: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Every distribution of a stretch of known sound at once (teacher forcing).

        Args:
            codes: of the stretch's samples, and of the slowest tier's frame before them, (batch, frame + sample).
            heard: what those codes sound like, of the same shape.
            conditioning: scaled controls, (batch, control frame, 2), held for sample / frame samples each; or None.
            hidden: state of each recurrent tier before it.

        Returns:
            logits of the stretch's samples, (batch, sample, code), and the states after it.
        """
        tiers, known, said, after = self._tiers(), self.known(conditioning), None, []
        reach = tiers[0].frame_samples
        samples = codes.shape[1] - reach
        for tier, state in zip(tiers, hidden, strict=True):
            period = tier.frame_samples
            turns = samples // period
            frames = heard[:, reach - period : reach - period + samples].reshape(len(heard), turns, period)
            told = None if known is None else _held(known, turns)
            said, new = tier(frames, told, said, state)
            after.append(new)
        assert said is not None
        places = len(self.samples.enter)
        before = [codes[:, reach - places + n : reach - places + n + samples] for n in range(places)]
        return self.samples(torch.stack(before, dim=-1), said), after

    def _tiers(self) -> list[FrameTier]:
        return list(self.tiers)  # type: ignore[arg-type]


def _held(frames: Tensor, turns: int) -> Tensor:
    """(batch, control frame, channel), each repeated for its share of the turns."""
    repeats = turns // frames.shape[1]
    return frames if repeats == 1 else frames.repeat_interleave(repeats, dim=1)
