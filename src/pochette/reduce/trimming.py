"""From scores to a smaller network: choosing units, cutting them out, checking what was done, and saying it.

Four questions stay apart: what is scored (a criterion), over which units (the families of the graph), how many
(`choosing`), and what happens to the rest (the method's business).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pochette.errors import PochetteError, ReductionError
from pochette.families import criteria
from pochette.graph.graph import Graph
from pochette.graph.rewrite import Remains, cut_graph, cut_tensors, masked, module_of
from pochette.graph.run import run
from pochette.graph.trim import Cuts, put
from pochette.graph.units import Place
from pochette.models.model import Model
from pochette.reduce.choosing import Choice, choose
from pochette.reduce.copying import copy_of
from pochette.reduce.evidence import Evidence, needs_data
from pochette.reduce.observed import Batch, Observed
from pochette.reduce.structure import Structure

PREFIX = "model."
"""What the paths of a captured model's form carry in front of the model's own."""
TOLERANCE = 1e-5
"""Largest difference, relative to the largest output, that rounding may make between trimmed and masked."""


@dataclass(frozen=True)
class FamilyTrim:
    """What happened to one family of units."""

    name: str
    before: int
    after: int
    norms: tuple[str, ...]
    """Layers whose statistics run over these units: there the trimmed model is not the masked one."""


@dataclass(frozen=True)
class TrimReport:
    """What went, what stayed and why, what is not exact."""

    families: tuple[FamilyTrim, ...]
    kept: dict[str, str]
    """Parameter axis to the reason why it stays whole."""
    macs_before: int
    """Of learnt matrices, per call of the captured form."""
    macs_after: int
    parameters_before: int = 0
    parameters_after: int = 0
    not_exact: tuple[str, ...] = ()
    """Layers that compute statistics over what was trimmed: outside them the result equals the masked network."""
    form: Literal["module", "graph"] = "module"
    """Whether the module itself was made smaller, or the captured graph was rewritten."""
    lengths: str = "any"
    """For which lengths of its inputs the result holds."""
    survivors: dict[Place, npt.NDArray[np.int64]] = field(default_factory=dict)
    """Axis of a stored tensor to its surviving indices, where some went."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the surviving indices."""
        plain = asdict(replace(self, survivors={}))
        del plain["survivors"]
        return plain


def report_of(structure: Structure, counts: dict[str, int], remains: Remains) -> TrimReport:
    """Say what a removal does.

    Args:
        structure: of the whole network.
        counts: units left in each family.
        remains: of its graph.

    Returns:
        the report.
    """
    trimmed = [family for family in structure.families if counts[family.name] < family.units]
    survivors = {
        Place(path, axis): remains.indices(value, axis)
        for path, value in structure.graph.stored.items()
        for axis, size in enumerate(value.shape)
        if len(remains.indices(value, axis)) < size
    }
    return TrimReport(
        families=tuple(FamilyTrim(f.name, f.units, counts[f.name], f.norms) for f in structure.families),
        kept=structure.units.kept,
        macs_before=structure.matrix_macs(),
        macs_after=structure.matrix_macs(counts),
        parameters_before=structure.parameters(),
        parameters_after=structure.parameters(counts),
        not_exact=tuple(dict.fromkeys(norm for family in trimmed for norm in family.norms)),
        survivors=survivors,
    )


# -- models of pochette ------------------------------------------------------------------------------------------------


def structure_of(model: Model) -> Structure:
    """Capture a model in the form that holds all its learnt weights, and find its units.

    Args:
        model: left as it was.

    Returns:
        the structure; its paths carry `PREFIX`.

    Raises:
        ExportError: the model cannot be captured.
        ReductionError: nothing in it can be removed.
    """
    form, inputs = copy_of(model).trim_form()  # type: ignore[operator]
    return Structure.of(form, inputs)


