"""Autoregressive models of several clocks: tiers that turn every so many samples, and tell those below what they found.

    controls -- hold, once a frame ----+---------------------+------------------+
                                       |                     |                  |
    latest samples -- tier 0, every periods[0] -- tier 1, every periods[1] -- draw, every sample -- sample

What is dear is done rarely, in an engine as in training: an engine turns each tier when its clock says so.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from pochette.models.autoregressive import Autoregressive, DrawPart, HoldPart, Part
from pochette.models.model import State, Step

HEARD = "heard"
"""Name of the state that holds the latest samples."""


class Clocked(Autoregressive):
    """A model that makes its sound sample by sample, told by tiers of slower clocks.

    Its state has the latest `periods[0]` samples under the name "heard", (batch, sample), as the tiers are given them.
    """

    periods: tuple[int, ...]
    """Samples from turn to turn of each tier, slowest first: each divides the one before it, the first a frame."""

    @abstractmethod
    def turn(
        self, tier: int, held: tuple[Tensor, ...], above: Tensor | None, heard: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """What a tier says at its turn.

        Args:
            tier: which, slowest first.
            held: what `hold` gave for the frame.
            above: what the tier above says for this turn, (batch, width); None for the slowest.
            heard: the latest samples, (batch, periods[tier]).
            state: with at least what `memory` names.

        Returns:
            what it says for each turn of the next tier, or for each sample, until its own next one: (batch, turn,
            width); and what `memory` names, after it.
        """

    @abstractmethod
    def memory(self, tier: int) -> tuple[str, ...]:
        """Names of the state that a tier reads and changes at its turns, and nobody else does."""

    def parts(self) -> tuple[Part, ...]:
        """The parts as modules, slowest first; `draw` is given what is held and, behind it, what the last tier says."""
        tiers = [TierPart(self, tier) for tier in range(len(self.periods))]
        return HoldPart(self), *tiers, ToldDrawPart(self)

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some frames, drawn sample by sample; see `Model.advance`."""
        state, audio, last = dict(state), [], len(self.periods) - 1
        for frame in range(controls.shape[1]):
            held = self.hold(controls[:, frame])
            said: list[Tensor] = [torch.empty(0)] * len(self.periods)
            for sample in range(self.hop_samples):
                for tier, period in enumerate(self.periods):
                    if sample % period == 0:
                        above = None if tier == 0 else self._now(said[tier - 1], tier - 1, sample)
                        said[tier], after = self.turn(tier, held, above, state[HEARD][:, -period:], state)
                        state |= after
                made, after = self.draw((*held, self._now(said[last], last, sample)), state)
                state |= after | {HEARD: torch.cat([state[HEARD][:, 1:], made], dim=1)}
                audio.append(made)
        return torch.cat(audio, dim=1), state

    def _now(self, said: Tensor, tier: int, sample: int) -> Tensor:
        """Of what a tier said the part for the turn that begins at a sample of the frame."""
        return said[:, sample % self.periods[tier] * said.shape[1] // self.periods[tier]]


class TierPart(Step, Part):
    """What a clocked model's tier does at its turn, its state in buffers.

    Args:
        model: any clocked model.
        tier: which, slowest first.
    """

    def __init__(self, model: Clocked, tier: int) -> None:
        super().__init__(model, model.memory(tier))
        self.tier, self.name = tier, f"tier{tier}"
        self.every_samples = self.heard_samples = model.periods[tier]

    @torch.no_grad()
    def example_inputs(self) -> tuple[Tensor, ...]:
        """What is held while the controls rest, what the tier above says at the first turn, and what is heard then."""
        held, above = _at_first(self.model, self.tier)
        heard = self.model.initial_state(1)[HEARD][:, -self.heard_samples :].clone()
        return (*held, *above, heard)

    def forward(self, *given: Tensor) -> Tensor:
        """What it says until its next turn, one turn behind the other, (1, turn * width)."""
        state = self._state()
        held = given[: -2 if self.tier else -1]
        said, after = self.model.turn(self.tier, held, given[-2] if self.tier else None, given[-1], state)
        return self._keep((said.flatten(1), after), state)


class ToldDrawPart(DrawPart):
    """What a clocked model does for every sample.

    Args:
        model: any clocked model.
    """

    def __init__(self, model: Clocked) -> None:
        theirs = {HEARD, *(name for tier in range(len(model.periods)) for name in model.memory(tier))}
        super().__init__(model, tuple(name for name in model.initial_state(1) if name not in theirs))

    @torch.no_grad()
    def example_inputs(self) -> tuple[Tensor, ...]:
        """What is held while the controls rest, and what the last tier says for the first sample."""
        held, above = _at_first(self.model, len(self.model.periods))
        return (*held, *above)


def _at_first(model: Clocked, tier: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What is held while the controls rest, and what the tier above one says to its first turn, if there is one."""
    held = tuple(value.clone() for value in model.hold(*HoldPart(model).example_inputs()))
    state, above = model.initial_state(1), None
    for number in range(tier):
        said, _ = model.turn(number, held, above, state[HEARD][:, -model.periods[number] :], state)
        above = said[:, 0].clone()
    return held, () if above is None else (above,)


@torch.no_grad()
def heard_at_rest(model: Autoregressive) -> Tensor:
    """What a model's tiers hear before its first sample, (sample,): nothing, of a model that has none."""
    return model.initial_state(1)[HEARD][0].clone() if isinstance(model, Clocked) else torch.zeros(0)
