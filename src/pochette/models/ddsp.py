"""DDSP: a recurrent network that plays a bank of harmonics and a noise filter (Engel et al., ICLR 2020).

    f0 ------- scale --- stack --+-----------+
                                 |           |
    loudness - scale --- stack --+-- GRU --- concatenate --- stack --- linear --- amplitude, partials, noise bands
                                                                                       |
                                       audio = harmonics + filtered noise (+ reverb) --+

Deviations from the paper, with their reasons:
- The synthesiser needs no look-ahead: hop f runs from the controls of frame f-1 to those of frame f, so the harmonics
  follow a control within one hop; noise made before it rings on for the length of the noise filter. The declared
  latency is the longer of the two. Training features are taken at the end of each hop.
- The noise filter's linear-phase delay (`noise_bands - 1` samples) is left in; the paper's code crops it.
- Two knobs are added after the network, neutral at rest: `brightness` tilts the partials, `breath` scales the noise.
- Phase is an integer (see `layers.synthesis`), so minutes of playing do not drift.
- "paper" has the paper's 100 partials and 4,821,670 parameters. Published code (`solo_instrument.gin`) makes 60, whose
  last layer lacks 40 outputs of 512 weights and an offset each: 4,801,150.
- The GRU is PyTorch's, whose equations and parameter count are those of Keras' `reset_after` form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.errors import RecipeError
from pochette.families import models
from pochette.layers.reverb import Reverb
from pochette.layers.synthesis import CYCLE, filtered_noise, harmonics, noise_filter_matrix
from pochette.models.model import Excerpt, Model, State
from pochette.recipe import check_ranges
from pochette.sound.losses import MultiScaleSpectral

Size = Literal["tiny", "small", "paper"]


@models.member("ddsp")
@dataclass(frozen=True)
class Ddsp:
    """Harmonics and filtered noise played by a recurrent network; pitch and loudness in (Engel et al. 2020)."""

    hidden: int = 128
    """Units of the GRU."""
    stack_width: int = 128
    """Width of the dense stacks before and after the GRU."""
    stack_layers: int = 2
    """Layers of each stack; 0 leaves the stacks out."""
    partials: int = 100
    """Harmonic oscillators; those at or above half the sample rate are silent."""
    noise_bands: int = 65
    """Magnitudes of the noise filter, equally spaced from 0 Hz to half the sample rate."""
    sample_rate_hz: int = 16000
    """Samples per second; 16000 as published, 44100 or 48000 for music."""
    frame_rate_hz: int = 250
    """Frames per second; the hop is the nearest whole number of samples."""
    reverb_seconds: float = 0.0
    """Length of the trainable room response; 0 for none. The recordings must share one room."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"hidden": 32, "stack_width": 32, "stack_layers": 1},
        "small": {"hidden": 128, "stack_width": 128, "stack_layers": 2},
        "paper": {"hidden": 512, "stack_width": 512, "stack_layers": 3},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            hidden=(1, 8192),
            stack_width=(1, 8192),
            stack_layers=(0, 16),
            partials=(1, 1000),
            noise_bands=(2, 4097),
            sample_rate_hz=(4000, 384000),
            frame_rate_hz=(1, 10000),
            reverb_seconds=(0.0, 30.0),
        )
        if self.frame_rate_hz * 2 > self.sample_rate_hz:
            raise RecipeError(
                f"A frame would be {self.sample_rate_hz / self.frame_rate_hz:.1f} samples long.",
                remedy="Lower --frame-rate-hz: a frame needs at least 2 samples.",
            )

    @classmethod
    def sized(cls, size: Size = "small", **changes: float) -> Ddsp:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is the published one.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    def build(self) -> DdspModel:
        """The model with fresh weights, drawn from torch's generator."""
        return DdspModel(self)


class DenseStack(nn.Sequential):
    """Layers of linear, layer normalisation and leaky rectifier, with the slope and epsilon of the published code.

    Args:
        inputs: features in.
        width: features of every layer.
        layers: how many; 0 gives the identity.
    """

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        parts: list[nn.Module] = []
        for layer in range(layers):
            parts += [nn.Linear(inputs if layer == 0 else width, width), nn.LayerNorm(width, eps=1e-3)]
            parts.append(nn.LeakyReLU(0.2))
        super().__init__(*parts)


class DdspNetwork(nn.Module):
    """The learnt part: pitch and loudness in, unscaled synthesiser controls out.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: Ddsp) -> None:
        super().__init__()
        width, layers = recipe.stack_width, recipe.stack_layers
        features = width if layers else 1
        self.pitch_stack = DenseStack(1, width, layers)
        self.loudness_stack = DenseStack(1, width, layers)
        self.gru = nn.GRU(2 * features, recipe.hidden, batch_first=True)
        self.out_stack = DenseStack(2 * features + recipe.hidden, width, layers)
        self.head = nn.Linear(width if layers else 2 + recipe.hidden, 1 + recipe.partials + recipe.noise_bands)

    def forward(self, pitch: Tensor, loudness: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Frames of controls, and the recurrent state after them.

        Args:
            pitch: (batch, frame, 1), MIDI number / 127.
            loudness: (batch, frame, 1), dB / 80 + 1.
            hidden: (batch, unit).

        Returns:
            (batch, frame, 1 + partial + band) and (batch, unit).
        """
        stacked = torch.cat([self.pitch_stack(pitch), self.loudness_stack(loudness)], dim=-1)
        recurrent, after = self.gru(stacked, hidden[None])
        features = self.out_stack(torch.cat([stacked, recurrent], dim=-1))
        return self.head(features), after[0]


