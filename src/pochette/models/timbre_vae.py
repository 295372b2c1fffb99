"""A space of timbres: spectra of single moments as a few numbers, and sound from them (Esling et al., DAFx 2018).

    sound - mel bands - encoder - code                                        (heard; or each number is a knob)
    code, pitch, loudness - decoder - power in mel bands, share of noise - partials and noise - sound

A variational auto-encoder of single frames, dense layers with rectifiers on either side, learnt in two phases: as
such, and then with a term that pulls the distances between codes to those of a timbre space (`layers.perceptual`).

Deviations, with their reasons:
- The published code inverts magnitudes of a non-stationary Gabor transform by a hundred iterations over whole sounds.
  Played live there is no whole sound: what the decoder says of a moment is read as amplitudes of the partials of the
  pitch that is played, and as magnitudes of filtered noise. What is lost is what no pitch explains: chords, beating.
- Frames are mel bands of a causal window of eight hops; a constant-Q transform's low bands would be seconds long.
- The encoder hears the spectrum alone; the decoder is told pitch and loudness too, so that the code need not say them.
- The distance that is learnt is that of the played sound's bands from the recorded one's: half the squared difference
  of their logarithms, as of a normal law of deviation 1, a band.
- There are no listeners' ratings: see `layers.perceptual`. No batch normalisation, which sees other frames.
- `paper` makes 125 frames a second for live use, of 20.6 M multiply-accumulates each: 2.58 G a second, where some 50
  frames, as in the paper's analysis, would be 1 G.
- Notes are held out whole; the published code learns from some frames of a note and judges by its others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.families import models
from pochette.layers.laws import normal_divergence
from pochette.layers.mel_frames import MelFrames, MelReading
from pochette.layers.perceptual import between_labels, described, mismatch, notes_of
from pochette.layers.walk import BOUND, FloatArray, walk
from pochette.models.ddsp import Ddsp, DdspSynthesiser
from pochette.models.model import Excerpt, Model, State
from pochette.models.turn import Turn
from pochette.recipe import check_ranges
from pochette.sound.losses import MultiScaleSpectral

Size = Literal["tiny", "small", "paper"]
Descriptor = Literal["centroid", "spread", "flatness"]

OVERLAP = 8
"""Hops of a window."""
PLAIN = 2.0 / 3.0
"""Share of training without the perceptual term, as published: 4000 of 6000 epochs."""
WARM_UP = 0.1
"""Share of training over which the divergence comes to count."""
USUAL, SPREAD = -12.0, 6.0
"""Of the bands' logarithms: what the encoder is given has about no mean and deviation 1."""
LOUDEST = 2.0
"""Most that a band's logarithm says; a sine of full scale has 0.4."""


@models.member("timbre-vae")
@dataclass(frozen=True)
class TimbreVae:
    """Spectra of moments as points of a space of timbres, played by pitch (Esling et al. 2018)."""

    bands: int = 64
    """Mel bands of a frame."""
    width: int = 256
    """Units of every hidden layer."""
    layers: int = 2
    """Hidden layers of the encoder, and of the decoder."""
    code: int = 8
    """Numbers of a code; each is a control."""
    beta: float = 1.0
    """Weight of the code's divergence from a normal law."""
    alpha: float = 0.1
    """Weight of the perceptual term in the second phase."""
    partials: int = 60
    """Harmonic oscillators."""
    noise_bands: int = 65
    """Bands of the noise."""
    sample_rate_hz: int = 16000
    """Samples per second."""
    frame_rate_hz: int = 125
    """Codes per second."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"bands": 24, "width": 24, "layers": 1, "code": 4, "partials": 12, "noise_bands": 17},
        "small": {},
        "paper": {"bands": 410, "width": 3000, "layers": 3, "code": 32},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            bands=(4, 4096),
            width=(1, 8192),
            layers=(1, 16),
            code=(1, 256),
            beta=(0.0, 1e6),
            alpha=(0.0, 1e6),
            partials=(1, 1000),
            noise_bands=(2, 4097),
            sample_rate_hz=(4000, 384000),
            frame_rate_hz=(10, 2000),
        )

    @classmethod
    def sized(cls, size: Size = "small", **changes: float) -> TimbreVae:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is that of the released code.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    def build(self) -> TimbreVaeModel:
        """The model with fresh weights, drawn from torch's generator."""
        return TimbreVaeModel(self)


def _hidden(inputs: int, recipe: TimbreVae) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in range(recipe.layers):
        parts += [nn.Linear(recipe.width if layer else inputs, recipe.width), nn.ReLU()]
    return nn.Sequential(*parts)


