"""The WaveNet auto-encoder of NSynth (Engel et al. 2017): sound to a slow code, and a WaveNet that sounds like it.

    sound -- temporal encoder, a code of 16 numbers each 512 samples (`layers.temporal_encoder`)
                                       |
    latest 3 samples -- dilated stack, code added in every gate (`layers.dilated`) -- distribution over 256 codes

Trained as a whole, it is played by its decoder: the controls are the code's numbers. `encode` gives the codes of a live
sound, hop by hop; with the causal encoder as it is heard, with the published one `delay_samples` later.

Deviations from the published code, with their reasons:
- The code passes through tanh, so that a knob has a range, -1 to 1, which encoded sound never leaves.
- The last layer has no residual output, which nothing reads, and what the code adds has no bias beside the layers' own:
  `paper` has 61,510,416 parameters, 293,632 fewer than the published 61,804,048.
- mu-law codes are rounded (`sound.mulaw`), so that silence is 0; the published ones are cut off.
- No running average of weights; the learning rate is the training's.
- `encoder="causal"` is ours: the same layers, looking behind only.
- Every excerpt begins with empty queues and silence, as generation does: as published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.control import Control
from pochette.families import models
from pochette.layers.causal import DelayLine, SampleLine
from pochette.layers.dilated import DilatedNetwork, Gates
from pochette.layers.sampling import draw_code, look_up
from pochette.layers.synthesis import CYCLE
from pochette.layers.temporal_encoder import TemporalEncoder
from pochette.models.autoregressive import Autoregressive
from pochette.models.model import Excerpt, State
from pochette.recipe import check_ranges
from pochette.sound import mulaw

Size = Literal["tiny", "small", "paper"]
TAPS = 3
"""Of every convolution; so many latest samples enter the decoder."""


@models.member("nsynth")
@dataclass(frozen=True)
class Nsynth:
    """Auto-encoder whose decoder is a WaveNet, played by the numbers of its code (Engel et al. 2017); 16 kHz, slow."""

    residual_channels: int = 32
    """Channels from layer to layer of the decoder."""
    gate_channels: int = 32
    """Channels of the filter, and as many of the gate, in each of its layers."""
    skip_channels: int = 64
    """Channels of the sum of skips, and of the hidden layer after it."""
    encoder_channels: int = 32
    """Channels from layer to layer of the encoder."""
    code: int = 16
    """Numbers of a code; each is a control."""
    layers_per_stack: int = 7
    """Layers of a stack, in encoder and decoder; their dilations are 1, 2, 4..."""
    stacks: int = 2
    """How often the dilations are run through."""
    encoder: Literal["published", "causal"] = "published"
    """Whether it looks as far ahead as behind, or behind only, for live use."""
    sample_rate_hz: int = 16000
    """Samples per second; 16000 as published. Cost grows with it."""
    hop_samples: int = 512
    """Samples from code to code, and in one call of the engine; 512 as published."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {
            "residual_channels": 16,
            "gate_channels": 16,
            "skip_channels": 32,
            "encoder_channels": 8,
            "code": 4,
            "layers_per_stack": 4,
            "stacks": 1,
            "hop_samples": 32,
        },
        # A size that learns on one core.
        "small": {},
        "paper": {
            "residual_channels": 512,
            "gate_channels": 512,
            "skip_channels": 256,
            "encoder_channels": 128,
            "layers_per_stack": 10,
            "stacks": 3,
        },
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            residual_channels=(1, 4096),
            gate_channels=(1, 4096),
            skip_channels=(1, 4096),
            encoder_channels=(1, 4096),
            code=(1, 256),
            layers_per_stack=(1, 16),
            stacks=(1, 16),
            sample_rate_hz=(4000, 384000),
            hop_samples=(1, 4096),
        )

    @classmethod
    def sized(cls, size: Size = "small", **changes: float | str) -> Nsynth:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is that of the published code.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of each layer, first to last, in the encoder and in the decoder."""
        return tuple(2**layer for _ in range(self.stacks) for layer in range(self.layers_per_stack))

    @property
    def receptive_field(self) -> int:
        """Past samples that a distribution depends on."""
        return TAPS + (TAPS - 1) * sum(self.dilations)

    def build(self) -> NsynthModel:
        """The model with fresh weights, drawn from torch's generator."""
        return NsynthModel(self)


