"""From scores to a smaller network: choosing units, cutting them out, checking what was done, and saying it.

Four questions stay apart: what is scored (a criterion), over which units (the families of the graph), how many
(`choosing`), and what happens to the rest (the method's business).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.families import criteria
from pochette.graph.capture import arguments_of
from pochette.graph.copying import copy_of
from pochette.graph.graph import Graph
from pochette.graph.rewrite import Remains, cut_graph
from pochette.graph.trim import Cuts, put
from pochette.graph.units import Place
from pochette.measure.profile import macs_of
from pochette.models.model import Model
from pochette.reduce.choosing import Choice, check_survivors, choose
from pochette.reduce.comparing import call_key
from pochette.reduce.evidence import Evidence, fallen_back, needs_data
from pochette.reduce.observed import Batch, Observed
from pochette.reduce.structure import Structure, Survivors
from pochette.reduce.surgery import changed, smaller_module

PREFIX = "model."
"""What the paths of a captured model's form carry in front of the model's own."""


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
    """All multiply-accumulates of a call of the captured form, as `pochette.measure.profile` counts them."""
    macs_after: int
    parameters_before: int = 0
    parameters_after: int = 0
    not_exact: tuple[str, ...] = ()
    """Layers that compute statistics over what was trimmed: outside them the result equals the masked network."""
    recalibrated: tuple[str, ...] = ()
    """Those of them whose gain and offset were fitted to data, so that what is left comes out as it did."""
    form: Literal["module", "graph"] = "module"
    """Whether the module itself was made smaller, or the captured graph was rewritten."""
    lengths: str = "any"
    """For which lengths of its inputs the result holds."""
    not_multiples: dict[str, str] = field(default_factory=dict)
    """Families whose number of units left is no multiple of what was asked for, and why."""
    fell_back: tuple[str, ...] = ()
    """Families that lack what the criterion looks at, and that it scored by something else: "normalisation" by the size
    of weights where it found no gain."""
    always_evaluating: tuple[str, ...] = ()
    """Dropout and batch norms that a rewritten graph computes as in evaluation, also while it is trained: a graph is
    captured so. Empty where the module itself was made smaller."""
    unused: tuple[str, ...] = ()
    """Layers, or single parameters, that no output needs in evaluation: neither counted nor cut. A rewritten graph has
    them no more; they stay in a module that was made smaller itself."""
    note: str = ""
    """How a technique chose units, where that depends on the model: by which gains, or by gates."""
    survivors: dict[Place, npt.NDArray[np.int64]] = field(default_factory=dict)
    """Axis of a stored tensor to its surviving indices, where some went."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, without the surviving indices."""
        plain = asdict(replace(self, survivors={}))
        del plain["survivors"]
        return plain


