"""Which layers of a network can be of low rank, of what rank, and with which numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.graph.capture import capture
from pochette.layers.factored import (
    NORMED,
    Factored,
    FactoredConv,
    FactoredTransposed,
    Rank,
    can_be_factored,
    factored_recurrent,
    like,
    parts_of,
    put_layer,
)
from pochette.layers.lstm import GATES, LstmLayer
from pochette.models.autoregressive import Autoregressive
from pochette.models.model import Model, Step
from pochette.reduce.tucker import Tucker


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A matrix, by what it does in each of its directions.

    Args:
        matrix: (output, input), an input being one at a tap of filters; of transposed ones an output is one at a tap.
    """

    matrix: Tensor
    left: Tensor
    values: Tensor
    """From the greatest to the least."""
    right: Tensor
    tucker: Tucker | None = None
    """The same as filters that may become three; None where they may not, or it is no filter."""

    @classmethod
    def of(cls, weight: Tensor, *, tucker: bool = False) -> Spectrum:
        """That of the weights of a layer.

        Args:
            weight: outputs first.
            tucker: whether, if these are filters, they may become three.

        Returns:
            the spectrum.
        """
        matrix = weight.detach().flatten(1)
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        return cls(matrix, left, values, right, Tucker.of(weight) if tucker and weight.dim() > 2 else None)

    @property
    def pays_below(self) -> float:
        """The rank from which on two matrices are no smaller than the one."""
        return self.matrix.numel() / sum(self.matrix.shape)

    def rank_for(self, error: float) -> Rank | None:
        """The rank that takes the fewest numbers, of those whose error is no greater; None where none would pay.

        Args:
            error: of the matrix's sum of squares, the share that goes.

        Returns:
            1 or more; two of them, of inputs and outputs, where three filters take fewer numbers than two.
        """
        squares = self.values.square()
        tails = 1.0 - torch.cumsum(squares, 0) / squares.sum().clamp(min=1e-300)
        rank: Rank = min(len(tails), 1 + int((tails > error).sum()))
        if self.tucker is not None:
            rank = min(rank, self.tucker.rank_for(error), key=self.size)
        return rank if self.size(rank) < self.matrix.numel() else None

    def size(self, rank: Rank | None) -> int:
        """Numbers to store, and multiplications a vector."""
        if isinstance(rank, tuple):
            assert self.tucker is not None
            return self.tucker.size(rank)
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


@dataclass(frozen=True, eq=False)
class _Matrix:
    """What one spectrum is of."""

    owner: str
    """Path of the layer."""
    name: str
    """Of the matrix in it."""
    weight: Tensor
    """Outputs first."""
    parameters: tuple[str, ...]
    """Paths of what is learnt of it."""


def spectra_of(model: Model, *, tucker: bool = False) -> tuple[dict[str, Spectrum], dict[str, str]]:
    """The matrices that may be factored, and why others may not.

    A weight that is normed counts as what it acts as: what it is factored into has no norm.

    Args:
        model: its streaming form and the form it is trimmed in must call a layer as such.
        tucker: whether filters may become three.

    Returns:
        spectra by the path of the weight (of an `LstmLayer` that of its four gates), and reasons by that path.
    """
    matrices, kept = _matrices_of(model)
    called = _called_alone(model, {path: one.owner for one in matrices for path in one.parameters})
    found = {}
    for one in matrices:
        path = f"{one.owner}.{one.name}"
        if set(one.parameters) <= called:
            transposed = isinstance(model.get_submodule(one.owner), nn.ConvTranspose1d)
            found[path] = Spectrum.of(one.weight, tucker=tucker and not transposed)
        else:
            kept[path] = "read by other code than its layer's"
    return found, kept


def _matrices_of(model: nn.Module) -> tuple[list[_Matrix], dict[str, str]]:
    """Matrices of layers that have a factored form, and why others have none."""
    # What only training uses is none of the network that is to be small.
    found, kept, inside = list[_Matrix](), dict[str, str](), list[str](getattr(model, "aids", ()))
    for owner, layer in model.named_modules():
        if owner in inside or any(owner.startswith(f"{path}.") for path in inside):
            continue
        reason = can_be_factored(layer)
        if isinstance(layer, Factored | FactoredConv | FactoredTransposed):
            inside.append(owner)
            kept |= {f"{owner}.{name}": "of low rank already" for name, p in layer.named_parameters() if p.dim() > 1}
        elif not reason:
            inside.append(owner)
            found += _matrices_in(owner, layer)
        else:
            own = layer.named_parameters(recurse=False)
            kept |= {
                f"{owner}.{name}": reason for name, p in own if p.dim() > 1 and not name.startswith("bias")
            }  # fmt: skip
    return found, kept


