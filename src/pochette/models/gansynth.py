"""GANSynth: a note from its pitch and random numbers, as a picture of magnitudes and frequencies (Engel et al. 2019).

    latent, pitch -- dense -- 3x3 -- x2 -- 3x3 -- 3x3 -- x2 -- ... -- picture -- phases, windows, added -- sound
    picture -- 3x3 -- 3x3 -- /2 -- ... -- 3x3 -- dense -- score, and which pitch

The networks are in `layers.progressive`, the picture in `sound.instantaneous`. Trained as a Wasserstein GAN with
gradient penalty, one update of the critic to one of the generator; both also learn to tell pitches, in training those
of the excerpts.

Controls are read when a note begins; the nearest pitch known is played. A note comes `step_frames` hops at a time, each
step after the work for that step alone (`layers.picture_stream`). A hop of sound is made of four windows, and of the
turns of all before: the first step needs six frames more than it plays and what every layer hears around them, and
later steps do the same. In steps a note costs therefore more than at once; how much, a test says. Behind it is
silence, in which engines compute next to nothing.

"paper" has the published generator's 7,311,246 parameters; 7,308,802 play: six layers to coarser pictures (2,444) are
for growing alone. A note at once takes 14.07 G multiply-accumulates, 3.52 G a second if it is 4 s long. Its 16 steps of
3.03 G take 48.6 G, 3.45 times as many, 11.85 G a second of 4.096 s; the first is heard after 0.22 of those 14.07 G.

What is not in the paper, and deviations:
- No moving average of the generator is played: what is trained, trimmed and played is one network. Training's learning
  rate falls to a fiftieth instead, which quiets the last weights too.
- Only "paper" grows while it is trained (`grow`); the others train all resolutions from the start, and have a layer to
  and from pictures at the finest one only.
- A fresh generator whispers: normally drawn pictures would be 20 dB above full scale.
- Latents are normal, cut at 4 deviations, where knobs end. Controls rest at one fixed draw.
- `loss` is not what training goes down, but what looks at held-out sound and comparisons ask for: the discrepancy of
  made and recorded sounds as two crowds (`sound.unpaired`). Pitches of drawn notes are as frequent as they were learnt.
- A recording's offset is taken off. "small" is linear: what a picture in mel bands gives back is approximate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.control import Control
from pochette.errors import RecipeError
from pochette.families import models
from pochette.layers.adversary import pitched_critic_loss, pitched_generator_loss
from pochette.layers.generator import uniform_noise
from pochette.layers.picture_stream import PictureStream
from pochette.layers.pitches import Pitches, hertz_of, median_pitch
from pochette.layers.progressive import ProgressiveCritic, ProgressiveGenerator, position_of, widths_of
from pochette.models.model import Excerpt, State, moved_on
from pochette.models.turn import Turn
from pochette.models.unpaired import Unpaired
from pochette.recipe import check_ranges
from pochette.sound.instantaneous import FRONT_HOPS, LOST_HOPS, InstantaneousFrequency, Scale
from pochette.sound.unpaired import LogMelStatistics

Size = Literal["tiny", "small", "paper"]

RATE = 0.4
"""Times the training's learning rate: the published 8e-4 where training says 2e-3."""
BETAS = (0.0, 0.99)
FARTHEST = 4.0
"""Deviations at which latents are cut."""
WHISPERS = 0.1
"""Of the weights to pictures, as drawn: what is left of them at first."""


