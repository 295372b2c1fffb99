"""Where a training computes: its model, its optimisers and its companions go there for the time of it, and come back.

All else stays on the CPU: what is drawn, so that every device is given the same; what is stored, so that a training
begun on one device goes on on another; and whoever looks at a network between two trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pochette.errors import ToolError, UnknownNameError
from pochette.recipe import did_you_mean

if TYPE_CHECKING:
    from pochette.train.loop import Trainer

CPU = torch.device("cpu")
COUNTS: dict[str, Callable[[], int]] = {
    "cpu": lambda: 1,
    "cuda": torch.cuda.device_count,
    "mps": lambda: int(torch.backends.mps.is_available()),
}
"""How many there are here, of every kind that models are made to be trained on."""


def device_of(name: str, *, here: bool = True) -> torch.device:
    """A device by its name.

    Args:
        name: "cpu", "cuda", "mps", or with a number behind it: "cuda:1" is the second.
        here: whether this process is the one that trains, and must have it.

    Returns:
        the device.

    Raises:
        UnknownNameError: there is no such kind of device.
        ToolError: this machine has none, or not so many.
    """
    kind, colon, number = name.partition(":")
    if kind not in COUNTS or (colon and not (number.isascii() and number.isdecimal())):
        choices = f"{', '.join(COUNTS)}, or cuda:1 for the second of several"
        raise UnknownNameError(
            f"There is no device {name!r}.", remedy=f"{did_you_mean(name, COUNTS)}Choose one with --device: {choices}."
        )
    count = COUNTS[kind]() if here else 1 + int(number or 0)
    if int(number or 0) >= count:
        raise ToolError(
            f"This torch ({torch.__version__}) finds {f'only {count}' if count else 'no'} {kind} device here.",
            where=f"--device {name}",
            remedy="Choose another --device (cpu is always there), or install its driver and a torch that is built for "
            "it: https://pytorch.org/get-started.",
        )
    return torch.device(name)


def moved(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tensors on a device; single numbers stay, as optimisers want their counts of steps on the CPU."""
    return {name: tensor.to(device) if tensor.dim() else tensor.cpu() for name, tensor in tensors.items()}


def tensors_of(arrays: Mapping[str, np.ndarray], device: torch.device = CPU) -> dict[str, Tensor]:
    """Arrays as tensors, without copying where they stay on the CPU."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}


@contextmanager
def away(trainer: Trainer) -> Iterator[None]:
    """A trainer's network and all that goes with it on the trainer's device; back on the CPU after, whatever happens.

    Args:
        trainer: its device may be the CPU; then nothing moves.

    Yields:
        nothing.
    """
    if trainer.device == CPU:
        yield
        return
    try:
        _move(trainer, trainer.device)
        yield
    finally:
        _move(trainer, CPU)


def _move(trainer: Trainer, device: torch.device) -> None:
    trainer.model.to(device)
    for driver in trainer.drivers:
        optimiser: Any = driver.optimiser
        # An optimiser that is given its state puts it where its parameters are.
        optimiser.load_state_dict(optimiser.state_dict())
    for companion in trainer.companions:
        companion.restore(moved(companion.state(), device))
