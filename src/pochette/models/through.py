"""An auto-encoder played by sound: a hop of it in, a hop of its resynthesis out, as a module that can be captured."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from pochette.models.model import Excerpt, Model, State


class Listener(Model):
    """A model whose controls are what its encoder hears in a sound."""

    @abstractmethod
    def initial_history(self, batch: int) -> State:
        """What was heard before the first sample: silence.

        Args:
            batch: number of sounds.

        Returns:
            fresh tensors.
        """

    @abstractmethod
    def encode(self, audio: Tensor, history: State) -> tuple[Tensor, State]:
        """Controls of a sound as it is heard.

        Args:
            audio: (batch, frame * hop_samples).
            history: what was heard before.

        Returns:
            (batch, frame, control), and the history after.
        """

    @property
    def through_samples(self) -> int:
        """From sound in to sound out when it is played by sound: a hop has to be heard whole, then `delay_samples`."""
        samples: int = self.hop_samples + self.delay_samples
        return samples

    def controls_of(self, excerpt: Excerpt) -> Tensor:
        """What the encoder hears in an excerpt, (batch, frame, control); played, it comes `delay_samples` late."""
        audio = excerpt["audio"]
        return self.encode(audio, self.initial_history(len(audio)))[0]


class Through(nn.Module):
    """A listener's live form: one hop a call, history and state in buffers, its parameters shared with the model.

    What `engine.compile_engine` turns into a C effect; `Step` is the same model played by its controls.

    Args:
        model: any listener.
    """

    def __init__(self, model: Listener) -> None:
        super().__init__()
        self.model: Any = model
        self.histories = tuple(model.initial_history(1))
        self.states = tuple(model.initial_state(1))
        self.reset()

    def reset(self) -> None:
        """Back to silence."""
        for prefix, before in (("history", self.model.initial_history(1)), ("state", self.model.initial_state(1))):
            for name, value in before.items():
                self.register_buffer(f"{prefix}_{name}", value, persistent=False)

    def example_inputs(self) -> tuple[Tensor, ...]:
        """A hop of silence, (1, hop_samples)."""
        return (torch.zeros(1, self.model.hop_samples),)

    def forward(self, audio: Tensor) -> Tensor:
        """The next hop.

        Args:
            audio: (1, hop_samples).

        Returns:
            (1, hop_samples), `through_samples` behind what was heard.
        """
        history = {name: self.get_buffer(f"history_{name}") for name in self.histories}
        state = {name: self.get_buffer(f"state_{name}") for name in self.states}
        controls, heard = self.model.encode(audio, history)
        made, after = self.model.advance(controls, state)
        # What is handed on may be the old state itself, which the next line overwrites.
        heard, after = ({name: value.clone() for name, value in held.items()} for held in (heard, after))
        made = made.clone()
        for old, new in ((history, heard), (state, after)):
            for name, value in new.items():
                old[name].copy_(value)
        return made  # type: ignore[no-any-return]
