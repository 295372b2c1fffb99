"""A causal variational auto-encoder of sub-bands with low latency, in the line of RAVE and BRAVE.

    audio - bands - convolution - strides ... - code: mean, deviation          (encoder, also live)
    code - convolution - upsampling, residuals ... - waveform x loudness - bands - audio

Caillon & Esling 2021, in the causal form of Caspe et al. 2025: few strides and many dilations, so that a code is worth
a few milliseconds; played by the numbers of its code, or by sound that `encode` listens to. From sound in to sound out
it takes one hop of `hop_samples` and the filter bank's delay: 7.9 ms at "small", 5.7 ms at "paper".

Training has two phases (see `turns`): first spectra at several resolutions, of the bands and of the whole, and a code
near to a normal distribution; then the encoder stands still and critics teach the decoder what spectra do not say.

At "paper" encoder and decoder have 4.76 million weights; BRAVE's code has 4.19 million at its own capacity of 32 (its
page says 4.9), whose widths and units differ.

Deviations, with their reasons:
- Weight norm and no batch norm, in the encoder too, as later versions have it: statistics would drift in phase two.
- A code is kept between -4 and 4 by 4 tanh(x / 4), so that a knob has a range; within it that is nearly the identity.
- The divergence weighs a tenth of what it does there, since a code comes many times as often: more, and in trials here
  the code said nothing.
- Phase two weighs what critics hear ten times, once (in the released code weights are applied twice: 10 becomes 100).
- The filter bank has fewer taps for the same attenuation (transitions are one band wide), and so half the delay.
- Every stage halves its width where the rate doubles; residual units are a dilated convolution and a narrow one.
- There is no noise branch and no choice of principal codes after training: trimming takes codes away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.families import models
from pochette.layers.critics import Critics, feature_distance, hinge_of_critics, hinge_of_maker
from pochette.layers.filter_bank import FilterBank
from pochette.layers.streamed import SLOPE, Chain, Convolution, Residual, Upsampling
from pochette.models.model import Excerpt, State
from pochette.models.through import Listener
from pochette.models.turn import Turn
from pochette.recipe import check_ranges
from pochette.sound.losses import RelativeSpectral

Size = Literal["tiny", "small", "paper"]
KERNEL = 3
ENDS = 7
"""Taps of the first and the last convolution."""
BOUND = 4.0
"""Of the code: beyond it a normal distribution hardly ever is."""
ATTENUATION_DB = 70.0
DIVERGENCE = 0.01
"""Weight of the code's divergence from a normal distribution."""
FEATURES = 10.0
"""Weight of what critics hear, beside their judgement."""
FIRST_SPREAD = -3.0
"""A deviation of a twentieth, before the softplus."""
SPECTRA_ONLY = 0.7
"""Share of training that is phase one."""
CRITICS_RATE = 0.1
"""Of the critics' learning rate to that of the rest, as in the released code's second version."""
ADVERSARIAL_BETAS = (0.5, 0.9)
FULL_SIZES, BAND_SIZES = (2048, 1024, 512, 256, 128), (256, 128, 64, 32)


@models.member("rave")
@dataclass(frozen=True)
class Rave:
    """Low-latency auto-encoder of sub-bands, played by its code or by sound (Caillon 2021, Caspe et al. 2025)."""

    capacity: int = 16
    """Channels of the widest-rate stage; each stage below has twice as many."""
    code: int = 8
    """Numbers a hop between encoder and decoder; each is a control."""
    bands: int = 8
    """Of the filter bank."""
    stages: int = 3
    """Strides of two in the encoder, and as many upsamplings in the decoder."""
    units: int = 3
    """Residual units of a stage; their dilations are 1, 3, 9 and so on."""
    critics: int = 8
    """Channels of the critics' first layer."""
    sample_rate_hz: int = 16000
    """Samples per second."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"capacity": 6, "code": 4, "bands": 4, "stages": 2, "units": 1, "critics": 2},
        "small": {"capacity": 16, "code": 8, "bands": 8, "stages": 3, "units": 3, "critics": 8},
        "paper": {
            "capacity": 64,
            "code": 128,
            "bands": 16,
            "stages": 3,
            "units": 4,
            "critics": 16,
            "sample_rate_hz": 44100,
        },
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            capacity=(1, 1024),
            code=(1, 512),
            bands=(2, 64),
            stages=(1, 8),
            units=(1, 8),
            critics=(1, 256),
            sample_rate_hz=(4000, 384000),
        )

    @classmethod
    def sized(cls, size: Size = "small", **changes: int) -> Rave:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is of the published order.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)

    def build(self) -> RaveModel:
        """The model with fresh weights, drawn from torch's generator."""
        return RaveModel(self)


