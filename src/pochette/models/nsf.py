"""Neural source-filter: a buzz at the pitch and a hiss, shaped sample by sample by dilated filters (Wang et al. 2019).

    pitch ---- harmonics -- weighed, tanh -- block -- block -- ... -- low pass --+
                                               |        |               |        |
    pitch, loudness, voicing -- GRU -- condition, smoothed           cut-off     + -- level -- audio
                                               |                        |        |
    noise ----------------------------------- half block ------------ high pass -+

The harmonic-plus-noise model with sinc filters of Wang & Yamagishi (2019), at "paper" size with its filter blocks and
source to the parameter (682,464 and 9). Deviations, with their reasons:
- It is played by pitch, loudness and voicing instead of 80 mel bands, through a GRU that looks back only instead of a
  bidirectional LSTM with a convolution (41,792 parameters there). The two smoothing averages look back too.
- Loudness also sets the level of the result: the source is as loud as the published one and the blocks learn timbre.
- The cut-off glides from frame to frame by cross-fading two filters instead of a filter anew for every sample.
- Overtones start in phase and one noise serves all harmonics; noise is uniform, of the published deviation.
- Phase is an integer that is carried on, so blocks of any length join without a click.
- Voicing is a knob between 0 and 1, not a decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.families import models
from pochette.layers.residual import Blocks
from pochette.layers.source_filter import FIR_TAPS, FilterBlock, SincPair, moving_filter, smoothed, smoothing
from pochette.layers.synthesis import CYCLE, hann_ramp, harmonics, white_noise
from pochette.models.from_rest import FromRest
from pochette.models.model import Excerpt, Model, State
from pochette.recipe import check_ranges
from pochette.sound.losses import LogPowerSpectral

Size = Literal["tiny", "small", "paper"]
NOISE = "noise_block"
"""Where the network keeps the noise branch's filter block."""
FRAMES_PER_SECOND = 200
AMPLITUDE = 0.1
"""Of every harmonic of the source."""
BREATH = 0.003
"""Standard deviation of the noise beside a voiced source."""
HISS = AMPLITUDE / 3
"""Standard deviation of an unvoiced source, and of the noise branch's."""
UNIFORM = math.sqrt(3.0)
"""Half the width of uniform noise of deviation 1."""
LEVEL_DB = 20.0
"""Loudness, below full scale, at which the level is 1 before training."""


@models.member("nsf")
@dataclass(frozen=True)
class Nsf:
    """Harmonic and noise sources shaped by dilated filters; pitch and loudness in (Wang et al. 2019)."""

    channels: int = 16
    """Width of the filter blocks."""
    blocks: int = 3
    """Filter blocks of the harmonic branch."""
    layers: int = 8
    """Convolutions of each block; the noise branch has one block of half as many."""
    condition: int = 32
    """Units of the recurrent layer that steers the blocks."""
    harmonics: int = 8
    """Sines of the source."""
    sample_rate_hz: int = 16000
    """Samples per second; 16000 as published."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"channels": 6, "blocks": 2, "layers": 4, "condition": 8},
        "small": {"channels": 16, "blocks": 3, "layers": 8, "condition": 32},
        "paper": {"channels": 64, "blocks": 5, "layers": 10, "condition": 64},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            channels=(1, 4096),
            blocks=(1, 64),
            layers=(2, 16),
            condition=(1, 4096),
            harmonics=(1, 256),
            sample_rate_hz=(4000, 384000),
        )

    @classmethod
    def sized(cls, size: Size = "small", **changes: int) -> Nsf:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is the published one.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)

    def build(self) -> NsfModel:
        """The model with fresh weights, drawn from torch's generator."""
        return NsfModel(self)


