"""An answer to "what should the trimmed network say?" that owes nothing to the engine's coupling.

Which indices survived is read from the trimmed weights themselves: every weight of the networks is different, so a
kept row tells by its values which row it was. Then, in a copy of the original at its full size, whatever multiplies a
removed unit is set to zero, and statistics run over the survivors alone. The two must say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_weight_norm
from torch.utils.flop_counter import FlopCounterMode

from tests.graph.networks.attention import RootMeanSquare
from tests.graph.networks.case import Case

Indices = npt.NDArray[np.int64]
Survivors = dict[tuple[str, int], Indices]
"""(path of a tensor, axis) to the indices of the original that are left, in their order."""


BOUND = 1e-6
"""Of the output's peak: what rounding may differ."""
Answer = Literal["exact", "wrong ratio", "wrong output", "nothing removed"]


class UnlikeError(AssertionError):
    """The trimmed weights are no part of the original's."""


def stored(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by path, those of shared modules under each of their names."""
    everything = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: value.detach() for name, value in everything}


def survivors(original: nn.Module, trimmed: nn.Module) -> Survivors:
    """What is left of every axis that became shorter, found by value.

    Args:
        original: untrimmed.
        trimmed: its tensors bear the original's names.

    Returns:
        indices of the original, for shortened axes only.

    Raises:
        UnlikeError: a tensor has no counterpart, grew, or holds values that are not the original's.
    """
    before, found = stored(original), {}
    for path, small in stored(trimmed).items():
        if path not in before:
            raise UnlikeError(f"{path} is new")
        large = before[path]
        if small.dim() != large.dim() or any(a > b for a, b in zip(small.shape, large.shape, strict=True)):
            raise UnlikeError(f"{path} went from {tuple(large.shape)} to {tuple(small.shape)}")
        counts = small.is_floating_point() or small.is_complex()
        if small.shape == large.shape or path.startswith("state") or not counts:
            continue
        kept = _matched(large, small)
        if kept is None:
            # A factor that weight norm keeps aside changes with the rows' lengths; others must match.
            if not _rescaled(path):
                raise UnlikeError(f"the values of {path} are not the original's")
            continue
        found.update({(path, axis): indices for axis, indices in kept.items()})
    return found


def _rescaled(path: str) -> bool:
    """Whether a tensor may change its values: norms of weight norm, vectors of spectral norm."""
    return path.endswith(("weight_g", "weight.original0", "weight.0._u", "weight.0._v"))


def _matched(large: Tensor, small: Tensor) -> dict[int, Indices] | None:
    """For each shortened axis the original indices of the kept ones; None if values differ."""
    big, little = large.cpu().numpy(), small.cpu().numpy()
    kept: dict[int, Indices] = {}
    flat = big.ravel()
    order = np.argsort(flat, kind="stable")
    at = np.searchsorted(flat[order], little.ravel()).clip(max=flat.size - 1)
    positions = np.unravel_index(order[at], big.shape)
    equal = (flat[order[at]] == little.ravel()).reshape(little.shape)
    if not equal.any():
        return None
    for axis in range(big.ndim):
        if big.shape[axis] == little.shape[axis]:
            continue
        votes = np.moveaxis(np.where(equal, positions[axis].reshape(little.shape), big.shape[axis]), axis, 0)
        votes = votes.reshape(little.shape[axis], -1)
        kept[axis] = np.array([np.bincount(row, minlength=big.shape[axis] + 1)[:-1].argmax() for row in votes])
    expected = big
    for axis, indices in kept.items():
        if len(set(indices.tolist())) != len(indices):
            return None
        expected = expected.take(indices, axis)
    return kept if np.array_equal(expected, little) else None


def masked(case: Case, left: Survivors) -> nn.Module:
    """The original at its full size, with removed units that nobody hears.

    Args:
        case: names parameters that functions, rather than layers, contract.
        left: what survived.

    Returns:
        a network of its own.
    """
    quiet = _plain(case.network())
    left = {(_plain_path(path), axis): indices for (path, axis), indices in left.items()}
    contracted = {*_contracted(quiet), *case.contracted}
    with torch.no_grad():
        for (name, axis), kept in left.items():
            if (name, axis) in contracted:
                value = quiet.get_parameter(name)
                value.index_fill_(axis, _gone(value.shape[axis], kept), 0.0)
        for name in case.factors:
            if (f"{name}.weight", 0) in left:
                layer = quiet.get_submodule(name)
                _silence(layer.weight, layer.bias, _gone(layer.weight.shape[0], left[f"{name}.weight", 0]))
        for name, part in quiet.named_modules():
            if isinstance(part, nn.MultiheadAttention) and (f"{name}.in_proj_weight", 0) in left:
                # Queries meet keys in a product; values are heard through the output projection alone.
                gone = _gone(part.in_proj_weight.shape[0], left[f"{name}.in_proj_weight", 0])
                _silence(part.in_proj_weight, part.in_proj_bias, gone[gone < part.embed_dim])
    _mask_norms(quiet, left)
    return quiet


def _silence(weight: Tensor, bias: Tensor, rows: Tensor) -> None:
    weight.index_fill_(0, rows, 0.0)
    bias.index_fill_(0, rows, 0.0)


def _gone(size: int, kept: Indices) -> Tensor:
    return torch.from_numpy(np.setdiff1d(np.arange(size), kept))


def _plain_path(path: str) -> str:
    for name in ("parametrizations.weight.original1", "parametrizations.weight.original", "weight_v"):
        path = path.replace(name, "weight")
    return path


def _plain(module: nn.Module) -> nn.Module:
    """Effective weights in place of re-parametrised ones."""
    for part in list(module.modules()):
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight")
        elif hasattr(part, "weight_g"):
            remove_weight_norm(part)
    return module


def _contracted(module: nn.Module) -> set[tuple[str, int]]:
    """Parameters of standard layers, with the axis that runs over their inputs."""
    axes: set[tuple[str, int]] = set()
    for path, part in module.named_modules(remove_duplicate=False):
        start = f"{path}." if path else ""
        if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            axes.add((f"{start}weight", 1))
        elif isinstance(part, nn.ConvTranspose1d):
            axes.add((f"{start}weight", 0))
        elif isinstance(part, nn.Bilinear):
            axes |= {(f"{start}weight", 1), (f"{start}weight", 2)}
        elif isinstance(part, (nn.RNNBase, nn.RNNCellBase)):
            axes |= {(f"{start}{name}", 1) for name, value in part.named_parameters() if value.dim() == 2}
        elif isinstance(part, nn.MultiheadAttention):
            axes.add((f"{start}in_proj_weight", 1))
    return axes


class Partly(nn.Module):
    """A normalisation whose statistics run over some channels; the others come out as zero."""

    def __init__(self, norm: Callable[[Tensor], Tensor], kept: Tensor, axis: int) -> None:
        super().__init__()
        self.norm, self.kept, self.axis = norm, kept, axis

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x).index_copy(self.axis, self.kept, self.norm(x.index_select(self.axis, self.kept)))


def _mask_norms(module: nn.Module, left: Mapping[tuple[str, int], Indices]) -> None:
    for path, part in list(module.named_modules()):
        if isinstance(part, RootMeanSquare) and (f"{path}.gain", 0) in left:
            part.over = torch.from_numpy(left[f"{path}.gain", 0])
        elif isinstance(part, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)) and (f"{path}.weight", 0) in left:
            kept = torch.from_numpy(left[f"{path}.weight", 0])
            owner, _, name = path.rpartition(".")
            axis = 1 if isinstance(part, nn.GroupNorm) else -1
            setattr(module.get_submodule(owner), name, Partly(_over(part, kept), kept, axis))


def _over(part: Any, kept: Tensor) -> Callable[[Tensor], Tensor]:
    weight = part.weight.detach()[kept]
    if isinstance(part, nn.RMSNorm):
        return lambda x: F.rms_norm(x, (len(kept),), weight, part.eps)
    bias = part.bias.detach()[kept]
    if isinstance(part, nn.GroupNorm):
        return lambda x: F.group_norm(x, part.num_groups, weight, bias, part.eps)
    return lambda x: F.layer_norm(x, (len(kept),), weight, bias, part.eps)


@torch.no_grad()
def outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """What a module says; buffers that it writes are put back."""
    before = {name: value.clone() for name, value in module.named_buffers()}
    torch.backends.mha.set_fastpath_enabled(False)  # it reads attributes of norms past their forward
    try:
        said = module(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    for name, value in module.named_buffers():
        value.copy_(before[name])
    return list(said) if isinstance(said, (tuple, list)) else [said]


def difference(left: nn.Module, right: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Largest difference of two modules' outputs, relative to the peak of the second's."""
    pairs = list(zip(outputs(left, inputs), outputs(right, inputs), strict=True))
    assert all(a.shape == b.shape and prod(a.shape) for a, b in pairs)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def pytorch_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Multiply-accumulates of a call by PyTorch's own counter, which knows no LSTM and no fused attention."""
    with FlopCounterMode(display=False) as counter:
        outputs(module, inputs)
    return float(counter.get_total_flops() / 2)


def widths(case: Case, keep: float) -> list[int]:
    """Widths that a share may come to: down or up where it falls between two."""
    return sorted({max(1, int(keep * case.width)), max(1, -int(-keep * case.width // 1))})


def shapes(module: nn.Module, but_for: tuple[str, ...] = ()) -> Counter[tuple[int, ...]]:
    """How many parameters there are of each shape."""
    return Counter(tuple(p.shape) for name, p in module.named_parameters() if not name.startswith(but_for or ("\0",)))


def is_width(case: Case, module: nn.Module, width: int) -> bool:
    """Whether a module has the parameters of the network built at a width; those that nothing reads may be missing."""
    built = case.network(width)
    return shapes(module) in (shapes(built), shapes(built, case.dead))


@dataclass(frozen=True)
class Verdict:
    """What became of a network."""

    answer: Answer
    error: float = float("nan")
    """Largest difference from the masked network, relative to the output's peak."""
    detail: str = ""


def judge(case: Case, trimmed: nn.Module, keep: float) -> Verdict:
    """Hold a trimmed network against everything that is known without the tool that trimmed it.

    Args:
        case: the network.
        trimmed: made from `case.network()` by any tool.
        keep: share of the width that was asked for.

    Returns:
        the verdict. Norms may run over the survivors alone: that is what a smaller network does.
    """
    original = case.network()
    if shapes(trimmed) == shapes(original):
        return Verdict("nothing removed")
    try:
        error = difference(trimmed, masked(case, survivors(original, trimmed)), case.example())
    except UnlikeError as unlike:
        return Verdict("wrong output", detail=str(unlike))
    if not error <= BOUND:
        return Verdict("wrong output", error)
    if not case.whole and not any(is_width(case, trimmed, width) for width in widths(case, keep)):
        left = sum(p.numel() for p in trimmed.parameters())
        asked = sum(p.numel() for p in case.network(case.narrow(keep)).parameters())
        return Verdict("wrong ratio", error, f"{left} parameters where {asked} were asked for")
    return Verdict("exact", error)
