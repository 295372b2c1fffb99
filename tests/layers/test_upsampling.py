"""Transposed convolutions as TensorFlow pads them, whole and in stretches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pochette.layers.upsampling import TAPS, Places, Upsampling

every_stride = pytest.mark.parametrize("stride", [2, 4])


def drawn(stride: int) -> Upsampling:
    torch.manual_seed(0)
    layer = Upsampling(3, 2, stride)
    torch.nn.init.normal_(layer.bias)
    return layer


def by_definition(layer: Upsampling, x: Tensor) -> Tensor:
    """Every input adds its filter where it stands; TensorFlow's SAME cuts (25 - stride) // 2 off in front."""
    stride, length = layer.stride, x.shape[-1]
    out = torch.zeros(x.shape[0], layer.weight.shape[1], stride * length + TAPS)
    for place in range(length):
        spread = torch.einsum("bi,iok->bok", x[..., place], layer.weight)
        out[..., place * stride : place * stride + TAPS] += spread
    front = (TAPS - stride) // 2
    return out[..., front : front + stride * length] + layer.bias[:, None]


@every_stride
def test_the_whole_is_what_the_definition_says(stride: int) -> None:
    layer, x = drawn(stride), torch.randn(2, 3, 11)
    assert torch.allclose(layer(x), by_definition(layer, x), atol=1e-5)


@every_stride
def test_the_front_padding_is_that_of_the_strided_convolution_it_mirrors(stride: int) -> None:
    # TensorFlow, SAME: all padding is 25 - stride, the odd one of it behind; 10 and 11 at stride 4.
    layer = drawn(stride)
    front = (TAPS - stride) // 2
    assert (front, TAPS - stride - front) == {2: (11, 12), 4: (10, 11)}[stride]
    x, y = torch.randn(1, 3, 9), torch.randn(1, 2, 9 * stride)
    down = torch.nn.functional.conv1d(
        torch.nn.functional.pad(y, (front, TAPS - stride - front)), layer.weight, stride=stride
    )
    up = layer(x) - layer.bias[:, None]
    assert torch.allclose((down * x).sum(), (up * y).sum(), rtol=1e-4)


@every_stride
@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 12), (5, 3), (11, 1)])
def test_a_stretch_is_a_part_of_the_whole(stride: int, first: int, count: int) -> None:
    layer, x = drawn(stride), torch.randn(2, 3, 12)
    reach = layer.reach
    around = torch.nn.functional.pad(x, (reach, reach))[..., first : first + count + 2 * reach]
    whole = layer(x)[..., first * stride : (first + count) * stride]
    assert torch.allclose(layer(around, stretch=True), whole, atol=1e-5)


@every_stride
def test_nothing_beyond_the_reach_is_heard(stride: int) -> None:
    layer, x = drawn(stride), torch.zeros(1, 3, 31)
    silence = layer(x)
    x[..., 15] = 1.0
    heard = (layer(x) != silence).any(dim=(0, 1)).nonzero()[:, 0]
    assert heard[0] // stride >= 15 - layer.reach and heard[-1] // stride <= 15 + layer.reach
    assert len(heard) == TAPS


def test_places_are_rows_of_a_dense_layer_one_after_the_other() -> None:
    torch.manual_seed(0)
    layer = Places(5, 3, 16)
    torch.nn.init.normal_(layer.bias)
    told = torch.randn(2, 5)
    dense = (told @ layer.weight.T + layer.bias).reshape(2, 16, 3)
    assert torch.allclose(layer(told), dense.transpose(1, 2), atol=1e-6)
    first = torch.tensor([2.0, 13.0])
    some = layer(told, first, 5)
    assert torch.allclose(some[0], layer(told)[0, :, 2:7], atol=1e-6)
    assert torch.allclose(some[1, :, :3], layer(told)[1, :, 13:], atol=1e-6)
