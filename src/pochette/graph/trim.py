"""Physical removal: cutting units out of a module's tensors, and giving a module the shapes of stored weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pochette.errors import RunError
from pochette.graph.coupling import Place, UnitFamily

Indices = npt.NDArray[np.int64]


@dataclass
class Cuts:
    """Which indices of which axes survive; what is not named survives whole."""

    survivors: dict[Place, Indices] = field(default_factory=dict)

    def remove(self, family: UnitFamily, units: Indices, sizes: Mapping[str, tuple[int, ...]]) -> None:
        """Take units of a family out.

        Args:
            family: whose units.
            units: their numbers within the family.
            sizes: shape of every stored tensor by path.
        """
        for place, owned in family.indices.items():
            before = self.survivors.get(place, np.arange(sizes[place.path][place.axis]))
            self.survivors[place] = np.setdiff1d(before, owned[units].ravel())

    def of_path(self) -> dict[str, dict[int, Tensor]]:
        """Path to axis to surviving indices."""
        by_path: dict[str, dict[int, Tensor]] = defaultdict(dict)
        for place, indices in self.survivors.items():
            by_path[place.path][place.axis] = torch.from_numpy(indices)
        return by_path

    def apply(self, tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
        """The tensors, cut.

        Args:
            tensors: by path, for instance a state dictionary or an optimiser's moments.
            prefix: what the graph's paths carry in front of these paths.

        Returns:
            new tensors; those that no cut concerns are the same objects.
        """
        by_path = self.of_path()
        out = dict(tensors)
        for path in tensors:
            for axis, indices in by_path.get(prefix + path, {}).items():
                out[path] = out[path].index_select(axis, indices)
        return out


def cut_module(module: nn.Module, cuts: Cuts) -> None:
    """Make a module smaller in place.

    Args:
        module: the captured module, or a copy of it.
        cuts: by paths of its state dictionary.
    """
    # All cuts are made before the first is put in: one that fails leaves the module whole.
    made: list[tuple[nn.Module, str, Tensor]] = []
    for path, axes in cuts.of_path().items():
        owner_path, _, name = path.rpartition(".")
        owner = module.get_submodule(owner_path)
        smaller: Tensor = getattr(owner, name).detach()
        for axis, indices in axes.items():
            smaller = smaller.index_select(axis, indices)
        made.append((owner, name, smaller))
    for owner, name, smaller in made:
        _replace(owner, name, smaller)
    refresh_attributes(module)


def resize(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module the shapes, and the values, of stored weights.

    This is how a trimmed model is loaded: its recipe builds the untrimmed module, its file says what is left of it.

    Args:
        module: changed in place.
        tensors: its parameters and persistent buffers by path.

    Raises:
        RunError: the names are not the module's.
    """
    own = module.state_dict()
    if set(own) != set(tensors):
        odd = sorted(set(own) ^ set(tensors))
        raise RunError(
            f"The stored weights are not this model's: {', '.join(odd[:3])} stand on one side only.",
            remedy="Use the recipe that was stored with them.",
        )
    for path, tensor in tensors.items():
        if own[path].dim() != tensor.dim():
            raise RunError(f"{path} has {tensor.dim()} axes, not {own[path].dim()}.", remedy="Use the stored recipe.")
    for path, tensor in tensors.items():
        owner_path, _, name = path.rpartition(".")
        _replace(module.get_submodule(owner_path), name, tensor.clone())
    refresh_attributes(module)


def _replace(owner: nn.Module, name: str, tensor: Tensor) -> None:
    old = getattr(owner, name)
    if isinstance(old, nn.Parameter):
        setattr(owner, name, nn.Parameter(tensor, requires_grad=old.requires_grad))
    else:
        owner._buffers[name] = tensor


def refresh_attributes(module: nn.Module) -> None:
    """Let the standard layers' declared sizes follow the shapes of their tensors.

    PyTorch's layers repeat their sizes in plain attributes; this is the one place that knows which.

    Args:
        module: it and all its parts are brought up to date.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.out_features, part.in_features = part.weight.shape
        elif isinstance(part, nn.LayerNorm) and part.elementwise_affine:
            part.normalized_shape = tuple(part.weight.shape)
        elif isinstance(part, nn.RNNBase):
            part.input_size = part.get_parameter("weight_ih_l0").shape[1]
            part.hidden_size = part.get_parameter("weight_hh_l0").shape[1]
            part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]
            part.flatten_parameters()
