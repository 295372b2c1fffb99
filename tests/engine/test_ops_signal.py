"""Sound in C: pooling, interpolation, Fourier transforms, look-up and draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pochette.engine.compiled import compile_engine
from pochette.errors import ExportError
from tests.engine.operator_cases import IN_C, Expression, Table, compiled, error_of, not_shown

TABLE, STEPS = torch.arange(12.0).view(4, 3), torch.arange(-1.0, 2)


def places(x: Tensor, count: int) -> Tensor:
    """Whole numbers below a count."""
    return (torch.sigmoid(x) * count).long()


def pairs(x: Tensor) -> Tensor:
    """Complex numbers of the pairs along the last axis."""
    return torch.view_as_complex(x.contiguous())


def interpolated(mode: str, **given: Any) -> Any:
    return lambda x: F.interpolate(x, mode=mode, **given)


def _put(x: Tensor, left: Tensor, right: Tensor, y: Tensor) -> Tensor:
    new = x.clone()
    new[left, :, right] = y
    return new


RESAMPLING: Table = {
    "max pool": (lambda x: F.max_pool1d(x, 3), (2, 3, 11)),
    "max pool, padded": (lambda x: F.max_pool1d(x, 4, 2, 2), (2, 3, 11)),
    "max pool, dilated": (lambda x: F.max_pool1d(x, 3, 1, 1, 3), (2, 3, 11)),
    "max pool, beginning in the padding": (lambda x: F.max_pool1d(x, 4, 1, 2, 2), (2, 3, 11)),
    "max pool, last window cut": (lambda x: F.max_pool1d(x, 4, 3, ceil_mode=True), (2, 3, 12)),
    "max pool of a plane": (lambda x: F.max_pool2d(x, (2, 3), (1, 2), (1, 1)), (2, 3, 5, 8)),
    "mean pool": (lambda x: F.avg_pool1d(x, 4), (2, 3, 12)),
    "mean pool, padded": (lambda x: F.avg_pool1d(x, 4, 3, 2), (2, 3, 12)),
    "mean pool, padding not counted": (lambda x: F.avg_pool1d(x, 4, 3, 2, count_include_pad=False), (2, 3, 12)),
    "mean pool, last window cut": (lambda x: F.avg_pool1d(x, 4, 3, 1, ceil_mode=True), (2, 3, 12)),
    "mean pool of a plane": (lambda x: F.avg_pool2d(x, (2, 3), padding=1), (2, 3, 5, 8)),
    "mean pool, divided by 5": (lambda x: F.avg_pool2d(x, 2, divisor_override=5), (2, 3, 4, 8)),
    "adaptive mean": (lambda x: F.adaptive_avg_pool1d(x, 5), (2, 3, 12)),
    "adaptive mean of a plane": (lambda x: F.adaptive_avg_pool2d(x, (2, 3)), (2, 3, 5, 7)),
    "adaptive max": (lambda x: F.adaptive_max_pool1d(x, 5), (2, 3, 12)),
    "nearest": (interpolated("nearest", scale_factor=3), (2, 3, 7)),
    "nearest, to a size": (interpolated("nearest", size=11), (2, 3, 7)),
    "nearest, fewer": (interpolated("nearest", scale_factor=0.5), (2, 3, 8)),
    "nearest, exact": (interpolated("nearest-exact", size=11), (2, 3, 7)),
    "nearest of a plane": (interpolated("nearest", scale_factor=(2, 1)), (2, 3, 4, 5)),
    "linear": (interpolated("linear", scale_factor=4), (2, 3, 7)),
    "linear, corners aligned": (interpolated("linear", size=20, align_corners=True), (2, 3, 7)),
    "linear, fewer": (interpolated("linear", size=3), (2, 3, 7)),
    "linear, long": (interpolated("linear", scale_factor=8), (1, 1, 300)),
    "linear of a plane": (interpolated("bilinear", scale_factor=(2, 3)), (2, 3, 4, 5)),
    "linear of a plane along one axis": (interpolated("bilinear", size=(4, 9), align_corners=True), (2, 3, 4, 5)),
    "cubic": (interpolated("bicubic", scale_factor=2), (1, 2, 5, 6)),
    "linear of a space": (interpolated("trilinear", scale_factor=2), (1, 2, 3, 2, 4)),
    "nearest of a space": (interpolated("nearest", scale_factor=2), (1, 2, 3, 2, 4)),
    "nearest of a space, exact": (interpolated("nearest-exact", scale_factor=1.5), (1, 2, 4, 2, 4)),
    "no other size": (interpolated("nearest", size=7), (2, 3, 7)),
}
LOOK_UP: Table = {
    "embedding": (lambda x, w: F.embedding(places(x, 7), w), (2, 5), (7, 3)),
    "embedding of a stored table": (lambda x: F.embedding(places(x, 4), TABLE), (2, 5)),
    "index": (lambda x, w: w[places(x, 7)], (2, 5), (7, 3)),
    "index by stored numbers": (lambda x: x[:, torch.tensor([2, 0, -1])], (2, 5, 3)),
    "index inside": (lambda x, y: x[:, places(y, 5)], (2, 5, 3), (4,)),
    "index of two axes": (lambda x, y: x[:, places(y, 5), places(y, 3)], (2, 5, 3, 2), (4,)),
    "index of two axes apart": (lambda x, y: x[places(y, 2), :, places(y, 3)], (2, 5, 3), (4,)),
    "index of numbers that meet": (lambda x, y: x[places(y, 2), places(y[:, :1], 5)], (2, 5, 3), (4, 6)),
    "index_select": (lambda x, y: x.index_select(1, places(y, 5)), (2, 5, 3), (4,)),
    "gather": (lambda x, y: x.gather(1, places(y, 5)), (2, 5, 3), (2, 4, 3)),
    "gather of the last": (lambda x, y: x.gather(-1, places(y, 5)), (2, 5), (2, 4)),
    "take": (lambda x, y: x.take(places(y, 10)), (2, 5), (2, 4)),
    "take_along_dim": (lambda x: torch.take_along_dim(x, x.argsort(-1), -1), (2, 5)),
    "one_hot": (lambda x: F.one_hot(places(x, 4), 4).float(), (2, 5)),
    "bucketize": (lambda x: torch.bucketize(x, torch.linspace(-1, 1, 7)).float(), (3, 20)),
    "bucketize, right": (
        lambda x: torch.bucketize(x.long().float(), torch.arange(-1.0, 2), right=True).float(),
        (3, 20),
    ),
    "sort": (lambda x: x.sort(dim=1)[0], (2, 7, 3)),
    "sort, falling": (lambda x: x.sort(descending=True)[0], (2, 7)),
    "places of sort": (lambda x: x.sort(dim=0, stable=True)[1].float(), (7, 2)),
    "argsort": (lambda x: x.argsort(-1, descending=True).float(), (2, 7)),
    "topk": (lambda x: torch.topk(x, 3)[0], (4, 9)),
    "topk inside": (lambda x: torch.topk(x, 2, 1)[0] * torch.topk(x, 2, 1, largest=False)[0], (2, 7, 3)),
    "topk, all": (lambda x: torch.topk(x, 9)[0], (4, 9)),
    "places of topk": (lambda x: torch.topk(x, 3, largest=False)[1].float(), (4, 9)),
    "distances": (torch.cdist, (2, 3, 4), (2, 5, 4)),
    "distances, broadcast": (torch.cdist, (2, 3, 4), (5, 4)),
    "nearest of a codebook": (lambda x, w: w[torch.cdist(x, w).argmin(-1)], (3, 4), (6, 4)),
}
WRITES: Table = {
    "index_copy": (lambda x, y, n: x.index_copy(1, places(n, 5), y), (2, 5, 3), (2, 4, 3), (4,)),
    "index_copy of one axis": (lambda x, y, n: x.index_copy(0, places(n, 5), y), (5,), (4,), (4,)),
    "index_add": (lambda x, y, n: x.index_add(-1, places(n, 3), y), (2, 5, 3), (2, 5, 4), (4,)),
    "index_fill": (lambda x, n: x.index_fill(1, places(n, 5), -0.5), (2, 5, 3), (2,)),
    "index_fill with a tensor": (lambda x, y, n: x.index_fill(1, places(n, 5), y.sum()), (2, 5, 3), (3,), (2,)),
    "index_put": (lambda x, y, n: x.index_put((places(n, 2), places(n, 5)), y), (2, 5, 3), (4, 3), (4,)),
    "index_put, broadcast": (lambda x, y, n: x.index_put((places(n, 2),), y), (2, 5, 3), (5, 1), (4,)),
    "index_put, added": (lambda x, y, n: x.index_put((places(n, 2),), y, True), (2, 5, 3), (4, 1, 3), (4,)),
    "index_put apart": (lambda x, y, n: _put(x, places(n, 2), places(n, 3), y), (2, 5, 3), (4, 5), (4,)),
    "index_put of numbers that meet": (
        lambda x, y, n: x.index_put((places(n, 2), places(n[:, :1], 5)), y), (2, 5, 3), (4, 6, 3), (4, 6),
    ),
    "index_put of whole numbers": (
        lambda x, n: (9 * x).long().index_put((places(n, 5),), torch.tensor(-7)).float(), (5, 3), (2,),
    ),
    "index_put by flags": (lambda x, y: x.index_put((y > 0,), torch.tensor(0.5)), (3, 4), (3, 4)),
    "scatter": (lambda x, y, n: x.scatter(1, places(n, 5), y), (2, 5, 3), (2, 4, 3), (2, 4, 3)),
    "scatter of less": (lambda x, y, n: x.scatter(1, places(n, 5), y), (2, 5, 3), (2, 4, 3), (1, 2, 2)),
    "scatter of a number": (lambda x, n: x.scatter(-1, places(n, 3), 2.5), (2, 5, 3), (2, 5, 1)),
    "scatter of flags of numbers": (lambda x: torch.zeros(2, 5).scatter(1, x.argmax(1, True), 1.0) + x, (2, 5)),
    "scatter_add": (lambda x, y, n: x.scatter_add(1, places(n, 5), y), (2, 5, 3), (2, 9, 3), (2, 9, 3)),
    "counts in bins": (lambda x: torch.zeros(6, dtype=torch.long).scatter_add(
        0, places(x, 6), torch.ones(40, dtype=torch.long)).float(), (40,)),
}  # fmt: skip
RUNNING: Table = {
    "cumsum": (lambda x: x.cumsum(-1), (2, 1000)),
    "cumsum inside": (lambda x: x.cumsum(1), (2, 50, 19)),
    "cumsum of a long phase": (lambda x: (0.01 * torch.sigmoid(x)).cumsum(-1), (1, 48000)),
    "cumprod": (lambda x: (1 + 0.1 * x).cumprod(1), (2, 9, 3)),
    "cummax": (lambda x: x.cummax(1)[0] + x.cummin(1)[0], (2, 9, 3)),
    "places of cummax": (lambda x: x.cummax(-1)[1].float(), (2, 9)),
    "running sum of whole numbers": (lambda x: (3 * x).long().cumsum(1).float(), (2, 9, 3)),
}
real, fft = torch.view_as_real, torch.fft
WINDOW = torch.hann_window(16)
SPECTRA: Table = {
    **{f"rfft of {n}": (lambda x: real(fft.rfft(x)), (2, n)) for n in (1, 2, 3, 8, 15, 30, 64, 127, 480, 1000)},
    **{f"irfft to {n}": (lambda x, n=n: fft.irfft(pairs(x), n), (2, n // 2 + 1, 2)) for n in (2, 3, 8, 15, 30, 480)},
    **{f"fft of {n}": (lambda x: real(fft.fft(pairs(x))), (2, n, 2)) for n in (1, 4, 7, 24, 125)},
    "fft of real numbers": (lambda x: real(fft.fft(x)), (2, 24)),
    "ifft": (lambda x: real(fft.ifft(pairs(x), norm="ortho")), (2, 24, 2)),
    "rfft, cut": (lambda x: real(fft.rfft(x, 16)), (2, 24)),
    "rfft, filled up": (lambda x: real(fft.rfft(x, 32, norm="forward")), (2, 23)),
    "rfft along another axis": (lambda x: real(fft.rfft(x, dim=1)), (2, 24, 3)),
    "irfft along another axis": (lambda x: fft.irfft(pairs(x), dim=0, norm="ortho"), (13, 3, 2)),
    "irfft, filled up": (lambda x: fft.irfft(pairs(x), 64), (2, 13, 2)),
    "long rfft": (lambda x: real(fft.rfft(x)), (1, 16384)),
    "there and back": (lambda x: fft.irfft(fft.rfft(x)), (3, 100)),
    "parts": (lambda x: pairs(x).real + pairs(x).imag, (3, 5, 2)),
    "complex": (lambda x, y: real(torch.complex(x, y).transpose(0, 1)), (3, 5), (3, 5)),
    "complex cat and slice": (lambda x: real(torch.cat([pairs(x), pairs(x)[:, 1:3]], dim=1)[1:]), (3, 5, 2)),
    "a spectrum filled up": (lambda x: real(F.pad(fft.rfft(x), (1, 2))), (3, 8)),
    "zero phase": (lambda x: fft.irfft(torch.complex(x, torch.zeros_like(x))), (2, 65)),
    "stft": (lambda x: real(torch.stft(x, 16, 4, window=WINDOW, return_complex=True)), (2, 64)),
    "stft, short window": (
        lambda x: real(torch.stft(x, 20, 5, 16, WINDOW, center=False, normalized=True, return_complex=True)), (64,),
    ),
    "stft and back": (
        lambda x: torch.istft(torch.stft(x, 16, 4, window=WINDOW, return_complex=True), 16, 4, window=WINDOW), (2, 64),
    ),
    "istft": (lambda x: torch.istft(pairs(x), 16, 8, window=WINDOW, length=70), (2, 9, 10, 2)),
}  # fmt: skip
CASES: Table = {**RESAMPLING, **LOOK_UP, **WRITES, **RUNNING, **SPECTRA}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(CASES, tmp_path_factory.mktemp("signal"))


@pytest.mark.parametrize("name", CASES)
def test_c_says_what_torch_says(name: str, made: Any) -> None:
    assert error_of(CASES[name], made[name]) <= 1e-6


def test_no_c_lacks_a_case(made: Any) -> None:
    assert not_shown(IN_C["test_ops_signal"], made) == []


@pytest.mark.parametrize(
    ("expression", "match"),
    [
        (lambda x: torch.fft.rfft2(x).real, "rfft2"),
        (lambda x: F.max_pool3d(x[None], 2), "more than two axes"),
        (lambda x: F.max_pool1d(x, 2, return_indices=True)[1].float(), "the places of the largest"),
        (lambda x: torch.cdist(x, x, p=1.0), "order 1"),
        (lambda x: torch.topk((9 * x).long(), 2)[0].float(), "the foremost of whole"),
        (lambda x: x[x > 0], "depends on the values"),
        (lambda x: x + torch.rand(3, 4), "random numbers"),
        (lambda x: torch.stft(x.flatten(), 4, 2, window=x[0, 0], return_complex=True).abs(), "window"),
    ],
)
def test_what_c_cannot_do_is_refused_with_the_operator_named(expression: Any, match: str) -> None:
    with pytest.raises(ExportError, match=match):
        compile_engine(Expression(expression), (torch.ones(2, 3, 4),))