def report_of(
    structure: Structure, counts: dict[str, int], remains: Remains, choice: Choice, evidence: Evidence
) -> TrimReport:  # fmt: skip
    """Say what a removal does.

    Args:
        structure: of the whole network.
        counts: units left in each family.
        remains: of its graph.
        choice: by which units were chosen.
        evidence: on which they were.

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
        macs_before=macs_of(structure.graph),
        macs_after=macs_of(cut_graph(structure.graph, remains)),
        parameters_before=structure.parameters(),
        parameters_after=structure.parameters(counts),
        not_exact=tuple(dict.fromkeys(norm for family in trimmed for norm in family.norms)),
        not_multiples={
            family.name: _too_few(family.units, choice.multiple_of)
            for family in structure.families
            if counts[family.name] % choice.multiple_of
        },
        fell_back=fallen_back(criteria[choice.criterion], structure.families, evidence),
        survivors=survivors,
    )


def _too_few(units: int, multiple_of: int) -> str:
    """Why a family's units do not come to a multiple: rounding up would take more than there are."""
    staying = "the only unit stays" if units == 1 else f"all {units} units stay"
    return f"{staying}; the next multiple of {multiple_of} would be {-(-units // multiple_of) * multiple_of}"


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
    survivors: Survivors | None = None,
    choice: Choice | None = None,
    structure: Structure | None = None,
    evidence: Evidence | None = None,
) -> tuple[Model, Cuts, TrimReport]:
    """Remove units from a model, the least worthy first.

    Args:
        model: left untouched.
        keep: share of units that stay, between 0 and 1; or
        weights: how many learnt numbers may stay at most; or
        macs: how many multiply-accumulates of learnt weights a call of the trim form may take at most; or
        survivors: of every family, where a technique has chosen them itself.
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
    if survivors is None:
        survivors = choose(structure, evidence, choice, keep=keep, weights=weights, macs=macs)
    else:
        check_survivors(structure, survivors)
    counts = {name: len(kept) for name, kept in survivors.items()}
    remains = structure.remains(survivors)
    cuts = Cuts(structure.graph, remains, PREFIX)
    report = report_of(structure, counts, remains, choice, evidence)
    smaller = copy_of(model)
    put(smaller, changed(model.state_dict(), cuts.apply(model.state_dict())))
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
        example_inputs: positional arguments of a call, a tuple or a list.
        keep: share of units that stay: max(1, round(keep * n)) of a family's n (scope "local"), or of all (global).
        criterion: name of a member of `pochette.families.criteria`.
        scope: "local" (each family on its own), "global" (all ranked together) or "global_then_local".
        scaling: how scores of families are made comparable for global ranking, see `pochette.reduce.choosing`.
        multiple_of: make what is left of every family a multiple (of a grouped convolution: in every group), where it
            has so many; 4 or 8 suits vector units. `trim_report.not_multiples` says where it has not.
        data: batches for criteria that need them: (inputs, target) pairs, inputs a tensor or a tuple. On the first,
            normalisations over trimmed units are also recalibrated; without data they are left and named.
        loss: output and target to a scalar, for criteria that need gradients.
        seed: for what criteria draw.

    Returns:
        the smaller module in evaluation or training mode as the given one, with a `trim_report`.

    Raises:
        ReductionError: the request is impossible, would change nothing, needs data that is not given, nothing in the
            module can be removed, or no layer has what the criterion looks at.
        UnknownNameError: no such criterion.
        ExportError: `torch.export` cannot follow the module, or the module has lazy layers that were never called,
            keeps state outside its buffers, or writes into its inputs.
    """
    choice = Choice(criterion, scope, scaling, multiple_of, seed)  # type: ignore[arg-type]
    if choice.scope == "local" and choice.scaling != "maximum":
        raise ReductionError(
            f"scaling={scaling!r} makes families comparable, and the scope ranks within each: it would change nothing.",
            remedy='Add scope="global", or leave scaling out.',
        )
    example_inputs = arguments_of(example_inputs)
    if data is not None and not isinstance(data, Iterable):
        raise ReductionError(f"data is a {type(data).__name__}.", remedy="Give data=[(inputs, target), ...].")
    batches = [_batch(item) for item in data] if data is not None else []
    _check(module, keep, choice, batches)
    judged = None if loss is None else _judged_by(loss)
    return _trimmed(module, example_inputs, float(keep), choice, batches, judged)


def _trimmed(
    module: nn.Module,
    example_inputs: tuple[Any, ...],
    keep: float,
    choice: Choice,
    batches: list[Batch],
    loss: Callable[[nn.Module, Batch], Tensor] | None,
) -> nn.Module:
    """What `trim` does once its request was checked."""
    copied = copy_of(module)
    structure = Structure.of(copied, example_inputs)

    scenes = {call_key(example_inputs): (structure.graph, structure.units)}
    evidence = Observed(copied, structure.graph, batches, loss, choice.seed, scenes)
    survivors = choose(structure, evidence, choice, keep=keep)
    counts = {name: len(kept) for name, kept in survivors.items()}
    remains = structure.remains(survivors)
    report = report_of(structure, counts, remains, choice, evidence)
    made = smaller_module(
        copied,
        structure,
        remains,
        example_inputs,
        exact=not report.not_exact,
        data=batches[0].inputs if batches else None,
    )
    made.module.train(module.training)
    evaluating = _differ_in_training(module) if made.form == "graph" else ()
    said = replace(
        report,
        form=made.form,
        lengths=made.lengths,
        recalibrated=made.recalibrated,
        always_evaluating=evaluating,
        unused=_unused(copied, structure.graph),
    )
    made.module.trim_report = said  # type: ignore[assignment]
    return made.module


