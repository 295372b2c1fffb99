"""Residual blocks, x + f(x): which layers of a network are some, and a network without some of them.

Where a layer only adds to what passes it, the network goes on without it: what came in goes on, what the layer would
have said is zero. A stack names its own blocks (`residual_blocks`), each with the maps that lead out of it: with their
numbers at zero the block adds nothing, and so a block's scale factor (Huang & Wang 2018) is folded into them. In NSF a
tanh stands behind that map: there the factor stands before the tanh, and at zero the block adds tanh(0), nothing too.

A model on disk is told to lack a block by the names of its tensors: there is none below the block's path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

Blocks = dict[str, tuple[nn.Module, ...]]
"""Path of a block to the maps that lead out of it."""


class Gone(nn.Module):
    """In the place of a block that is no more: what comes in goes on. It has nothing learnt and carries nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """What it is given."""
        return x


@runtime_checkable
class Stack(Protocol):
    """A module some of whose parts are residual blocks, and that runs without them where they are `Gone`."""

    def residual_blocks(self) -> Blocks:
        """Paths below the module, of blocks that are there, first to last, and the maps that lead out of each."""


@runtime_checkable
class Settling(Protocol):
    """A stack in which more is idle when a block is gone than the block."""

    def settle(self) -> None:
        """Drop what nothing reads any more."""


@dataclass(frozen=True)
class Block:
    """One block of a network."""

    path: str
    stack: str
    """Path of the module that names it."""
    leaving: tuple[nn.Module, ...]
    """The maps that lead out of it."""


def blocks_of(module: nn.Module) -> dict[str, Block]:
    """The residual blocks of a network that are there, blocks inside blocks after those around them.

    Args:
        module: any; of a model without the parts that only training uses.

    Returns:
        by path; empty where there is none.
    """
    aids = getattr(module, "aids", ())
    found = {}
    for stack, part in module.named_modules():
        if stack.partition(".")[0] in aids or not isinstance(part, Stack):
            continue
        for name, leaving in part.residual_blocks().items():
            path = f"{stack}.{name}" if stack else name
            found[path] = Block(path, stack, leaving)
    return found


def remove_blocks(module: nn.Module, paths: Iterable[str]) -> None:
    """Take residual blocks out of a network.

    Args:
        module: changed in place.
        paths: of blocks that are there; what lies inside another one of them goes with it.
    """
    gone = set(paths)
    for path in gone:
        if not any(path.startswith(f"{other}.") for other in gone):
            owner, _, name = path.rpartition(".")
            module.get_submodule(owner).add_module(name, Gone())
    for part in module.modules():
        if isinstance(part, Settling):
            part.settle()


def remove_as_stored(module: nn.Module, names: Iterable[str]) -> None:
    """Take those blocks out of a network, as its recipe builds it, of which nothing is stored.

    Args:
        module: changed in place.
        names: of the stored tensors.
    """
    stored = set(names)
    known = {name[: end + 1] for name in stored for end, letter in enumerate(name) if letter == "."}
    gone = [path for path in blocks_of(module) if f"{path}." not in known]
    if gone:
        remove_blocks(module, gone)
