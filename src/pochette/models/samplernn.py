"""SampleRNN: sample after sample drawn by recurrent tiers, of which the slower ones see further (Mehri et al. 2017).

    pitch, loudness -- tanh --+---------------------------+
                              |                           |
    latest 8 samples ------- tier 3, every 8 samples     |
    latest 2 samples --------- tier 2, every 2 samples --+     (see `layers.tiers`)
    latest 2 codes ------------- tier 1, every sample -- distribution over 256 codes

Trained by back-propagation through windows of 512 samples, with a step of the optimiser after each: state is carried
from window to window, gradients are not.
The loss is in bits per code; bits of mu-law codes and of even ones do not compare, `loss_unit` says which they are.

Deviations from the published code, with their reasons:
- The GRU is PyTorch's, which trains fast, trims and has a kernel in C: it resets after the recurrent product, not
  before, and has a second bias of 3 times its width. So `paper` has 18,728,192 parameters without conditioning, 6,144
  more than the published network's 18,722,048 (weight norm's gains and a head that nothing reads not counted).
- No weight norm.
- The first tier looks up what an embedded code times its first weights is (`layers.tiers`), which is no multiplication:
  120 G multiply-accumulates a second at 16 kHz and paper size, where 8.00 M a sample, as published, would be 128 G.
- Even codes have a fixed full scale; the published ones stretch each stretch of sound to the full range (`sound.even`),
  so that published figures, of 1.0 to 2.3 bits, are not what this one's bits can be held against.
- Conditioning is ours: pitch and loudness, at frame rate, stand beside the samples that each recurrent tier is given.
  "none" is as published.
- The mean gradient is cut by its norm, as that of every model here, not number by number.
- Every excerpt begins as a sound does: with the learnt state, and silence behind it. Published training does so once in
  8 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.control import Control
from pochette.errors import RecipeError
from pochette.families import models
from pochette.layers.sampling import draw_code, look_up
from pochette.layers.synthesis import CYCLE
from pochette.layers.tiers import TieredNetwork
from pochette.models.clocked import HEARD, Clocked
from pochette.models.model import Excerpt, State
from pochette.models.turn import Turn
from pochette.recipe import check_ranges
from pochette.sound import even, mulaw

Size = Literal["tiny", "small", "two_tiers", "paper"]
GRIDS: dict[str, Any] = {"mulaw": mulaw, "even": even}
"""What codes mean, by name."""


@models.member("samplernn")
@dataclass(frozen=True)
class SampleRnn:
    """Sample after sample drawn by recurrent tiers of several clocks (Mehri et al. 2017); 16 kHz, slow."""

    frame_samples: int = 2
    """Samples that the fastest recurrent tier is given at a turn, and codes that a single sample is told of."""
    big_frame_samples: int = 8
    """Samples of a turn of the tier above it; 0 for none, which leaves two tiers."""
    units: int = 128
    """Of every layer, recurrent or not."""
    rnn_layers: int = 1
    """Recurrent layers of a tier."""
    embedding: int = 64
    """Numbers that stand for a code."""
    codes: Literal["mulaw", "even"] = "mulaw"
    """256 codes for a sample: spaced by the logarithm of its size, or evenly, as most of the paper's are."""
    conditioning: Literal["controls", "none"] = "controls"
    """Pitch and loudness over time, or nothing."""
    conditioning_channels: int = 16
    """Width of the layer through which conditioning enters."""
    window_samples: int = 512
    """Training's gradients go so far back; rounded to whole frames of controls."""
    sample_rate_hz: int = 16000
    """Samples per second; 16000 as published. Cost grows with it."""
    hop_samples: int = 32
    """Samples from control frame to control frame, and in one call of the engine; whole turns of the slowest tier."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"units": 16, "embedding": 8, "conditioning_channels": 8, "hop_samples": 16},
        # A size that learns on one core.
        "small": {},
        # The published commands: 3-tier, and below it 2-tier.
        "two_tiers": {"units": 1024, "embedding": 256, "frame_samples": 16, "big_frame_samples": 0, "rnn_layers": 3},
        "paper": {"units": 1024, "embedding": 256},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            frame_samples=(1, 256),
            big_frame_samples=(0, 1024),
            units=(1, 8192),
            rnn_layers=(1, 8),
            embedding=(1, 4096),
            conditioning_channels=(1, 1024),
            window_samples=(2, 10**6),
            sample_rate_hz=(4000, 384000),
            hop_samples=(1, 4096),
        )
        for long, short in zip(("hop_samples", *self.tiers), self.tiers, strict=False):
            if getattr(self, long) % getattr(self, short):
                one, other = (f"--{name.replace('_', '-')}" for name in (long, short))
                raise RecipeError(
                    f"{one} is {getattr(self, long)}, which is no whole number of times {other}, "
                    f"{getattr(self, short)}.",
                    remedy=f"Give {one} a multiple of {other}.",
                )

    @classmethod
    def sized(cls, size: Size = "small", **changes: float | str) -> SampleRnn:
        """The recipe of a named size.

        Args:
            size: see `SIZES` for what each stands for.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    @property
    def tiers(self) -> tuple[str, ...]:
        """Names of the fields that hold the recurrent tiers' frames, slowest first."""
        return ("big_frame_samples", "frame_samples") if self.big_frame_samples else ("frame_samples",)

    @property
    def periods(self) -> tuple[int, ...]:
        """Samples from turn to turn of each recurrent tier, slowest first."""
        return tuple(getattr(self, name) for name in self.tiers)

    def build(self) -> SampleRnnModel:
        """The model with fresh weights, drawn from torch's generator."""
        return SampleRnnModel(self)


