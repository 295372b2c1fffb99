"""Which layers of a network can be of low rank, of what rank, and with which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.graph.capture import capture
from pochette.layers.factored import Factored, FactoredConv, can_be_factored, factored_gru, like, put_layer
from pochette.models.autoregressive import Autoregressive
from pochette.models.model import Model, Step

GRU_PARTS = {"weight_ih_l0": "of_input", "weight_hh_l0": "of_state"}
"""A GRU's matrices, all gates jointly, and what they become."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A matrix, by what it does in each of its directions.

    Args:
        matrix: (output, input), an input being one at a tap of filters.
    """

    matrix: Tensor
    left: Tensor
    values: Tensor
    """From the greatest to the least."""
    right: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> Spectrum:
        """That of the weights of a layer, outputs first."""
        matrix = weight.detach().flatten(1)
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        return cls(matrix, left, values, right)

    @property
    def pays_below(self) -> float:
        """The rank from which on two matrices are no smaller than the one."""
        return self.matrix.numel() / sum(self.matrix.shape)

    def rank_for(self, error: float) -> int | None:
        """The least rank whose error is no greater; None where that would not pay.

        Args:
            error: of the matrix's sum of squares, the share that goes.

        Returns:
            1 or more.
        """
        squares = self.values.square()
        tails = 1.0 - torch.cumsum(squares, 0) / squares.sum().clamp(min=1e-300)
        rank = min(len(tails), 1 + int((tails > error).sum()))
        return rank if rank < self.pays_below else None

    def size(self, rank: int | None) -> int:
        """Numbers to store, and multiplications a vector."""
        return self.matrix.numel() if rank is None else rank * sum(self.matrix.shape)

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """The nearest matrix of a rank (Eckart & Young 1936) as a product; both factors are of like size.

        Args:
            rank: up to the lesser side.

        Returns:
            (output, rank) and (rank, input).
        """
        roots = self.values[:rank].sqrt()
        wide, narrow = self.left[:, :rank] * roots, roots[:, None] * self.right[:rank]
        return wide.to(self.matrix.dtype), narrow.to(self.matrix.dtype)


def spectra_of(model: Model) -> tuple[dict[str, Spectrum], dict[str, str]]:
    """The matrices that may be factored, and why others may not.

    Args:
        model: its streaming form and the form it is trimmed in must call a layer as such.

    Returns:
        spectra by the path of the weight, and reasons by that path.
    """
    called, layers = _called_alone(model), dict(model.named_modules())
    found, kept = {}, {}
    for path, weight in model.named_parameters():
        owner, _, name = path.rpartition(".")
        if weight.dim() < 2 or name.startswith("bias"):
            continue
        above = layers.get(owner.rpartition(".")[0])
        reason = can_be_factored(layers[owner])
        if isinstance(above, Factored | FactoredConv):
            reason = "of low rank already"
        elif not reason and path not in called:
            reason = "read by other code than its layer's"
        if reason:
            kept[path] = reason
        else:
            found[path] = Spectrum.of(weight)
    return found, kept


def _called_alone(model: Model) -> set[str]:
    """Weights that nothing reads but the layers that own them, in every form in which the model is captured."""
    forms = [model.trim_form()]
    if isinstance(model, Autoregressive):
        forms += [(part, part.example_inputs()) for part in model.parts()]
    else:
        step = Step(model)
        forms.append((step, step.example_inputs()))
    good, bad = set[str](), set[str]()
    for form, inputs in forms:
        for node in capture(form, inputs).nodes:
            for value in node.inputs():
                if value.kind == "parameter":
                    owner = value.path.rpartition(".")[0]
                    (good if node.layer == owner else bad).add(value.path.removeprefix("model."))
    return good - bad


def ranks_within(spectra: Mapping[str, Spectrum], most: int) -> dict[str, int | None]:
    """The ranks whose worst relative error is least, so that all matrices together are small enough.

    Every matrix may lose the same share of its squares; of one that would not be smaller for it nothing is lost.

    Args:
        spectra: by path.
        most: numbers that all of them may take.

    Returns:
        rank by path; None for what stays whole.

    Raises:
        ReductionError: rank 1 of every matrix is too much.
    """

    def ranks(error: float) -> dict[str, int | None]:
        return {path: spectrum.rank_for(error) for path, spectrum in spectra.items()}

    def fits(found: Mapping[str, int | None]) -> bool:
        return sum(spectra[path].size(rank) for path, rank in found.items()) <= most

    if not spectra or not fits(ranks(1.0)):
        raise ReductionError(
            "No ranks are low enough: the matrices that can be factored would have to have less than 1.",
            remedy="Keep more, or remove units first: pochette reduce RUN --method lottery --then low-rank.",
        )
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(ranks(middle)) else (middle, high)
    return ranks(high)


def factor(model: Model, spectra: Mapping[str, Spectrum], ranks: Mapping[str, int | None]) -> None:
    """Put factored layers in the place of others.

    Args:
        model: changed in place.
        spectra: by path of the weight.
        ranks: by path; None for what stays whole.
    """
    for owner in dict.fromkeys(path.rpartition(".")[0] for path, rank in ranks.items() if rank is not None):
        layer = model.get_submodule(owner)
        if isinstance(layer, nn.GRU):
            put_layer(model, owner, _gru(layer, owner, spectra, ranks))
            continue
        path = f"{owner}.weight"
        rank = ranks[path]
        assert rank is not None
        made = like(layer, rank)
        _fill(made, spectra[path].factors(rank), layer.bias)  # type: ignore[arg-type]
        put_layer(model, owner, made)


def _gru(layer: nn.GRU, owner: str, spectra: Mapping[str, Spectrum], ranks: Mapping[str, int | None]) -> nn.Module:
    of_input, of_state = (ranks.get(f"{owner}.{name}") for name in GRU_PARTS)
    made = factored_gru(layer, (of_input, of_state))
    for name, part in GRU_PARTS.items():
        own, spectrum = made.get_submodule(part), spectra[f"{owner}.{name}"]
        bias = getattr(layer, name.replace("weight", "bias")) if layer.bias else None
        rank = ranks[f"{owner}.{name}"]
        if rank is not None:
            _fill(own, spectrum.factors(rank), bias)
            continue
        with torch.no_grad():
            own.weight.copy_(spectrum.matrix)  # type: ignore[operator]
            if bias is not None:
                own.bias.copy_(bias)  # type: ignore[operator]
    return made


@torch.no_grad()
def _fill(made: nn.Module, factors: tuple[Tensor, Tensor], bias: Tensor | None) -> None:
    own = dict(made.named_parameters())
    for name, numbers in zip(("wide.weight", "narrow.weight"), factors, strict=True):
        own[name].copy_(numbers.reshape(own[name].shape))
    if bias is not None:
        own["wide.bias"].copy_(bias)
