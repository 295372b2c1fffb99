"""Models that make their sound sample by sample, and the parts of their work as modules with clocks of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from pochette.models.model import Model, State, Step


class Autoregressive(Model):
    """A model that makes its sound sample by sample, each from those before.

    Beside `advance` it writes the same in two parts, what is done once a frame and what is done for every sample, so
    that an engine is a loop around one sample and not a frame of samples written out. (Parts in between, with clocks of
    their own: `models.clocked`.)
    """

    feeds_back = True

    @abstractmethod
    def hold(self, controls: Tensor) -> tuple[Tensor, ...]:
        """What a frame's controls come to, the same for all its samples.

        Args:
            controls: (batch, control).

        Returns:
            float tensors, batch first; at least one.
        """

    @abstractmethod
    def draw(self, held: tuple[Tensor, ...], state: State) -> tuple[Tensor, State]:
        """The next sample, and the state after it.

        Args:
            held: what `hold` gave for the frame.
            state: of the same batch.

        Returns:
            (batch, 1) and the new state.
        """

    def parts(self) -> tuple[Part, ...]:
        """The parts as modules, slowest first: what is captured, counted and turned into C."""
        return HoldPart(self), DrawPart(self)


class Part(nn.Module, ABC):
    """One part of an autoregressive model's work as a module, done each time that its clock says so.

    Called with what was held for the frame (the first part: with the controls), then with what the part before it said
    for this turn, if that part is a tier (`models.clocked`), then with the latest samples, if it hears any.
    """

    name: str
    """Of the part; a C identifier."""
    every_samples: int
    """From one turn to the next."""
    heard_samples: int = 0
    """So many of the latest samples it is given; 0 for none."""

    @abstractmethod
    def example_inputs(self) -> tuple[Tensor, ...]:
        """What it can be called with, as it is while the controls rest."""


class HoldPart(Part):
    """What an autoregressive model does once a frame: controls in, what its samples are told out.

    Args:
        model: any autoregressive model.
    """

    name = "hold"

    def __init__(self, model: Autoregressive) -> None:
        super().__init__()
        self.model: Any = model
        self.every_samples = model.hop_samples

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Controls at rest, (1, control)."""
        return (torch.tensor([[knob.default for knob in self.model.controls]]),)

    def forward(self, controls: Tensor) -> tuple[Tensor, ...]:
        """See `Autoregressive.hold`; nothing of the controls themselves is handed on uncopied."""
        return tuple(value.clone() for value in self.model.hold(controls))


class DrawPart(Step, Part):
    """What an autoregressive model does for every sample, its state in buffers."""

    name = "draw"
    every_samples = 1

    @torch.no_grad()
    def example_inputs(self) -> tuple[Tensor, ...]:
        """What is held while the controls rest."""
        held: tuple[Tensor, ...] = self.model.hold(*HoldPart(self.model).example_inputs())
        return tuple(value.clone() for value in held)

    def forward(self, *held: Tensor) -> Tensor:
        """The next sample, (1, 1)."""
        state = self._state()
        return self._keep(self.model.draw(held, state), state)