class TimbreNetwork(nn.Module):
    """The learnt part: both halves of the auto-encoder.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: TimbreVae) -> None:
        super().__init__()
        self.hears = _hidden(recipe.bands, recipe)
        self.mean, self.spread = nn.Linear(recipe.width, recipe.code), nn.Linear(recipe.width, recipe.code)
        self.says = _hidden(recipe.code + 2, recipe)
        self.envelope, self.breath = nn.Linear(recipe.width, recipe.bands), nn.Linear(recipe.width, recipe.bands)
        # The bands share the loudness between them.
        nn.init.constant_(self.envelope.bias, -math.log(recipe.bands))

    def encode(self, log_power: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of a frame's code, and logarithm of its deviation; (..., band) to (..., code) each."""
        heard = self.hears((log_power - USUAL) / SPREAD)
        return self.mean(heard), self.spread(heard)

    def decode(self, code: Tensor, pitch: Tensor, loudness_db: Tensor) -> tuple[Tensor, Tensor]:
        """Bands of a frame.

        Args:
            code: (..., code).
            pitch: (..., 1), MIDI number / 127.
            loudness_db: (..., 1).

        Returns:
            logarithms of the power of all and raw shares of noise, (..., band) each.
        """
        said = self.says(torch.cat([code, pitch, loudness_db / 80.0 + 1.0], dim=-1))
        # The loudness goes through as it is: the network need only say how it is divided.
        return self.envelope(said) + loudness_db * (math.log(10.0) / 10.0), self.breath(said)