class NsynthNetwork(nn.Module):
    """The learnt part: both halves of the auto-encoder.

    Args:
        recipe: sizes.
    """

    def __init__(self, recipe: Nsynth) -> None:
        super().__init__()
        self.encoder = TemporalEncoder(
            channels=recipe.encoder_channels,
            dilations=recipe.dilations,
            code=recipe.code,
            hop_samples=recipe.hop_samples,
            causal=recipe.encoder == "causal",
        )
        self.decoder = DilatedNetwork(
            first=nn.Linear(TAPS, recipe.residual_channels),
            conditioner=nn.Identity(),
            dilations=recipe.dilations,
            kernel=TAPS,
            residual=recipe.residual_channels,
            gate=recipe.gate_channels,
            skip=recipe.skip_channels,
            condition=recipe.code,
            outputs=mulaw.CODES,
            wider=True,
        )

    def encode(self, curve: Tensor) -> Tensor:
        """Codes of a sound, -1 to 1; see `TemporalEncoder.forward`."""
        return torch.tanh(self.encoder(curve))

    def forward(self, curve: Tensor) -> Tensor:
        """Every sample's distribution, from the sound's own codes and the samples before.

        Args:
            curve: the sound on mu-law's curve, (batch, hop * hop_samples), -1 to 1.

        Returns:
            logits, (batch, sample, code).
        """
        logits: Tensor = self.decoder(latest_of(curve), self.encode(curve))
        return logits


