"""Pools, interpolation, padding, windows and shuffles: channels pass, other lengths are fixed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pochette.graph.operator import Cost, operators
from pochette.graph.units import units_of
from tests.graph.trimmed import Network, captured, check, cost

X = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(1))
A = torch.ops.aten
Expression = Callable[[Tensor], Tensor]
LINE, PLANE, SPACE = (64,), (8, 8), (4, 4, 4)


def mirrored(kind: str, axes: str) -> tuple[tuple[int, ...], Expression, str, Cost]:
    """Padding by what stands at the border, called by its own name."""
    op = f"{kind}_pad{axes}d"
    pad = [1, 2] * int(axes)
    return (LINE, PLANE, SPACE)[int(axes) - 1], lambda h: getattr(A, op).default(h, pad), f"{op}.default", Cost()


# Shape of one channel, an expression of h (2, 6, *shape), operator, its cost by hand, channels that come out.
THROUGH: dict[str, tuple[tuple[int, ...], Expression, str, Cost]] = {
    "max": (LINE, lambda h: F.max_pool1d(h, 4, 2), "max_pool1d.default", Cost(0, 12 * 31 * 3)),
    "max and where": (LINE, lambda h: F.max_pool1d(h, 4, return_indices=True)[0], "max_pool1d_with_indices.default",
                      Cost(0, 12 * 16 * 3)),
    "max of a plane": (PLANE, lambda h: F.max_pool2d(h, 2), "max_pool2d.default", Cost(0, 12 * 16 * 3)),
    "max of a plane and where": (PLANE, lambda h: F.max_pool2d(h, (2, 4), return_indices=True)[0],
                                 "max_pool2d_with_indices.default", Cost(0, 12 * 8 * 7)),
    "max of a space": (SPACE, lambda h: F.max_pool3d(h, 2), "max_pool3d.default", Cost(0, 12 * 8 * 7)),
    "max of a space and where": (SPACE, lambda h: F.max_pool3d(h, 2, return_indices=True)[0],
                                 "max_pool3d_with_indices.default", Cost(0, 12 * 8 * 7)),
    "mean": (LINE, lambda h: F.avg_pool1d(h, 4, 2, 1), "avg_pool1d.default", Cost(0, 12 * 32 * 4)),
    "mean of a plane": (PLANE, lambda h: F.avg_pool2d(h, (2, 1)), "avg_pool2d.default", Cost(0, 12 * 32 * 2)),
    "mean of a space": (SPACE, lambda h: F.avg_pool3d(h, 2), "avg_pool3d.default", Cost(0, 12 * 8 * 8)),
    "mean of all": (LINE, lambda h: F.adaptive_avg_pool1d(h, 1), "adaptive_avg_pool1d.default", Cost(0, 12 * 64)),
    # 64 elements in 5 windows: 0..12, 12..25, 25..38, 38..51, 51..63 share their borders.
    "means as needed": (LINE, lambda h: F.adaptive_avg_pool1d(h, 5), "adaptive_avg_pool1d.default", Cost(0, 12 * 68)),
    "means of a plane": (PLANE, lambda h: F.adaptive_avg_pool2d(h, (3, 1)), "adaptive_avg_pool2d.default",
                         Cost(0, 12 * 10 * 8)),
    "means of a space": (SPACE, lambda h: F.adaptive_avg_pool3d(h, 2), "adaptive_avg_pool3d.default", Cost(0, 12 * 64)),
    "maxima as needed": (LINE, lambda h: F.adaptive_max_pool1d(h, 5), "adaptive_max_pool1d.default",
                         Cost(0, 12 * (68 - 5))),
    "maxima of a plane": (PLANE, lambda h: F.adaptive_max_pool2d(h, 4), "adaptive_max_pool2d.default",
                          Cost(0, 12 * 16 * 3)),
    "maxima of a space": (SPACE, lambda h: F.adaptive_max_pool3d(h, 2), "adaptive_max_pool3d.default",
                          Cost(0, 12 * 8 * 7)),
    "nearest": (LINE, lambda h: F.interpolate(h, scale_factor=2), "upsample_nearest1d.vec", Cost()),
    "nearest, called": (LINE, lambda h: A.upsample_nearest1d.default(h, [96]), "upsample_nearest1d.default", Cost()),
    "nearest in a plane": (PLANE, lambda h: F.interpolate(h, scale_factor=2), "upsample_nearest2d.vec", Cost()),
    "nearest in a plane, called": (PLANE, lambda h: A.upsample_nearest2d.default(h, [9, 9]),
                                   "upsample_nearest2d.default", Cost()),
    "nearest in space": (SPACE, lambda h: F.interpolate(h, scale_factor=2), "upsample_nearest3d.vec", Cost()),
    "nearest in space, called": (SPACE, lambda h: A.upsample_nearest3d.default(h, [3, 5, 4]),
                                 "upsample_nearest3d.default", Cost()),
    "nearest, exactly": (LINE, lambda h: F.interpolate(h, 100, mode="nearest-exact"), "_upsample_nearest_exact1d.vec",
                         Cost()),
    "nearest, exactly, called": (LINE, lambda h: A._upsample_nearest_exact1d.default(h, [100]),
                                 "_upsample_nearest_exact1d.default", Cost()),
    "exact plane": (PLANE, lambda h: F.interpolate(h, 9, mode="nearest-exact"),
                    "_upsample_nearest_exact2d.vec", Cost()),
    "exact plane, called": (PLANE, lambda h: A._upsample_nearest_exact2d.default(h, [9, 9]),
                            "_upsample_nearest_exact2d.default", Cost()),
    "exact space": (SPACE, lambda h: F.interpolate(h, 5, mode="nearest-exact"),
                    "_upsample_nearest_exact3d.vec", Cost()),
    "exact space, called": (SPACE, lambda h: A._upsample_nearest_exact3d.default(h, [5, 5, 5]),
                            "_upsample_nearest_exact3d.default", Cost()),
    "lines": (LINE, lambda h: F.interpolate(h, scale_factor=2, mode="linear"), "upsample_linear1d.vec",
              Cost(0, 12 * 128 * 3)),
    "lines, called": (LINE, lambda h: A.upsample_linear1d.default(h, [100], True), "upsample_linear1d.default",
                      Cost(0, 12 * 100 * 3)),
    "lines in a plane": (PLANE, lambda h: F.interpolate(h, 9, mode="bilinear"), "upsample_bilinear2d.vec",
                         Cost(0, 12 * 81 * 9)),
    "lines in space": (SPACE, lambda h: F.interpolate(h, 5, mode="trilinear"), "upsample_trilinear3d.vec",
                       Cost(0, 12 * 125 * 21)),
    "cubics": (PLANE, lambda h: F.interpolate(h, 9, mode="bicubic"), "upsample_bicubic2d.vec", Cost(0, 12 * 81 * 35)),
    "pad": (LINE, lambda h: F.pad(h, (3, 0)), "pad.default", Cost()),
    "pad by a value": (LINE, lambda h: F.pad(h, (3, -1, 0, 0), value=0.5), "pad.default", Cost()),
    "pad by mirrors": (LINE, lambda h: F.pad(h, (3, 2), mode="reflect"), "pad.default", Cost()),
    "pad, called": (LINE, lambda h: A.constant_pad_nd.default(h, [1, 2], 0.5), "constant_pad_nd.default", Cost()),
    **{name: mirrored(*name.split()) for name in ("reflection 1", "reflection 2", "reflection 3", "replication 1",
                                                  "replication 2", "replication 3")},
    "flip": (LINE, lambda h: h.flip(-1, 1), "flip.default", Cost()),
    "roll": (LINE, lambda h: h.roll(3, 2), "roll.default", Cost()),
    "windows": (LINE, lambda h: h.unfold(-1, 4, 2), "unfold.default", Cost()),
    "every one three times": (LINE, lambda h: h.repeat_interleave(3, -1), "repeat_interleave.self_int", Cost()),
}  # fmt: skip


@pytest.mark.parametrize("name", THROUGH)
def test_channels_pass(name: str) -> None:
    shape, expression, op, by_hand = THROUGH[name]
    module = Network(
        lambda m, x: m.reader(expression(torch.tanh(m.maker(x)).view(2, 6, *shape)).flatten(2)),
        maker=nn.Conv1d(3, 6, 1), reader=nn.Conv1d(6, 2, 1),
    )  # fmt: skip
    assert cost(check(module, X, expected={"maker": 6}), op) == by_hand


# Between 12 made channels on (2, 12, 8, 8) and a reader of `width` channels: units that are left.
RESHAPED: dict[str, tuple[Expression, int, int, str]] = {
    "shuffled out": (lambda h: F.pixel_shuffle(h, 2), 3, 3, "pixel_shuffle.default"),
    "shuffled in": (lambda h: F.pixel_unshuffle(h, 2), 48, 12, "pixel_unshuffle.default"),
    "not shuffled": (lambda h: F.pixel_shuffle(h, 1), 12, 12, "pixel_shuffle.default"),
    "every channel twice": (lambda h: h.repeat_interleave(2, 1), 24, 12, "repeat_interleave.self_int"),
    "patches": (lambda h: F.unfold(h, 3, padding=1), 108, 12, "im2col.default"),
    "patches of one": (lambda h: F.unfold(h, 1), 12, 12, "im2col.default"),
    "patches added": (lambda h: F.fold(h.flatten(2)[:, :, :49], 8, 2), 3, 3, "col2im.default"),
}


@pytest.mark.parametrize("name", RESHAPED)
def test_channels_that_places_become(name: str) -> None:
    expression, width, units, op = RESHAPED[name]
    module = Network(
        lambda m, x: m.reader(expression(torch.tanh(m.maker(x)).view(2, 12, 8, 8)).flatten(2)),
        maker=nn.Conv1d(3, 12, 1), reader=nn.Conv1d(width, 2, 1),
    )  # fmt: skip
    graph = check(module, X, expected={"maker": units})
    assert cost(graph, op) == Cost(0, 2 * 12 * 49 if op == "col2im.default" else 0)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (lambda h: h.roll(1, 1), "shifted"),
        (lambda h: h.roll(1), "shifted"),
        (lambda h: F.pad(h, (0, 0, 1, 0))[:, 1:], "padded"),
        (
            lambda h: h.unfold(1, 6, 1)[:, 0].mT,
            "windows",
        ),
        (lambda h: h.repeat_interleave(2).view(2, 6, 128), "flattened"),
    ],
)
def test_channels_that_must_stay_say_why(expression: Expression, why: str) -> None:
    module = Network(
        lambda m, x: m.reader(expression(torch.tanh(m.maker(x)))), maker=nn.Conv1d(3, 6, 1), reader=nn.Conv1d(6, 2, 1)
    )
    units = units_of(captured(module, X))
    assert not units.families and why in units.kept["maker.weight:0"]


def test_no_operator_is_left_out() -> None:
    operators.load()
    files = {f"pochette.graph.ops.{name}" for name in ("resampling", "places")}
    mine = {name for name in operators.names() if type(operators[name]).__module__ in files}
    used = {f"aten.{op}" for _, _, op, _ in THROUGH.values()} | {f"aten.{op}" for *_, op in RESHAPED.values()}
    assert mine == used
