"""Mutual information against its closed form for Gaussians, and against what every information must obey.

Tolerances are the errors measured with these numbers of samples, about twice over.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from pochette.errors import ShapeError
from pochette.measure.information import (
    FloatArray,
    blur,
    edge_nats,
    gaussian_nats,
    information_of_each_nats,
    ksg_nats,
    ksg_of_each_nats,
    normal_scores,
    principal_components,
    standardised,
)

Estimator = Callable[[FloatArray, FloatArray], float]
ESTIMATORS: list[Estimator] = [gaussian_nats, ksg_nats, edge_nats]


def correlated(correlation: float, dimensions: int = 1, samples: int = 2000, seed: int = 0) -> tuple[FloatArray, ...]:
    """Two Gaussians whose columns correlate pairwise, and what they tell of each other in nats."""
    random = np.random.default_rng(seed)
    x, noise = random.standard_normal((2, samples, dimensions))
    return x, correlation * x + np.sqrt(1 - correlation**2) * noise


def truth_nats(correlation: float, dimensions: int = 1) -> float:
    return -0.5 * dimensions * float(np.log(1 - correlation**2))


@pytest.mark.parametrize(
    ("estimator", "dimensions", "correlation", "tolerance"),
    [
        (gaussian_nats, 1, 0.0, 0.002),
        (gaussian_nats, 1, 0.6, 0.03),
        (gaussian_nats, 1, 0.99, 0.05),
        (gaussian_nats, 4, 0.9, 0.1),
        (ksg_nats, 1, 0.0, 0.03),
        (ksg_nats, 1, 0.6, 0.05),
        (ksg_nats, 1, 0.9, 0.06),
        (ksg_nats, 1, 0.99, 0.06),
        (ksg_nats, 2, 0.0, 0.05),
        (ksg_nats, 2, 0.9, 0.07),
        (ksg_nats, 2, 0.99, 0.25),
        (edge_nats, 1, 0.0, 0.02),
        (edge_nats, 1, 0.6, 0.03),
        (edge_nats, 1, 0.9, 0.1),
        (edge_nats, 2, 0.0, 0.12),
        (edge_nats, 2, 0.6, 0.04),
    ],
)
def test_gaussians(estimator: Estimator, dimensions: int, correlation: float, tolerance: float) -> None:
    found = [estimator(*correlated(correlation, dimensions, seed=seed)) for seed in range(3)]
    assert found == pytest.approx([truth_nats(correlation, dimensions)] * 3, abs=tolerance)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_grows_with_dependence_and_knows_no_direction(estimator: Estimator) -> None:
    found = [estimator(*correlated(correlation)) for correlation in (0.0, 0.3, 0.6, 0.9, 0.99)]
    assert found == sorted(found)
    for sign in (-0.6, 0.6):
        x, y = correlated(sign)
        assert estimator(x, y) == pytest.approx(estimator(y, x), abs=0.02)
        assert estimator(x, y) == pytest.approx(truth_nats(sign), abs=0.05)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_scale_and_offset_do_not_matter(estimator: Estimator) -> None:
    x, y = correlated(0.7, 2)
    moved = estimator(1e-4 * x + 7.0, y * np.array([1e3, -1e-3]) - 2.0)
    assert moved == pytest.approx(estimator(x, y), abs=0.03)  # a mirrored grid is shifted otherwise


def test_neighbours_bear_bijections_and_covariances_do_not() -> None:
    x, y = correlated(0.8)
    truth = truth_nats(0.8)
    for bend in (np.exp, lambda v: v**3, np.tanh):
        assert ksg_nats(bend(x), y) == pytest.approx(truth, abs=0.06)
    assert gaussian_nats(x**3, y) < truth - 0.1
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((2, 2)))[0]
    pair = correlated(0.8, 2)
    assert ksg_nats(pair[0] @ rotation, pair[1]) == pytest.approx(2 * truth, abs=0.08)


@pytest.mark.parametrize(("estimator", "least"), [(ksg_nats, 0.8), (edge_nats, 0.8)])
def test_a_square_has_information_that_covariances_miss(estimator: Estimator, least: float) -> None:
    x, noise = np.random.default_rng(0).standard_normal((2, 2000))
    assert gaussian_nats(x, x**2 + 0.1 * noise) < 0.01
    assert estimator(x, x**2 + 0.1 * noise) > least


@pytest.mark.parametrize("values", [2, 3, 5])
def test_a_copy_of_a_discrete_quantity_has_its_entropy(values: int) -> None:
    """ln(m) for m equally frequent values: with noise far below their distance nothing else is known."""
    x = np.random.default_rng(0).integers(0, values, 2000).astype(float)
    noisy = blur(x[:, None], 0.01, seed=1)
    assert ksg_nats(noisy, blur(x[:, None], 0.01, seed=2)) == pytest.approx(np.log(values), abs=0.06)
    if values < 4:  # more of them share the widest buckets
        assert edge_nats(x, x) == pytest.approx(np.log(values), abs=0.01)


def test_covariances_by_their_determinants() -> None:
    """The canonical correlations against the log-determinants that define the closed form."""
    random = np.random.default_rng(0)
    joint = random.standard_normal((500, 7)) @ random.standard_normal((7, 7))
    whole = np.linalg.slogdet(np.cov(joint.T))[1]
    parts = np.linalg.slogdet(np.cov(joint[:, :3].T))[1] + np.linalg.slogdet(np.cov(joint[:, 3:].T))[1]
    assert gaussian_nats(joint[:, :3], joint[:, 3:]) == pytest.approx(0.5 * (parts - whole), rel=1e-9)
    redundant = np.hstack([joint[:, :3], joint[:, :1] - joint[:, 1:2]])
    assert gaussian_nats(redundant, joint[:, 3:]) == pytest.approx(0.5 * (parts - whole), rel=1e-9)
    assert gaussian_nats(joint[:, :1], -joint[:, :1]) > 15
    assert gaussian_nats(np.ones(9), np.arange(9.0)) == 0.0


def test_neighbours_by_brute_force() -> None:
    """Equation 8 from all distances, spelt out."""
    from scipy.special import digamma

    x, y = correlated(0.5, 2, samples=60)
    within_x = np.abs(standardised(x)[:, None] - standardised(x)).max(axis=2)
    within_y = np.abs(standardised(y)[:, None] - standardised(y)).max(axis=2)
    joint = np.maximum(within_x, within_y)
    wanted = digamma(3) + digamma(60)
    for i in range(60):
        reach = sorted(np.delete(joint[i], i))[2]
        for distances in (within_x, within_y):
            wanted -= digamma(1 + sum(distances[i, j] < reach for j in range(60) if j != i)) / 60
    assert ksg_nats(x, y) == pytest.approx(wanted, abs=1e-12)


def test_each_of_many_is_the_same_as_one_by_one() -> None:
    random = np.random.default_rng(0)
    target = random.standard_normal((300, 3))
    columns = target @ random.standard_normal((3, 5)) + random.standard_normal((300, 5))
    one_by_one = [ksg_nats(column, target) for column in columns.T]
    np.testing.assert_allclose(ksg_of_each_nats(columns, target), one_by_one, atol=1e-12)
    np.testing.assert_allclose(
        ksg_of_each_nats(columns, target, 7), [ksg_nats(c, target, 7) for c in columns.T], atol=1e-12
    )


def test_edge_of_one_bandwidth_is_its_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """With buckets so wide that two halves fall apart, the counts can be written down."""
    monkeypatch.setattr("pochette.measure.information._ensemble_weights", lambda bandwidths, _: np.eye(20)[0])
    x = np.repeat([0.0, 1e6], [30, 10])
    y = np.concatenate([np.repeat([0.0, 1e6], [25, 5]), np.repeat([0.0, 1e6], [2, 8])])
    counts = np.array([[25, 5], [2, 8]]) / 40
    product = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0)
    wanted = (counts * np.log(counts / product)).sum()
    assert edge_nats(x, y) == pytest.approx(wanted, abs=1e-12)


def test_seeds() -> None:
    x, y = correlated(0.5)
    assert edge_nats(x, y, seed=3) == edge_nats(x, y, seed=3) != edge_nats(x, y, seed=4)
    many = np.hstack([x, y, x - y])
    assert np.array_equal(information_of_each_nats(many, y, 5), information_of_each_nats(many, y, 5))
    assert not np.array_equal(information_of_each_nats(many, y, 5), information_of_each_nats(many, y, 6))
    assert np.array_equal(blur(x, 0.1, 1), blur(x, 0.1, 1))
    assert (blur(x, 0.1, 1) - x).std() == pytest.approx(0.1 * x.std(), rel=0.05)


def test_principal_components_against_the_correlation_matrix() -> None:
    random = np.random.default_rng(0)
    hidden = random.standard_normal((400, 2))
    values = hidden @ random.standard_normal((2, 10)) * np.logspace(-3, 3, 10) + 5.0
    found = principal_components(np.hstack([values, np.full((400, 1), 3.0)]), 4)
    assert found.shape == (400, 2)  # no more than the values span
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(values.T))[::-1]
    np.testing.assert_allclose(found.var(axis=0), eigenvalues[:2], rtol=1e-9)
    assert np.corrcoef(found.T)[0, 1] == pytest.approx(0.0, abs=1e-9)
    assert gaussian_nats(found, hidden) > 20  # nothing is lost
    assert principal_components(np.ones((5, 3)), 4).shape == (5, 0)
    one = principal_components(values, 1)
    assert one.shape == (400, 1)


def test_normal_scores_keep_order_and_ties() -> None:
    found = normal_scores(np.array([[5.0], [1.0], [5.0], [9.0]]))[:, 0]
    assert found[1] < found[0] == found[2] < found[3]
    assert found[1] == pytest.approx(-1.1503493803760079)  # the Gaussian quantile of 1/8
    skewed = np.exp(3 * np.random.default_rng(0).standard_normal((1000, 2)))
    assert normal_scores(skewed).std(axis=0) == pytest.approx([1.0, 1.0], abs=0.01)


def test_units_of_known_information_are_told_apart() -> None:
    """Linear, saturated and rectified units, copies of the target, the dead and the deaf."""
    random = np.random.default_rng(0)
    target = random.standard_normal((2000, 4))
    along = target @ np.array([0.5, 0.5, -0.5, 0.5])
    heard = [r * along + np.sqrt(1 - r * r) * random.standard_normal(2000) for r in (0.9, 0.6)]
    units = np.stack(
        [
            target[:, 2],
            heard[0],
            np.tanh(4 * heard[0]),
            heard[1],
            np.maximum(heard[1], 0),
            random.standard_normal(2000),
            np.full(2000, 0.1),
        ],
        axis=1,
    )
    found = information_of_each_nats(units, np.hstack([target, target[:, :2] - target[:, 2:]]))
    assert found[0] == found.max() > 1.4
    assert found[1] == pytest.approx(truth_nats(0.9), abs=0.12)
    assert found[2] == pytest.approx(found[1], abs=0.15)
    assert found[3] == pytest.approx(truth_nats(0.6), abs=0.06)
    assert 0.5 * found[3] < found[4] < found[3] + 0.03  # a rectifier only loses
    assert found[5] < 0.06
    assert found[6] == 0.0


def test_silence_repeated_in_unit_and_target() -> None:
    """Half of the frames the same everywhere: one bit of common knowledge, not an error."""
    random = np.random.default_rng(0)
    silent = np.arange(1000) % 2 == 0
    target = np.where(silent[:, None], -80.0, random.standard_normal((1000, 3)))
    units = np.where(silent[:, None], 0.0, random.standard_normal((1000, 2)) + 20)
    assert information_of_each_nats(units, target) == pytest.approx([np.log(2)] * 2, abs=0.1)


def test_a_thousand_units_take_seconds() -> None:
    random = np.random.default_rng(0)
    begun = time.process_time()
    found = information_of_each_nats(random.standard_normal((5000, 50)), random.standard_normal((5000, 30)))
    assert found.shape == (50,)
    assert time.process_time() - begun < 60 * 50 / 1000  # 8 s for 1000 on a quiet core


@pytest.mark.parametrize("estimator", [*ESTIMATORS, information_of_each_nats])
def test_samples_must_be_aligned_and_enough(estimator: Estimator) -> None:
    with pytest.raises(ShapeError, match="aligned"):
        estimator(np.zeros((20, 2)), np.zeros((19, 2)))
    with pytest.raises(ShapeError) as caught:
        estimator(np.zeros((1, 2)), np.zeros((1, 2)))
    assert caught.value.remedy
