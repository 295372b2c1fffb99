"""Numbers made of many in C: reductions, normalisations, softmax, attention, running sums, products of two tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pochette.engine.compiled import compile_engine
from pochette.errors import ExportError
from tests.engine.operator_cases import IN_C, Expression, Table, compiled, error_of, not_shown

X = (2, 3, 4, 5)
AXES: dict[str, Any] = {"last": -1, "first": 0, "middle": (1, 2), "apart": (0, 2), "all but one": (0, 2, 3)}


def over_axes(name: str, expression: Any) -> Table:
    return {f"{name}, {axes}": (lambda x, dim=dim: expression(x, dim), X) for axes, dim in AXES.items()}


REDUCTIONS: Table = {
    **over_axes("sum", lambda x, dim: x.sum(dim)),
    **over_axes("mean", lambda x, dim: x.mean(dim, keepdim=True)),
    **over_axes("amax", lambda x, dim: x.amax(dim)),
    **over_axes("var", lambda x, dim: x.var(dim)),
    **over_axes("logsumexp", lambda x, dim: x.logsumexp(dim)),
    **over_axes("vector norm", lambda x, dim: torch.linalg.vector_norm(x, dim=dim)),
    "sum of all": (lambda x: (x * x).sum(), (3, 40)),
    "mean of all": (lambda x: (x * x).mean() * x, (3, 40)),
    "long sum": (lambda x: x.sum(-1), (2, 4001)),
    "mean of a row": (lambda x: x.mean(-1, keepdim=True), (2, 37)),
    "mean over one": (lambda x: x.mean(1), (3, 1, 5)),
    "amin": (lambda x: x.amin(1), X),
    "max of all": (lambda x: x.max() * x, X),
    "min of all": (lambda x: x.min() * x, X),
    "max with places": (lambda x: x.max(dim=2).values, X),
    "min with places": (lambda x: x.min(dim=-1, keepdim=True)[0], X),
    "places of max": (lambda x: x.max(dim=1)[1].float(), X),
    "argmax": (lambda x: x.argmax(-1).float(), (4, 33)),
    "argmax inside": (lambda x: x.argmax(1, keepdim=True).float(), X),
    "argmax of all": (lambda x: x.argmax().float() + x, X),
    "argmin": (lambda x: x.argmin(0).float(), X),
    "prod": (lambda x: x.prod(dim=1), X),
    "prod of all": (lambda x: x.prod() + x, (2, 3)),
    "any, all": (lambda x: (x > 1).any(-1).float() + (x > -1).all(1, keepdim=True)[..., 0].float(), (3, 3, 4)),
    "how many": (lambda x: (x > 0).sum(-1).float(), (3, 40)),
    "sum of whole numbers": (lambda x: (3 * x).long().sum((0, 2)).float(), X),
    "std": (lambda x: x.std(1), X),
    "biased var": (lambda x: x.var((1, 3), correction=0, keepdim=True), X),
    "var and mean": (lambda x: sum(torch.var_mean(x, dim=(2, 3))), X),
    "std of a row": (lambda x: x.std(-1, keepdim=True), (3, 1000)),
    "norm": (lambda x: x.norm(dim=1, keepdim=True), X),
    "norm of all": (lambda x: x.norm() + x, X),
    "norm by its old name": (lambda x: torch.ops.aten.norm.Scalar(x, 2) + x, X),
    "std of all": (lambda x: torch.ops.aten.std.default(x, False) + torch.ops.aten.var.default(x), X),
    "norm 1": (lambda x: torch.linalg.vector_norm(x, 1, dim=-1), X),
    "norm infinity": (lambda x: torch.linalg.vector_norm(x, float("inf"), dim=1), X),
    "normalize": (lambda x: x / torch.linalg.vector_norm(x, dim=1, keepdim=True).expand(X), X),
}
SEVERAL: Table = {
    "softmax": (lambda x: x.softmax(-1), (3, 37)),
    "softmax inside": (lambda x: (5 * x).softmax(1), (2, 6, 21)),
    "softmax of one number": (lambda x: x.softmax(0), (1, 3)),
    "log_softmax": (lambda x: x.log_softmax(-1), (3, 37)),
    "log_softmax inside": (lambda x: (9 * x).log_softmax(1), (2, 6, 21)),
    "layer norm": (lambda x: F.layer_norm(x, (37,)), (2, 3, 37)),
    "layer norm of two axes": (lambda x, w, b: F.layer_norm(x, (3, 7), w, b), (2, 3, 7), (3, 7), (3, 7)),
    "rms norm": (lambda x, w: F.rms_norm(x, (37,), w, 1e-3), (2, 3, 37), (37,)),
    "rms norm without epsilon": (lambda x: F.rms_norm(x, (21,)), (2, 21)),
    "group norm": (lambda x, w, b: F.group_norm(x, 3, w, b), (2, 6, 35), (6,), (6,)),
    "group norm of planes": (lambda x: F.group_norm(x, 2), (2, 6, 3, 4)),
    "group norm of vectors": (lambda x: F.group_norm(x, 2), (3, 8)),
    "instance norm": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (2, 6, 35), (6,), (6,)),
    "stored statistics": (lambda x: F.batch_norm(x, torch.arange(6.0), torch.arange(1.0, 7.0)), (2, 6, 5)),
    "stored statistics of vectors": (lambda x: F.batch_norm(x, torch.zeros(6), torch.arange(1.0, 7.0)), (2, 6)),
    "stored statistics, asked for": (
        lambda x: torch.ops.aten.batch_norm(x, None, None, torch.zeros(6), torch.ones(6), False, 0.1, 1e-5, False),
        (2, 6, 5),
    ),
    "statistics of the only one": (lambda x: F.batch_norm(x, None, None, training=True), (1, 6, 5)),
    "weight norm": (lambda v, g: torch._weight_norm(v, g, 0), (4, 3, 5), (4, 1, 1)),
    "weight norm of columns": (lambda v, g: torch._weight_norm(v, g, 1), (4, 3, 5), (1, 3, 1)),
}
ATTENTION: Table = {
    "attention": (F.scaled_dot_product_attention, (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 20)),
    "attention without heads": (F.scaled_dot_product_attention, (5, 37), (7, 37), (7, 3)),
    "attention, causal": (lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), (2, 3, 6, 8)),
    "attention, scale": (lambda q: F.scaled_dot_product_attention(q, q, q, scale=0.7), (1, 6, 8)),
    "attention, added mask": (F.scaled_dot_product_attention, (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8), (5, 7)),
    "attention, a mask a head": (
        F.scaled_dot_product_attention, (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8), (2, 1, 5, 7),
    ),
    "attention, a mask of keys": (
        F.scaled_dot_product_attention, (2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8), (2, 1, 1, 7),
    ),
    "attention, flags": (
        lambda q, k, m: F.scaled_dot_product_attention(q, k, k, m > -1), (2, 3, 5, 8), (2, 3, 7, 8), (5, 7),
    ),
    "attention, shared keys": (
        lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True), (2, 6, 5, 8), (2, 3, 7, 8),
    ),
}  # fmt: skip
W, TAPS = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 24).view(2, 3, 4)
LEARNT: Table = {
    "convolution by its general name": (
        lambda x: torch.convolution(x, TAPS, None, [2], [1], [1], False, [0], 1), (2, 3, 11),
    ),
    "convolution, computed weight": (
        lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=3, dilation=2, groups=2), (2, 4, 11), (6, 2, 3), (6,),
    ),
    "convolution of one, computed weight": (lambda x, w: F.conv1d(x, w, padding=7), (3, 20), (2, 3, 8)),
    "transposed, computed weight": (
        lambda x, w, b: F.conv_transpose1d(x, w, b, 3, 2, output_padding=1, dilation=2, groups=2),
        (2, 4, 5), (4, 3, 4), (6,),
    ),
    "convolution, same padding": (lambda x: F.conv1d(x, TAPS, padding="same"), (2, 3, 11)),
    "convolution of a plane": (
        lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (2, 3, 6, 9), (4, 3, 3, 2),
    ),
    "transposed of a plane": (lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), (2, 3, 4, 5), (3, 4, 4, 4)),
    "convolution of a space": (F.conv3d, (1, 2, 4, 5, 6), (3, 2, 2, 3, 2)),
    "FIR filter": (lambda x, h: F.conv1d(x[:, None], h.flip(0)[None, None])[:, 0], (2, 300), (65,)),
    "complex matrices": (
        lambda a, b: torch.view_as_real(torch.view_as_complex(a) @ torch.view_as_complex(b)), (3, 4, 2), (4, 5, 2),
    ),
    "a complex and a real matrix": (
        lambda a, b: torch.view_as_real(b.to(torch.complex64) @ torch.view_as_complex(a)), (3, 4, 2), (5, 3),
    ),
    "a step of a rectifying cell": (lambda x, h: torch.rnn_relu_cell(x, h, W, W.t(), W[0], W[1]), (2, 5), (2, 5)),
}  # fmt: skip
PRODUCTS: Table = {
    "matmul": (torch.matmul, (5, 7), (7, 20)),
    "matmul with a transposition": (lambda a, b: a @ b.t(), (5, 37), (3, 37)),
    "matmul of a transposition": (lambda a, b: a.t() @ b, (7, 5), (7, 33)),
    "bmm": (torch.bmm, (3, 5, 7), (3, 7, 18)),
    "matmul, broadcast": (torch.matmul, (2, 1, 5, 7), (3, 7, 4)),
    "matrix and vector": (torch.matmul, (5, 40), (40,)),
    "vector and matrix": (torch.matmul, (7,), (7, 20)),
    "many rows and a vector": (torch.matmul, (2, 3, 7), (7,)),
    "vectors": (torch.matmul, (40,), (40,)),
    "outer": (torch.outer, (5,), (20,)),
    "dot": (torch.dot, (40,), (40,)),
    "inner": (torch.inner, (2, 3, 7), (4, 7)),
    "tensordot": (lambda a, b: torch.tensordot(a, b, dims=([1, 2], [2, 0])), (2, 3, 4), (4, 5, 3)),
    "addmm": (torch.addmm, (20,), (5, 7), (7, 20)),
    "addmm, scaled": (lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=-2), (5, 1), (5, 7), (7, 4)),
    "addmm, nothing added": (lambda c, a, b: torch.addmm(c, a, b, beta=0, alpha=2), (5, 4), (5, 7), (7, 4)),
    "baddbmm": (torch.baddbmm, (3, 5, 4), (3, 5, 7), (3, 7, 4)),
    "addmv": (torch.addmv, (5,), (5, 7), (7,)),
    "addr": (torch.addr, (5, 4), (5,), (4,)),
    "bilinear": (F.bilinear, (2, 6, 3), (2, 6, 4), (5, 3, 4), (5,)),
    "bilinear without offset": (F.bilinear, (6, 3), (6, 4), (5, 3, 4)),
    "einsum: channels": (lambda a, b: torch.einsum("bct,oc->bot", a, b), (2, 5, 7), (6, 5)),
    "einsum: pairs": (lambda a, b: torch.einsum("bi,bj->bij", a, b), (2, 5), (2, 7)),
    "einsum: heads": (lambda a, b: torch.einsum("bthd,bshd->bhts", a, b), (2, 5, 3, 4), (2, 6, 3, 4)),
    "einsum: heads inside": (lambda a, b: torch.einsum("bhts,bshd->bthd", a, b), (2, 3, 5, 6), (2, 6, 3, 4)),
    "einsum: element by element": (lambda a, b: torch.einsum("ij,ij->ji", a, b), (3, 4), (3, 4)),
    "einsum: three": (lambda a, b, c: torch.einsum("ij,jk,kl->il", a, b, c), (3, 4), (4, 5), (5, 6)),
    "einsum: three with a batch": (lambda a, b, c: torch.einsum("bi,ij,bj->b", a, b, c), (3, 4), (4, 5), (3, 5)),
    "einsum: sums of one": (lambda a: torch.einsum("ijk->ki", a), (3, 4, 5)),
    "einsum: diagonal": (lambda a: torch.einsum("ii->i", a), (4, 4)),
    "einsum: trace": (lambda a: torch.einsum("ii", a), (4, 4)),
    "einsum: alone on both sides": (lambda a, b: torch.einsum("ijx,jky->ik", a, b), (3, 4, 2), (4, 5, 3)),
    "einsum: dots": (lambda a, b: torch.einsum("...ij,jk", a, b), (2, 3, 4), (4, 5)),
    "einsum: of ones": (lambda a, b: torch.einsum("ij,jk->ik", a, b), (3, 1), (1, 5)),
}
CASES: Table = {**REDUCTIONS, **SEVERAL, **ATTENTION, **PRODUCTS, **LEARNT}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compiled(CASES, tmp_path_factory.mktemp("numbers"))


@pytest.mark.parametrize("name", CASES)
def test_c_says_what_torch_says(name: str, made: Any) -> None:
    assert error_of(CASES[name], made[name]) <= 2e-6


def test_no_c_lacks_a_case(made: Any) -> None:
    assert not_shown(IN_C["test_ops_numbers"], made) == []


@pytest.mark.parametrize(
    ("expression", "match"),
    [
        (lambda x: F.batch_norm(x, None, None, training=True), "what is in the batch"),
        (lambda x: torch.linalg.vector_norm(x, 3, dim=-1), "vector_norm"),
        (lambda x: x.to(torch.complex64).prod(-1).abs(), "complex"),
        (lambda x: torch.complex(x, x).cumsum(-1).abs(), "complex"),
        (lambda x: F.linear(torch.complex(x, x), torch.ones(4, 4, dtype=torch.complex64)).abs(), "complex"),
        (lambda x: F.conv1d(torch.complex(x, x), torch.ones(3, 3, 2, dtype=torch.complex64)).abs(), "complex"),
        (lambda x: torch.var(torch.complex(x, x), -1), "complex"),
        (lambda x: torch.vdot(torch.complex(x, x)[0, 0], torch.complex(x, -x)[0, 1]).abs(), "complex"),
        (lambda x: (torch.complex(x, x) + torch.full_like(torch.complex(x, x), 2)).abs(), "complex"),
        (lambda x: (3 * x).long().amax(1).float(), "whole numbers"),
    ],
)
def test_what_c_cannot_do_is_refused_with_the_operator_named(expression: Any, match: str) -> None:
    with pytest.raises(ExportError, match=match) as refused:
        compile_engine(Expression(expression), (torch.ones(2, 3, 4),))
    assert "aten." in str(refused.value) and "outermost module" in str(refused.value)
