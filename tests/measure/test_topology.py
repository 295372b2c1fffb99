"""Topology of weighted graphs against brute force, matrix products and what is known of them by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.graph.capture import capture
from pochette.measure.analyses.connectivity import Connectivity, joined
from pochette.measure.analyses.degrees import EffectiveDegrees, degrees_of
from pochette.measure.analyses.homology import diagrams, landmarks
from pochette.measure.analyses.persistence import neural_persistence
from pochette.measure.analyses.spectrum import spectrum_of
from pochette.measure.paths import paths_log10, reach_of_weights
from pochette.measure.subject import Limit, Subject
from pochette.measure.weighted import layers_of

# -- persistence -------------------------------------------------------------------------------------------------------


def deaths_by_brute_force(edges: np.ndarray) -> list[float]:
    """Take every weight as a threshold in turn and count components by walking; each one fewer is a death."""
    relative = edges / edges.max()
    rows, columns = edges.shape

    def components(threshold: float) -> int:
        left, count = set(range(rows + columns)), 0
        while left:
            count += 1
            stack = [left.pop()]
            while stack:
                at = stack.pop()
                near = (
                    [rows + c for c in range(columns) if relative[at, c] >= threshold]
                    if at < rows
                    else [r for r in range(rows) if relative[r, at - rows] >= threshold]
                )
                new = left.intersection(near)
                left -= new
                stack += new
        return count

    thresholds = sorted(set(relative.ravel().tolist()), reverse=True)
    counts = [rows + columns, *(components(threshold) for threshold in thresholds)]
    return [t for t, (before, after) in zip(thresholds, pairwise(counts), strict=True) for _ in range(before - after)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kept", [1.0, 0.3])
def test_persistence_is_that_of_brute_force(seed: int, kept: float) -> None:
    rng = np.random.default_rng(seed)
    edges = np.abs(rng.standard_normal((5, 7))) * (rng.random((5, 7)) < kept)
    found = neural_persistence(edges)
    wanted = deaths_by_brute_force(edges)  # where weights are zero, zero itself is the last threshold
    assert len(wanted) == 11
    assert found.deaths == pytest.approx(wanted)
    assert found.norm == pytest.approx(np.sqrt(sum((1 - death) ** 2 for death in wanted)))


def test_persistence_by_hand() -> None:
    # Two rows, two columns: 4 joins first, then 3, then 2 closes the tree (1 would close a circle).
    found = neural_persistence(np.array([[4.0, 1.0], [3.0, 2.0]]))
    assert found.deaths == pytest.approx([1.0, 0.75, 0.5])
    assert found.norm == pytest.approx(np.sqrt(0.0625 + 0.25))
    assert found.normalised == pytest.approx(np.sqrt(0.3125) / (0.75 * np.sqrt(3)))
    assert neural_persistence(np.ones((3, 4))).norm == 0.0
    assert neural_persistence(np.zeros((3, 4))).normalised == 0.0


def test_persistence_reaches_its_bound_where_one_edge_is_strong_and_all_others_alike() -> None:
    edges = np.full((20, 30), 1e-3)
    edges[0, 0] = 1.0
    assert neural_persistence(edges).normalised == pytest.approx(np.sqrt(48 / 49))
    assert neural_persistence(7 * edges).normalised == pytest.approx(neural_persistence(edges).normalised)


# -- homology ----------------------------------------------------------------------------------------------------------


def test_homology_of_a_circle() -> None:
    pytest.importorskip("gudhi", reason="the package gudhi, extra [topology], is not installed")
    angles = 2 * np.pi * np.arange(40) / 40
    clusters, loops = diagrams(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert len(clusters) == 39 and clusters[:, 1] == pytest.approx(2 * np.sin(np.pi / 40))
    # Born when neighbours meet; dead when triangles span a third of the way round, at sqrt 3 or a step beyond.
    assert len(loops) == 1
    assert loops[0, 0] == pytest.approx(2 * np.sin(np.pi / 40))
    assert np.sqrt(3) - 1e-9 <= loops[0, 1] <= 2 * np.sin(np.pi * 14 / 40) + 1e-9


@pytest.mark.slow
def test_homology_of_a_torus() -> None:
    pytest.importorskip("gudhi", reason="the package gudhi, extra [topology], is not installed")
    one, two = (axis.ravel() for axis in np.meshgrid(*[2 * np.pi * np.arange(10) / 10] * 2))
    torus = np.stack([np.cos(one), np.sin(one), np.cos(two), np.sin(two)], axis=1)
    _, loops, hollows = diagrams(torus, 2)
    lives = np.sort(loops[:, 1] - loops[:, 0])[::-1]
    assert lives[1] > 5 * lives[2:].max(initial=0.05) and lives[1] == pytest.approx(lives[0])
    assert (hollows[:, 1] - hollows[:, 0] > 0.2).sum() == 1


def test_landmarks_lie_as_far_apart_as_they_can() -> None:
    line = np.linspace(0.0, 1.0, 101)[:, None]
    chosen = np.sort(landmarks(line, 5)[:, 0])
    assert np.diff(chosen).min() >= 0.12 and landmarks(line, 200) is line


# -- spectra and degrees -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (3, 8)])
def test_a_complete_bipartite_graph_is_ramanujan(rows: int, columns: int) -> None:
    found = spectrum_of(np.ones((rows, columns)))
    assert found.first == pytest.approx(np.sqrt(rows * columns)) and found.second == pytest.approx(0.0, abs=1e-9)
    assert found.bound == pytest.approx(np.sqrt(rows - 1) + np.sqrt(columns - 1)) and found.gap == pytest.approx(1.0)
    assert found.is_ramanujan


def test_a_random_regular_graph_is_nearly_ramanujan_and_a_broken_one_is_not() -> None:
    """Friedman: the second value of a random d-regular graph is near 2 sqrt(d - 1), far from d."""
    rng, units, degree = np.random.default_rng(0), 200, 5
    graph = np.zeros((units, units))
    while not (graph.sum(axis=0) == degree).all() or graph.max() > 1:
        graph = np.zeros((units, units))
        for _ in range(degree):
            order = rng.permutation(units)
            while graph[np.arange(units), order].any():
                order = rng.permutation(units) if rng.random() < 0.01 else _swapped(order, graph, rng)
            graph[np.arange(units), order] = 1.0
    found = spectrum_of(graph)
    assert found.first == pytest.approx(degree)
    assert found.bound == pytest.approx(2 * np.sqrt(degree - 1))
    assert found.second < 1.1 * found.bound
    apart = np.kron(np.eye(2), np.ones((8, 8)))  # two halves: the second value is as large as the first
    broken = spectrum_of(apart)
    assert broken.gap == pytest.approx(0.0) and not broken.is_ramanujan
    nothing = spectrum_of(np.zeros((8, 8)))  # what is not joined spreads nothing
    assert nothing.gap == 0.0 and not nothing.is_ramanujan


def _swapped(order: np.ndarray, graph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exchange one place that is taken for another."""
    taken = np.flatnonzero(graph[np.arange(len(order)), order])
    one, two = rng.choice(taken), rng.integers(len(order))
    order = order.copy()
    order[[one, two]] = order[[two, one]]
    return order


