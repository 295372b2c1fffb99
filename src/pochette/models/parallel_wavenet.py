"""Parallel WaveNet: a student that makes all samples at once, taught by a WaveNet that makes them one by one.

    noise -- flow -- flow -- ... -- audio            each flow: x s(x before) + m(x before), conditioned
                                      |
    teacher: how likely is this, sample by sample? -- divergence, and spectra beside the recording's

With `law="gaussian"` teacher and student speak of normal distributions and the divergence is a formula (ClariNet: Ping
et al. 2019); with `law="logistic"` the teacher is a mixture of logistics and the divergence is estimated from several
draws a sample, as published first (van den Oord et al. 2018). `make` trains the teacher and then the student.

At "paper" the student is the published one: flows of 10, 10, 10 and 30 layers of 64 channels, 886,024 weights without
conditioning if the published "gate of 64" means 32 for filter and gate each, 1,750,024 if it means 64.

Deviations, with their reasons:
- Pitch and loudness condition it as they do our WaveNet, at frame rate and held for a hop, instead of linguistic
  features or mel bands through learnt upsampling.
- Both laws have the same flows, with matrices on the way past the gates, which ClariNet leaves out.
- The teacher is smaller than the published one at every size (see `Wavenet.SIZES`), and of samples, not of codes.
- Spectra are compared in magnitude for both laws, and in the logarithm of power at three resolutions, without which
  quiet bands teach nothing; perceptual and contrastive losses are left out.
- Below paper size every flow also hears a buzz at the pitch, `sines` in phase: it is conditioning at sample rate, and
  leaves laws and divergence what they are. A short flow cannot make a steady tone of noise: without the buzz the small
  student stays at the distance of silence.
- The noise comes from a counter: the same counter, the same sound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.control import Control
from pochette.families import models
from pochette.layers.dilated import DilatedNetwork
from pochette.layers.flow import Flow, logistic_noise, normal_noise
from pochette.layers.laws import (
    TEACHER_FLOOR,
    mixture_divergence,
    mixture_log_density,
    normal_log_density,
    regularised_divergence,
)
from pochette.layers.synthesis import CYCLE, harmonics
from pochette.models.from_rest import FromRest
from pochette.models.model import Excerpt, Model, State
from pochette.models.turn import Turn
from pochette.recipe import check_ranges
from pochette.sound.losses import LogPowerSpectral

Size = Literal["tiny", "small", "paper"]
FIRST_LOG_SCALE = -3.0
"""Logarithm of all flows' scale together before training: samples a twentieth as loud as the noise."""
SINE = 0.1
"""Amplitude of each sine of the buzz."""
TEACHING = 0.5
"""Share of training in which the teacher learns."""
MIXTURES = 10
LOGARITHMS = 0.2
"""Weight of the distance of logarithmic spectra: brings it to the size of the divergence."""