def exp_sigmoid(x: Tensor) -> Tensor:
    """The published non-negative output scale, 2 sigmoid(x)^ln(10) + 1e-7: from 1e-7 to 2, 0.4054 at 0."""
    return 2.0 * torch.sigmoid(x) ** math.log(10.0) + 1e-7


class DdspSynthesiser(nn.Module):
    """Unscaled controls to sound: nothing in it is learnt but the room.

    Args:
        recipe: sizes and rates.
        hop: samples per frame.
    """

    noise_filter: Tensor
    partial_octaves: Tensor
    partial_numbers: Tensor

    def __init__(self, recipe: Ddsp, hop: int) -> None:
        super().__init__()
        self.partials, self.bands = recipe.partials, recipe.noise_bands
        self.sample_rate_hz, self.hop = recipe.sample_rate_hz, hop
        numbers = torch.arange(1, recipe.partials + 1, dtype=torch.float32)
        self.register_buffer("noise_filter", noise_filter_matrix(recipe.noise_bands).T.contiguous(), persistent=False)
        self.register_buffer("partial_octaves", torch.log2(numbers), persistent=False)
        self.register_buffer("partial_numbers", numbers, persistent=False)
        taps = round(recipe.reverb_seconds * recipe.sample_rate_hz)
        self.reverb = Reverb(taps, hop) if taps > 1 else None

    def initial_state(self, batch: int, generator: torch.Generator | None) -> State:
        """Silence; phase and noise drawn where a generator is given.

        Args:
            batch: number of voices.
            generator: source of phase and of the noise's starting point.

        Returns:
            state tensors.
        """
        device = self.partial_numbers.device
        state = {
            "previous_f0_hz": torch.zeros(batch, device=device),
            "previous_amplitudes": torch.zeros(batch, self.partials, device=device),
            "phase": torch.zeros(batch, dtype=torch.int64, device=device),
            "noise_counter": torch.zeros(batch, dtype=torch.int64, device=device),
            "noise_tail": torch.zeros(batch, 2 * (self.bands - 1) - 1, device=device),
        }
        if generator is not None:
            for name in ("phase", "noise_counter"):
                state[name] = torch.randint(CYCLE, (batch,), generator=generator).to(device)
        if self.reverb is not None:
            state["reverb_history"] = self.reverb.initial_state(batch)
        return state

    def controls(self, raw: Tensor, f0_hz: Tensor, brightness: Tensor, breath: Tensor) -> tuple[Tensor, Tensor]:
        """Unscaled network outputs to physical ones: amplitudes of the partials and magnitudes of the noise bands.

        Partials at or above half the sample rate are removed before the distribution is normalised, so that the
        total amplitude is what the network asked for.

        Args:
            raw: (batch, frame, 1 + partial + band).
            f0_hz: (batch, frame).
            brightness: (batch, frame), dB per octave.
            breath: (batch, frame), dB.

        Returns:
            (batch, frame, partial) and (batch, frame, band), linear.
        """
        total = exp_sigmoid(raw[..., :1])
        weights = exp_sigmoid(raw[..., 1 : 1 + self.partials])
        # 10^(dB/20) as exp: brightness is 0 in training, where this is 1.
        weights = weights * torch.exp(brightness[..., None] * (self.partial_octaves * (math.log(10.0) / 20.0)))
        audible = self.partial_numbers * f0_hz[..., None] < self.sample_rate_hz / 2
        weights = torch.where(audible, weights, 0.0)
        amplitudes = total * (weights / (weights.sum(dim=-1, keepdim=True) + 1e-7))
        magnitudes = exp_sigmoid(raw[..., 1 + self.partials :] - 5.0)
        return amplitudes, magnitudes * torch.exp(breath[..., None] * (math.log(10.0) / 20.0))

    def forward(self, f0_hz: Tensor, amplitudes: Tensor, magnitudes: Tensor, state: State) -> tuple[Tensor, State]:
        """Physical controls to sound.

        Args:
            f0_hz: (batch, frame).
            amplitudes: (batch, frame, partial).
            magnitudes: (batch, frame, band).
            state: of the same batch.

        Returns:
            audio (batch, frame * hop) and the new state.
        """
        tone, phase = harmonics(
            f0_hz,
            amplitudes,
            state["previous_f0_hz"],
            state["previous_amplitudes"],
            state["phase"],
            self.hop,
            self.sample_rate_hz,
        )
        response = nn.functional.linear(magnitudes, self.noise_filter)
        noise, counter, tail = filtered_noise(response, state["noise_counter"], state["noise_tail"], self.hop)
        audio = tone + noise
        after = {
            "previous_f0_hz": f0_hz[:, -1],
            "previous_amplitudes": amplitudes[:, -1],
            "phase": phase,
            "noise_counter": counter,
            "noise_tail": tail,
        }
        if self.reverb is not None:
            audio, after["reverb_history"] = self.reverb(audio, state["reverb_history"])
        return audio, after


