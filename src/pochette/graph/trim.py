"""Physical removal: cut tensors put into a module, and modules given the shapes of stored weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from pochette.errors import RunError
from pochette.graph.graph import Graph
from pochette.graph.rewrite import Remains, cut_tensors
from pochette.layers.factored import factor_as_stored
from pochette.layers.residual import remove_as_stored


@dataclass(frozen=True)
class Cuts:
    """A removal that can be made again on other tensors of the same model: earlier weights, an optimiser's moments."""

    graph: Graph
    """Of the whole model."""
    remains: Remains
    prefix: str = ""
    """What the graph's paths carry in front of the model's own."""

    def apply(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors, cut; weight norms are corrected, so that effective weights are the old ones' slices.

        Args:
            tensors: by the model's own paths, a whole state dictionary.

        Returns:
            new tensors; those that no cut concerns are the same objects.
        """
        named = {self.prefix + path: tensor for path, tensor in tensors.items()}
        cut = cut_tensors(self.graph, self.remains, {**self.graph.tensors, **named})
        return {path: cut[self.prefix + path] for path in tensors}

    def slices(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors' surviving parts and nothing more: what gradients and moments need.

        Args:
            tensors: by the model's own paths.

        Returns:
            new tensors.
        """
        stored = self.graph.stored
        return {
            path: self.remains.cut(stored[self.prefix + path], tensor) if self.prefix + path in stored else tensor
            for path, tensor in tensors.items()
        }


def put(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace parameters and buffers of a module, whatever their shapes.

    Args:
        module: changed in place, unless a path is not one of its own.
        tensors: new values by path.
    """
    places = []
    for path, tensor in tensors.items():
        owner_path, _, name = path.rpartition(".")
        owner = module.get_submodule(owner_path)
        places.append((owner, name, getattr(owner, name), tensor))
    for owner, name, old, tensor in places:
        _replace(owner, name, old, tensor)
    refresh_attributes(module)


def resize(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module the shapes, and the values, of stored weights.

    This is how a trimmed model is loaded: its recipe builds the untrimmed module, its file says what is left of it, and
    by its names which residual blocks are gone and which layers became two.

    Args:
        module: changed in place.
        tensors: its parameters and persistent buffers by path.

    Raises:
        RunError: the names are not the module's.
    """
    remove_as_stored(module, tensors)
    factor_as_stored(module, tensors)
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
    put(module, {path: tensor.clone() for path, tensor in tensors.items()})


def _replace(owner: nn.Module, name: str, old: Tensor, tensor: Tensor) -> None:
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
        # Weight norm of the old kind leaves the last effective weight behind as a plain attribute of the old size.
        for hook in part._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                setattr(part, hook.name, hook.compute_weight(part).detach())
        if isinstance(part, nn.Linear):
            part.out_features, part.in_features = part.weight.shape
        elif isinstance(part, _CONVOLUTIONS):
            _refresh_convolution(part)
        elif isinstance(part, _NORMS):
            _refresh_norm(part)
        elif isinstance(part, nn.Embedding):
            part.num_embeddings, part.embedding_dim = part.weight.shape
        elif isinstance(part, nn.PReLU):
            part.num_parameters = len(part.weight)
        elif isinstance(part, nn.RNNCellBase):
            part.input_size, part.hidden_size = part.weight_ih.shape[1], part.weight_hh.shape[1]
        elif isinstance(part, nn.RNNBase):
            _refresh_recurrent(part)


def _refresh_norm(part: Any) -> None:
    if isinstance(part, nn.LayerNorm | nn.RMSNorm) and part.elementwise_affine:
        part.normalized_shape = tuple(part.weight.shape)
    elif isinstance(part, nn.GroupNorm) and part.affine:
        if part.num_groups == part.num_channels:
            part.num_groups = len(part.weight)
        part.num_channels = len(part.weight)
    elif isinstance(part, _CHANNEL_NORMS):
        vector = next((t for t in (part.weight, part.running_mean) if t is not None), None)
        if vector is not None:
            part.num_features = len(vector)


def _refresh_convolution(part: Any) -> None:
    weight = part.weight
    transposed = isinstance(part, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    if part.groups > 1 and part.in_channels == part.groups:
        # One input channel a group: the groups go with the channels.
        part.groups = weight.shape[0] if transposed else weight.shape[0] // (part.out_channels // part.groups)
    if transposed:
        part.in_channels, part.out_channels = weight.shape[0], weight.shape[1] * part.groups
    else:
        part.in_channels, part.out_channels = weight.shape[1] * part.groups, weight.shape[0]


def _refresh_recurrent(part: nn.RNNBase) -> None:
    part.input_size = part.get_parameter("weight_ih_l0").shape[1]
    gates = {"LSTM": 4, "GRU": 3}.get(part.mode, 1)
    part.hidden_size = part.get_parameter("weight_hh_l0").shape[0] // gates
    if part.proj_size:
        part.proj_size = part.get_parameter("weight_hr_l0").shape[0]
    part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]
    part.flatten_parameters()


_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_CHANNEL_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, *_CHANNEL_NORMS)