def trim_model(
    model: Model,
    keep: float | None = None,
    *,
    weights: int | None = None,
    macs: float | None = None,
    choice: Choice | None = None,
    structure: Structure | None = None,
    evidence: Evidence | None = None,
) -> tuple[Model, Cuts, TrimReport]:
    """Remove units from a model, the least worthy first.

    Args:
        model: left untouched.
        keep: share of units that stay, between 0 and 1; or
        weights: how many learnt numbers may stay at most; or
        macs: how many multiply-accumulates of learnt weights a call of the trim form may take at most.
        choice: criterion, scope, scaling; local magnitude by default.
        structure: of this very model, if it is at hand.
        evidence: of this very model, if the criterion needs data.

    Returns:
        the smaller model, the cuts (to make again on other states of the same model), and the report.

    Raises:
        ReductionError: the request would remove nothing, asks for the impossible, or the model writes sizes into its
            forward so that it cannot be made smaller itself.
        ExportError: the model cannot be captured.
    """
    choice = choice or Choice()
    structure = structure or structure_of(model)
    if evidence is None:
        form, _ = copy_of(model).trim_form()  # type: ignore[operator]
        evidence = Observed(form, structure.graph, seed=choice.seed)
    survivors = choose(structure, evidence, choice, keep=keep, weights=weights, macs=macs)
    counts = {name: len(kept) for name, kept in survivors.items()}
    remains = structure.remains(survivors)
    cuts = Cuts(structure.graph, remains, PREFIX)
    report = report_of(structure, counts, remains)
    smaller = copy_of(model)
    put(smaller, _changed(model.state_dict(), cuts.apply(model.state_dict())))
    return smaller, cuts, report  # type: ignore[return-value]


# -- any module --------------------------------------------------------------------------------------------------------


def trim(
    module: nn.Module,
    example_inputs: tuple[Any, ...],
    keep: float = 0.5,
    criterion: str = "magnitude",
    scope: str = "local",
    *,
    scaling: str = "maximum",
    multiple_of: int = 1,
    data: Iterable[Any] | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    seed: int = 0,
) -> nn.Module:
    """A smaller module that does what the given one does without its least worthy units.

    The result equals the given module with every reader of the removed units masked, to rounding; where a layer
    computes statistics over trimmed units it cannot, and `trim_report.not_exact` names it. It is the module itself made
    smaller where its forward follows the sizes of its weights; otherwise a module made of the rewritten graph, and
    `trim_report.lengths` says for which lengths of its inputs that holds.

    Args:
        module: any that `torch.export` can follow; left untouched, whatever happens.
        example_inputs: positional arguments of a call.
        keep: share of units that stay: max(1, round(keep * n)) of a family's n (scope "local"), or of all (global).
        criterion: name of a member of `pochette.families.criteria`.
        scope: "local" (each family on its own), "global" (all ranked together) or "global_then_local".
        scaling: how scores of families are made comparable for global ranking, see `pochette.reduce.choosing`.
        multiple_of: make what is left of every family a multiple, where it has so many; 4 or 8 suits vector units.
        data: batches for criteria that need them: (inputs, target) pairs, inputs a tensor or a tuple.
        loss: output and target to a scalar, for criteria that need gradients.
        seed: for what criteria draw.

    Returns:
        the smaller module in evaluation or training mode as the given one, with a `trim_report`.

    Raises:
        ReductionError: the request is impossible, would change nothing, needs data that is not given, or nothing in the
            module can be removed.
        UnknownNameError: no such criterion.
        ExportError: `torch.export` cannot follow the module.
    """
    choice = Choice(criterion, scope, scaling, multiple_of, seed)  # type: ignore[arg-type]
    if isinstance(example_inputs, Tensor):
        example_inputs = (example_inputs,)
    batches = [_batch(item) for item in data] if data is not None else []
    _check(module, keep, choice, batches)
    copied = copy_of(module)
    structure = Structure.of(copied, example_inputs)

    def judged(network: nn.Module, batch: Batch) -> Tensor:
        assert loss is not None
        return loss(network(*batch.inputs), batch.target)

    evidence = Observed(copied, structure.graph, batches, judged if loss is not None else None, seed)
    survivors = choose(structure, evidence, choice, keep=keep)
    counts = {name: len(kept) for name, kept in survivors.items()}
    remains = structure.remains(survivors)
    report = report_of(structure, counts, remains)
    result, form, lengths = _smaller(copied, structure, remains, example_inputs, exact=not report.not_exact)
    result.train(module.training)
    result.trim_report = replace(report, form=form, lengths=lengths)  # type: ignore[assignment]
    return result