def _matrices_in(owner: str, layer: nn.Module) -> Iterator[_Matrix]:
    if isinstance(layer, LstmLayer):
        for name in parts_of(layer):
            gates: Any = layer.get_submodule(name)
            paths = tuple(f"{owner}.{name}.{gate}.weight" for gate in GATES)
            yield _Matrix(owner, name, torch.cat([gates[gate].weight for gate in GATES]), paths)
        return
    for name in parts_of(layer) or ("weight",):
        weight = getattr(layer, name)
        paths = tuple(f"{owner}.{path}" for path, _ in layer.named_parameters() if path.startswith((name, NORMED)))
        # Of a transposed convolution inputs stand first, of the matrix outputs.
        yield _Matrix(owner, name, weight.flatten(1).T if isinstance(layer, nn.ConvTranspose1d) else weight, paths)


def _called_alone(model: Model, owners: Mapping[str, str]) -> set[str]:
    """Parameters that nothing reads but the layers that own them, in every form in which the model is captured."""
    forms = [model.trim_form()]
    if isinstance(model, Autoregressive):
        forms += [(part, part.example_inputs()) for part in model.parts()]
    else:
        step = Step(model)
        forms.append((step, step.example_inputs()))
    good, bad = set[str](), set[str]()
    for form, inputs in forms:
        acting: dict[int, list[str]] = {}
        """What normed weights act as, and the paths of what is learnt of them."""
        for node in capture(form, inputs).nodes:
            layer = f"{node.layer.removeprefix('model.')}."
            for value in node.inputs():
                own = value.path.removeprefix("model.")
                for path in [own] if own in owners else acting.get(id(value), []):
                    (good if layer.startswith(f"{owners[path]}.") else bad).add(path)
                    if f".{NORMED}." in layer:
                        acting.setdefault(id(node.output), []).append(path)
    return good - bad


def least_numbers(spectra: Mapping[str, Spectrum]) -> int:
    """Numbers that all matrices take at the lowest ranks, which shapes alone decide.

    Args:
        spectra: by path.

    Returns:
        their count.
    """
    return sum(spectrum.size(spectrum.rank_for(1.0)) for spectrum in spectra.values())


def ranks_within(spectra: Mapping[str, Spectrum], most: int) -> dict[str, Rank | None]:
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

    def ranks(error: float) -> dict[str, Rank | None]:
        return {path: spectrum.rank_for(error) for path, spectrum in spectra.items()}

    def fits(found: Mapping[str, Rank | None]) -> bool:
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


def factor(model: nn.Module, spectra: Mapping[str, Spectrum], ranks: Mapping[str, Rank | None]) -> None:
    """Put factored layers in the place of others.

    Args:
        model: changed in place.
        spectra: by path of the weight.
        ranks: by path; None for what stays whole.
    """
    for owner in dict.fromkeys(path.rpartition(".")[0] for path, rank in ranks.items() if rank is not None):
        layer = model.get_submodule(owner)
        if parts_of(layer):
            put_layer(model, owner, _recurrent(layer, owner, spectra, ranks))
            continue
        path = f"{owner}.weight"
        rank = ranks[path]
        assert rank is not None
        made = like(layer, rank)
        _fill(made, spectra[path], rank, layer.bias)  # type: ignore[arg-type]
        put_layer(model, owner, made)


def _recurrent(
    layer: nn.Module, owner: str, spectra: Mapping[str, Spectrum], ranks: Mapping[str, Rank | None]
) -> nn.Module:  # fmt: skip
    of_input, of_state = (ranks.get(f"{owner}.{name}") for name in parts_of(layer))
    assert not isinstance(of_input, tuple) and not isinstance(of_state, tuple)
    made = factored_recurrent(layer, (of_input, of_state))
    for name, part in parts_of(layer).items():
        own, spectrum, bias = made.get_submodule(part), spectra[f"{owner}.{name}"], _bias_of(layer, name)
        rank = ranks[f"{owner}.{name}"]
        if rank is not None:
            _fill(own, spectrum, rank, bias)
            continue
        with torch.no_grad():
            own.weight.copy_(spectrum.matrix)  # type: ignore[operator]
            if bias is not None:
                own.bias.copy_(bias)  # type: ignore[operator]
    return made


def _bias_of(layer: nn.Module, matrix: str) -> Tensor | None:
    """What is added to what one of the two matrices of a recurrent layer makes."""
    if isinstance(layer, LstmLayer):
        gates: Any = layer.get_submodule(matrix)
        return torch.cat([gates[gate].bias for gate in GATES])
    return getattr(layer, matrix.replace("weight", "bias")) if layer.bias else None


@torch.no_grad()
def _fill(made: nn.Module, spectrum: Spectrum, rank: Rank, bias: Tensor | None) -> None:
    own = dict(made.named_parameters())
    if isinstance(rank, tuple):
        assert spectrum.tucker is not None
        narrow, core, wide = spectrum.tucker.factors(rank)
        numbers = {"narrow": narrow, "core": core, "wide": wide}
    else:
        wide, narrow = spectrum.factors(rank)
        numbers = {"narrow": narrow, "wide": wide.T if isinstance(made, FactoredTransposed) else wide}
    for name, held in numbers.items():
        weight = own[f"{name}.weight"]
        weight.copy_(held.reshape(weight.shape))
    if bias is not None:
        own["wide.bias"].copy_(bias)