@models.member("parallel-wavenet")
@dataclass(frozen=True)
class ParallelWavenet:
    """Flows that make noise into sound in parallel, distilled from a WaveNet (van den Oord 2018, Ping 2019)."""

    flows: tuple[int, ...] = (6, 6, 6)
    """Layers of each flow."""
    channels: int = 16
    """From layer to layer."""
    gate_channels: int = 16
    """Of each layer's filter, and as many of its gate."""
    conditioning: Literal["controls", "none"] = "controls"
    """Pitch and loudness over time, or nothing."""
    conditioning_channels: int = 16
    """Of the layer through which conditioning enters."""
    sines: int = 8
    """Of the buzz at the pitch that every flow hears; 0, as published, for none. Without a pitch there is no buzz."""
    law: Literal["gaussian", "logistic"] = "gaussian"
    """Of one sample given those before."""
    teacher_channels: int = 32
    """From layer to layer of the teacher, and of its gates; its skips have twice as many."""
    teacher_layers: int = 8
    """Of each of the teacher's two stacks; their dilations are 1, 2, 4 and so on."""
    sample_rate_hz: int = 16000
    """Samples per second."""
    hop_samples: int = 64
    """Samples from control frame to control frame, and in one call of the engine."""

    SIZES: ClassVar[dict[str, dict[str, object]]] = {
        "tiny": {
            "flows": (3, 3),
            "channels": 6,
            "gate_channels": 6,
            "conditioning_channels": 8,
            "sines": 3,
            "teacher_channels": 8,
            "teacher_layers": 4,
            "hop_samples": 32,
        },
        "small": {},
        "paper": {
            "flows": (10, 10, 10, 30),
            "channels": 64,
            "gate_channels": 32,
            "conditioning_channels": 80,
            "sines": 0,
            "teacher_channels": 128,
            "teacher_layers": 10,
        },
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            channels=(1, 4096),
            gate_channels=(1, 4096),
            conditioning_channels=(1, 1024),
            sines=(0, 256),
            teacher_channels=(1, 4096),
            teacher_layers=(1, 16),
            sample_rate_hz=(4000, 384000),
            hop_samples=(1, 4096),
        )

    @classmethod
    def sized(cls, size: Size = "small", **changes: object) -> ParallelWavenet:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is the published student.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    @property
    def hears_a_buzz(self) -> bool:
        """Whether flows hear one."""
        return self.sines > 0 and self.conditioning == "controls"

    def build(self) -> ParallelWavenetModel:
        """The model with fresh weights, drawn from torch's generator."""
        return ParallelWavenetModel(self)