class SampleRnnModel(Clocked):
    """SampleRNN as a playable model: pitch, loudness and temperature in, sound out.

    Args:
        recipe: sizes and rates.
    """

    split_by = "sound"
    """Among few notes it learns each by heart; of a pitch that it never heard it then knows nothing."""
    loss_unit: str
    """What the loss counts; bits of other alphabets do not compare."""
    levels: Tensor
    edges: Tensor

    def __init__(self, recipe: SampleRnn) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        # A control is heard from its frame on; what it did to the recurrent states fades, and never quite.
        self.hop_samples = self.latency_samples = recipe.hop_samples
        self.periods = recipe.periods
        self.loss_unit = f"bits per {recipe.codes} code"
        knobs: tuple[Control, ...] = ()
        if recipe.conditioning == "controls":
            self.features = ("f0_hz", "loudness_db")  # type: ignore[misc]
            knobs = (
                Control("pitch_hz", "Hz", 20.0, 0.45 * recipe.sample_rate_hz, 440.0, "logarithmic", "fundamental"),
                Control("loudness_db", "dB", -80.0, 0.0, -25.0, "linear", "perceived level"),
            )
        temperature = Control("temperature", "", 0.1, 2.0, 1.0, "linear", "below 1 calmer and purer, above 1 rougher")
        self.controls = (*knobs, temperature)
        self.network = network_of(recipe)
        grid = GRIDS[recipe.codes]
        levels = torch.from_numpy(grid.decode(torch.arange(grid.CODES).numpy())).float()
        self.register_buffer("levels", levels[:, None], persistent=False)
        self.register_buffer("edges", torch.from_numpy(grid.edges()), persistent=False)

    # -- playing -----------------------------------------------------------------------------------------------------

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """The learnt states and silence before; see `Model.initial_state`.

        Args:
            batch: number of voices.
            generator: draws where the noise begins; without it, at 0.

        Returns:
            fresh tensors, but for the learnt states, through which gradients go.
        """
        counter = torch.zeros(batch, dtype=torch.int64, device=self.device)
        if generator is not None:
            counter = torch.randint(CYCLE, (batch,), generator=generator).to(self.device)
        codes, heard = self._silence(batch)
        hidden = {f"hidden_{tier}": state for tier, state in enumerate(self.network.at_rest(batch))}
        return {"counter": counter, "codes": codes[:, -self.recipe.frame_samples :], HEARD: heard, **hidden}

    def _silence(self, batch: int) -> tuple[Tensor, Tensor]:
        """Codes of silence and what they sound like, as long as the slowest tier's frame."""
        codes = torch.full((batch, self.periods[0]), mulaw.SILENCE, dtype=torch.int64, device=self.device)
        return codes, look_up(self.levels, codes)[..., 0]

    def memory(self, tier: int) -> tuple[str, ...]:
        """A tier's recurrent state; see `Clocked.memory`."""
        return (f"hidden_{tier}",)

    def hold(self, controls: Tensor) -> tuple[Tensor, ...]:
        """The temperature, (batch, 1), and what the tiers are told of the other controls, (batch, channel)."""
        known = self.network.known(self.conditioning(controls))
        return (controls[:, -1:],) if known is None else (controls[:, -1:], known)

    def turn(
        self, tier: int, held: tuple[Tensor, ...], above: Tensor | None, heard: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """One step of one recurrent tier; see `Clocked.turn`."""
        known = held[1][:, None] if len(held) > 1 else None
        (name,) = self.memory(tier)
        above = None if above is None else above[:, None]
        said, hidden = self.network.tiers[tier](heard[:, None], known, above, state[name])
        return said, {name: hidden}

    def draw(self, held: tuple[Tensor, ...], state: State) -> tuple[Tensor, State]:
        """The next sample; see `Autoregressive.draw`. What the tiers say of it stands last in `held`."""
        logits = self.network.samples(state["codes"], held[-1])
        code, counter = draw_code(logits, held[0], state["counter"])
        codes = torch.cat([state["codes"][:, 1:], code[:, None]], dim=1)
        return look_up(self.levels, code), {"counter": counter, "codes": codes}

    def conditioning(self, controls: Tensor) -> Tensor | None:
        """What the network is told.

        Args:
            controls: (..., control).

        Returns:
            pitch and loudness scaled to about 0 to 1, (..., 2); or None.
        """
        if self.recipe.conditioning == "none":
            return None
        midi = 12.0 * torch.log2(controls[..., :1] / 440.0) + 69.0
        return torch.cat([midi / 127.0, controls[..., 1:2] / 80.0 + 1.0], dim=-1)

    # -- learning ----------------------------------------------------------------------------------------------------

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        """One turn, which steps once a window on its way through the excerpt, as published; see `window_losses`."""
        return (Turn("model", list(self.parameters()), self.window_losses),)

    def window_losses(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """Mean bits per code of each window; weights may be changed between two of them."""
        for bits in self._windows(excerpt):
            yield bits.mean()

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Mean negative log-likelihood in bits per code, of all samples but the first; see `bits`."""
        return self.bits(excerpt).mean()

    def bits(self, excerpt: Excerpt) -> Tensor:
        """Negative log2 of the probability of each sample given those before it.

        Args:
            excerpt: a batch of sound with its features, whole frames of it.

        Returns:
            (batch, sample - 1): of samples 1, 2, ... Gradients go no further back than a window.
        """
        return torch.cat(list(self._windows(excerpt)), dim=1)

    @property
    def window_frames(self) -> int:
        """Hops of a window of training; see `Model.window_frames`."""
        frames: int = max(1, round(self.recipe.window_samples / self.hop_samples))
        return frames

    def _windows(self, excerpt: Excerpt) -> Iterator[Tensor]:
        """Bits of each window's samples, all but the very first; state is carried from window to window, gradients not.

        The first sample has nothing before it, and counts in no model's bits.
        """
        codes, conditioning = self.targets(excerpt["audio"]), self.conditioning(self.controls_of(excerpt))
        batch, reach = len(codes), self.periods[0]
        codes = torch.cat([self._silence(batch)[0], codes], dim=1)
        heard = look_up(self.levels, codes)[..., 0]
        frames = self.window_frames
        window, hidden = frames * self.hop_samples, self.network.at_rest(batch)
        for start in range(0, codes.shape[1] - reach, window):
            here, first = slice(start, start + reach + window), start // self.hop_samples
            told = None if conditioning is None else conditioning[:, first : first + frames]
            logits, hidden = self.network(codes[:, here], heard[:, here], told, hidden)
            hidden = [state.detach() for state in hidden]
            nats = functional.cross_entropy(logits.transpose(1, 2), codes[:, here][:, reach:], reduction="none")
            yield nats[:, 0 if start else 1 :] / math.log(2.0)

    def targets(self, audio: Tensor) -> Tensor:
        """Codes of a sound.

        Args:
            audio: (batch, sample).

        Returns:
            the same shape, int64.
        """
        return torch.bucketize(audio.double(), self.edges, right=True)

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
        audio = torch.zeros(1, frames * self.hop_samples)
        resting = {
            "audio": audio,
            "f0_hz": torch.full((1, frames), 440.0),
            "loudness_db": torch.full((1, frames), -25.0),
        }
        return TeacherForced(self), self.watched(resting)[0]

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """The excerpt's codes behind a frame of silence with their conditioning, and its samples (batch, 1, sample)."""
        codes, conditioning = self.targets(excerpt["audio"]), self.conditioning(self.controls_of(excerpt))
        codes = torch.cat([self._silence(len(codes))[0], codes], dim=1)
        inputs = (codes,) if conditioning is None else (codes, conditioning.detach())
        return inputs, excerpt["audio"][:, None]


class TeacherForced(nn.Module):
    """A model's network on codes that are known, all at once, from rest.

    Args:
        model: of which it is the network.
    """

    def __init__(self, model: SampleRnnModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Tensor, conditioning: Tensor | None = None) -> Tensor:
        """Logits of every sample behind the first frame of the slowest tier; see `TieredNetwork.forward`."""
        heard = look_up(self.model.levels, codes)[..., 0]
        logits: Tensor = self.model.network(codes, heard, conditioning, self.model.network.at_rest(len(codes)))[0]
        return logits


def network_of(recipe: SampleRnn) -> TieredNetwork:
    """The learnt part of a recipe's model, with fresh weights."""
    controlled = recipe.conditioning == "controls"
    return TieredNetwork(
        conditioner=nn.Linear(2, recipe.conditioning_channels) if controlled else None,
        periods=recipe.periods,
        units=recipe.units,
        layers=recipe.rnn_layers,
        codes=mulaw.CODES,
        embedding=recipe.embedding,
    )
