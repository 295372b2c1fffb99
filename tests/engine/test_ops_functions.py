"""Functions element by element in C, of floats, whole numbers and complex ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pochette.engine.compiled import compile_engine
from pochette.engine.elsewhere import EngineElsewhere
from pochette.layers.generator import uniform_noise
from tests.engine.operator_cases import IN_C, Expression, Table, calls, compiled, error_of, not_shown

aten, z = torch.ops.aten, torch.view_as_complex


def whole(x: Tensor) -> Tensor:
    """Whole numbers of both signs."""
    return (9 * x).long()


def called(name: str) -> Any:
    return lambda x: getattr(aten, name)(3 * x)


X = (3, 37)
FUNCTIONS: Table = {
    **{name: (called(name), X) for name in ("relu", "leaky_relu", "silu", "hardtanh", "sigmoid", "tanh", "exp", "abs")},
    **{name: (lambda x, f=name: getattr(torch, f)(x * x + 0.1), X) for name in (
        "log", "log2", "sqrt", "rsqrt", "reciprocal",
    )},
    **{f"{name} {kind}": (lambda x, y, f=name, k=kind: getattr(torch, f)(x, y if k else 0.2) * x, X, X)
       for name in ("lt", "le", "gt", "ge", "eq", "ne") for kind in (0, 1)},
    **{name: (called(name), X) for name in (
        "sin", "cos", "atan", "erf", "erfc", "expm1", "square", "negative", "absolute", "relu6", "sinh", "cosh",
        "hardsigmoid", "hardswish", "selu", "mish", "gelu", "log_sigmoid", "exp2", "frac", "sinc", "sign", "round",
        "floor", "ceil", "trunc", "fix", "softplus", "elu", "celu",
    )},
    "sine of large numbers": (lambda x: torch.sin(2000 * x), X),
    "tan": (lambda x: torch.tan(torch.tanh(x)), X),
    "log1p": (lambda x: torch.log1p(x * x), X),
    "log1p of small numbers": (lambda x: torch.log1p(1e-4 * x), X),
    "expm1 of small numbers": (lambda x: torch.expm1(1e-4 * x), X),
    "log10": (lambda x: torch.log10(x * x), X),
    "halves are rounded to even": (lambda x: torch.round((10 * x).long() * 0.5), X),
    "gelu by a tangent": (lambda x: F.gelu(x, approximate="tanh"), X),
    "softplus, steep": (lambda x: F.softplus(4 * x, beta=3, threshold=2), X),
    "elu, scaled": (lambda x: F.elu(x, alpha=0.5), X),
    "atan2": (torch.atan2, X, X),
    "remainder": (lambda x, y: torch.remainder(10 * x, y.abs() + 0.5), X, X),
    "remainder of a number": (lambda x: torch.remainder(10 * x, 1.0), X),
    "remainder in a number": (lambda x: torch.remainder(5.5, x.abs() + 0.5), X),
    "fmod": (lambda x: torch.fmod(10 * x, 3.0) + torch.fmod(x, x.abs() + 0.5), X),
    "pow": (lambda x, y: (x.abs() + 0.1) ** y, X, X),
    "pow of a number": (lambda x: 2.0**x, X),
    "pow of negative numbers": (lambda x, y: x ** (2 * y).round(), (40,), (40,)),
    **{f"power {power}": (lambda x, e=power: (x.sign() * (x.abs() + 0.5)) ** e, X)
       for power in (-1, -2, -3, -7, 1, 5, 7, 16, -20)},
    "power 17, by the logarithm": (lambda x: (0.5 * x) ** 17, X),
    **{name: (lambda x, f=name: getattr(torch, f)(0.9 * torch.tanh(x)), X) for name in (
        "asin", "acos", "atanh", "arcsin", "arccos", "arctanh", "asinh", "arcsinh",
    )},
    **{name: (lambda x, f=name: getattr(torch, f)(1 + x * x), X) for name in ("acosh", "arccosh")},
    "nan_to_num": (lambda x: torch.nan_to_num(x, 1.0, 2.0, 3.0) + torch.nan_to_num(2 * x), X),
    "clamp between tensors": (lambda x, y: torch.clamp(x, -y.abs(), y.abs()), X, X),
    "clamp between tensors that cross": (lambda x, y: torch.clamp(x, y, -y), X, X),
    "clamp, broadcast": (lambda x, y, w: torch.clamp(torch.clamp(x, min=y), max=w), X, (37,), (3, 1)),
    "clamp at one side": (lambda x, y: aten.clamp_min(x, y) + aten.clamp_max(x, y) + aten.clamp_max(x, 0.3), X, X),
    "rsub": (lambda x, y: 1 - x + torch.rsub(x, y, alpha=2), X, X),
    "addcmul": (lambda x, y: torch.addcmul(x, x, y, value=0.3), X, X),
    "addcdiv": (lambda x, y: torch.addcdiv(x, x, y * y + 1, value=0.3), X, X),
    "lerp": (lambda x, y: torch.lerp(x, y, 0.3) + torch.lerp(x, y, torch.sigmoid(x)), X, X),
    "hypot": (torch.hypot, X, X),
    "threshold": (lambda x: F.threshold(x, 0.1, 20.0) + F.softshrink(x, 0.3), X),
    "divided and rounded": (lambda x, y: torch.div(x, 0.3, rounding_mode="floor") + torch.div(
        3 * x, y, rounding_mode="trunc"), X, X),
    "floor_divide": (lambda x: x // 0.3, X),
    "logic": (lambda x, y: ((x > 0) & (y > 0) | ~(x > 1) ^ (y < 0)).float() + x, X, X),
    "logic of numbers": (lambda x, y: aten.logical_xor(x.round(), y.round()) + torch.logical_and(
        x > 0, y > 0).float() + torch.logical_or(x > 1, torch.logical_not(y > 0)), X, X),
    "masked_fill": (lambda x: x.masked_fill(x > 0, -2.0), X),
    "masked_fill before a softmax": (
        lambda x: x.masked_fill(torch.ones(5, 5).triu(1).bool(), float("-inf")).softmax(-1), (2, 5, 5),
    ),
    "where of numbers": (lambda x: torch.where(x > 0, 1.0, -0.5) + x, X),
    "flags by their bits": (lambda x, y: aten.bitwise_and(x > 0, y > 0) + aten.bitwise_or(x > 1, y > 1) * x
                            + aten.bitwise_xor(x > 0, y > 0), X, X),
    "copy": (lambda x, y: aten.copy(torch.tanh(x), y), X, X),
    "copy, broadcast": (lambda x, y: aten.copy(torch.tanh(x), y[:, :1]), X, X),
    "true_divide": (lambda x, y: aten.true_divide(x, y.abs() + 1), X, X),
    "old names": (lambda x, y: aten.multiply(x, y) + aten.divide(x, y.abs() + 1) - aten.subtract(x, y), X, X),
    "prelu": (F.prelu, (2, 5, 7), (5,)),
    "prelu of one slope": (F.prelu, (2, 5, 7), (1,)),
    "prelu of vectors": (F.prelu, (2, 5), (5,)),
    "snake": (lambda x, a: x + torch.sin(a * x).pow(2) / (a + 1e-9), (2, 5, 7), (5, 1)),
}  # fmt: skip
WHOLE: Table = {
    "whole sums": (lambda x, y: (whole(x) + 3 * whole(y) - 5).float(), X, X),
    "whole numbers with floats": (lambda x, y: whole(x) * y + whole(y) / 4, X, X),
    "whole numbers with stored ones": (lambda x: (whole(x) + torch.arange(37)).float() + torch.arange(37) * x, X),
    "whole comparisons": (lambda x, y: (whole(x) < whole(y)).float() + (whole(x) == 2) * x, X, X),
    "whole remainders": (lambda x: (whole(x) % 7 + torch.fmod(whole(x), 5) * 100).float(), X),
    "whole quotients": (lambda x: (whole(x) // 3 + 100 * torch.div(whole(x), 3, rounding_mode="trunc")).float(), X),
    "whole choices": (lambda x, y: torch.where(x > 0, whole(x), whole(y)).clamp_min(-3).abs().float(), X, X),
    "whole extrema": (lambda x, y: (torch.maximum(whole(x), whole(y)) - torch.minimum(whole(x), whole(y))).float(),
                      X, X),
    "bits": (lambda x, y: ((whole(x) & 12) | (whole(y) ^ 5) | (whole(x) << 2) ^ (whole(y) >> 1)).float(), X, X),
    "noise": (lambda x: uniform_noise(whole(100 * x[:, 0]).abs() * 7919, 50), (2, 3)),
    "expand of whole numbers": (lambda x: whole(x)[:, None].expand(3, 2, 37).sum(1).float(), X),
}  # fmt: skip
COMPLEX: Table = {
    "complex product": (lambda x, y: torch.view_as_real(z(x) * z(y)), (5, 2), (5, 2)),
    "complex product, broadcast": (lambda x, y: torch.view_as_real(z(x)[:, None] * z(y)), (5, 2), (3, 2)),
    "complex and real": (lambda x, y: torch.view_as_real(z(x) * y + 2 * z(x) - z(x) / 3), (5, 2), (5,)),
    "complex quotient": (lambda x, y: torch.view_as_real(z(x) / (z(y) + 3)), (5, 2), (5, 2)),
    "complex conjugate": (lambda x: torch.view_as_real(-(z(x).conj() * z(x))), (5, 2)),
    "complex, stored": (lambda x: torch.view_as_real(z(x) * torch.tensor(1j)), (5, 2)),
    "length and angle": (lambda x: z(x).abs() + z(x).angle(), (50, 2)),
    "polar": (lambda x, y: torch.view_as_real(torch.polar(x.abs(), 3 * y)), (5,), (5,)),
    "complex exponential": (lambda x: torch.view_as_real(torch.exp(z(x))), (5, 2)),
    **{f"complex sum over {axes}": (lambda x, a=axes: torch.view_as_real(z(x).sum(a)), (3, 4, 5, 2))
       for axes in (0, 1, 2, (0, 2), (0, 1, 2))},
    "complex sum of all": (lambda x: torch.view_as_real(z(x).sum()), (3, 4, 2)),
    "complex mean": (lambda x: torch.view_as_real(z(x).mean(1, keepdim=True)), (3, 4, 5, 2)),
    "mean of spectra": (lambda x: torch.fft.rfft(x).mean(0).abs(), (3, 16)),
    "a filter on the spectrum": (lambda x, h: torch.fft.irfft(torch.fft.rfft(x, 64) * torch.fft.rfft(h, 64)),
                                 (2, 32), (2, 33)),
    "whole numbers between bounds": (lambda x: (3 * x).long().clamp(-2, 4).float(), (5, 7)),
    "whole numbers above a bound": (lambda x: (3 * x).long().clamp(min=1).float(), (5, 7)),
    "whole numbers below a bound": (lambda x: ((3 * x).long() & 7).clamp(max=5).float(), (5, 7)),
    "hardshrink": (lambda x: F.hardshrink(x, 0.7), (5, 7)),
    "logit": (lambda x: torch.logit(torch.sigmoid(x)), (5, 7)),
    "logit between bounds": (lambda x: torch.logit(x, eps=0.1), (5, 7)),
    **{f"angles of the real ends, {n}": (lambda x: torch.fft.rfft(x).angle()[:, :: max(x.shape[1] // 2, 1)], (64, n))
       for n in (2, 7, 64)},
    "phase vocoder": (lambda x: torch.fft.irfft(torch.polar(torch.fft.rfft(x).abs(), torch.fft.rfft(x).angle() * 2)),
                      (2, 64)),
}  # fmt: skip
CASES: Table = {**FUNCTIONS, **WHOLE, **COMPLEX}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(CASES, tmp_path_factory.mktemp("functions"))


@pytest.mark.parametrize("name", CASES)
def test_c_says_what_torch_says(name: str, made: Any) -> None:
    assert error_of(CASES[name], made[name]) <= 1e-6


def test_no_c_lacks_a_case(made: Any) -> None:
    assert not_shown(IN_C["test_ops_functions"], made) == []


def of_late(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Functions whose C takes other ways on a processor without vectors than here."""
    t, spectrum = 0.9 * torch.tanh(x), torch.fft.rfft(x)
    return (
        torch.asin(t) + torch.acos(t) + torch.atanh(t) + torch.asinh(x) + torch.acosh(1 + x * x),
        (1 + t) ** -3 + t**7 + (0.5 * x) ** 17,
        torch.clamp(torch.nan_to_num(x), -y.abs(), y[0]),
        torch.view_as_real(spectrum.sum(-1) + spectrum.mean(0)[:1]),
        *(part.float() for part in torch.topk(x, 3)),
    )


def test_they_say_the_same_on_an_emulated_board() -> None:
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    module = Expression(of_late)
    first, *later = calls((X, X))
    board = EngineElsewhere(compile_engine(module, first, name="late", board="daisy-seed"), "cortex-m7")
    for call in (first, *later):
        for mine, theirs in zip(board.process(*(x.numpy() for x in call)), module(*call), strict=True):
            assert np.abs(mine - theirs.numpy()).max() <= 1e-5 * max(1.0, float(theirs.abs().max()))