def _batch(item: Any) -> Batch:
    if isinstance(item, Tensor):
        return Batch((item,))
    inputs, target = item
    return Batch((inputs,) if isinstance(inputs, Tensor) else tuple(inputs), target)


def _check(module: nn.Module, keep: float, choice: Choice, batches: list[Batch]) -> None:
    """Refuse what needs no capture to be refused."""
    if not isinstance(module, nn.Module):
        raise ReductionError(f"{type(module).__name__} is no torch.nn.Module.", remedy="Give the network itself.")
    if isinstance(module, torch.jit.ScriptModule):
        raise ReductionError("A TorchScript module cannot be trimmed.", remedy="Give the module it was made from.")
    if not isinstance(keep, (int, float)) or math.isnan(keep) or not 0.0 < keep < 1.0:
        raise ReductionError(f"keep is {keep}.", remedy="Give the share of units to keep, between 0 and 1.")
    if needs_data(criteria[choice.criterion]) and not batches:
        raise ReductionError(
            f"The criterion {choice.criterion} looks at how the network behaves, and no data was given.",
            remedy="Pass data=[(inputs, target), ...], or choose a criterion of weights such as magnitude.",
        )


def _smaller(
    module: nn.Module, structure: Structure, remains: Remains, inputs: tuple[Any, ...], *, exact: bool
) -> tuple[nn.Module, Literal["module", "graph"], str]:
    """The smaller module in the better of two forms, checked against the masked graph."""
    graph = structure.graph
    tensors = cut_tensors(graph, remains)
    trainable = frozenset(name for name, p in module.named_parameters(remove_duplicate=False) if p.requires_grad)
    rewritten = module_of(cut_graph(graph, remains, tensors), module.state_dict(), trainable)
    flat = [item for item in torch.utils._pytree.tree_leaves(inputs) if isinstance(item, Tensor)]
    used = [item for item, value in zip(flat, graph.fed, strict=False) if value is not None]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        aim = run(graph, used, alter=masked(structure.units, remains)).outputs
        mine = _outputs(rewritten, inputs)
    drawn = any(torch.Tag.nondeterministic_seeded in _tags(node.op) for node in graph.nodes)
    if not drawn and (_shapes(aim) != _shapes(mine) or (exact and _apart(aim, mine) > TOLERANCE)):
        raise ReductionError(
            f"The trimmed network differs from the masked one by {_apart(aim, mine):.1e} of its largest output.",
            where=type(module).__name__,
            remedy="This is a defect of pochette: please report the network.",
        )
    itself = _itself(module, graph, tensors, mine, inputs, drawn=drawn)
    if itself is not None:
        return itself, "module", "any that the original runs at"
    return rewritten, "graph", _lengths(module, structure, remains, rewritten, inputs)


def _itself(
    module: nn.Module, graph: Graph, tensors: dict[str, Tensor], aim: tuple[Tensor, ...], inputs: Any, *, drawn: bool
) -> nn.Module | None:
    """The module with smaller weights, if its forward then still does the same."""
    smaller = copy_of(module)
    changed = _changed(graph.tensors, {path: tensors[path] for path in graph.stored})
    state = {path for path, value in graph.stored.items() if value.kind == "state"}
    try:
        put(smaller, changed)
        tried = copy_of(smaller)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = _outputs(tried.eval(), inputs)
            after = dict(tried.named_buffers())
            same = _shapes(found) == _shapes(aim) and (drawn or _apart(aim, found) <= TOLERANCE)
            same = same and all(after[path].shape == tensors[path].shape for path in state)
    except Exception:  # whatever the forward raises when its weights are smaller than it wrote down
        return None
    return smaller if same else None