class Encoder(nn.Module):
    """Bands to a code's mean and deviation.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: Rave) -> None:
        super().__init__()
        width = recipe.capacity
        layers: list[nn.Module] = [Convolution(recipe.bands, width, ENDS)]
        for _ in range(recipe.stages):
            layers += [Residual(width, KERNEL, KERNEL**unit) for unit in range(recipe.units)]
            layers += [nn.LeakyReLU(SLOPE), Convolution(width, 2 * width, 4, stride=2)]
            width *= 2
        self.body = Chain([*layers, nn.LeakyReLU(SLOPE)])
        self.mean = Convolution(width, recipe.code, KERNEL)
        self.spread = Convolution(width, recipe.code, KERNEL)
        with torch.no_grad():
            # A code that begins as noise teaches a decoder to do without it.
            self.spread.conv.parametrizations.weight.original0.mul_(0.1)
            self.spread.conv.bias.fill_(FIRST_SPREAD)

    def empty(self, batch: int) -> list[Tensor]:
        """What it carries before the first call."""
        return [*self.body.empty(batch), *self.mean.empty(batch)]

    def forward(self, bands: Tensor, pasts: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Listen to some steps.

        Args:
            bands: (batch, band, step).
            pasts: see `empty`.

        Returns:
            mean and raw deviation of the code, (batch, code, hop) each, and what is carried afterwards.
        """
        x, after = self.body(bands, pasts[:-1])
        raw, kept = self.mean(x, pasts[-1:])
        return BOUND * torch.tanh(raw / BOUND), self.spread(x, pasts[-1:])[0], after + kept


class Decoder(nn.Module):
    """A code to bands: a waveform of each, and how loud it is.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: Rave) -> None:
        super().__init__()
        width = recipe.capacity * 2**recipe.stages
        layers: list[nn.Module] = [Convolution(recipe.code, width, KERNEL)]
        for _ in range(recipe.stages):
            layers += [nn.LeakyReLU(SLOPE), Upsampling(width, width // 2, 2)]
            width //= 2
            layers += [Residual(width, KERNEL, KERNEL**unit) for unit in range(recipe.units)]
        self.body = Chain([*layers, nn.LeakyReLU(SLOPE)])
        self.wave = Convolution(width, recipe.bands, ENDS)
        self.loudness = Convolution(width, recipe.bands, ENDS)
        with torch.no_grad():
            for head in (self.wave, self.loudness):
                # Soft at first, where tanh and the loudness curve still bend.
                head.conv.parametrizations.weight.original0.mul_(0.1)

    def empty(self, batch: int) -> list[Tensor]:
        """What it carries before the first call."""
        return [*self.body.empty(batch), *self.wave.empty(batch)]

    def forward(self, code: Tensor, pasts: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Make some steps.

        Args:
            code: (batch, code, hop).
            pasts: see `empty`.

        Returns:
            (batch, band, step), and what is carried afterwards.
        """
        x, after = self.body(code, pasts[:-1])
        wave, kept = self.wave(x, pasts[-1:])
        loudness, _ = self.loudness(x, pasts[-1:])
        return torch.tanh(wave) * loud(loudness), after + kept

    def reach(self) -> float:
        """Codes, before the newest, that its sound depends on."""
        return self.body.reach() + self.wave.reach() / self.body.ratio


