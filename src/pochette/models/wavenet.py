"""WaveNet: every sample drawn from a distribution that a stack of dilated convolutions makes of all samples before it.

    previous sample -- embedding --+-- layer 1 --+-- layer 2 -- ... -- layer n      dilations 1, 2, 4 ..., per stack
                                   |             |                       |
    pitch, loudness -- tanh -------+---- added inside every gate --------+
                                                 |                       |
                                               skips ------- sum --------+-- ReLU, 1x1, ReLU, 1x1 -- distribution

A layer: z = tanh(W_f x + V_f c) sigmoid(W_g x + V_g c), with W dilated; x + W_r z goes on, W_s z is its skip (van den
Oord et al. 2016). Its loss is in bits per sample; bits of mu-law codes and bits of 16-bit logistics do not compare.

What the paper leaves open, and deviations:
- It gives no channel counts, so there is no paper size; see `Wavenet.SIZES` for what stands in.
- The last layer has no residual output: nothing reads it. (Counts of others often include it.)
- Conditioning runs at frame rate and is held for a hop: repetition and a 1x1 convolution commute. The paper's learnt
  upsampling is left out. A small tanh layer stands before it, since two raw numbers hardly turn a gate.
- Control frame f conditions the samples of its own hop, as it does in playing.
- Generation and every training excerpt begin with empty queues (`layers.causal`) and silence as the sample before.
- A draw inverts the distribution function (`layers.sampling`) with noise from a counter: the same counter, the same
  sound. The likeliest code is never simply taken: that collapses to silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.control import Control
from pochette.families import models
from pochette.layers.dilated import DilatedNetwork
from pochette.layers.logistics import bin_number, draw_logistic, log_likelihood
from pochette.layers.sampling import draw_code, look_up
from pochette.layers.synthesis import CYCLE
from pochette.models.autoregressive import Autoregressive
from pochette.models.model import Excerpt, State
from pochette.recipe import check_ranges
from pochette.sound import mulaw

Size = Literal["tiny", "small", "medium", "paper"]
LEVELS = 65536
"""Bins of the mixture of logistics: 16-bit samples."""


@models.member("wavenet")
@dataclass(frozen=True)
class Wavenet:
    """Sample after sample drawn from what dilated convolutions expect (van den Oord et al. 2016); 16 kHz, slow."""

    residual_channels: int = 32
    """Channels from layer to layer."""
    gate_channels: int = 32
    """Channels of the filter, and as many of the gate, in each layer."""
    skip_channels: int = 64
    """Channels of the sum of skips, and of the hidden layer after it."""
    kernel: int = 2
    """Taps of each dilated convolution."""
    layers_per_stack: int = 8
    """Layers of a stack; their dilations are 1, 2, 4..."""
    stacks: int = 2
    """How often the dilations are run through."""
    output: Literal["mulaw", "logistics"] = "mulaw"
    """A distribution over 256 mu-law codes, or a mixture of logistics over 16-bit samples."""
    mixtures: int = 10
    """Components of the mixture of logistics."""
    conditioning: Literal["controls", "class", "none"] = "controls"
    """Pitch and loudness over time, one class for the whole sound, or nothing."""
    conditioning_channels: int = 16
    """Width of the layer, or of the embedding of classes, through which conditioning enters."""
    classes: int = 8
    """How many classes there are."""
    sample_rate_hz: int = 16000
    """Samples per second; 16000 as published. Cost grows with it."""
    hop_samples: int = 32
    """Samples from control frame to control frame, and in one call of the engine."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {
            "residual_channels": 16,
            "gate_channels": 16,
            "skip_channels": 32,
            "layers_per_stack": 5,
            "stacks": 1,
            "hop_samples": 8,
        },
        # A size that learns on one core: 1.45e5 parameters, 511 samples of context.
        "small": {},
        # The widths of NVIDIA's nv-wavenet (64, 128), 20 layers.
        "medium": {"residual_channels": 64, "gate_channels": 64, "skip_channels": 128, "layers_per_stack": 10},
        # No paper size exists: this is the WaveNet of the code of Esling et al., DAFx 2020 (their text says 2 x 20).
        "paper": {"residual_channels": 128, "gate_channels": 128, "skip_channels": 256, "layers_per_stack": 10},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            residual_channels=(1, 4096),
            gate_channels=(1, 4096),
            skip_channels=(1, 4096),
            kernel=(2, 8),
            layers_per_stack=(1, 16),
            stacks=(1, 16),
            mixtures=(1, 100),
            conditioning_channels=(1, 1024),
            classes=(2, 100_000),
            sample_rate_hz=(4000, 384000),
            hop_samples=(1, 4096),
        )

    @classmethod
    def sized(cls, size: Size = "small", **changes: float | str) -> Wavenet:
        """The recipe of a named size.

        Args:
            size: see `SIZES` for what each stands for.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of each layer, first to last."""
        return tuple(2**layer for _ in range(self.stacks) for layer in range(self.layers_per_stack))

    @property
    def receptive_field(self) -> int:
        """Past samples that a distribution depends on."""
        return 1 + (self.kernel - 1) * sum(self.dilations)

    def build(self) -> WavenetModel:
        """The model with fresh weights, drawn from torch's generator."""
        return WavenetModel(self)