class Student(nn.Module):
    """The learnt part that plays: flows and what conditions them.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: ParallelWavenet) -> None:
        super().__init__()
        width = recipe.conditioning_channels if recipe.conditioning == "controls" else 0
        self.conditioner = nn.Linear(2, width) if width else None
        begins = FIRST_LOG_SCALE / len(recipe.flows)
        carriers = int(recipe.hears_a_buzz)
        self.flows = nn.ModuleList(
            Flow(recipe.channels, recipe.gate_channels, layers, width, begins, carriers) for layers in recipe.flows
        )

    def all_flows(self) -> list[Flow]:
        """In order."""
        return list(self.flows)  # type: ignore[arg-type]

    def forward(
        self, noise: Tensor, conditioning: Tensor | None, pasts: list[list[Tensor]], buzz: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, list[list[Tensor]]]:
        """Make samples of noise.

        Args:
            noise: (batch, sample).
            conditioning: (batch, frame, 2), about 0 to 1; or None.
            pasts: of each flow.
            buzz: (batch, sample, 1), where flows hear one.

        Returns:
            samples, their laws' means and logarithms of scales, (batch, sample) each, and the pasts after them.
        """
        known = None
        if self.conditioner is not None and conditioning is not None:
            known = torch.tanh(self.conditioner(conditioning))
        x, mean, log_scale, after = noise, torch.zeros_like(noise), torch.zeros_like(noise), []
        for flow, past in zip(self.all_flows(), pasts, strict=True):
            x, shift, own, kept = flow(x, known, past, buzz)
            # The flows after one scale and shift what it has shifted.
            mean, log_scale = mean * torch.exp(own) + shift, log_scale + own
            after.append(kept)
        return x, mean, log_scale, after


class ParallelWavenetModel(Model):
    """The student as a playable model: pitch, loudness and temperature in, sound out, a hop at once.

    Args:
        recipe: sizes and rates.
    """

    split_by = "sound"
    aids = ("teacher",)

    def __init__(self, recipe: ParallelWavenet) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz, self.hop_samples = recipe.sample_rate_hz, recipe.hop_samples
        conditioned = recipe.conditioning == "controls"
        self.features = ("f0_hz", "loudness_db") if conditioned else ()  # type: ignore[misc]
        pitch = Control("pitch_hz", "Hz", 20.0, 0.45 * recipe.sample_rate_hz, 440.0, "logarithmic", "fundamental")
        loudness = Control("loudness_db", "dB", -80.0, 0.0, -25.0, "linear", "perceived level")
        temperature = Control("temperature", "", 0.1, 2.0, 1.0, "linear", "below 1 calmer and purer, above 1 rougher")
        self.controls = (*((pitch, loudness) if conditioned else ()), temperature)
        self.network = Student(recipe)
        self.teacher = DilatedNetwork(
            first=nn.Linear(1, recipe.teacher_channels),
            conditioner=nn.Linear(2, recipe.conditioning_channels) if conditioned else None,
            dilations=tuple(2**layer for _ in range(2) for layer in range(recipe.teacher_layers)),
            kernel=2,
            residual=recipe.teacher_channels,
            gate=recipe.teacher_channels,
            skip=2 * recipe.teacher_channels,
            condition=recipe.conditioning_channels,
            outputs=2 if recipe.law == "gaussian" else 3 * MIXTURES,
        )
        self.latency_samples = sum(flow.reach() for flow in self.network.all_flows())
        window = torch.hann_window(round(0.05 * recipe.sample_rate_hz))
        self.register_buffer("window", window, persistent=False)
        self.distance = LogPowerSpectral(recipe.sample_rate_hz)

    # -- playing -----------------------------------------------------------------------------------------------------

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """Silence before the first sample of every flow; see `Model.initial_state`."""
        clocks = ["counter", "phase"] if self.recipe.hears_a_buzz else ["counter"]
        state: State = {name: torch.zeros(batch, dtype=torch.int64, device=self.device) for name in clocks}
        if generator is not None:
            state = {name: torch.randint(CYCLE, (batch,), generator=generator).to(self.device) for name in clocks}
        if self.recipe.hears_a_buzz:
            state["previous_f0_hz"] = torch.zeros(batch, device=self.device)
        return {**state, **_named([flow.empty(batch) for flow in self.network.all_flows()])}

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some frames, all samples at once; see `Model.advance`."""
        samples = controls.shape[1] * self.hop_samples
        noise, counter = self._noise(state["counter"], samples)
        temperature = controls[..., -1:].expand(-1, -1, self.hop_samples).reshape(noise.shape)
        counts = [flow.carried for flow in self.network.all_flows()]
        buzz, clock = self._buzz(controls, state)
        made, _, _, pasts = self.network(noise * temperature, self.conditioning(controls), _parted(state, counts), buzz)
        return made, {"counter": counter, **clock, **_named(pasts)}

    def conditioning(self, controls: Tensor) -> Tensor | None:
        """Pitch and loudness scaled to about 0 to 1, (batch, frame, 2); or None."""
        if not self.features:
            return None
        midi = 12.0 * torch.log2(controls[..., :1] / 440.0) + 69.0
        return torch.cat([midi / 127.0, controls[..., 1:2] / 80.0 + 1.0], dim=-1)

    def controls_of(self, excerpt: Excerpt) -> Tensor:
        """Control curves of an excerpt, see `Model.controls_of`; a model without conditioning reads none of it."""
        if self.features:
            return super().controls_of(excerpt)
        return excerpt["audio"].new_ones(len(excerpt["audio"]), excerpt["audio"].shape[1] // self.hop_samples, 1)

    def _noise(self, counter: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        return (normal_noise if self.recipe.law == "gaussian" else logistic_noise)(counter, samples)

    def _buzz(self, controls: Tensor, state: State) -> tuple[Tensor | None, State]:
        """Sines in phase at multiples of the pitch, (batch, sample, 1), and what carries them on."""
        if not self.recipe.hears_a_buzz:
            return None, {}
        f0_hz = controls[..., 0]
        even = torch.full((*f0_hz.shape, self.recipe.sines), SINE, device=f0_hz.device)
        made, phase = harmonics(
            f0_hz,
            even,
            state["previous_f0_hz"],
            even[:, 0],
            state["phase"],
            self.hop_samples,
            self.sample_rate_hz,
        )
        return made[..., None], {"phase": phase, "previous_f0_hz": f0_hz[:, -1]}

    # -- learning ----------------------------------------------------------------------------------------------------

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        """The teacher learns from the recordings, then the student from the teacher.

        Args:
            again: the model was trained before: the teacher knows all it has to say.

        Returns:
            one turn after the other.
        """
        student = list(self.network.parameters())
        if again:
            return (Turn("student", student, self.loss),)
        return (
            Turn("teacher", list(self.teacher.parameters()), self.teacher_loss, span=(0.0, TEACHING)),
            Turn("student", student, self.loss, 0.5, span=(TEACHING, 1.0)),
        )

    def teacher_loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Negative log-likelihood of the excerpt's samples, in nats of a density of samples between -1 and 1."""
        audio = excerpt["audio"]
        told = self._taught(audio, self.conditioning(self.controls_of(excerpt)))
        if self.recipe.law == "gaussian":
            return -normal_log_density(audio, told[..., 0], told[..., 1].clamp(min=TEACHER_FLOOR)).mean()
        return -mixture_log_density(audio, told).mean()

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Divergence of the student's law from the teacher's, and of its sound's spectra from the recording's."""
        audio, controls = excerpt["audio"], self.controls_of(excerpt)
        conditioning = self.conditioning(controls)
        state = self.initial_state(len(audio), generator)
        noise, _ = self._noise(state["counter"], audio.shape[1])
        pasts = [flow.empty(len(audio)) for flow in self.network.all_flows()]
        made, mean, log_scale, _ = self.network(noise, conditioning, pasts, self._buzz(controls, state)[0])
        told = self._taught(made, conditioning)
        if self.recipe.law == "gaussian":
            divergence = regularised_divergence(mean, log_scale, told[..., 0], told[..., 1])
        else:
            divergence = mixture_divergence(mean, log_scale, told, generator)
        apart: Tensor = self._spectral(made, audio) + LOGARITHMS * self.distance(made, audio)
        return divergence + apart

    def _taught(self, samples: Tensor, conditioning: Tensor | None) -> Tensor:
        """What the teacher expects of each sample, knowing those before it: (batch, sample, parameter)."""
        told: Tensor = self.teacher(functional.pad(samples[:, :-1], (1, 0)), conditioning)
        return told

    def _spectral(self, made: Tensor, real: Tensor) -> Tensor:
        """Mean squared difference of magnitudes: windows of 50 ms, a quarter of one apart (Ping et al. 2019)."""
        window = self.get_buffer("window")
        size = 1 << (len(window) - 1).bit_length() + 1
        spectra = [
            torch.stft(x, size, len(window) // 4, len(window), window, return_complex=True, pad_mode="constant")
            for x in (made, real)
        ]
        powers = [torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9) for spectrum in spectra]
        return (powers[0] - powers[1]).square().mean()

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The student on two frames, from silence."""
        return FromRest(self), (torch.tensor([[[knob.default for knob in self.controls]] * 2]),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """Controls of the excerpt, and the log power of each hop's spectrum, (batch, bin, frame)."""
        frames = excerpt["audio"].view(len(excerpt["audio"]), -1, self.hop_samples)
        power = torch.fft.rfft(frames * torch.hann_window(self.hop_samples)).abs().square()
        return (self.controls_of(excerpt),), torch.log(power + 1e-6).transpose(1, 2)


def _named(pasts: list[list[Tensor]]) -> State:
    return {f"past_{flow}_{layer}": past for flow, own in enumerate(pasts) for layer, past in enumerate(own)}


def _parted(state: State, counts: list[int]) -> list[list[Tensor]]:
    return [[state[f"past_{flow}_{layer}"] for layer in range(count)] for flow, count in enumerate(counts)]