class RaveNetwork(nn.Module):
    """The learnt part that is kept: both halves of the auto-encoder.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: Rave) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(recipe), Decoder(recipe)


def loud(x: Tensor) -> Tensor:
    """2 sigmoid(x)^2.3: loudness that falls steeply towards silence (Engel et al. 2020)."""
    return 2.0 * torch.exp(-2.3 * nn.functional.softplus(-x))


class RaveModel(Listener):
    """The auto-encoder as a playable model: its code in, sound out.

    Args:
        recipe: sizes and rate.
    """

    split_by = "sound"
    aids = ("critics",)

    def __init__(self, recipe: Rave) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        self.hop_samples = recipe.bands * 2**recipe.stages
        self.bank = FilterBank(recipe.bands, ATTENUATION_DB)
        self.network = RaveNetwork(recipe)
        self.critics = Critics(recipe.critics)
        # A code that stands still is wholly heard when all that remembers another has forgotten it.
        behind = math.ceil(self.network.decoder.reach()) * self.hop_samples
        self.latency_samples = behind + self.bank.delay_samples
        self.distance, self.band_distance = RelativeSpectral(FULL_SIZES), RelativeSpectral(BAND_SIZES)

    @property
    def controls(self) -> tuple[Control, ...]:  # type: ignore[override]
        """A knob for each number of the code; as many as the encoder still says, since trimming may remove some."""
        says = "one number of the code: what it does, training decides"
        numbers = range(1, len(self.network.encoder.mean.conv.bias) + 1)
        return tuple(Control(f"code_{number}", "", -BOUND, BOUND, 0.0, "linear", says) for number in numbers)

    @property
    def delay_samples(self) -> int:
        """What the filter bank takes to divide and unite."""
        return self.bank.delay_samples

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """Silence, and a code at rest until now; see `Model.initial_state`."""
        state = {f"past_{number}": past for number, past in enumerate(self.network.decoder.empty(batch))}
        return state | {"tail": self.bank.empty_tail(batch)}

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some codes; see `Model.advance`."""
        names = [name for name in state if name != "tail"]
        bands, pasts = self.network.decoder(controls.transpose(1, 2), [state[name] for name in names])
        audio, tail = self.bank.unite(bands, state["tail"])
        return audio[:, 0], {**dict(zip(names, pasts, strict=True)), "tail": tail}

    # -- listening ---------------------------------------------------------------------------------------------------

    def initial_history(self, batch: int) -> State:
        """Silence before the first sample that is encoded."""
        history = {f"heard_{number}": past for number, past in enumerate(self.network.encoder.empty(batch))}
        return history | {"undivided": self.bank.empty_past(batch)}

    def encode(self, audio: Tensor, history: State) -> tuple[Tensor, State]:
        """Codes of a sound as it is heard.

        Args:
            audio: (batch, hop * hop_samples).
            history: what came before it.

        Returns:
            codes (batch, hop, code), which are controls, and the history after.
        """
        mean, _, _, after = self._listen(audio, history)
        return mean.transpose(1, 2), after

    def _listen(self, audio: Tensor, history: State) -> tuple[Tensor, Tensor, Tensor, State]:
        """Mean and raw deviation of the code (batch, code, hop), the bands they were told from, and the history."""
        names = [name for name in history if name != "undivided"]
        bands, undivided = self.bank.divide(audio[:, None], history["undivided"])
        mean, spread, pasts = self.network.encoder(bands, [history[name] for name in names])
        return mean, spread, bands, {**dict(zip(names, pasts, strict=True)), "undivided": undivided}

    # -- learning ----------------------------------------------------------------------------------------------------

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        """Spectra first; then critics and a decoder that the encoder no longer follows.

        Args:
            again: the model was trained before: critics and the whole at once.

        Returns:
            the phases' turns.
        """
        critics = list(self.critics.parameters())
        begins = 0.0 if again else SPECTRA_ONLY
        opposed = Turn("critics", critics, self.critics_loss, CRITICS_RATE, ADVERSARIAL_BETAS, span=(begins, 1.0))
        if again:
            return opposed, Turn("model", list(self.network.parameters()), self.opposed_loss)
        return (
            Turn("spectra", list(self.network.parameters()), self.loss, span=(0.0, SPECTRA_ONLY)),
            opposed,
            Turn("decoder", list(self.network.decoder.parameters()), self.opposed_loss, 0.5, span=(SPECTRA_ONLY, 1.0)),
        )

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Distances of spectra, of the whole and of the bands, and the code's divergence from a normal distribution."""
        return self._heard(excerpt, generator)[0]

    def critics_loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Hinge loss of the critics on real and on resynthesised sound."""
        with torch.no_grad():
            _, made, real = self._heard(excerpt, generator)
        return hinge_of_critics(self.critics(real), self.critics(made))

    def opposed_loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """`loss`, and what the critics say and hear."""
        loss, made, real = self._heard(excerpt, generator)
        heard_made, heard_real = self.critics(made), self.critics(real)
        return loss + hinge_of_maker(heard_made) + FEATURES * feature_distance(heard_real, heard_made)

    def _heard(self, excerpt: Excerpt, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """`loss`, and resynthesised and real sound in step, (batch, sample) each."""
        audio, delay = excerpt["audio"], self.delay_samples
        mean, spread, bands, _ = self._listen(audio, self.initial_history(len(audio)))
        deviation = nn.functional.softplus(spread) + 1e-4
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        made_bands, _ = self.network.decoder(mean + noise * deviation, self.network.decoder.empty(len(audio)))
        made, _ = self.bank.unite(made_bands, self.bank.empty_tail(len(audio)))
        made, real = made[:, 0, delay:], audio[:, : audio.shape[1] - delay]
        divergence = (mean.square() + deviation.square() - 2.0 * torch.log(deviation) - 1.0).sum(dim=1).mean()
        distance: Any = self.distance(made, real) + self.band_distance(made_bands.flatten(0, 1), bands.flatten(0, 1))
        return distance + DIVERGENCE * divergence, made, real

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """Sound through encoder and decoder, the deviation beside it: all that is trained, on two hops."""
        return Resynthesis(self), (torch.zeros(1, 2 * self.hop_samples),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """The excerpt's sound, and the logarithm of its bands' power, (batch, band, step)."""
        audio = excerpt["audio"]
        bands, _ = self.bank.divide(audio[:, None], self.bank.empty_past(len(audio)))
        return (audio,), torch.log(bands.square() + 1e-6)


class Resynthesis(nn.Module):
    """The auto-encoder as a function of sound.

    Args:
        model: whose encoder and decoder.
    """

    def __init__(self, model: RaveModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, hop * hop_samples) through both, and the sum of means and raw deviations of its codes."""
        model, batch = self.model, len(audio)
        mean, spread, _, _ = model._listen(audio, model.initial_history(batch))
        # Together, so that trimming takes a code's mean and deviation or neither.
        return model.advance(mean.transpose(1, 2), model.initial_state(batch))[0], (mean + spread).sum(dim=1)
