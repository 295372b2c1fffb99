"""Generated engines: strict C, no library, names that cannot collide, memory that is planned right."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from pochette.engine import build
from pochette.engine.core import GUARD
from pochette.engine.emitter import Buffer, Emitter, group_of_nodes
from pochette.engine.export import export, identifier
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.engine.source import EngineSource
from pochette.errors import ExportError
from pochette.graph.capture import capture
from pochette.graph.graph import Graph
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.models.model import Step


def tiny(**changes: float) -> DdspModel:
    torch.manual_seed(0)
    return Ddsp.sized("tiny", **changes).build().eval()


def step_graph(model: DdspModel) -> Graph:
    step = Step(model)
    return capture(step, step.example_inputs())


@pytest.fixture(scope="module")
def source() -> EngineSource:
    return export(tiny(), "My Flute 2")


def test_identifiers() -> None:
    assert identifier("My Flute 2") == "my_flute_2"
    assert identifier("2 flutes") == "engine_2_flutes"
    assert identifier("Flöte!") == "fl_te" and identifier("") == "engine" and identifier("__") == "engine"
    assert len(identifier("x" * 200)) == 40
    for taken in ("glue", "Glue", "pc_math", "PC noise", "freestanding"):
        assert identifier(taken) == f"engine_{taken.lower().replace(' ', '_')}"


@pytest.mark.parametrize("name", ["glue", "pc_math", "freestanding", "arena", "pochette"])
def test_no_name_breaks_the_build(name: str, tmp_path: Path) -> None:
    engine = export(tiny(hidden=8, stack_width=8, partials=4, noise_bands=5), name)
    runner = NativeRunner(build.compile_host_library(engine, tmp_path))
    controls = np.array([knob.default for knob in engine.controls], np.float32)
    assert np.abs(runner.process(controls, 300)).max() > 0


def test_uses_no_library_and_no_allocation(source: EngineSource) -> None:
    assert source.name == "my_flute_2"
    included = {found for text in source.files.values() for found in re.findall(r"#include <([^>]+)>", text)}
    assert included == {"stdint.h"}
    local = {found for text in source.files.values() for found in re.findall(r'#include "([^"]+)"', text)}
    assert local <= set(source.files)
    code = "".join(source.files.values())
    assert not re.search(r"\b(malloc|calloc|free|alloca|printf|sinf?|expf?)\s*\(", code)
    assert not re.search(r"\bdouble\b", code) and not re.search(
        r"\d\.\d+(?![\dfe.])(?!e)", source.files["my_flute_2.c"]
    )


def test_the_header_tells_every_control(source: EngineSource) -> None:
    header = source.files["my_flute_2.h"]
    for knob in source.controls:
        assert f"{knob.name} ({knob.unit}, {knob.low:g} to {knob.high:g}" in header
    assert f"#define my_flute_2_LATENCY_SAMPLES {source.latency_samples}" in header


def test_export_is_the_same_every_time_and_changes_nothing(source: EngineSource) -> None:
    model = tiny()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    again = export(model, "My Flute 2")
    assert again.files == source.files
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_without_synthesis_it_still_compiles(source: EngineSource, tmp_path: Path) -> None:
    build.compile_host_library(source, tmp_path, defines=("POCHETTE_NETWORK_ONLY",))
    text = source.files["my_flute_2.c"].replace(GUARD, "")
    assert text.count("#ifndef POCHETTE_NETWORK_ONLY") == text.count("#endif") >= 1
    inside = "".join(re.findall(r"#ifndef POCHETTE_NETWORK_ONLY\n(.*?)#endif", text, re.S))
    assert "pc_harmonics" in inside and "pc_filtered_noise" in inside
    assert "pc_gru" not in inside and "pc_gru(" in text


def test_weights_are_all_there_once(source: EngineSource) -> None:
    model = tiny()
    text = source.files["my_flute_2_weights.h"]
    numbers = [float(x) for x in re.findall(r"-?\d[\d.e+-]*(?=f)", text[text.index("{") :])]
    stored = np.sort(np.array(numbers, np.float32))
    for name, parameter in model.network.named_parameters():
        if name.startswith("gru.bias"):
            continue  # the two biases of a gate are added beforehand
        for x in parameter.detach().numpy().ravel()[::17]:
            at = np.searchsorted(stored, x)
            assert at < len(stored) and stored[at] == x, name
    learnt = sum(p.numel() for p in model.parameters())
    assert len(numbers) < 3 * learnt + model.synthesiser.noise_filter.numel() * 2


def test_values_alive_together_never_share_memory() -> None:
    emitter = Emitter(step_graph(tiny()))
    emitter.run(group_of_nodes(emitter.graph))
    emitter.carry()
    total = emitter.plan()
    for a, b in combinations(emitter.buffers, 2):
        if a.first <= b.last and b.first <= a.last:
            assert a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
    assert max(b.offset + b.size for b in emitter.buffers) <= total < sum(b.size for b in emitter.buffers)
    # No statement names a value that is not alive.
    for line, statement in enumerate(emitter.lines):
        for symbol in map(int, re.findall(r"@(\d+)@", statement.text)):
            assert emitter.buffers[symbol].first <= line <= emitter.buffers[symbol].last


def test_the_plan_reuses_memory() -> None:
    emitter = Emitter(Graph([], [], [], {}, {}, {}))
    emitter.buffers = [Buffer(100, 0, 1), Buffer(50, 1, 2), Buffer(100, 2, 3), Buffer(10, 0, 3)]
    # Largest first: both hundreds share one place, fifty and ten lie behind it.
    assert emitter.plan() == 112 + 64 + 16
    assert emitter.buffers[0].offset == emitter.buffers[2].offset == 0


def test_equal_weights_are_stored_once() -> None:
    emitter = Emitter(Graph([], [], [], {}, {}, {}))
    assert emitter.constant([1.0, 2.0]) == "weights" and emitter.constant([3.0]) == "weights + 16"
    assert emitter.constant([1.0, 2.0]) == "weights"


@pytest.mark.parametrize(
    "changes",
    [
        {"stack_layers": 0, "hidden": 5},
        {"reverb_seconds": 0.01},
        {"noise_bands": 2},
        {"frame_rate_hz": 50, "sample_rate_hz": 44100},
        {"frame_rate_hz": 4000, "noise_bands": 129},
        {"partials": 1},
    ],
)
@torch.no_grad()
def test_unusual_recipes(changes: dict[str, float], tmp_path: Path) -> None:
    model = tiny(**changes)
    if model.synthesiser.reverb is not None:
        torch.nn.init.normal_(model.synthesiser.reverb.response, std=0.1)
    rng = np.random.default_rng(0)
    rows = np.stack([[k.from_knob(x) for k, x in zip(model.controls, rng.random(4), strict=True)] for _ in range(30)])
    wanted = model(torch.tensor(rows, dtype=torch.float32)[None])[0].numpy()
    runner = NativeRunner(build.compile_host_library(export(model, "odd"), tmp_path))
    made = run_frames(runner, rows.astype(np.float32))
    assert np.abs(made - wanted).max() < 1e-5 * max(1.0, np.abs(wanted).max())


def test_weights_that_are_not_finite_are_refused() -> None:
    model = tiny()
    with torch.no_grad():
        model.network.head.weight[0, 0] = float("nan")
    with pytest.raises(ExportError, match="nan"):
        export(model, "broken")