class WavenetModel(Autoregressive):
    """WaveNet as a playable model: pitch, loudness (or a class) and temperature in, sound out.

    With `conditioning="class"` an excerpt must hold `class_number`, (batch, frame).

    Args:
        recipe: sizes and rates.
    """

    split_by = "sound"
    """Among few notes it learns each by heart; of a pitch that it never heard it then knows nothing."""
    loss_unit: str
    """What the loss counts; bits of other alphabets do not compare."""
    levels: Tensor
    edges: Tensor

    def __init__(self, recipe: Wavenet) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        self.hop_samples = recipe.hop_samples
        self.latency_samples = max(recipe.hop_samples, recipe.receptive_field - 1)
        self.loss_unit = "bits per mulaw code" if self.by_code else "bits per 16-bit sample"
        self.features, knobs = _knobs(recipe)  # type: ignore[misc]
        temperature = Control("temperature", "", 0.1, 2.0, 1.0, "linear", "below 1 calmer and purer, above 1 rougher")
        self.controls = (*knobs, temperature)
        self.network = DilatedNetwork(
            first=nn.Embedding(mulaw.CODES, recipe.residual_channels)
            if self.by_code
            else nn.Linear(1, recipe.residual_channels),
            conditioner=_conditioner(recipe),
            dilations=recipe.dilations,
            kernel=recipe.kernel,
            residual=recipe.residual_channels,
            gate=recipe.gate_channels,
            skip=recipe.skip_channels,
            condition=recipe.conditioning_channels,
            outputs=mulaw.CODES if self.by_code else 3 * recipe.mixtures,
        )
        codes = torch.arange(mulaw.CODES).numpy()
        self.register_buffer("levels", torch.from_numpy(mulaw.decode(codes)).float()[:, None], persistent=False)
        self.register_buffer("edges", torch.from_numpy(mulaw.edges()), persistent=False)

    @property
    def by_code(self) -> bool:
        """Whether samples are mu-law codes."""
        return bool(self.recipe.output == "mulaw")

    @property
    def classes(self) -> int:
        """How many classes it is conditioned on."""
        return self.recipe.classes if self.recipe.conditioning == "class" else 0

    # -- playing -----------------------------------------------------------------------------------------------------

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """Empty queues and silence as the sample before; see `Model.initial_state`.

        Args:
            batch: number of voices.
            generator: draws where the noise begins; without it, at 0.

        Returns:
            fresh tensors.
        """
        counter = torch.zeros(batch, dtype=torch.int64, device=self.device)
        if generator is not None:
            counter = torch.randint(CYCLE, (batch,), generator=generator).to(self.device)
        queues = {f"queue_{i}": queue for i, queue in enumerate(self.network.empty_queues(batch))}
        if self.by_code:
            previous = torch.full((batch,), mulaw.SILENCE, dtype=torch.int64, device=self.device)
        else:
            previous = self.network.head.weight.new_zeros(batch)
        return {"counter": counter, "previous": previous, **queues}

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some frames, drawn sample by sample; see `Model.advance`."""
        audio = []
        for frame in range(controls.shape[1]):
            made, state = self._hop(controls[:, frame], state)
            audio += made
        return torch.cat(audio, dim=1), state

    def _hop(self, controls: Tensor, state: State) -> tuple[list[Tensor], State]:
        """One frame: (batch, control) to a list of (batch, 1) and the new state."""
        gates = self.network.condition(self.conditioning(controls))
        lines = self.network.lines([state[name] for name in state if name.startswith("queue_")])
        counter, previous, temperature = state["counter"], state["previous"], controls[:, -1:]
        audio = []
        for _ in range(self.hop_samples):
            parameters = self.network.step(previous, lines, gates)
            sample, previous, counter = self._drawn(parameters, temperature, counter)
            audio.append(sample)
        queues = {f"queue_{i}": line.past() for i, line in enumerate(lines)}
        return audio, {"counter": counter, "previous": previous, **queues}

    def hold(self, controls: Tensor) -> tuple[Tensor, ...]:
        """The temperature, (batch, 1), and what conditioning adds in every layer, one behind the other."""
        temperature = controls[:, -1:]
        gates = [part for pair in self.network.condition(self.conditioning(controls)) if pair for part in pair]
        return (temperature, torch.cat(gates, dim=-1)) if gates else (temperature,)

    def draw(self, held: tuple[Tensor, ...], state: State) -> tuple[Tensor, State]:
        """The next sample and the queues after it; see `Autoregressive.draw`."""
        lines = self.network.sample_lines([state[name] for name in state if name.startswith("queue_")])
        gates = self.network.parted(held[1] if len(held) > 1 else None)
        parameters = self.network.step(state["previous"], lines, gates)
        sample, previous, counter = self._drawn(parameters, held[0], state["counter"])
        queues = {f"queue_{i}": line.past() for i, line in enumerate(lines)}
        return sample, {"counter": counter, "previous": previous, **queues}

    def _drawn(self, parameters: Tensor, temperature: Tensor, counter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A sample (batch, 1), what the next one is told of it (batch,), and the counter after it."""
        if self.by_code:
            code, counter = draw_code(parameters, temperature, counter)
            return look_up(self.levels, code), code, counter
        sample, counter = draw_logistic(parameters, temperature, counter)
        return sample, sample[:, 0], counter

    def conditioning(self, controls: Tensor) -> Tensor | None:
        """What the network is told.

        Args:
            controls: (..., control).

        Returns:
            pitch and loudness scaled to about 0 to 1, (..., 2); or class numbers (...); or None.
        """
        if self.recipe.conditioning == "none":
            return None
        if self.recipe.conditioning == "class":
            return controls[..., 0]
        midi = 12.0 * torch.log2(controls[..., :1] / 440.0) + 69.0
        return torch.cat([midi / 127.0, controls[..., 1:2] / 80.0 + 1.0], dim=-1)

    # -- learning ----------------------------------------------------------------------------------------------------

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Negative log-likelihood in bits per sample, of 256 mu-law codes or of 16-bit samples.

        All samples count but the first, whose predecessor the excerpt does not hold. The next ones have less than the
        full context behind them, as they have when a sound is begun; see `settled_bits`.
        """
        return self.bits(excerpt).mean()

    def settled_bits(self, excerpt: Excerpt) -> Tensor:
        """Bits per sample where the whole receptive field lies inside the excerpt: the figure to compare models by.

        Args:
            excerpt: if it is no longer than the receptive field, its last sample counts.

        Returns:
            scalar.
        """
        bits = self.bits(excerpt)
        return bits[:, min(self.recipe.receptive_field, bits.shape[1]) - 1 :].mean()

    def bits(self, excerpt: Excerpt) -> Tensor:
        """Negative log2 of the probability of each sample given those before it.

        Args:
            excerpt: a batch of sound with its features.

        Returns:
            (batch, sample - 1): of samples 1, 2, ...
        """
        targets, previous = self.targets(excerpt["audio"])
        parameters = self.network(previous, self.conditioning(self.controls_of(excerpt)))[:, 1:]
        if self.by_code:
            nats = functional.cross_entropy(parameters.transpose(1, 2), targets[:, 1:], reduction="none")
        else:
            nats = -log_likelihood(parameters, targets[:, 1:], LEVELS)
        return nats / math.log(2.0)

    def targets(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """What is to be predicted, and the sample before each, silence before the first.

        Args:
            audio: (batch, sample).

        Returns:
            codes or bins (batch, sample), int64; and codes or samples (batch, sample).
        """
        if self.by_code:
            codes = torch.bucketize(audio.double(), self.edges, right=True)
            return codes, functional.pad(codes[:, :-1], (1, 0), value=mulaw.SILENCE)
        samples = audio.to(self.network.head.weight.dtype).clamp(-1.0, 1.0)
        return bin_number(audio, LEVELS), functional.pad(samples[:, :-1], (1, 0))

    def controls_of(self, excerpt: Excerpt) -> Tensor:
        """Control curves of an excerpt, see `Model.controls_of`; a model without conditioning reads none of it."""
        if self.features:
            return super().controls_of(excerpt)
        frames = excerpt["audio"].shape[1] // self.hop_samples
        return excerpt["audio"].new_ones(len(excerpt["audio"]), frames, 1)

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The teacher-forced network on whole frames, 64 samples or more: what trimming reads instead of the step.

        Returns:
            a module whose `model` is this one, and example inputs for it.
        """
        frames = -(-64 // self.hop_samples)
        previous = torch.zeros(1, frames * self.hop_samples)
        if self.by_code:
            previous = torch.full(previous.shape, mulaw.SILENCE)
        conditioning = self.conditioning(torch.tensor([[knob.default for knob in self.controls]] * frames)[None])
        return TeacherForced(self), (previous,) if conditioning is None else (previous, conditioning)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """Samples of the excerpt one late with their conditioning, and the samples themselves, (batch, 1, sample)."""
        _, previous = self.targets(excerpt["audio"])
        conditioning = self.conditioning(self.controls_of(excerpt))
        inputs = (previous,) if conditioning is None else (previous, conditioning.detach())
        return inputs, excerpt["audio"][:, None]


class TeacherForced(nn.Module):
    """A model's network on samples that are known, all at once.

    Args:
        model: of which it is the network.
    """

    def __init__(self, model: WavenetModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, previous: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """Parameters of every sample's distribution; see `DilatedNetwork.forward`."""
        parameters: Tensor = self.model.network(previous, conditioning)
        return parameters


def _conditioner(recipe: Wavenet) -> nn.Embedding | nn.Linear | None:
    if recipe.conditioning == "none":
        return None
    if recipe.conditioning == "class":
        return nn.Embedding(recipe.classes, recipe.conditioning_channels)
    return nn.Linear(2, recipe.conditioning_channels)


def _knobs(recipe: Wavenet) -> tuple[tuple[str, ...], tuple[Control, ...]]:
    """Names of features, and the controls they feed."""
    if recipe.conditioning == "none":
        return (), ()
    if recipe.conditioning == "class":
        last = float(recipe.classes - 1)
        return ("class_number",), (Control("class_number", "", 0.0, last, 0.0, "linear", "which of the classes"),)
    top = 0.45 * recipe.sample_rate_hz
    return ("f0_hz", "loudness_db"), (
        Control("pitch_hz", "Hz", 20.0, top, 440.0, "logarithmic", "fundamental"),
        Control("loudness_db", "dB", -80.0, 0.0, -25.0, "linear", "perceived level"),
    )
