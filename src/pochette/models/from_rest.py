"""A model's whole sound as a module: what is trimmed where one frame would not show a model whole."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pochette.models.model import Model


class FromRest(nn.Module):
    """A model's sound of frames of controls, from rest.

    Args:
        model: any.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, controls: Tensor) -> Tensor:
        """See `Model.forward`."""
        audio: Tensor = self.model(controls)
        return audio