def test_spectrum_is_that_of_singular_values() -> None:
    edges = np.abs(np.random.default_rng(1).standard_normal((6, 9)))
    wanted = np.linalg.svd(edges, compute_uv=False)
    assert spectrum_of(edges).values == pytest.approx(wanted) and spectrum_of(edges.T).second == pytest.approx(
        wanted[1]
    )


def test_effective_degrees_by_hand() -> None:
    found = degrees_of(np.array([[1.0, 1, 1, 1], [9, 0, 0, 0], [3, 1, 0, 0], [0, 0, 0, 0]]))
    assert found.plain.tolist() == [4, 1, 2, 0]
    assert found.effective == pytest.approx([4.0, 1.0, 16 / 10, 0.0])


def test_degrees_of_a_drawn_part_are_estimates_for_the_whole() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(60, 40)
    with torch.no_grad():
        layer.weight[torch.rand(40, 60) < 0.5] = 0.0
    whole, part = (
        EffectiveDegrees().find(Subject.of(layer, (torch.zeros(1, 60),), limit=Limit(units=units)))
        for units in (60, 30)
    )
    (true,), (guessed,) = whole.layers.values(), part.layers.values()
    assert true["in"] == pytest.approx(true["out"] * 60 / 40) != guessed["in"]
    for name in ("in", "out", "effective_in", "effective_out"):
        assert guessed[name] == pytest.approx(true[name], rel=0.15), name
    assert "estimates" in part.notes[0] and not whole.notes


# -- what survives -----------------------------------------------------------------------------------------------------


def stack_of(*masks: np.ndarray) -> nn.Sequential:
    """Layers with weights where masks say so."""
    layers = [nn.Linear(mask.shape[1], mask.shape[0]) for mask in masks]
    with torch.no_grad():
        for layer, mask in zip(layers, masks, strict=True):
            layer.weight.copy_(torch.randn(mask.shape).abs().add(0.1) * torch.from_numpy(mask))
    parts: list[nn.Module] = [item for layer in layers for item in (layer, nn.Tanh())]
    return nn.Sequential(*parts[:-1])