class NsfNetwork(nn.Module):
    """The learnt part.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: Nsf) -> None:
        super().__init__()
        self.enter = nn.Linear(3, recipe.condition)
        self.gru = nn.GRU(recipe.condition, recipe.condition, batch_first=True)
        self.steer = nn.Linear(recipe.condition, recipe.channels)
        self.open = nn.Linear(recipe.condition, 1)
        self.weigh = nn.Linear(recipe.harmonics, 1)
        self.blocks = nn.ModuleList(FilterBlock(recipe.channels, recipe.layers) for _ in range(recipe.blocks))
        self.noise_block = FilterBlock(recipe.channels, recipe.layers // 2)
        self.level = nn.Parameter(torch.tensor(LEVEL_DB))

    def condition(self, features: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What steers blocks and filters.

        Args:
            features: (batch, frame, 3), about 0 to 1.
            hidden: recurrent state, (batch, unit).

        Returns:
            (batch, frame, channel), what opens the filters (batch, frame, 1), both between -1 and 1, and the state
            after.
        """
        made, after = self.gru(torch.tanh(self.enter(features)), hidden[None])
        return torch.tanh(self.steer(made)), torch.tanh(self.open(made)), after[0]

    def all_blocks(self) -> dict[str, FilterBlock]:
        """Those of the harmonic branch, then that of the noise, by path; without those that are gone."""
        every = {**{f"blocks.{number}": block for number, block in enumerate(self.blocks)}, NOISE: self.noise_block}
        return {path: block for path, block in every.items() if isinstance(block, FilterBlock)}

    def residual_blocks(self) -> Blocks:
        """Every filter block; see `pochette.layers.residual`."""
        return {path: (block.exit,) for path, block in self.all_blocks().items()}