def _judged_by(loss: Callable[[Any, Any], Tensor]) -> Callable[[nn.Module, Batch], Tensor]:
    """A loss of output and target as one of a network on a batch, whose failures are a person's to mend."""

    def judged(network: nn.Module, batch: Batch) -> Tensor:
        try:
            return loss(network(*batch.inputs), batch.target)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            untold = ", whose items are inputs without a target" if batch.target is None else ""
            raise ReductionError(
                f"The network or the loss fails on the data{untold}: {reason}",
                remedy="Give data=[(inputs, target), ...] of the example's shapes, and a loss of output and target.",
            ) from error

    return judged


def _differ_in_training(module: nn.Module) -> tuple[str, ...]:
    """Layers that compute something else while they are trained."""
    dropping, norms = nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm
    return tuple(
        name
        for name, part in module.named_modules()
        if isinstance(part, norms) or (isinstance(part, dropping) and part.p > 0.0)
    )


def _unused(module: nn.Module, graph: Graph) -> tuple[str, ...]:
    """Layers of which a graph has no parameter, and the parameters that it lacks of other layers."""
    named = dict(module.named_parameters(remove_duplicate=False))
    used = {id(named[path]) for path in graph.stored if path in named}
    layers: dict[str, list[str]] = defaultdict(list)
    for path in named:
        layers[path.rpartition(".")[0].removesuffix(".parametrizations.weight")].append(path)
    found: list[str] = []
    for layer, paths in layers.items():
        missing = [path for path in paths if id(named[path]) not in used]
        found += [layer] if layer and missing == paths else missing
    return tuple(found)


def _batch(item: Any) -> Batch:
    if isinstance(item, Tensor):
        return Batch((item,))
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ReductionError(
            f"A batch of data is a {type(item).__name__}, not a pair.", remedy="Give data=[(inputs, target), ...]."
        )
    inputs, target = item
    if not isinstance(inputs, (Tensor, tuple, list)):
        raise ReductionError(
            f"The inputs of a batch of data are of type {type(inputs).__name__}.",
            remedy="Give data=[(inputs, target), ...], inputs a tensor or a tuple of a call's arguments.",
        )
    return Batch((inputs,) if isinstance(inputs, Tensor) else tuple(inputs), target)


def _check(module: nn.Module, keep: float, choice: Choice, batches: list[Batch]) -> None:
    """Refuse what needs no capture to be refused."""
    if not isinstance(module, nn.Module):
        raise ReductionError(f"{type(module).__name__} is no torch.nn.Module.", remedy="Give the network itself.")
    if isinstance(module, torch.jit.ScriptModule):
        raise ReductionError("A TorchScript module cannot be trimmed.", remedy="Give the module it was made from.")
    if isinstance(keep, bool) or not isinstance(keep, Real) or not 0.0 < keep < 1.0:
        raise ReductionError(
            f"keep is {keep!r}.", remedy="Give the share of units to keep as a number between 0 and 1."
        )
    _check_values(module)
    if needs_data(criteria[choice.criterion]) and not batches:
        raise ReductionError(
            f"The criterion {choice.criterion} looks at how the network behaves, and no data was given.",
            remedy="Pass data=[(inputs, target), ...], or choose a criterion of weights such as magnitude.",
        )


def _check_values(module: nn.Module) -> None:
    """Refuse parameters, and statistics of normalisations, that hold no numbers; other buffers may hold infinities."""
    statistics = [item for item in module.named_buffers() if item[0].endswith(("running_mean", "running_var"))]
    for name, tensor in (*module.named_parameters(), *statistics):
        if nn.parameter.is_lazy(tensor):
            continue  # the capture says it better
        if tensor.is_meta:
            raise ReductionError(f"{name} has no values (it is on the meta device).", remedy="Load the weights first.")
        if tensor.dtype.is_floating_point and not tensor.isfinite().all():
            raise ReductionError(
                f"{name} holds numbers that are not finite.",
                where=name.rpartition(".")[0],
                remedy="Train with a lower rate, or mend the weights.",
            )
