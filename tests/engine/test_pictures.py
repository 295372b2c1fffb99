"""Pictures and what is heard of them, as C: convolutions of two dimensions, pixel norms, turns added to phases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine import compile_engine
from pochette.layers.progressive import ProgressiveGenerator, widths_of
from pochette.sound.instantaneous import InstantaneousFrequency, Scale


class Inverse(nn.Module):
    """A frame of a picture a call, phase and tail carried."""

    def __init__(self, code: InstantaneousFrequency) -> None:
        super().__init__()
        self.pictures = code
        for name, value in zip(("phase", "tail"), code.initial_state(1), strict=True):
            self.register_buffer(name, value)

    def forward(self, frame: Tensor) -> Tensor:
        audio, phase, tail = self.pictures.advance(frame, self.get_buffer("phase"), self.get_buffer("tail"))
        self.get_buffer("phase").copy_(phase)
        self.get_buffer("tail").copy_(tail)
        return audio


class Some(nn.Module):
    """Some frames of a picture a call."""

    def __init__(self, generator: ProgressiveGenerator, wanted: range) -> None:
        super().__init__()
        self.generator, self.wanted = generator, wanted

    def forward(self, told: Tensor) -> Tensor:
        return self.generator.stretch(told, self.wanted)


@pytest.mark.parametrize("scale", ["linear", "mel"])
@torch.no_grad()
def test_c_hears_a_picture_as_torch_does(scale: Scale) -> None:
    code = InstantaneousFrequency(128, 16000, scale)
    torch.manual_seed(0)
    picture = code.picture(0.1 * torch.randn(1, 12 * 32))
    engine = compile_engine(Inverse(code).eval(), (picture[:, :, :1],), name="inverse", precision="float32")
    wanted = code.advance(picture, *code.initial_state(1))[0]
    frames = [engine.process(picture[:, :, frame : frame + 1].numpy()) for frame in range(picture.shape[2])]
    assert np.abs(np.concatenate([np.ravel(frame) for frame in frames]) - wanted[0].numpy()).max() < 1e-5


@torch.no_grad()
def test_c_makes_some_frames_of_a_picture_as_torch_does() -> None:
    torch.manual_seed(0)
    generator, told = ProgressiveGenerator(6, widths_of(64, 8, 4), (2, 4)), torch.randn(1, 6)
    wanted = range(5, 9)
    engine = compile_engine(Some(generator, wanted).eval(), (told,), name="picture", precision="float32")
    made = np.ravel(engine.process(told.numpy()))
    assert (
        np.abs(made - generator(told)[:, :, 5:9].flatten().numpy()).max() < 4e-5
    )  # torch on other processors sums in other orders: 1.7e-5 was seen