def _changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those tensors that another shape or other values came out of."""
    return {
        path: tensor
        for path, tensor in after.items()
        if tensor.shape != before[path].shape or not torch.equal(tensor, before[path])
    }


def _outputs(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    copied = copy_of(module).eval()
    found = copied(*inputs)
    return tuple(item for item in torch.utils._pytree.tree_leaves(found) if isinstance(item, Tensor))


def _shapes(tensors: tuple[Tensor, ...]) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors]


def _apart(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> float:
    """Largest difference of two calls' outputs, in shares of the largest output; infinite if one is no number."""
    worst = 0.0
    for pair in zip(left, right, strict=True):
        a, b = (torch.view_as_real(x) if x.is_complex() else x.double() for x in pair)
        if a.numel() == 0:
            continue
        gap = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).max().item()
        scale = a[a.isfinite()].abs().max().item() if a.isfinite().any() else 1.0
        worst = max(worst, math.inf if math.isnan(gap) else gap / max(scale, 1e-12))
    return worst


def _tags(op: str) -> Any:
    from pochette.graph.graph import function_of

    return function_of(op).tags


def _lengths(
    module: nn.Module, structure: Structure, remains: Remains, rewritten: nn.Module, inputs: tuple[Any, ...]
) -> str:
    """Try the rewritten graph with each axis of its inputs doubled, and say where it holds."""
    places = {(axis, size) for item in inputs if isinstance(item, Tensor) for axis, size in enumerate(item.shape)}
    held: list[tuple[int, int]] = []
    failed: list[tuple[int, int]] = []
    for axis, size in sorted(places):
        if size == 1:
            continue
        # Inputs that run along together (a pitch and a loudness curve) grow together.
        longer = tuple(_doubled(item, axis, size) if isinstance(item, Tensor) else item for item in inputs)
        try:
            with torch.no_grad():
                _outputs(module, longer)
        except Exception:
            continue  # the original does not run there either
        (held if _holds(module, structure, remains, rewritten, longer) else failed).append((axis, size))
    if not failed:
        return "any that the original runs at" if held else "those of the example inputs"
    fixed = ", ".join(f"axis {axis} ({size} long)" for axis, size in failed)
    return f"inputs that keep the length of {fixed}" + ("; other axes may change" if held else "")


def _holds(
    module: nn.Module, structure: Structure, remains: Remains, rewritten: nn.Module, inputs: tuple[Any, ...]
) -> bool:
    """Whether the rewritten graph equals the masked original on other inputs."""
    try:
        longer = Structure.of(module, inputs)
        families = {family.makers: family for family in longer.families}
        removed = np.zeros(int(longer.units.unit.max()) + 1, np.bool_)
        for family in structure.families:
            gone = np.flatnonzero(remains.removed[family.numbers])
            removed[families[family.makers].numbers[gone]] = True
        there = Remains(longer.units, removed)
        with torch.no_grad():
            found = _outputs(rewritten, inputs)
            flat = [item for item in torch.utils._pytree.tree_leaves(inputs) if isinstance(item, Tensor)]
            aim = run(longer.graph, flat, alter=masked(longer.units, there)).outputs
            # Statistics over trimmed units differ from masked ones; there only the shapes can be compared.
            norms = any(family.norms for family in structure.families)
            return _shapes(aim) == _shapes(found) and (norms or _apart(aim, found) <= TOLERANCE)
    except (PochetteError, RuntimeError, KeyError, ValueError, AssertionError):
        return False


def _doubled(tensor: Tensor, axis: int, size: int) -> Tensor:
    if axis < tensor.dim() and tensor.shape[axis] == size:
        return torch.cat([tensor, tensor], dim=axis)
    return tensor
