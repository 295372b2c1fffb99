"""What layers say and how they lie, on quantities whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.errors import MeasureError
from pochette.graph.graph import Graph
from pochette.measure.analyses.dimension import IntrinsicDimension, different, two_nn
from pochette.measure.analyses.information_plane import NOISE, plane_point
from pochette.measure.analyses.redundancy import participation_ratio, redundancy_of
from pochette.measure.analyses.similarity import gaussian_kernel, hsic, kernel_alignment, linear_cka
from pochette.measure.information import binned_nats, gaussian_nats, ksg_nats
from pochette.measure.subject import Subject


def pair(r: float, samples: int = 20000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(samples)
    return x, r * x + np.sqrt(1 - r**2) * rng.standard_normal(samples)


@pytest.mark.parametrize("r", [0.6, 0.9])
@pytest.mark.parametrize("estimate", [gaussian_nats, ksg_nats, binned_nats])
def test_information_of_correlated_gaussians_within_5_percent(estimate, r: float) -> None:  # type: ignore[no-untyped-def]
    assert estimate(*pair(r)) == pytest.approx(-0.5 * np.log(1 - r**2), rel=0.05)


def test_bins_find_nothing_in_independent_numbers_and_everything_in_a_copy() -> None:
    x, y = pair(0.0)
    assert abs(binned_nats(x, y)) < 0.005
    assert binned_nats(x, x, bins=16) == pytest.approx(np.log(16), rel=0.01)


@pytest.mark.parametrize("r", [0.5, 0.9])
def test_kernels_of_correlated_gaussians(r: float) -> None:
    """HSIC of kernels of width s has a closed form for Gaussians; linear alignment is the squared correlation."""
    x, y = (values[:, None] for values in pair(r, 2000))
    assert linear_cka(x, y) == pytest.approx(r**2, abs=0.03)
    joint = ((1 + 2) ** 2 - (2 * r) ** 2) ** -0.5
    apart = (1 + 2) ** -1.0
    crossed = 0.5 * ((1 + 0.5) ** 2 - (0.5 * r) ** 2) ** -0.5
    assert hsic(gaussian_kernel(x, 1.0), gaussian_kernel(y, 1.0)) == pytest.approx(joint + apart - 2 * crossed, rel=0.1)
    assert kernel_alignment(gaussian_kernel(x), gaussian_kernel(x)) == pytest.approx(1.0)


def test_alignment_forgets_turns_and_scales_but_not_what_was_lost() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 6))
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    assert linear_cka(x, 3.0 * x @ turn) == pytest.approx(1.0)
    assert linear_cka(x, rng.standard_normal((300, 6))) < 0.1
    assert linear_cka(x, np.ones((300, 2))) == 0.0


def manifold(name: str, points: int = 2000) -> np.ndarray:
    rng = np.random.default_rng(3)
    if name == "line":
        return rng.random((points, 1)) @ rng.standard_normal((1, 10))
    if name == "sphere":
        ball = rng.standard_normal((points, 3))
        return ball / np.linalg.norm(ball, axis=1, keepdims=True)
    if name == "torus":
        one, two = 2 * np.pi * rng.random((2, points))
        return np.stack([np.cos(one), np.sin(one), np.cos(two), np.sin(two)], axis=1)
    inner = int(name.split()[1])
    return rng.standard_normal((points, inner)) @ np.linalg.qr(rng.standard_normal((20, inner)))[0].T


@pytest.mark.parametrize(
    ("name", "wanted"), [("line", 1), ("sphere", 2), ("torus", 2), ("gaussian 3", 3), ("gaussian 5", 5)]
)
def test_dimension_of_known_manifolds(name: str, wanted: int) -> None:
    assert two_nn(manifold(name)) == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("kind", ["pairs", "silence", "decay"])
@pytest.mark.parametrize(("name", "wanted"), [("sphere", 2), ("torus", 2), ("gaussian 3", 3), ("gaussian 5", 5)])
def test_near_copies_do_not_change_the_dimension(name: str, wanted: int, kind: str) -> None:
    """Of 2000 points 600 are nearly others: each of any other, all of one, or ever nearer to one."""
    points, rng = manifold(name, 1400), np.random.default_rng(5)
    away = 1e-4 * points.std() * rng.standard_normal((600, points.shape[1]))
    if kind == "pairs":
        copies = points[rng.integers(0, 1400, 600)] + away
    else:
        copies = points[:1] + (away if kind == "silence" else away * np.geomspace(1.0, 1e-9, 600)[:, None])
    mixed = rng.permutation(np.concatenate([points, copies]))
    assert two_nn(mixed) == pytest.approx(wanted, rel=0.1)
    assert len(different(points)) >= 1399 and abs(len(different(mixed)) - 1400) <= 2


def test_of_copies_the_first_stays() -> None:
    points = np.array([[0.0], [10.0], [10.1], [20.0], [0.0], [30.0], [19.9]])
    assert different(points).ravel().tolist() == [0.0, 10.0, 20.0, 30.0]
    assert different(np.zeros((50, 3))).shape == (1, 3) and different(np.zeros((1, 2))).shape == (1, 2)


def test_copies_are_told() -> None:
    held = np.concatenate([np.random.default_rng(6).standard_normal((200, 3)), np.zeros((100, 3))])
    subject = Subject(Graph([], [], [], {}, {}, {}), (), heard={"layer": held})
    found = IntrinsicDimension().find(subject)
    assert found.layers["layer"]["copies"] == 99.0 and found.notes == (
        "layer: 99 of 300 moments are copies, or nearly.",
    )


def test_dimension_needs_different_points() -> None:
    with pytest.raises(MeasureError, match="5 different points"):
        two_nn(np.repeat(np.arange(5.0)[:, None], 100, axis=0))


def test_redundancy_by_hand() -> None:
    rng = np.random.default_rng(4)
    free = rng.standard_normal((4000, 4))
    assert redundancy_of(free).explained == pytest.approx(0.0, abs=0.01)
    assert participation_ratio(free) == pytest.approx(4.0, rel=0.01)
    noisy = np.column_stack([free[:, 0], free[:, 1], free[:, 0] + free[:, 1] + free[:, 2]])
    # The third is a sum of three alike, two of which are there: 2 / 3; the first, given the others: 1 / 2.
    assert redundancy_of(noisy).explained == pytest.approx([0.5, 0.5, 2 / 3], abs=0.03)
    copies = np.column_stack([free[:, 0], 2 * free[:, 0], np.ones(4000)])
    found = redundancy_of(copies)
    assert found.explained == pytest.approx([1.0, 1.0], abs=1e-6) and found.participation == pytest.approx(1.0)


def test_a_layer_that_forgets_the_input_moves_down_the_plane() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1000, 1))
    target = x + 0.5 * rng.standard_normal((1000, 1))
    known = plane_point(x, np.hstack([x, -x]), target)
    assert known.input_nats == pytest.approx(0.5 * np.log(1 + NOISE**-2), rel=0.1)
    assert known.target_nats == pytest.approx(0.5 * np.log(1.25 / 0.25), rel=0.1)
    forgot = plane_point(x, np.sign(x), target)
    assert forgot.input_nats < known.input_nats and forgot.target_nats < known.target_nats  # type: ignore[operator]
    assert forgot.input_nats == pytest.approx(np.log(2), rel=0.25)
    nothing = plane_point(x, np.ones((1000, 3)), target)
    assert nothing.input_nats == nothing.target_nats == 0.0
