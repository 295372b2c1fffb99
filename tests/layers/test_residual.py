"""Residual blocks: they are found as a captured graph shows them, and without some a model is what zeros make of it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import RunError
from pochette.families import models
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.graph.trim import resize
from pochette.layers.dilated import GatedLayer
from pochette.layers.factored import FactoredConv
from pochette.layers.residual import Gone, blocks_of, remove_blocks
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.reduce.structure import sources
from pochette.reduce.trimming import trim_model
from pochette.train.session import describe, rebuild

ADDITION = "aten.add.Tensor"
STACKED = ("nsf", "nsynth", "parallel-wavenet", "rave", "wavenet")
SLOW = ("nsf", "parallel-wavenet", "rave")
"""To capture."""


def built(name: str) -> Model:
    torch.manual_seed(0)
    model: Model = models[name].sized("tiny").build().eval()
    return model


def some_of(model: Model) -> list[str]:
    """Every other block."""
    return list(blocks_of(model))[1::2]


def silenced(model: Model, paths: Iterable[str]) -> Model:
    """A model some of whose blocks say nothing: what leaves them is multiplied by zero."""
    other = copy.deepcopy(model)
    blocks = blocks_of(other)
    for path in paths:
        for leaving in blocks[path].leaving:
            leaving.register_forward_hook(lambda _module, _given, made: 0.0 * made)
    return other


def without(model: Model, paths: Iterable[str]) -> Model:
    other = copy.deepcopy(model)
    remove_blocks(other, paths)
    return other


def said(model: Model) -> list[Tensor]:
    form, inputs = model.trim_form()
    torch.manual_seed(1)
    given = [x + 0.1 * torch.randn_like(x) if x.is_floating_point() else x for x in inputs]
    with torch.no_grad():
        made = form.eval()(*given)
    return list(made) if isinstance(made, tuple) else [made]


# -- which there are ---------------------------------------------------------------------------------------------------


def added_to(graph: Graph) -> set[str]:
    """Where the graph adds to a tensor what learnt operators make of this very tensor: the module that holds them all.

    An independent answer: of names and classes it knows nothing.
    """
    source, at = sources(graph), {id(value): node for node in graph.nodes for value in node.outputs}
    # Zeros as long as some weight is are none of its numbers.
    learnt = {value: path for value, path in source.items() if value not in at or "new_zeros" not in at[value].op}
    heard: dict[int, set[int]] = {}
    for node in graph.nodes:
        found = set().union(*({id(value)} | heard.get(id(value), set()) for value in node.inputs()))
        heard.update((id(value), found) for value in node.outputs)
    owners = set()
    for node in graph.nodes:
        if node.op != ADDITION or len(sides := list(node.inputs())) != 2:
            continue
        for passed, made in (sides, sides[::-1]):
            inside = heard.get(id(made), set()) | {id(made)}
            if id(passed) not in inside or passed.shape != made.shape:
                continue
            between = [at[value] for value in inside if value in at and id(passed) in heard.get(value, set())]
            if any(one.op == ADDITION and passed in one.inputs() for one in between):
                continue  # a condition, which is added at many places; it does not pass them
            layers = {learnt[id(v)].rpartition(".")[0] for one in between for v in one.inputs() if id(v) in learnt}
            if layers:
                owners.add(".".join(os.path.commonpath([path.replace(".", "/") for path in layers]).split("/")))
    return owners


@pytest.mark.parametrize("name", models.names())
def test_blocks_are_those_that_the_graph_shows(name: str) -> None:
    """All of them, in every model, whoever adds it; and no others but last layers, which add to the skips alone."""
    model = built(name)
    known = {f"model.{path}" for path in blocks_of(model)}
    found = {path.partition(".parametrizations")[0] for path in added_to(capture(*model.trim_form()))}
    assert found <= known and bool(known) == (name in STACKED)
    for path in known - found:
        layer = model.get_submodule(path.removeprefix("model."))
        assert isinstance(layer, GatedLayer) and layer.residual is None


# -- without some of them ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STACKED)
def test_without_blocks_a_model_says_what_their_factor_zero_makes_it_say(name: str) -> None:
    model = built(name)
    gone = some_of(model)
    small = without(model, gone)
    for mine, theirs in zip(said(small), said(silenced(model, gone)), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert not all(torch.equal(mine, theirs) for mine, theirs in zip(said(small), said(model), strict=True))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in STACKED]
)
def test_it_is_smaller_cheaper_comes_back_from_disk_and_streams(name: str) -> None:
    model = built(name)
    small = without(model, some_of(model))
    counts = [profile_model(one) for one in (model, small)]
    assert counts[1].macs < counts[0].macs and counts[1].parameters < counts[0].parameters
    assert counts[1].state_bytes < counts[0].state_bytes
    again = rebuild(describe(small), small.state_dict())
    assert list(blocks_of(again)) == list(blocks_of(small))
    rest = torch.tensor([[knob.default for knob in model.controls]])
    controls = rest + 0.01 * torch.arange(3)[:, None] * rest
    with torch.no_grad():
        whole, state, pieces = small(controls[None]), again.initial_state(1), []
        for row in controls:
            made, state = again.advance(row[None, None], state)
            pieces.append(made)
    assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-5)


def test_nothing_is_left_that_nothing_reads() -> None:
    """Behind the last layer of a WaveNet no channel goes on: what made it goes with the layers behind it."""
    model = built("wavenet")
    small = without(model, ["network.layers.3", "network.layers.4"])
    read = {value.path for value in capture(*small.trim_form()).of_kind("parameter")}
    assert read == {f"model.{path}" for path, _ in small.named_parameters()}
    assert rebuild(describe(small), small.state_dict()).network.layers[2].residual is None  # type: ignore[union-attr,index]


@pytest.mark.parametrize("name", ["wavenet", "nsf"])
def test_tensors_of_something_else_are_refused(name: str) -> None:
    with pytest.raises(RunError) as refused:
        resize(built(name), {"weight": torch.zeros(2, 2)})
    assert refused.value.remedy


def test_what_is_left_is_trimmed_like_any_model() -> None:
    small = without(built("wavenet"), ["network.layers.1"])
    trimmed, _, report = trim_model(small, keep=0.5)
    assert report.parameters_after < report.parameters_before
    again = rebuild(describe(trimmed), trimmed.state_dict())
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(said(again), said(trimmed), strict=True))


def test_a_block_inside_another_goes_with_it() -> None:
    model = built("nsf")
    small = without(model, ["network.blocks.0", "network.blocks.0.layers.1"])
    assert isinstance(small.get_submodule("network.blocks.0"), Gone)
    assert not any(path.startswith("network.blocks.0") for path in small.state_dict())


def test_what_only_training_uses_has_no_blocks() -> None:
    model = built("parallel-wavenet")
    assert any(isinstance(part, GatedLayer) for part in model.modules())
    assert all(path.startswith("network.flows") for path in blocks_of(model))


def test_other_layers_of_a_model_that_lacks_blocks_may_be_of_low_rank() -> None:
    model = without(built("nsf"), ["network.blocks.1"])
    conv = model.get_submodule("network.blocks.0.entrance")
    assert isinstance(conv, nn.Conv1d)
    model.get_submodule("network.blocks.0").entrance = FactoredConv(conv, 1)  # type: ignore[assignment]
    again = rebuild(describe(model), model.state_dict())
    assert isinstance(again.get_submodule("network.blocks.0.entrance"), FactoredConv)
    assert isinstance(again.get_submodule("network.blocks.1"), Gone)