class NsynthModel(Autoregressive):
    """The auto-encoder as a playable model: its code and temperature in, sound out.

    Args:
        recipe: sizes and rates.
    """

    split_by = "sound"
    loss_unit = "bits per mulaw code"
    """What the loss counts; bits of other alphabets do not compare."""
    levels: Tensor
    edges: Tensor

    def __init__(self, recipe: Nsynth) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        self.hop_samples = recipe.hop_samples
        self.latency_samples = max(recipe.hop_samples, recipe.receptive_field - 1)
        self.network = NsynthNetwork(recipe)
        codes = torch.arange(mulaw.CODES).numpy()
        self.register_buffer("levels", torch.from_numpy(mulaw.decode(codes)).float()[:, None], persistent=False)
        self.register_buffer("edges", torch.from_numpy(mulaw.edges()), persistent=False)

    @property
    def controls(self) -> tuple[Control, ...]:  # type: ignore[override]
        """A knob for each number of the code, as many as the encoder still says after trimming, and the temperature."""
        says = "one number of the code: what it does, training decides"
        numbers = range(1, len(self.network.encoder.head.weight) + 1)
        temperature = Control("temperature", "", 0.1, 2.0, 1.0, "linear", "below 1 calmer and purer, above 1 rougher")
        return (*(Control(f"code_{n}", "", -1.0, 1.0, 0.0, "linear", says) for n in numbers), temperature)

    # -- playing -----------------------------------------------------------------------------------------------------

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """Empty queues and silence as the samples before; see `Model.initial_state`.

        Args:
            batch: number of voices.
            generator: draws where the noise begins; without it, at 0.

        Returns:
            fresh tensors.
        """
        counter = torch.zeros(batch, dtype=torch.int64, device=self.device)
        if generator is not None:
            counter = torch.randint(CYCLE, (batch,), generator=generator).to(self.device)
        queues = {f"queue_{i}": queue for i, queue in enumerate(self.network.decoder.empty_queues(batch))}
        return {"counter": counter, "latest": self.levels.new_zeros(batch, TAPS), **queues}

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some frames, drawn sample by sample; see `Model.advance`."""
        audio, decoder = [], self.network.decoder
        for frame in range(controls.shape[1]):
            gates = decoder.condition(controls[:, frame, :-1])
            lines = decoder.lines([state[name] for name in state if name.startswith("queue_")])
            for _ in range(self.hop_samples):
                sample, state = self._next(gates, lines, controls[:, frame, -1:], state)
                audio.append(sample)
            state = {**state, **{f"queue_{i}": line.past() for i, line in enumerate(lines)}}
        return torch.cat(audio, dim=1), state

    def hold(self, controls: Tensor) -> tuple[Tensor, ...]:
        """The temperature, (batch, 1), and what the code adds in every layer, one behind the other."""
        gates = [part for added in self.network.decoder.condition(controls[:, :-1]) if added for part in added]
        return controls[:, -1:], torch.cat(gates, dim=-1)

    def draw(self, held: tuple[Tensor, ...], state: State) -> tuple[Tensor, State]:
        """The next sample and the queues after it; see `Autoregressive.draw`."""
        decoder = self.network.decoder
        lines = decoder.sample_lines([state[name] for name in state if name.startswith("queue_")])
        sample, state = self._next(decoder.parted(held[1]), lines, held[0], state)
        return sample, {**state, **{f"queue_{i}": line.past() for i, line in enumerate(lines)}}

    def _next(
        self, gates: list[Gates], lines: Sequence[DelayLine | SampleLine], temperature: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """A sample (batch, 1), and the state after it but for the queues, which their lines hold."""
        logits = self.network.decoder.step(state["latest"], lines, gates)
        code, counter = draw_code(logits, temperature, state["counter"])
        latest = torch.cat([state["latest"][:, 1:], self.curve(code)[:, None]], dim=1)
        return look_up(self.levels, code), {**state, "counter": counter, "latest": latest}

    def curve(self, codes: Tensor) -> Tensor:
        """Where codes stand on mu-law's curve, -1 to 1, silence at 0: what the network is given for a sample."""
        return (codes - mulaw.SILENCE).to(self.levels.dtype) / mulaw.SILENCE

    # -- encoding ----------------------------------------------------------------------------------------------------

    @property
    def delay_samples(self) -> int:
        """How much later than a sound, encoded as it is heard, its codes come: the encoder's look-ahead, whole hops."""
        return -(-self.network.encoder.ahead_samples // self.hop_samples) * self.hop_samples

    def initial_history(self, batch: int) -> Tensor:
        """Silence before the first sample that is encoded: all that its code hears, in whole hops."""
        hops = -(-self.network.encoder.behind_samples // self.hop_samples)
        return torch.zeros(batch, hops * self.hop_samples + self.delay_samples, device=self.device)

    def encode(self, audio: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of a sound as it is heard: each is of the hop that ended `delay_samples` ago.

        Args:
            audio: (batch, frame * hop_samples).
            history: as `initial_history` gives it, the samples before.

        Returns:
            codes (batch, frame, code), and the history after.
        """
        heard = torch.cat([history, audio], dim=1)
        ends = heard.shape[1] - self.delay_samples
        codes = self.network.encode(self.curve(self.targets(heard)))[:, : ends // self.hop_samples]
        return codes[:, -(audio.shape[1] // self.hop_samples) :], heard[:, audio.shape[1] :]

    def controls_of(self, excerpt: Excerpt) -> Tensor:
        """Codes of a sound as it is heard, and the temperature at rest: what is played comes `delay_samples` late."""
        audio = excerpt["audio"]
        codes, _ = self.encode(audio, self.initial_history(len(audio)))
        return torch.cat([codes, torch.ones_like(codes[..., :1])], dim=-1)

    # -- learning ----------------------------------------------------------------------------------------------------

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Mean negative log-likelihood in bits per code, of all samples but the first; see `bits`."""
        return self.bits(excerpt).mean()

    def bits(self, excerpt: Excerpt) -> Tensor:
        """Negative log2 of the probability of each sample given those before it and the sound's own codes.

        Codes know of the sample that they help to predict: 16 numbers each 512 samples. They are not counted.

        Args:
            excerpt: a batch of sound.

        Returns:
            (batch, sample - 1): of samples 1, 2, ...
        """
        targets = self.targets(excerpt["audio"])
        logits = self.network(self.curve(targets))[:, 1:]
        return functional.cross_entropy(logits.transpose(1, 2), targets[:, 1:], reduction="none") / math.log(2.0)

    def targets(self, audio: Tensor) -> Tensor:
        """mu-law codes of a sound, (batch, sample), int64: 0 to 255, whatever the samples."""
        return torch.bucketize(audio.double(), self.edges, right=True)

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """What trimming captures: all that is trained, encoder and decoder, on whole hops of 64 samples or more.

        Returns:
            a module whose `model` is this one, and example inputs for it.
        """
        hops = -(-64 // self.hop_samples)
        return Resynthesis(self), (torch.zeros(1, hops * self.hop_samples),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """The excerpt on mu-law's curve, and its samples, (batch, 1, sample)."""
        return (self.curve(self.targets(excerpt["audio"])),), excerpt["audio"][:, None]


class Resynthesis(nn.Module):
    """An auto-encoder as a function of known sound.

    Args:
        model: whose encoder and decoder.
    """

    def __init__(self, model: NsynthModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, curve: Tensor) -> Tensor:
        """See `NsynthNetwork.forward`."""
        logits: Tensor = self.model.network(curve)
        return logits


def latest_of(curve: Tensor) -> Tensor:
    """The samples before each, (batch, sample, tap), oldest first; silence before the first."""
    samples = curve.shape[1]
    before = functional.pad(curve, (TAPS, 0))
    return torch.stack([before[:, tap : tap + samples] for tap in range(TAPS)], dim=-1)