def effective_of(module: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    graph = capture(module, (x,))
    return reach_of_weights(graph, layers_of(graph)).effective


def test_dead_ends_do_not_count() -> None:
    # Unit 0 of the hidden layer hears nobody, unit 1 nobody hears, unit 2 is on the way.
    first = np.array([[0, 0], [1, 1], [1, 0]])
    second = np.array([[1, 0, 1]])
    found = effective_of(stack_of(first, second), torch.zeros(1, 2))
    assert found["0"][..., 0].tolist() == [[False, False], [False, False], [True, False]]
    assert found["2"][..., 0].tolist() == [[False, False, True]]
    numbers = Connectivity.of(Subject.of(stack_of(first, second), (torch.zeros(1, 2),)))
    assert numbers["density"] == pytest.approx(5 / 9) and numbers["effective_density"] == pytest.approx(2 / 9)
    assert numbers["dead_units"] == pytest.approx(2 / 4) and numbers["paths_log10"] == pytest.approx(0.0)
    assert numbers["0/dead_columns"] == pytest.approx(1 / 2)


@pytest.mark.parametrize("seed", range(5))
def test_reach_and_ways_are_those_of_matrix_products(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [(rng.random(shape) < 0.3).astype(float) for shape in ((6, 4), (7, 6), (5, 7), (3, 5))]
    module, x = stack_of(*masks), torch.zeros(1, 4)
    graph = capture(module, (x,))
    layers = layers_of(graph)
    found = reach_of_weights(graph, layers).effective
    ways = masks[0]
    for mask in masks[1:]:
        ways = mask @ ways
    assert paths_log10(graph, layers) == pytest.approx(np.log10(ways.sum()) if ways.any() else -np.inf)
    for number, mask in enumerate(masks):
        before, after = np.ones(4), np.ones(3)
        for other in masks[:number]:
            before = other @ before
        for other in reversed(masks[number + 1 :]):
            after = after @ other
        wanted = (after[:, None] * mask * before[None]) > 0
        assert np.array_equal(found[str(2 * number)][..., 0], wanted)


class Looped(nn.Module):
    """A recurrent layer of which only one unit hears the input, and only another is heard: a chain between them."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(1, units, batch_first=True), nn.Linear(units, 1)
        with torch.no_grad():
            self.rnn.weight_ih_l0.zero_()[0] = 1.0
            self.rnn.weight_hh_l0.zero_()
            for unit in range(units - 2):
                self.rnn.weight_hh_l0[unit + 1, unit] = 0.5
            self.rnn.weight_hh_l0[units - 1, units - 1] = 0.5  # hears itself and nobody else
            self.out.weight.zero_()[0, units - 2] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])  # type: ignore[no-any-return]


def test_ways_through_a_recurrent_layer_take_as_many_steps_as_they_need() -> None:
    found = effective_of(Looped(6), torch.zeros(1, 1, 1))
    assert int(found["rnn.weight_hh_l0"].sum()) == 4 and found["rnn.weight_ih_l0"][0, 0, 0]
    assert int(found["out"].sum()) == 1


class Streaming(nn.Module):
    """State in a buffer: what is heard now is said one call later."""

    def __init__(self) -> None:
        super().__init__()
        self.write, self.read = nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False)
        self.register_buffer("state", torch.zeros(1, 3))
        with torch.no_grad():
            self.read.weight[0, 2] = 0.0

    def forward(self, x: Tensor) -> Tensor:
        said = self.read(self.get_buffer("state"))
        self.get_buffer("state").copy_(self.write(x))
        return said  # type: ignore[no-any-return]


def test_ways_through_state_are_followed_over_calls() -> None:
    found = effective_of(Streaming(), torch.zeros(1, 2))
    assert found["write"][..., 0].tolist() == [[True, True], [True, True], [False, False]]
    assert found["read"][..., 0].tolist() == [[True, True, False]]


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.signal, self.gate = nn.Conv1d(2, 2, 3, groups=2), nn.Conv1d(2, 2, 3)
        with torch.no_grad():
            self.gate.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.signal(x)) * torch.sigmoid(self.gate(x))


def test_a_gate_that_hears_nothing_lets_signals_pass_and_groups_join_nothing() -> None:
    module, x = Gated(), torch.zeros(1, 2, 8)
    found = effective_of(module, x)
    assert found["signal"].all() and not found["gate"].any()
    layer = next(layer for layer in layers_of(capture(module, (x,))) if layer.name == "signal")
    assert (layer.edges > 0).tolist() == [[True, False], [False, True]] == layer.joined.tolist()
    assert joined(layer.joined).components == 2


def test_a_layer_without_weights_has_collapsed() -> None:
    dead = stack_of(np.ones((3, 2)), np.zeros((2, 3)), np.ones((1, 2)))
    numbers = Connectivity.of(Subject.of(dead, (torch.zeros(1, 2),)))
    assert numbers["collapsed_layers"] == 3 and numbers["effective_density"] == 0 and "paths_log10" not in numbers


def test_weights_are_seen_as_they_act() -> None:
    """Normed weights by g v / |v|, transposed ones with rows for what they make, groups and all."""
    torch.manual_seed(0)
    normed = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3))
    turned = nn.ConvTranspose1d(6, 4, 2, groups=2)
    module = nn.Sequential(normed, nn.ReLU(), turned)
    one, two = layers_of(capture(module, (torch.randn(1, 4, 9),)))
    assert one.weights == pytest.approx(normed.weight.detach().double().numpy())
    assert two.weights.shape == (4, 3, 2) and two.groups == 2
    pulse = torch.zeros(1, 6, 1)
    for column in range(6):
        pulse.zero_()[0, column] = 1.0
        made = (turned(pulse) - turned.bias[None, :, None]).abs().amax(dim=2)[0]
        assert two.edges[:, column] == pytest.approx(made.detach().numpy(), abs=1e-6)