@models.member("gansynth")
@dataclass(frozen=True)
class Gansynth:
    """Notes by pitch and random numbers, as magnitudes and frequencies learnt against a critic (Engel et al. 2019)."""

    channels: int = 512
    """Width of the coarsest layers, before it is bounded, times two; each doubling of the picture halves it."""
    most_channels: int = 32
    """Bound of the layers' widths."""
    latent: int = 16
    """Random numbers that a note is made of; each is a control."""
    lowest_note: int = 24
    """MIDI number of the lowest pitch known."""
    pitches: int = 61
    """How many pitches are known, a semitone apart."""
    resolutions: int = 7
    """Sizes of the picture, each twice the one before."""
    start_frames: int = 2
    """Frames of the coarsest picture."""
    start_bins: int = 4
    """Bins of the coarsest picture; the finest one's are half a window."""
    step_frames: int = 8
    """Frames of the picture that are played at a time."""
    scale: Scale = "linear"
    """Of the picture's bins: linear or mel."""
    grow: bool = False
    """Whether training begins with coarse pictures and fades finer ones in."""
    sample_rate_hz: int = 16000
    """Samples per second."""

    SIZES: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"channels": 64, "most_channels": 6, "latent": 4, "resolutions": 4, "start_bins": 4, "step_frames": 4},
        "small": {},
        "paper": {"channels": 4096, "most_channels": 256, "latent": 256, "start_bins": 16, "scale": "mel",
                  "grow": True},
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_ranges(
            self,
            channels=(2, 65536),
            most_channels=(1, 4096),
            latent=(1, 1024),
            lowest_note=(0, 120),
            pitches=(2, 121),
            resolutions=(2, 12),
            start_frames=(1, 64),
            start_bins=(1, 256),
            step_frames=(1, 1024),
            sample_rate_hz=(4000, 384000),
        )
        if self.channels >> self.resolutions < 1:
            raise RecipeError(
                f"--channels {self.channels} halved at each of {self.resolutions} resolutions leaves none.",
                remedy=f"Give --channels {1 << self.resolutions} or more.",
            )
        if self.frames % self.step_frames or self.frames < self.step_frames + FRONT_HOPS:
            raise RecipeError(
                f"A picture of {self.frames} frames does not come in steps of {self.step_frames}.",
                remedy=f"Give --step-frames that divides {self.frames} and leaves {FRONT_HOPS} frames or more.",
            )
        if self.lowest_note + self.pitches > 128:
            raise RecipeError(
                f"{self.pitches} pitches from note {self.lowest_note} go beyond note 127.",
                remedy=f"Give --pitches {128 - self.lowest_note} at most.",
            )

    @classmethod
    def sized(cls, size: Size = "small", **changes: Any) -> Gansynth:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is the published one.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)

    @property
    def frames(self) -> int:
        """Of a picture."""
        return self.start_frames << (self.resolutions - 1)

    @property
    def bins(self) -> int:
        """Of a picture: half a window."""
        return self.start_bins << (self.resolutions - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each resolution, coarsest first."""
        return widths_of(self.channels, self.most_channels, self.resolutions)

    def build(self) -> GansynthModel:
        """The model with fresh weights, drawn from torch's generator."""
        return GansynthModel(self)


class GansynthModel(Unpaired):
    """GANSynth as a playable model: a pitch and latents in, a note out, some hops at a time.

    Args:
        recipe: sizes and rate.
    """

    mode = "one_shot"
    heard_from = "beginning"
    split_by = "sound"
    knows_notes_only = True
    aids, latency_samples = ("critic",), 0

    def __init__(self, recipe: Gansynth) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        start, widths = (recipe.start_frames, recipe.start_bins), recipe.widths
        inputs = recipe.latent + recipe.pitches
        self.network = ProgressiveGenerator(inputs, widths, start, grows=recipe.grow)
        with torch.no_grad():
            for layer in self.network.to_pictures.parameters():
                layer.mul_(WHISPERS)
        self.critic = ProgressiveCritic(recipe.pitches, widths, start, grows=recipe.grow)
        self.pitches = Pitches(recipe.lowest_note, recipe.pitches)
        self.pictures = InstantaneousFrequency(2 * recipe.bins, recipe.sample_rate_hz, recipe.scale)
        self.hop_samples = recipe.step_frames * self.pictures.hop_samples
        self.controls = _controls(recipe)
        self.statistics = LogMelStatistics(recipe.sample_rate_hz)
        self.learnt_of: Tensor
        self.register_buffer("learnt_of", torch.zeros(recipe.pitches))
        self.position: float | None = None
        self._grows = recipe.grow

    @property
    def excerpt_frames(self) -> int:
        """A whole note."""
        return self.recipe.frames // self.recipe.step_frames  # type: ignore[no-any-return]

    def played_parameters(self) -> dict[str, nn.Parameter]:
        """All of the generator but the layers to pictures that only growing needs."""
        last = f"network.to_pictures.{len(self.network.to_pictures) - 1}."
        return {
            path: held
            for path, held in super().played_parameters().items()
            if not path.startswith("network.to_pictures.") or path.startswith(last)
        }

    # -- playing -------------------------------------------------------------------------------------------------------

    def generate(self, note: Tensor) -> Tensor:
        """Whole notes at once, their last three hops silent; see `Unpaired.generate`."""
        made = self.pictures.sound(self.network(self.told(note), self.position))
        return functional.pad(made, (0, LOST_HOPS * self.pictures.hop_samples))

    def told(self, note: Tensor) -> Tensor:
        """What the network is given: (batch, control) to (batch, latent + pitch), 1 at the pitch that is played."""
        return torch.cat([note[:, 1:], self.pitches.chosen(note[:, 0])], dim=1)

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """State before a note; see `Model.initial_state`."""
        phase, tail = self.pictures.initial_state(batch)
        return {
            "step": torch.zeros(batch, 1, device=self.device),
            "note": torch.zeros(batch, len(self.controls), device=self.device),
            "turned": phase,
            "tail": tail,
            **PictureStream(self.network, self.recipe.step_frames, FRONT_HOPS).initial_state(batch),
        }

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """The next steps of a note; see `Model.advance`."""
        audio, frames = [], self.recipe.step_frames
        stream = PictureStream(self.network, frames, FRONT_HOPS)
        for controls_now in controls.unbind(1):
            step = state["step"]
            note = torch.where(step < 0.5, controls_now, state["note"])
            picture, after = stream.advance(self.told(note), step, state)
            places = torch.arange(picture.shape[2], device=step.device)
            inside = step * frames + places < self.recipe.frames - 0.5
            # The lowest level is below what was added before the logarithm: nothing.
            picture = torch.where(inside[:, None, :, None], picture, -1.0)
            own, phase, tail = self.pictures.advance(picture[:, :, :frames], state["turned"], state["tail"])
            ahead, _, _ = self.pictures.advance(picture[:, :, frames:], phase, tail)
            hops = torch.cat([own, ahead], dim=1)[:, FRONT_HOPS * self.pictures.hop_samples :]
            # Behind the note that is zero, and engines need not find it out.
            playing = step < self.excerpt_frames - 0.5
            audio.append(torch.where(playing, hops, 0.0))
            after = moved_on(playing, state, {"turned": phase, "tail": tail, **after})
            state = {"step": torch.where(playing, step + 1.0, step), "note": note, **after}
        return torch.cat(audio, dim=1), state

    # -- learning ------------------------------------------------------------------------------------------------------

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        """An update of the critic, one of the generator; nothing is clipped, as published.

        Args:
            again: the model was trained before; it does not grow again.

        Returns:
            both turns.
        """
        self._grows = self.recipe.grow and not again
        return (
            Turn("critic", list(self.critic.parameters()), self.criticise, RATE, BETAS, gradient_clip=math.inf),
            Turn("generator", list(self.network.parameters()), self.deceive, RATE, BETAS, gradient_clip=math.inf),
        )

    def begin_step(self, used: float) -> None:
        """The picture grows with the budget."""
        self.position = position_of(used, self.recipe.resolutions) if self._grows else None

    def criticise(self, excerpt: Excerpt, generator: torch.Generator) -> Tensor:
        """What the critic goes down: made less recorded, the penalty, the drift, and pitches that it does not tell."""
        begun, rows = self.pictures.begun(excerpt["audio"], self.recipe.frames), self.rows_of(excerpt)
        real = self.pictures.picture(begun)
        self.learnt_of += functional.one_hot(rows, self.recipe.pitches).sum(dim=0)
        with torch.no_grad():
            made = self._made(rows, generator)
        return pitched_critic_loss(partial(self.critic, position=self.position), real, made, rows, generator)

    def deceive(self, excerpt: Excerpt, generator: torch.Generator) -> Tensor:
        """What the generator goes down: the score of its notes, turned over, and pitches that cannot be told."""
        rows = self.rows_of(excerpt)
        return pitched_generator_loss(partial(self.critic, position=self.position), self._made(rows, generator), rows)

    def _made(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures of pitches, as grown as training is."""
        made: Tensor = self.network(self.told(self._drawn(rows, generator)), self.position)
        return made

    def heard(self, audio: Tensor) -> Tensor:
        """Sounds as they are learnt: the beginning, without its offset, faded out as a made note is.

        Args:
            audio: (batch, sample).

        Returns:
            (batch, sample), as long as a made one.
        """
        begun = self.pictures.begun(audio, self.recipe.frames)
        return functional.pad(self.pictures.faded(begun), (0, LOST_HOPS * self.pictures.hop_samples))

    def rows_of(self, excerpt: Excerpt) -> Tensor:
        """Numbers of the pitches that excerpts play, (batch,): of what is beyond those known, the outermost.

        Args:
            excerpt: "f0_hz", (batch, frame), and "confidence" where it is known.

        Returns:
            whole numbers, 0 for what has no pitch.
        """
        return self.pitches.rows(median_pitch(excerpt["f0_hz"], excerpt.get("confidence")))

    def notes(self, batch: int, generator: torch.Generator | None, class_number: Tensor | None = None) -> Tensor:
        """What notes are made of: latents normally drawn, pitches as often as they were learnt, evenly before.

        Args:
            batch: how many.
            generator: where chance comes from.
            class_number: not asked for; the model knows no classes.

        Returns:
            (batch, control).
        """
        often = self.learnt_of if bool(self.learnt_of.any()) else torch.ones_like(self.learnt_of)
        rows = torch.multinomial(often.cpu(), batch, replacement=True, generator=generator)
        return self._drawn(rows.to(self.device), generator)

    def _drawn(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        """Notes of given pitches and drawn latents: (batch,) to (batch, control)."""
        latents = torch.randn(len(rows), self.recipe.latent, generator=generator).clamp(-FARTHEST, FARTHEST)
        return torch.cat([self.pitches.hertz(rows)[:, None], latents.to(rows.device)], dim=1)

    def notes_like(self, excerpt: Excerpt, generator: torch.Generator | None, times: int = 1) -> Tensor:
        """Of the excerpts' pitches; see `Unpaired.notes_like`."""
        return self._drawn(self.rows_of(excerpt).repeat(times), generator)

    # -- trimming ------------------------------------------------------------------------------------------------------

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """What trimming captures: whole pictures, which hold all that is learnt.

        Returns:
            a module that holds this model as `model`, and what to call it with.
        """
        return WholePicture(self), (self.told(torch.tensor([[knob.default for knob in self.controls]])),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """Drawn latents with the excerpt's pitches, and the pictures they make; nobody knows which are wanted."""
        told = self.told(self.controls_of(excerpt)[:, 0])
        return (told,), WholePicture(self)(told)


class WholePicture(nn.Module):
    """A model's generator on whole pictures, frames last as time is elsewhere.

    Args:
        model: of which it is the generator.
    """

    def __init__(self, model: GansynthModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, told: Tensor) -> Tensor:
        """(batch, latent + pitch) to (batch, 2 * bin, frame)."""
        picture: Tensor = self.model.network(told)
        return picture.transpose(2, 3).flatten(1, 2)


def _controls(recipe: Gansynth) -> tuple[Control, ...]:
    """Pitch, then latents, at rest at one fixed draw: around zero, where knobs would stand, all notes are alike."""
    first, last = recipe.lowest_note, recipe.lowest_note + recipe.pitches - 1
    rest = uniform_noise(torch.zeros(1, dtype=torch.int64, device="cpu"), recipe.latent)[0]
    rests = (math.sqrt(2.0) * torch.erfinv(rest)).clamp(-FARTHEST, FARTHEST).tolist()
    says = "one of the numbers that a note is made of: what it does, training decides"
    return (
        Control("pitch_hz", "Hz", hertz_of(first), hertz_of(last), hertz_of((first + last) // 2), "logarithmic",
                "the note's pitch; the nearest one known is played"),
        *(
            Control(f"latent_{number}", "", -FARTHEST, FARTHEST, rest, "linear", says)
            for number, rest in enumerate(rests, 1)
        ),
    )  # fmt: skip
