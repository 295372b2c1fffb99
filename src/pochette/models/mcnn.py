"""Multi-head convolutional inversion of spectrograms: magnitudes of short-time spectra in, sound out.

    sound - window, transform, | | (fixed) - magnitudes               (heard, or played: each is a control)
    magnitudes - n heads of transposed convolutions, ELU between - x scalar, + - softsign - sound

Arik, Jun & Diamos 2019. A head doubles the rate with every layer and halves its channels, down to one; heads add up,
and a x / (1 + |b x|) with learnt a and b bounds the sum.

The published network crops every transposed convolution on both sides, so that a sample of frame n depends on frames
n - 5 to n + 6 (at 8 layers of 13 taps); the causal one crops the right only. But for the ends of a sound both are the
same arithmetic, one of them later: so there is one network that streams, and what `causal` decides is which sample of
the recording it is taught to say, and with it `delay_samples`: half a window less a hop, and, where it looks ahead,
what half the kernels take on top.

It has no clock: a spectrum that stands still becomes a sound that repeats with every hop, so a steady tone whose pitch
is no multiple of the hop's rate is made only as far as the phase of its partials moves the magnitudes.

Deviations, with their reasons:
- Causal is the default, to be played; "paper" looks ahead as published.
- Controls are magnitudes of which 1 is a sine of full scale; the network reads them un-normalised, as published.
- Losses are means over bins and frames, with weights of ours (see `sound.inversion`).
- Scalars of heads begin at 1 / heads, a and b at 1; the paper's beginnings are not known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.errors import RecipeError
from pochette.families import models
from pochette.layers.streamed import Chain, Upsampling
from pochette.models.from_rest import FromRest
from pochette.models.model import Excerpt, State
from pochette.models.through import Listener
from pochette.recipe import check_ranges
from pochette.sound.inversion import Inversion

Size = Literal["tiny", "small", "paper"]
LOUDEST = 1.0
"""Magnitude of a sine of full scale; what little has more (a square wave's fundamental) is heard as that."""
AT_REST = 0.01
"""Magnitude in every bin where nobody turns it: an even spectrum, that a knob can be heard to leave."""

MOST_POINTS = 4094
"""Of a transform: every bin is a control, and an instrument file holds no more than 2048."""


@models.member("mcnn")
@dataclass(frozen=True)
class Mcnn:
    """Heads of transposed convolutions that turn magnitudes of spectra back into sound (Arik et al. 2019)."""

    heads: int = 2
    """Networks of one shape whose sounds are added."""
    layers: int = 7
    """Of each head; each doubles the rate, so that a hop is 2 to the power of them."""
    kernel: int = 13
    """Taps of every layer; odd."""
    transform_samples: int = 512
    """Points of the Fourier transform; half of them and one are bins, each a control."""
    window_samples: int = 512
    """Of the Hann window; two hops to as many as the transform has points."""
    causal: bool = True
    """Whether it is taught to say what it has heard, without waiting for the frames to come."""
    sample_rate_hz: int = 16000
    """Samples per second."""

    SIZES: ClassVar[dict[str, dict[str, int | bool]]] = {
        "tiny": {"heads": 2, "layers": 3, "transform_samples": 32, "window_samples": 32},
        "small": {},
        "paper": {"heads": 8, "layers": 8, "transform_samples": 2048, "window_samples": 1024, "causal": False},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            heads=(1, 64),
            layers=(1, 10),
            kernel=(3, 63),
            transform_samples=(4, MOST_POINTS),
            window_samples=(4, MOST_POINTS),
            sample_rate_hz=(4000, 384000),
        )
        if self.kernel % 2 == 0:
            raise RecipeError(
                f"--kernel is {self.kernel}, which is even: its taps would have no middle.",
                remedy=f"Give --kernel {self.kernel - 1} or {self.kernel + 1}.",
            )
        if self.transform_samples % 2:
            raise RecipeError(
                f"--transform-samples is {self.transform_samples}, which is odd.",
                remedy=f"Give --transform-samples {self.transform_samples + 1}.",
            )
        hop = 2**self.layers
        if not 2 * hop <= self.window_samples <= self.transform_samples or self.window_samples % 2:
            raise RecipeError(
                f"--window-samples is {self.window_samples}; {self.layers} layers make hops of {hop}, and the window "
                f"must be even and from two hops ({2 * hop}) to the transform's {self.transform_samples} points.",
                remedy="Change --window-samples, --layers or --transform-samples.",
            )

    @classmethod
    def sized(cls, size: Size = "small", **changes: int | bool) -> Mcnn:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is the published one.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    def build(self) -> McnnModel:
        """The model with fresh weights, drawn from torch's generator."""
        return McnnModel(self)


class Heads(nn.Module):
    """The learnt part: heads, their scalars, and the bound of their sum.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: Mcnn) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(recipe) for _ in range(recipe.heads))
        self.scalars = nn.Parameter(torch.full((recipe.heads,), 1.0 / recipe.heads))
        self.height, self.bend = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def all_heads(self) -> list[Chain]:
        """In order."""
        return list(self.heads)  # type: ignore[arg-type]

    def forward(self, spectra: Tensor, pasts: list[list[Tensor]]) -> tuple[Tensor, list[list[Tensor]]]:
        """Sound of some frames, cropped on the right.

        Args:
            spectra: un-normalised magnitudes, (batch, bin, frame).
            pasts: what still sounds in every layer of every head.

        Returns:
            (batch, frame * hop), and what still sounds afterwards.
        """
        made = [head(spectra, past) for head, past in zip(self.all_heads(), pasts, strict=True)]
        return self._united([x for x, _ in made]), [after for _, after in made]

    def centred(self, spectra: Tensor) -> Tensor:
        """A whole sound as the published network makes it, cropped on both sides.

        Args:
            spectra: un-normalised magnitudes, (batch, bin, frame).

        Returns:
            (batch, frame * hop).
        """
        made = []
        for head in self.all_heads():
            x = spectra
            for layer in head.layers:
                x = layer.centred(x) if isinstance(layer, Upsampling) else layer(x)
            made.append(x)
        return self._united(made)

    def _united(self, made: list[Tensor]) -> Tensor:
        summed = self.scalars[0] * made[0]
        for number in range(1, len(made)):
            summed = summed + self.scalars[number] * made[number]
        return bounded(summed[:, 0], self.height, self.bend)


def _head(recipe: Mcnn) -> Chain:
    """Transposed convolutions, channels halving while the rate doubles, ELU between."""
    inputs, layers = recipe.transform_samples // 2 + 1, list[nn.Module]()
    for left in reversed(range(recipe.layers)):
        layers += [Upsampling(inputs, 2**left, 2, recipe.kernel, normed=False), nn.ELU()]
        inputs = 2**left
    return Chain(layers[:-1])


def bounded(x: Tensor, height: Tensor, bend: Tensor) -> Tensor:
    """Softsign of learnt height and steepness, a x / (1 + |b x|): always less than |a / b|."""
    return height * x / (1.0 + (bend * x).abs())


class McnnModel(Listener):
    """The inversion as a playable model: magnitudes of a spectrum in, sound out.

    Args:
        recipe: sizes and rate.
    """

    split_by = "sound"
    window: Tensor

    def __init__(self, recipe: Mcnn) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz, self.hop_samples = recipe.sample_rate_hz, 2**recipe.layers
        self.network = Heads(recipe)
        self.register_buffer("window", torch.hann_window(recipe.window_samples), persistent=False)
        self.loudest_sine = float(self.window.sum()) / 2.0
        self.controls = tuple(_knob(number, recipe) for number in range(recipe.transform_samples // 2 + 1))
        # A spectrum that stands still is heard alone when what others left sounding has ended in every layer.
        self.latency_samples = round(self.network.all_heads()[0].reach() * self.hop_samples)
        self.distance = Inversion(recipe.transform_samples, recipe.window_samples, self.hop_samples)

    @property
    def ahead_samples(self) -> int:
        """How far the published network looks ahead: half the kernel less one of every layer, at its rate."""
        samples: int = (self.recipe.kernel - 1) // 2 * (self.hop_samples - 1)
        return samples

    @property
    def delay_samples(self) -> int:
        """From a window's middle to its end, less the hop in which it is answered; and what is looked ahead."""
        heard: int = self.recipe.window_samples // 2 - self.hop_samples
        return heard if self.recipe.causal else heard + self.ahead_samples

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """Nothing that still sounds; see `Model.initial_state`."""
        return _named([head.empty(batch) for head in self.network.all_heads()])

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some spectra; see `Model.advance`."""
        pasts = [
            [state[f"sounding_{number}_{layer}"] for layer in range(self.recipe.layers)]
            for number in range(self.recipe.heads)
        ]
        audio, after = self.network(self.loudest_sine * controls.transpose(1, 2), pasts)
        return audio, _named(after)

    def initial_history(self, batch: int) -> State:
        """Silence before the first window's last hop."""
        return {"heard": self.window.new_zeros(batch, self.recipe.window_samples - self.hop_samples)}

    def encode(self, audio: Tensor, history: State) -> tuple[Tensor, State]:
        """Magnitudes of a sound as it is heard: each frame's window ends with its hop.

        Args:
            audio: (batch, frame * hop_samples).
            history: what came before it.

        Returns:
            (batch, frame, bin), of which 1 is a sine of full scale, and the history after.
        """
        whole = torch.cat([history["heard"], audio], dim=1)
        windows = whole.unfold(1, self.recipe.window_samples, self.hop_samples) * self.window
        spectra = torch.fft.rfft(windows, self.recipe.transform_samples)
        magnitudes = torch.sqrt(spectra.real.square() + spectra.imag.square())
        return (magnitudes / self.loudest_sine).clamp(max=LOUDEST), {"heard": whole[:, audio.shape[1] :]}

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """The four distances of a resynthesised sound to the excerpt, in step; see `sound.inversion`."""
        distance: Tensor = self.distance(self.resynthesised(excerpt), excerpt["audio"])
        return distance

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The heads on two frames, from rest: the analysis has no weights."""
        return FromRest(self), (torch.zeros(1, 2, len(self.controls)),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """The excerpt's magnitudes, and the logarithms of their powers, (batch, bin, frame)."""
        magnitudes = self.controls_of(excerpt)
        return (magnitudes,), torch.log(magnitudes.square() + 1e-6).transpose(1, 2)


def _knob(number: int, recipe: Mcnn) -> Control:
    hertz = number * recipe.sample_rate_hz / recipe.transform_samples
    says = f"magnitude about {hertz:.0f} Hz; 1 is a sine of full scale"
    return Control(f"bin_{number}", "", 0.0, LOUDEST, AT_REST, "linear", says)


def _named(sounding: list[list[Tensor]]) -> State:
    return {f"sounding_{number}_{layer}": x for number, own in enumerate(sounding) for layer, x in enumerate(own)}