class NsfModel(Model):
    """The source-filter model as a playable one: pitch, loudness and voicing in, sound out.

    Args:
        recipe: sizes and rate.
    """

    features = ("f0_hz", "loudness_db", "confidence")
    smoothing: Tensor
    ramp: Tensor
    line: Tensor

    def __init__(self, recipe: Nsf) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        self.hop_samples = round(recipe.sample_rate_hz / FRAMES_PER_SECOND)
        # The condition has moved after two hops, the filters after one and as long as they are.
        self.latency_samples = 2 * self.hop_samples + FIR_TAPS - 1
        self.controls = (
            Control("pitch_hz", "Hz", 20.0, 0.45 * recipe.sample_rate_hz, 440.0, "logarithmic", "fundamental"),
            Control("loudness_db", "dB", -80.0, 0.0, -25.0, "linear", "perceived level"),
            Control("voicing", "", 0.0, 1.0, 1.0, "linear", "from whispered to sung"),
        )
        self.network = NsfNetwork(recipe)
        self.sinc = SincPair()
        self.register_buffer("smoothing", smoothing(self.hop_samples), persistent=False)
        self.register_buffer("ramp", hann_ramp(self.hop_samples), persistent=False)
        line = torch.arange(1, self.hop_samples + 1, dtype=torch.float32) / self.hop_samples
        self.register_buffer("line", line, persistent=False)
        self.distance = LogPowerSpectral(recipe.sample_rate_hz)

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """State before the first frame; see `Model.initial_state`."""
        network, device = self.network, self.device
        channels = network.steer.weight.shape[0]
        low, high = self.sinc(torch.full((batch, 1, 1), 0.5, device=device)).unbind(2)
        state = {
            "hidden": torch.zeros(batch, network.gru.hidden_size, device=device),
            "condition": torch.zeros(batch, 2, channels, device=device),
            "previous_f0_hz": torch.zeros(batch, device=device),
            "previous_amplitudes": torch.zeros(batch, network.weigh.weight.shape[1], device=device),
            "phase": torch.zeros(batch, dtype=torch.int64, device=device),
            "counter": torch.zeros(batch, dtype=torch.int64, device=device),
            "hiss": torch.zeros(batch, device=device),
            "level": torch.zeros(batch, device=device),
            "low_taps": low[:, 0].clone(),
            "high_taps": high[:, 0].clone(),
            "low_past": torch.zeros(batch, FIR_TAPS - 1, device=device),
            "high_past": torch.zeros(batch, FIR_TAPS - 1, device=device),
        }
        if generator is not None:
            for name in ("phase", "counter"):
                state[name] = torch.randint(CYCLE, (batch,), generator=generator).to(device)
        for number, block in enumerate(network.all_blocks().values()):
            state |= {f"past_{number}_{layer}": past for layer, past in enumerate(block.empty_pasts(batch))}
        return state

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some frames; see `Model.advance`."""
        after: State = {}
        steering, opening, after["hidden"] = self.network.condition(self._features(controls), state["hidden"])
        condition, after["condition"] = smoothed(steering, state["condition"], self.smoothing)
        buzz, hiss = self._sources(controls, state, after)
        for number, (path, block) in enumerate(self.network.all_blocks().items()):
            names = [name for name in state if name.startswith(f"past_{number}_")]
            of_noise = path == NOISE
            made, pasts = block(hiss if of_noise else buzz, condition, [state[name] for name in names])
            after |= dict(zip(names, pasts, strict=True))
            buzz, hiss = (buzz, made) if of_noise else (made, hiss)
        # Between 0.5 and 0.9 of half the sample rate for a voiced sound, 0.1 and 0.5 for an unvoiced one.
        low, high = self.sinc(0.2 * opening + 0.4 * controls[..., 2:3] + 0.3).unbind(2)
        tone, after["low_past"] = moving_filter(buzz[:, 0], low, state["low_past"], state["low_taps"], self.ramp)
        noise, after["high_past"] = moving_filter(hiss[:, 0], high, state["high_past"], state["high_taps"], self.ramp)
        after["low_taps"], after["high_taps"] = low[:, -1], high[:, -1]
        # 10^(dB/20) as exp.
        level = torch.exp((controls[..., 1] + self.network.level) * (math.log(10.0) / 20.0))
        audio = (tone + noise) * self._glide(level, state["level"])
        after["level"] = level[:, -1]
        return audio, after

    def _features(self, controls: Tensor) -> Tensor:
        midi = 12.0 * torch.log2(controls[..., :1] / 440.0) + 69.0
        return torch.cat([midi / 127.0, controls[..., 1:2] / 80.0 + 1.0, controls[..., 2:3]], dim=-1)

    def _sources(self, controls: Tensor, state: State, after: State) -> tuple[Tensor, Tensor]:
        """The harmonic and the noise source, (batch, 1, sample) each; what they carry on goes into `after`."""
        f0_hz, voicing = controls[..., 0], controls[..., 2]
        weigh = self.network.weigh
        amplitudes = AMPLITUDE * voicing[..., None] * weigh.weight[0]
        tone, after["phase"] = harmonics(
            f0_hz,
            amplitudes,
            state["previous_f0_hz"],
            state["previous_amplitudes"],
            state["phase"],
            self.hop_samples,
            self.sample_rate_hz,
        )
        after["previous_f0_hz"], after["previous_amplitudes"] = f0_hz[:, -1], amplitudes[:, -1]
        batch, frames = f0_hz.shape
        noise, after["counter"] = white_noise(state["counter"], 2 * frames * self.hop_samples)
        # Sample by sample a pair, so that a hop's noise does not depend on how many hops are made at once.
        pairs = noise.view(batch, frames * self.hop_samples, 2)
        hiss = HISS + (BREATH - HISS) * voicing
        beside = pairs[..., 0] * (UNIFORM * self._glide(hiss, state["hiss"]))
        after["hiss"] = hiss[:, -1]
        buzz = torch.tanh(tone + beside + weigh.bias)
        return buzz[:, None], (pairs[..., 1] * (UNIFORM * HISS))[:, None]

    def _glide(self, frames: Tensor, before: Tensor) -> Tensor:
        """(batch, frame) as straight lines from frame to frame, (batch, sample)."""
        earlier = torch.cat([before[:, None], frames[:, :-1]], dim=1)[..., None]
        return (earlier + self.line * (frames[..., None] - earlier)).reshape(len(frames), -1)

    # -- learning ----------------------------------------------------------------------------------------------------

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Distance of logarithmic power spectra at three resolutions; phase and noise are drawn anew each time."""
        controls = self.controls_of(excerpt)
        audio, _ = self.advance(controls, self.initial_state(len(controls), generator))
        distance: Tensor = self.distance(audio, excerpt["audio"])
        return distance

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The model on two frames, from rest."""
        return FromRest(self), (torch.tensor([[[knob.default for knob in self.controls]] * 2]),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """Controls of the excerpt, and the log power spectrum of each frame's sound, (batch, bin, frame)."""
        audio = excerpt["audio"]
        frames = audio.view(len(audio), -1, self.hop_samples)
        power = torch.fft.rfft(frames * torch.hann_window(self.hop_samples)).abs().square()
        return (self.controls_of(excerpt),), torch.log(power + 1e-6).transpose(1, 2)
