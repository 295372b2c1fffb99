"""Curvature against spectra that are known, and against autograd's whole Hessian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RunError
from pochette.lab.stability.flatness import Hessian, flatness, flatness_of
from pochette.models.model import Model
from pochette.reduce.sparse.subject import Subject
from pochette.reduce.sparse.weights import weights_of
from pochette.train.device import tensors_of


def bowl(spectrum: list[float]) -> tuple[Tensor, Tensor]:
    """A quadratic loss with these eigenvalues along directions that are no axes, somewhere off its middle."""
    torch.manual_seed(0)
    size = len(spectrum)
    turned, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))
    matrix = turned @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ turned.T
    at = torch.randn(size, dtype=torch.float64, requires_grad=True)
    return 0.5 * at @ matrix @ at, at


def test_a_quadratic_with_a_known_spectrum() -> None:
    spectrum = [-3.0, -0.5, 0.0, *[0.01 * k for k in range(1, 30)], 2.0, 7.0]
    loss, at = bowl(spectrum)
    found = flatness(loss, [at], draws=400, tolerance=1e-10)
    assert found.largest == pytest.approx(7.0, rel=1e-9) and found.smallest == pytest.approx(-3.0, rel=1e-9)
    assert 0.0 < found.trace_error < 0.5 and abs(found.trace - sum(spectrum)) < 4.0 * found.trace_error
    assert found.weights == len(spectrum) and found.products > 400


def test_along_axes_the_trace_is_exact_and_its_error_nothing() -> None:
    at = torch.ones(5, dtype=torch.float64, requires_grad=True)
    loss = (torch.tensor([1.0, -2.0, 3.0, 4.0, 0.5], dtype=torch.float64) * at.square()).sum() / 2.0
    found = flatness(loss, [at])
    assert found.trace == pytest.approx(6.5, rel=1e-14) and found.trace_error < 1e-14
    assert found.largest == pytest.approx(4.0, rel=1e-3)


def test_a_valley_of_one_weight_a_slope_and_a_ridge() -> None:
    one = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    assert flatness((one**3).sum(), [one]).largest == pytest.approx(12.0)
    for size in (4, 40):
        slope = torch.ones(size, dtype=torch.float64, requires_grad=True)
        flat = flatness(slope.sum(), [slope])
        assert flat.largest == flat.smallest == flat.trace == flat.trace_error == 0.0
    loss, at = bowl([-5.0, -4.0, -3.0, -1.0])
    found = flatness(loss, [at])
    assert (found.smallest, found.largest) == pytest.approx((-5.0, -1.0))


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def test_a_network_against_its_whole_hessian(network: nn.Sequential) -> None:
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randn(30, 2, dtype=torch.float64)
    subject = Subject.of(network, [lambda m: (m(x[:10]) - y[:10]).square().sum(), lambda m: m(x[10:]).square().sum()])
    paths = dict(subject.parameters())

    def loss_at(vector: Tensor) -> Tensor:
        parts = vector.split([weight.numel() for weight in paths.values()])
        given = {path: part.view(paths[path].shape) for path, part in zip(paths, parts, strict=True)}
        said = torch.func.functional_call(subject.network, given, (x,))
        return ((said[:10] - y[:10]).square().sum() + said[10:].square().sum()) / 2.0  # mean of two batches

    at = torch.cat([weight.detach().flatten() for weight in paths.values()])
    whole = torch.autograd.functional.hessian(loss_at, at)
    found = flatness_of(subject, draws=200, tolerance=1e-9)
    assert found.weights == len(at) == 4 * 6 + 6 * 2
    ends = torch.linalg.eigvalsh(whole)[[0, -1]].tolist()
    assert (found.smallest, found.largest) == pytest.approx(tuple(ends), rel=1e-6)
    assert abs(found.trace - float(whole.trace())) < 4.0 * found.trace_error
    hessian = Hessian(torch.stack(list(subject.losses())).mean(), list(paths.values()))
    vector = torch.randn(len(at), dtype=torch.float64)
    assert torch.allclose(hessian.times(vector), whole @ vector, rtol=1e-10, atol=1e-12)


def test_the_same_seed_draws_the_same_and_a_loss_without_curvature_is_told(network: nn.Sequential) -> None:
    x = torch.randn(5, 4, dtype=torch.float64)
    once, again = (flatness_of(Subject.of(network, [lambda m: m(x).square().mean()])) for _ in range(2))
    assert once == again
    zero = torch.zeros(3, requires_grad=True)
    with pytest.raises(RunError, match="second derivative"):
        flatness(zero.square().sum().sqrt(), [zero])


def test_a_model_on_sound(corpus: FolderCorpus, model: Model) -> None:
    excerpt = tensors_of(corpus.excerpt_batch(np.random.default_rng(0), 2, 20, model.heard_from))
    found = flatness_of(Subject.heard(model, [excerpt]), draws=2)
    assert found.largest > 0.0 and found.weights == sum(w.parameter.numel() for w in weights_of(model).values())
