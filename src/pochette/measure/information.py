"""How much one quantity tells of another: mutual information, estimated from samples, in nats.

Zero means independent, infinite that one is a function of the other; stretching either axis changes nothing.

| estimator | assumes | reads |
|---|---|---|
| `gaussian_nats` | both are Gaussian: sees linear dependence only | covariances |
| `edge_nats` | smooth densities, few dimensions | counts of samples in buckets |
| `ksg_nats` | densities smooth at the scale of neighbours | distances to the nearest neighbours |

Measured with 2000 samples of x and y = r x + sqrt(1 - r^2) n in each of d dimensions, where the truth is
-d/2 ln(1 - r^2), mean error of 8 draws (and the standard deviation of one estimate), in nats:

| d | r | truth | gaussian | ksg | edge |
|---|---|---|---|---|---|
| 1 | 0 | 0 | +0.000 (0.000) | -0.006 (0.005) | +0.008 (0.004) |
| 1 | 0.6 | 0.223 | -0.007 (0.006) | -0.010 (0.014) | -0.006 (0.008) |
| 1 | 0.9 | 0.830 | -0.011 (0.009) | -0.009 (0.017) | -0.045 (0.016) |
| 1 | 0.99 | 1.959 | -0.010 (0.012) | -0.004 (0.021) | -0.385 (0.023) |
| 2 | 0 | 0 | +0.001 (0.000) | +0.001 (0.017) | +0.088 (0.007) |
| 2 | 0.9 | 1.661 | +0.004 (0.015) | -0.005 (0.023) | -0.460 (0.008) |
| 4 | 0 | 0 | +0.004 (0.001) | +0.007 (0.015) | +0.937 (0.010) |
| 4 | 0.9 | 3.321 | -0.002 (0.041) | -0.655 (0.038) | -1.365 (0.012) |

And as a criterion uses them: 64 units that depend on a target of 4 dimensions linearly, through tanh or exp, or by a
square, whose information is known (0 to 1 nat); 2000 samples, one thread:

| estimator | root mean square error | rank correlation with the truth | for 1000 units |
|---|---|---|---|
| gaussian | 0.245 | 0.43 | 0.3 s |
| edge | 0.170 | 0.93 | 6 s |
| ksg | 0.128 | 0.972 | 21 s (target sorted once: 8 to 11 s) |
| ksg, marginals made Gaussian | 0.064 | 0.990 | 8 s |
| the same with noise and principal components | 0.069 | 0.993 | 8 s |

The last is `information_of_each_nats`. Making the marginals Gaussian helps because neighbours of a saturated or heavily
skewed unit are not at one scale. Large values are underestimated (a copy of one of four target dimensions: 1.5 nats
instead of infinity), which leaves their order alone. EDGE needs smooth densities: its ensemble extrapolates to buckets
of no width, which for a quantity of five values overshoots ln 5 by 0.4 nats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.special import digamma, ndtri
from scipy.stats import rankdata

from pochette.errors import ShapeError

FloatArray = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MOST_SAMPLES = 2000
"""Of more, `information_of_each_nats` draws so many."""
MOST_DIMENSIONS = 4
"""To so many principal components `information_of_each_nats` reduces the target."""
NOISE = 0.001
"""Standard deviation of the noise that `information_of_each_nats` adds, relative to each unit's own: as little as parts
repeated values. More of it hides what a saturated unit tells: of tanh(4x) 0.01 leaves 1.06 nats, 0.001 leaves 1.25."""
_BANDWIDTHS = np.linspace(2.0, 6.0, 20)
"""Of EDGE, in units of N^(-1/2d) standard deviations."""
_INSIDE = 1.0 - 1e-9
"""Makes a radius exclude the neighbour that defined it, whatever the rounding of a sum."""


def gaussian_nats(x: FloatArray, y: FloatArray) -> float:
    """Mutual information of two Gaussians of the samples' covariances: -1/2 ln(det C / (det C_x det C_y)).

    Computed as -1/2 sum ln(1 - r^2) over the canonical correlations r, which is the same and bears redundant columns.

    Args:
        x: (sample, dimension) or (sample,).
        y: (sample, dimension) or (sample,), aligned.

    Returns:
        nats; infinite if one is a linear function of the other. Too high by about d_x d_y / 2N.

    Raises:
        ShapeError: not the same number of samples.
    """
    x, y = _pair(x, y, 2)
    left, right = (_orthonormal(values) for values in (x, y))
    if not left.size or not right.size:
        return 0.0
    correlations = np.minimum(np.linalg.svd(left.T @ right, compute_uv=False), 1.0)
    with np.errstate(divide="ignore"):
        return float(-0.5 * np.log1p(-(correlations**2)).sum())


def ksg_nats(x: FloatArray, y: FloatArray, neighbours: int = 3) -> float:
    """Mutual information by nearest neighbours (Kraskov, Stögbauer & Grassberger 2004, equation 8).

    The distance to the k-th neighbour in the joint space, the larger of those in x and y, is where the other samples
    are counted in x and in y alone. All columns are standardised first, so scales do not matter.

    Args:
        x: (sample, dimension) or (sample,), without repeated values (see `blur`).
        y: (sample, dimension) or (sample,), aligned.
        neighbours: k; more neighbours, less variance and more bias.

    Returns:
        nats; of independent samples about as often below zero as above.

    Raises:
        ShapeError: not the same number of samples, or not more than neighbours.
    """
    x, y = _pair(x, y, neighbours + 1)
    x, y = standardised(x), standardised(y)
    joint = np.hstack([x, y])
    radius = _INSIDE * cKDTree(joint).query(joint, [neighbours + 1], p=np.inf)[0][:, 0]
    counts = [cKDTree(part).query_ball_point(part, radius, p=np.inf, return_length=True) for part in (x, y)]
    return _ksg_of_counts(counts[0], counts[1], neighbours)


def ksg_of_each_nats(columns: FloatArray, target: FloatArray, neighbours: int = 3) -> FloatArray:
    """`ksg_nats` of every column with one target, faster: the target's distances are sorted once.

    Args:
        columns: (sample, column), each without repeated values.
        target: (sample, dimension), aligned.
        neighbours: k.

    Returns:
        (column,) nats. Memory is sample^2 numbers.

    Raises:
        ShapeError: not the same number of samples, or not more than neighbours.
    """
    columns, target = _pair(columns, target, neighbours + 1)
    columns, target = standardised(columns), standardised(target)
    samples = len(target)
    distances = np.zeros((samples, samples))
    for axis in target.T:
        np.maximum(distances, np.abs(axis[:, None] - axis), out=distances)
    distances.sort(axis=1)
    found = np.empty(columns.shape[1])
    for number, column in enumerate(columns.T):
        joint = np.hstack([column[:, None], target])
        radius = _INSIDE * cKDTree(joint).query(joint, [neighbours + 1], p=np.inf)[0][:, 0]
        ordered = np.sort(column)
        in_column = np.searchsorted(ordered, column + radius, "right") - np.searchsorted(ordered, column - radius)
        found[number] = _ksg_of_counts(in_column, _count_within(distances, radius), neighbours)
    return found


def binned_nats(x: FloatArray, y: FloatArray, bins: int = 0) -> float:
    """Mutual information of two numbers by counting in bins that hold equally many samples each.

    The plug-in estimate less its leading bias, (b_xy - b_x - b_y + 1) / 2N of b occupied cells (Miller 1955). Bins as
    wide as can be lose what happens within one, narrow ones add bias: by default there are about (4N)^(1/3) a side.

    Args:
        x: (sample,).
        y: (sample,), aligned.
        bins: on each side; as above by default.

    Returns:
        nats.

    Raises:
        ShapeError: not the same number of samples, or fewer than five.
    """
    x, y = _pair(x, y, 5)
    bins = bins or max(2, round((4 * len(x)) ** (1 / 3)))
    left, right = (((rankdata(v[:, 0]) - 0.5) * bins / len(v)).astype(np.int64) for v in (x, y))
    joint = np.bincount(left * bins + right, minlength=bins * bins).reshape(bins, bins)
    shares = joint / len(x)
    sides = shares.sum(axis=1, keepdims=True) * shares.sum(axis=0, keepdims=True)
    there = joint > 0
    plain = float((shares[there] * np.log(shares[there] / sides[there])).sum())
    cells = there.sum() - there.any(axis=1).sum() - there.any(axis=0).sum() + 1
    return plain - float(cells) / (2 * len(x))


def edge_nats(x: FloatArray, y: FloatArray, seed: int = 0) -> float:
    """Mutual information by hashing, the ensemble dependency graph estimator (Noshad, Zeng & Hero 2018).

    Samples fall into buckets of a randomly shifted grid, H(x) = floor((x + b) / eps). Buckets of x and y are the two
    sides of a graph; an edge between two that share N_ij of the N samples weighs w = N_ij N / (N_i N_j), and
    sum N_i N_j / N^2 w ln w is an estimate. Those of several bandwidths eps = t N^(-1/2d) are summed with weights that
    cancel leading terms of their bias. Time grows as N.

    Deviations: (1) the paper cancels t, t^2 ... t^d; from 2000 samples, with t from 2 to 6, this gives 0.19 nats for
    two and 2.9 for four independent dimensions instead of zero, for it amplifies the paper's other bias term,
    1/(N eps^d). Here that term and t^2 are cancelled. (2) Buckets are told apart exactly, not by a second random hash,
    which saves memory and adds collisions. (3) No upper bound is set on w: it cannot exceed N.

    Args:
        x: (sample, dimension) or (sample,).
        y: (sample, dimension) or (sample,), aligned.
        seed: of the grid's shifts.

    Returns:
        nats; noise can be added to x before (see `blur`).

    Raises:
        ShapeError: not the same number of samples.
    """
    x, y = _pair(x, y, 2)
    x, y = standardised(x), standardised(y)
    samples, dimensions = len(x), x.shape[1] + y.shape[1]
    random = np.random.default_rng(seed)
    estimates = np.empty(len(_BANDWIDTHS))
    for number, bandwidth in enumerate(_BANDWIDTHS * samples ** (-0.5 / dimensions)):
        left, right = (_buckets(values, bandwidth, random) for values in (x, y))
        edges, weights = np.unique(left * (right.max() + 1) + right, return_counts=True)
        of_left = np.bincount(left)[edges // (right.max() + 1)]
        of_right = np.bincount(right)[edges % (right.max() + 1)]
        estimates[number] = np.sum(weights / samples * np.log(weights * samples / (of_left * of_right)))
    return float(_ensemble_weights(_BANDWIDTHS, dimensions) @ estimates)


def information_of_each_nats(columns: FloatArray, target: FloatArray, seed: int = 0) -> FloatArray:
    """How much each of many units tells of one target of any dimension: what the information criteria rank by.

    At most `MOST_SAMPLES` samples are drawn, the target is reduced to `MOST_DIMENSIONS` principal components, noise of
    `NOISE` standard deviations keeps copies of the target finite and repeated values (silence, a closed rectifier)
    apart, both are given Gaussian marginals, and `ksg_of_each_nats` estimates. Why so is said above.

    Args:
        columns: (sample, unit).
        target: (sample, dimension), aligned.
        seed: of the samples drawn and the noise.

    Returns:
        (unit,) nats. An estimate below zero says nothing more than zero and is given as zero, which is also what a
        unit that never changes has.

    Raises:
        ShapeError: not the same number of samples, or fewer than five.
    """
    columns, target = _pair(columns, target, 5)
    if len(columns) > MOST_SAMPLES:
        drawn = np.sort(np.random.default_rng(seed).choice(len(columns), MOST_SAMPLES, replace=False))
        columns, target = columns[drawn], target[drawn]
    found = np.zeros(columns.shape[1])
    reduced = principal_components(target, MOST_DIMENSIONS)
    moving = np.flatnonzero(_deviations(columns))
    if reduced.shape[1] and len(moving):
        units = normal_scores(blur(columns[:, moving], NOISE, seed))
        found[moving] = np.maximum(ksg_of_each_nats(units, normal_scores(reduced)), 0.0)
    return found


def blur(values: FloatArray, noise: float, seed: int = 0) -> FloatArray:
    """Values with Gaussian noise, so that the information in a copy of them is finite.

    Args:
        values: (sample, dimension).
        noise: its standard deviation, relative to that of each column.
        seed: of the noise.

    Returns:
        (sample, dimension); constant columns stay as they are.
    """
    drawn = np.random.default_rng(seed).standard_normal(values.shape)
    return values + noise * _deviations(values) * drawn


def normal_scores(values: FloatArray) -> FloatArray:
    """Each column bent so that its values are distributed as a Gaussian; no information is lost or won by that.

    Args:
        values: (sample, dimension).

    Returns:
        (sample, dimension): the Gaussian quantile of each value's rank; equal values stay equal.
    """
    scores: FloatArray = ndtri((rankdata(values, axis=0) - 0.5) / len(values))
    return scores


def principal_components(values: FloatArray, components: int) -> FloatArray:
    """The directions in which standardised values vary most.

    Args:
        values: (sample, dimension).
        components: at most so many.

    Returns:
        (sample, component), uncorrelated, largest variance first; fewer if the values span fewer, none if constant.
    """
    left, sizes, _ = np.linalg.svd(standardised(values), full_matrices=False)
    spanned = int(np.count_nonzero(sizes > 1e-9 * max(sizes[0], 1e-300)))
    kept = min(components, spanned)
    found: FloatArray = left[:, :kept] * sizes[:kept]
    return found


def standardised(values: FloatArray) -> FloatArray:
    """Columns of mean 0 and standard deviation 1; constant columns become 0."""
    deviations = _deviations(values)
    scale = np.where(deviations > 0, deviations, 1.0)
    found: FloatArray = np.where(deviations > 0, values - values.mean(axis=0), 0.0) / scale
    return found


def _deviations(values: FloatArray) -> FloatArray:
    """Standard deviation of each column, exactly zero where only rounding varies."""
    deviations: FloatArray = values.std(axis=0)
    return np.where(deviations > 1e-12 * np.abs(values).max(axis=0), deviations, 0.0)


def _pair(x: FloatArray, y: FloatArray, least: int) -> tuple[FloatArray, FloatArray]:
    """Both as (sample, dimension) float64, checked."""
    x, y = (np.asarray(values, np.float64).reshape(len(values), -1) for values in (x, y))
    if len(x) != len(y) or len(x) < least:
        raise ShapeError(
            f"Information needs at least {least} aligned samples; there are {len(x)} and {len(y)}.",
            remedy="Give both quantities at the same moments, and more of them.",
        )
    return x, y


def _orthonormal(values: FloatArray) -> FloatArray:
    """An orthonormal basis of the standardised columns."""
    left, sizes, _ = np.linalg.svd(standardised(values), full_matrices=False)
    basis: FloatArray = left[:, sizes > 1e-9 * max(sizes[0], 1e-300)]
    return basis


def _ksg_of_counts(in_x: Integers, in_y: Integers, neighbours: int) -> float:
    """Equation 8 from the samples within reach, each counted with itself."""
    return float(digamma(neighbours) + digamma(len(in_x)) - np.mean(digamma(in_x) + digamma(in_y)))


def _count_within(rows: FloatArray, limits: FloatArray) -> Integers:
    """How many values of each sorted row do not exceed its limit: a binary search in all rows at once."""
    low = np.zeros(len(rows), np.int64)
    high = np.full(len(rows), rows.shape[1], np.int64)
    every = np.arange(len(rows))
    while (low < high).any():
        middle = (low + high) // 2
        within = (low < high) & (rows[every, np.minimum(middle, rows.shape[1] - 1)] <= limits)
        low, high = np.where(within, middle + 1, low), np.where(within, high, np.minimum(middle, high))
    return low


def _buckets(values: FloatArray, bandwidth: float, random: np.random.Generator) -> Integers:
    """Number of each sample's cell in a grid shifted at random."""
    shift = bandwidth * random.random(values.shape[1])
    cells = np.floor((values + shift) / bandwidth).astype(np.int64)
    numbers = np.zeros(len(values), np.int64)
    for axis in cells.T:
        along = axis - axis.min()
        numbers = np.unique(numbers * (along.max() + 1) + along, return_inverse=True)[1].astype(np.int64)
    return numbers


def _ensemble_weights(bandwidths: FloatArray, dimensions: int) -> FloatArray:
    """The shortest weights of sum 1 that cancel the bias terms t^2 and t^-d."""
    terms = np.stack([np.ones_like(bandwidths), bandwidths**2.0, bandwidths ** -float(dimensions)])
    scale = np.abs(terms).max(axis=1)
    weights: FloatArray = np.linalg.lstsq(terms / scale[:, None], np.array([1.0, 0.0, 0.0]), rcond=None)[0]
    return weights
