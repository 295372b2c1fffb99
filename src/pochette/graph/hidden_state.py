"""State that a module keeps where no capture sees it: in plain attributes, which `torch.export` takes for constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves, tree_map

from pochette.graph.copying import copy_of


def hidden_state(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[str, ...]:
    """Plain attributes in which one call of a module leaves tensors that the next call depends on.

    Two calls are made with the same inputs, buffers and random numbers. What a call leaves behind for others to look
    at, or makes anew before it reads it, is the same after both, and what they give is the same too.

    Args:
        module: left as it was; a copy is called.
        inputs: positional arguments of a call. Silence would hide a state that silence does not change, so ones stand
            in the place of zeros.

    Returns:
        their paths; none if the module cannot be copied, or does not take such inputs.
    """
    loud = tree_map(_without_zeros, inputs)
    try:
        called = copy_of(module).eval()
        start = {name: value.clone() for name, value in called.named_buffers()}
        before = _attributes(called)
        said = _call(called, loud)
        once = _attributes(called)
        written = tuple(path for path, value in once.items() if before.get(path) is not value)
        if not written:
            return ()
        once = {path: once[path].clone() for path in written}
        for name, value in start.items():
            owner, _, last = name.rpartition(".")
            called.get_submodule(owner)._buffers[last] = value.clone()
        again = _call(called, loud)
    except Exception:  # whatever a module says of being copied, or of numbers that it was not made for
        return ()
    twice = _attributes(called)
    moved = tuple(path for path in written if path in twice and not _same(once[path], twice[path]))
    if moved or (len(said) == len(again) and all(map(_same, said, again))):
        return moved
    return written


def _without_zeros(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return torch.where(leaf == 0, 1, leaf) if leaf.is_floating_point() else leaf.clone()
    return leaf


def _call(module: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Every tensor that a call gives, the random numbers those of one seed."""
    own = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, inputs)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        said = module(*own)
    return [leaf.clone() for leaf in tree_leaves(said) if isinstance(leaf, Tensor)]


def _attributes(module: nn.Module) -> dict[str, Tensor]:
    """Tensors in plain attributes, lists and dictionaries among them, by path."""
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules():
        plain = {name: value for name, value in vars(part).items() if name not in _OWN}
        for name, value in plain.items():
            for keys, leaf in tree_flatten_with_path(value)[0]:
                if isinstance(leaf, Tensor) and not isinstance(leaf, nn.Parameter):
                    found[f"{path}.{name}{keystr(keys)}" if path else name + keystr(keys)] = leaf
    return found


_OWN = frozenset(vars(nn.Module()))
"""Where every module keeps its parameters, buffers, parts and hooks."""


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, equal_nan=True)