class DdspModel(Model):
    """DDSP as a playable model: pitch, loudness, brightness and breath in, sound out.

    Args:
        recipe: sizes and rates.
    """

    features = ("f0_hz", "loudness_db")

    def __init__(self, recipe: Ddsp) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        self.hop_samples = round(recipe.sample_rate_hz / recipe.frame_rate_hz)
        self.latency_samples = max(self.hop_samples, 2 * (recipe.noise_bands - 1) - 1)
        self.controls = (
            Control("pitch_hz", "Hz", 20.0, 0.45 * recipe.sample_rate_hz, 440.0, "logarithmic", "fundamental"),
            Control("loudness_db", "dB", -80.0, 0.0, -25.0, "linear", "perceived level"),
            Control("brightness", "dB/octave", -12.0, 12.0, 0.0, "linear", "tilts the overtones up or down"),
            Control("breath", "dB", -40.0, 20.0, 0.0, "linear", "level of the noise: air, bow, hammer"),
        )
        self.network = DdspNetwork(recipe)
        self.synthesiser = DdspSynthesiser(recipe, self.hop_samples)
        self.distance = MultiScaleSpectral(recipe.sample_rate_hz)

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """State before the first frame; see `Model.initial_state`."""
        hidden = torch.zeros(batch, self.network.gru.hidden_size, device=self.device)
        return {"hidden": hidden, **self.synthesiser.initial_state(batch, generator)}

    def raw_controls(self, controls: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What the network says, before it is scaled.

        Args:
            controls: (batch, frame, control).
            hidden: recurrent state, (batch, unit).

        Returns:
            (batch, frame, 1 + partial + band), and the recurrent state after.
        """
        midi = 12.0 * torch.log2(controls[..., :1] / 440.0) + 69.0
        raw, after = self.network(midi / 127.0, controls[..., 1:2] / 80.0 + 1.0, hidden)
        return raw, after

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The network alone on one frame: everything learnt but the room, which has no units."""
        return NetworkForm(self), (torch.tensor([[[knob.default for knob in self.controls]]]),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """Controls of the excerpt, and the log power spectrum of each frame's sound, (batch, bin, frame)."""
        audio = excerpt["audio"]
        frames = audio.view(len(audio), -1, self.hop_samples)
        power = torch.fft.rfft(frames * torch.hann_window(self.hop_samples)).abs().square()
        return (self.controls_of(excerpt),), torch.log(power + 1e-6).transpose(1, 2)

    def plain_raw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Unscaled controls of a plain sawtooth-like sound with a little noise, where fits begin.

        Returns:
            total level (1,), partials (partial,) falling by 6 dB an octave, noise (band,).
        """
        partials = -torch.log10(self.synthesiser.partial_numbers)
        return torch.tensor([-1.0]), partials, torch.ones(self.synthesiser.bands)

    def play_raw(self, raw: Tensor, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of unscaled synthesiser controls, wherever they come from (the network, or a direct fit).

        Args:
            raw: (batch, frame, 1 + partial + band).
            controls: (batch, frame, control).
            state: the synthesiser's part of it.

        Returns:
            audio (batch, frame * hop) and the synthesiser's new state.
        """
        f0_hz = controls[..., 0]
        amplitudes, magnitudes = self.synthesiser.controls(raw, f0_hz, controls[..., 2], controls[..., 3])
        audio, after = self.synthesiser(f0_hz, amplitudes, magnitudes, state)
        return audio, after

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some frames; see `Model.advance`."""
        raw, hidden = self.raw_controls(controls, state["hidden"])
        audio, after = self.play_raw(raw, controls, state)
        return audio, {"hidden": hidden, **after}

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Multi-scale spectral distance to the excerpt, eq. (5); phase and noise are drawn anew each time."""
        controls = self.controls_of(excerpt)
        audio, _ = self.advance(controls, self.initial_state(len(controls), generator))
        distance: Tensor = self.distance(audio, excerpt["audio"])
        return distance


class NetworkForm(nn.Module):
    """A model's network on frames of controls, from rest.

    Args:
        model: whose network.
    """

    def __init__(self, model: DdspModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, controls: Tensor) -> Tensor:
        """Unscaled synthesiser controls, see `DdspModel.raw_controls`."""
        hidden = controls.new_zeros(controls.shape[0], self.model.network.gru.hidden_size)
        return self.model.raw_controls(controls, hidden)[0]