class TimbreVaeModel(Model):
    """The auto-encoder as a playable model: pitch, loudness and a code in, sound out.

    Args:
        recipe: sizes and rates.
    """

    features = ("f0_hz", "loudness_db")

    def __init__(self, recipe: TimbreVae) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        self.hop_samples = recipe.sample_rate_hz // recipe.frame_rate_hz
        self.latency_samples = max(self.hop_samples, 2 * (recipe.noise_bands - 1) - 1)
        window = OVERLAP * self.hop_samples
        self.network = TimbreNetwork(recipe)
        self.ear = MelFrames(recipe.bands, recipe.sample_rate_hz, window, self.hop_samples)
        self.reading = MelReading(recipe.bands, recipe.partials, recipe.noise_bands, recipe.sample_rate_hz, window)
        plays = Ddsp(partials=recipe.partials, noise_bands=recipe.noise_bands, sample_rate_hz=recipe.sample_rate_hz)
        self.synthesiser = DdspSynthesiser(plays, self.hop_samples)
        self.distance = MultiScaleSpectral(recipe.sample_rate_hz)
        self.warmth = 1.0

    @property
    def controls(self) -> tuple[Control, ...]:  # type: ignore[override]
        """Pitch, loudness, and a knob for each number of the code that trimming left."""
        says = "one number of the code: what it does, training decides"
        numbers = range(1, len(self.network.mean.bias) + 1)
        return (
            Control("pitch_hz", "Hz", 20.0, 0.45 * self.sample_rate_hz, 440.0, "logarithmic", "fundamental"),
            Control("loudness_db", "dB", -80.0, 0.0, -25.0, "linear", "perceived level"),
            *(Control(f"code_{n}", "", -BOUND, BOUND, 0.0, "linear", says) for n in numbers),
        )

    # -- playing -----------------------------------------------------------------------------------------------------

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """Silence; see `Model.initial_state`."""
        return self.synthesiser.initial_state(batch, generator)

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some frames; see `Model.advance`."""
        f0_hz = controls[..., 0]
        log_power, breath = self._said(controls)
        partials = log_power - nn.functional.softplus(breath)
        noise = log_power - nn.functional.softplus(-breath)
        amplitudes = self.reading.amplitudes(partials, f0_hz)
        return self.synthesiser(f0_hz, amplitudes, self.reading.magnitudes(noise), state)  # type: ignore[no-any-return]

    def _said(self, controls: Tensor) -> tuple[Tensor, Tensor]:
        midi = 12.0 * torch.log2(controls[..., :1] / 440.0) + 69.0
        log_power, breath = self.network.decode(controls[..., 2:], midi / 127.0, controls[..., 1:2])
        return log_power.clamp(max=LOUDEST), breath

    # -- hearing -----------------------------------------------------------------------------------------------------

    @property
    def delay_samples(self) -> int:
        """From the middle of a window to its end, whole hops: how much later than a sound its codes are known."""
        return OVERLAP // 2 * self.hop_samples

    def encode(self, audio: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of a sound as it is heard, `delay_samples` late.

        Args:
            audio: (batch, frame * hop_samples).
            past: what was heard before, as `ear.empty` gives it.

        Returns:
            (batch, frame, code), and what was heard after.
        """
        log_power, after = self.ear(audio, past)
        return self.network.encode(log_power)[0].clamp(-BOUND, BOUND), after

    def controls_of(self, excerpt: Excerpt) -> Tensor:
        """Codes of a sound as it is heard, its pitch and loudness as late as they."""
        audio, late = excerpt["audio"], self.delay_samples // self.hop_samples
        codes, _ = self.encode(audio, self.ear.empty(len(audio)))
        held = [excerpt[name] for name in self.features]
        held = [torch.cat([x[:, :1].expand(-1, late), x], dim=1)[:, : x.shape[1], None] for x in held]
        return torch.cat([*held, codes], dim=-1)

    def heard(self, audio: Tensor) -> Tensor:
        """Bands of a known sound, each window's middle at its hop's end, silence after it; (batch, frame, band)."""
        late = self.delay_samples
        whole = torch.cat([audio, audio.new_zeros(len(audio), late)], dim=1)
        log_power, _ = self.ear(whole, self.ear.empty(len(audio)))
        centred: Tensor = log_power[:, late // self.hop_samples :]
        return centred

    # -- learning ----------------------------------------------------------------------------------------------------

    def begin_step(self, used: float) -> None:
        """Warm the divergence up; see `Model.begin_step`."""
        self.warmth = min(1.0, used / WARM_UP)

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        """The plain bound, and then the perceptual term with it ("two-fold"); only that for who was trained before."""
        own = list(self.parameters())
        second = Turn("perceptual", own, self.perceptual_loss, span=(0.0 if again else PLAIN, 1.0))
        return (second,) if again else (Turn("bound", own, self.loss, span=(0.0, PLAIN)), second)

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Half the squared distance of the bands' logarithms, and beta times the code's divergence, a band.

        While the divergence warms up only its gradient is weaker: looks at held-out sound compare all along.
        """
        return self._bound(excerpt, generator)[0]

    def perceptual_loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """`loss`, and alpha times what the distances of the sounds' mean codes lack to the timbre space's."""
        bound, mean, heard = self._bound(excerpt, generator)
        targets = between_labels(described(heard), notes_of(excerpt["f0_hz"]))
        if not bool(targets.any()):
            return bound  # sounds of one note have no distances to be told
        whole: Tensor = bound + self.recipe.alpha * mismatch(mean.mean(dim=1), targets)
        return whole

    def _bound(self, excerpt: Excerpt, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """`loss`, the codes' means, and the bands that were heard."""
        heard = self.heard(excerpt["audio"])
        mean, spread = self.network.encode(heard)
        code = mean + torch.exp(spread) * torch.randn(mean.shape, generator=generator).to(mean.device)
        told = torch.stack([excerpt[name] for name in self.features], dim=-1)
        made, _ = self.advance(torch.cat([told, code], dim=-1), self.initial_state(len(mean), generator))
        distance = 0.5 * (self.heard(made) - heard).square().mean()
        nothing = torch.zeros_like(mean)
        divergence = normal_divergence(mean, spread, nothing, nothing).sum(dim=-1).mean() / heard.shape[-1]
        divergence = self.warmth * divergence + (1.0 - self.warmth) * divergence.detach()
        return distance + self.recipe.beta * divergence, mean, heard

    # -- smaller, and watched ----------------------------------------------------------------------------------------

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """Bands through both halves, on two frames."""
        return Halves(self), (torch.zeros(1, 2, self.recipe.bands), torch.zeros(1, 2, 2))

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """The excerpt's bands with its pitch and loudness, and its bands as what is wanted, (batch, band, frame)."""
        heard = self.heard(excerpt["audio"])
        midi = 12.0 * torch.log2(excerpt["f0_hz"] / 440.0) + 69.0
        return (heard, torch.stack([midi / 127.0, excerpt["loudness_db"]], dim=-1)), heard.transpose(1, 2)

    # -- walks -------------------------------------------------------------------------------------------------------

    def walked(
        self, target: FloatArray, descriptor: Descriptor, pitch_hz: float, loudness_db: float = -25.0
    ) -> FloatArray:
        """Controls along which a descriptor of the decoded spectrum follows a curve, at one pitch and loudness.

        Args:
            target: (frame,), 0 to 1: height and width over the mel bands, or flatness.
            descriptor: which of them.
            pitch_hz: that is played.
            loudness_db: that is played.

        Returns:
            (frame, control).

        Raises:
            RecipeError: see `layers.walk.walk`.
        """
        number = ("centroid", "spread", "flatness").index(descriptor)
        told = torch.tensor([pitch_hz, loudness_db])

        def describe(codes: Tensor) -> Tensor:
            log_power, _ = self._said(torch.cat([told.expand(len(codes), 2), codes], dim=1))
            return described(log_power[:, None])[:, number]

        codes = walk(describe, target, len(self.controls) - 2)
        return np.concatenate([np.tile(told.numpy(), (len(codes), 1)), codes], axis=1).astype(np.float32)


class Halves(nn.Module):
    """Both halves as a function of bands, pitch and loudness.

    Args:
        model: whose network.
    """

    def __init__(self, model: TimbreVaeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, log_power: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """See `TimbreNetwork.decode`; of the mean and the deviation together, as trimming takes both or neither."""
        network = self.model.network
        mean, spread = network.encode(log_power)
        return network.decode(mean + torch.exp(spread), told[..., :1], told[..., 1:])
