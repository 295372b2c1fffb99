"""SING: a note from its pitch, velocity and instrument, a window of sound a step (Defossez et al., NeurIPS 2018).

    instrument, pitch, velocity (rows of tables) --+
                                                   +-- LSTM -- linear -- context of codes -- rewrites -- windows, added
    step of the note (row of a table) -------------+

A note is as long as its table of steps. The published algebra, at 4 s: 265 steps make 265 codes; a context of 9 is
whole 257 times; of the overlapped windows 65,024 samples are whole, of which 512 at each end are dropped: 64,000.

Played in real time, the network takes one step a frame, so a note is heard 13 frames after it begins, when its first
whole samples are there; that is the declared latency. Most of these frames make codes only, the cheaper part, and
players make all of them when a key is struck (`lead_samples`), so that the note sounds at once. It ends with its table:
silence follows, in which engines compute next to nothing. Controls are those of the frame a note begins with (the
published network is given one pitch, velocity and instrument a note); a new note begins with a new state.

Deviations from the published code, with their reasons:
- Knobs stand between rows: the nearest one is taken. Rows of the pitch table are MIDI notes from 0. The row 3 of the
  velocity table is never reached, as published; without it two parameters would be missing.
- The published 50, 50 and 20 epochs of the three stages (see `turns`) are so many shares of a training's budget.
- A folder of sounds names no velocities: 127 stands for -10 dB of loudness, 25 for -50 dB, and all is one instrument,
  unless an excerpt says `velocity` and `instrument`.
- Everything is written as matrices (`layers.overlap`, `layers.lstm`): the same parameters, drawn from the same
  distributions. A row of a table is the product of the table with a row of the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.families import models
from pochette.layers.lstm import Lstm
from pochette.layers.overlap import HOP_SAMPLES, OVERLAP, FrameDecoder, FrameEncoder
from pochette.layers.pitches import hertz_of, median_pitch
from pochette.layers.table import Table, numbered
from pochette.models.model import Excerpt, Model, State, Step, moved_on
from pochette.models.turn import Turn
from pochette.recipe import check_ranges
from pochette.sound.log_spectral import LogSpectral

Size = Literal["tiny", "small", "paper"]

PITCHES = 121
"""MIDI notes 0 to 120."""
VELOCITIES: tuple[tuple[float, int], ...] = ((25.0, 0), (50.0, 1), (75.0, 2), (100.0, 4), (127.0, 5))
"""Published velocities and their rows."""
DROPPED_HOPS = 2
"""Whole hops that are dropped at each end of a note, as published (512 samples)."""
SOFT_DB, LOUD_DB = -50.0, -10.0
"""Loudness of the softest and the hardest velocity, where a corpus tells loudness only."""
STAGES = (0.0, 50 / 120, 100 / 120, 1.0)
"""Shares of training at which its stages begin and end: 50, 50 and 20 epochs."""
STRETCH_STEPS = 32
"""Steps through which the second stage's gradient runs back, as published."""


@models.member("sing")
@dataclass(frozen=True)
class Sing:
    """Notes of a fixed length from tables, a recurrent layer and overlapping windows (Defossez et al. 2018)."""

    channels: int = 128
    """Width of the decoder."""
    code: int = 16
    """Numbers a frame between the recurrent layers and the decoder."""
    context: int = 9
    """Codes that one window of sound is made from."""
    rewrites: int = 1
    """Layers of width 1 in the decoder."""
    hidden: int = 128
    """Units of each recurrent layer."""
    layers: int = 1
    """Recurrent layers."""
    instruments: int = 1
    """Rows of the instrument table; with more than one, the instrument is a control."""
    note_seconds: float = 4.0
    """Length of a note."""
    sample_rate_hz: int = 16000
    """Samples per second; windows are 1024 samples long at any rate."""

    SIZES: ClassVar[dict[str, dict[str, float]]] = {
        "tiny": {"channels": 24, "code": 6, "hidden": 20, "note_seconds": 1.0},
        "small": {"channels": 128, "code": 16, "hidden": 128},
        "paper": {"channels": 4096, "code": 128, "rewrites": 2, "hidden": 1024, "layers": 3, "instruments": 1006},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            channels=(1, 16384),
            code=(1, 4096),
            context=(1, 64),
            rewrites=(0, 16),
            hidden=(1, 8192),
            layers=(1, 8),
            instruments=(1, 100_000),
            note_seconds=(0.05, 60.0),
            sample_rate_hz=(4000, 384000),
        )

    @classmethod
    def sized(cls, size: Size = "small", **changes: float) -> Sing:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is the published one.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    def build(self) -> SingModel:
        """The model with fresh weights, drawn from torch's generator."""
        return SingModel(self)


class SingNetwork(nn.Module):
    """The learnt part: what a note is in, windows of sound out.

    Args:
        recipe: sizes.
        steps: rows of the table of steps.
    """

    def __init__(self, recipe: Sing, steps: int) -> None:
        super().__init__()
        self.instrument = Table(numbered(recipe.instruments), recipe.instruments, 16)
        self.pitch = Table(numbered(PITCHES), PITCHES, 8)
        self.velocity = Table(VELOCITIES, 6, 2)
        self.time = Table(numbered(steps), steps, 4)
        self.lstm = Lstm(16 + 8 + 2 + 4, recipe.hidden, recipe.layers)
        self.head = nn.Linear(recipe.hidden, recipe.code)
        self.decoder = FrameDecoder(recipe.code, recipe.channels, recipe.context, recipe.rewrites)

    def codes(self, note: Tensor, steps: Tensor, state: State) -> tuple[Tensor, State]:
        """Codes of some steps of a note.

        Args:
            note: (batch, 3): MIDI number, velocity, instrument; the last is left out where there is only one.
            steps: (batch, frame), numbers of the steps.
            state: of the recurrent layers.

        Returns:
            (batch, frame, code), and the recurrent layers' state after.
        """
        # In this order as published: the features by name, then time.
        # The only row of a table is nearest to any value.
        tables = (self.instrument(note[:, -1]), self.pitch(note[:, 0]), self.velocity(note[:, 1]))
        constant = torch.cat(tables, dim=-1)[:, None]
        if steps.shape[1] > 1:
            constant = constant.expand(-1, steps.shape[1], -1)
        made, after = self.lstm(torch.cat([constant, self.time(steps)], dim=-1), state)
        return self.head(made), after


class SingModel(Model):
    """SING as a playable model: pitch, velocity and instrument of a note in, the note out.

    Args:
        recipe: sizes, length and rate.
    """

    mode = "one_shot"
    split_by = "sound"
    """A row of the table of pitches is learnt by its own sounds only: of a pitch never heard it knows nothing."""
    heard_from = "beginning"
    knows_notes_only = True
    aids = ("encoder",)
    features = ("f0_hz",)
    hop_samples = HOP_SAMPLES

    def __init__(self, recipe: Sing) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        self.note_frames = max(1, round(recipe.note_seconds * recipe.sample_rate_hz / HOP_SAMPLES))
        self.latency_samples = (recipe.context - 1 + OVERLAP - 1 + DROPPED_HOPS) * HOP_SAMPLES
        self.silent_steps = self.latency_samples // HOP_SAMPLES
        self.steps = self.silent_steps + self.note_frames + DROPPED_HOPS
        self.controls = (
            Control("pitch_hz", "Hz", hertz_of(0), hertz_of(PITCHES - 1), 440.0, "logarithmic", "the note's pitch"),
            Control("velocity", "", 0.0, 127.0, 100.0, "linear", "how hard the note is played"),
        )
        if recipe.instruments > 1:
            highest = float(recipe.instruments - 1)
            self.controls += (Control("instrument", "", 0.0, highest, 0.0, "linear", "which of the instruments plays"),)
        self.network = SingNetwork(recipe, self.steps)
        self.encoder = self._fitting_encoder()
        self.distance = LogSpectral()

    @property
    def excerpt_frames(self) -> int:
        """A whole note."""
        return self.note_frames

    @property
    def delay_samples(self) -> int:
        """A note begins when its first whole samples are there."""
        return self.latency_samples

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """State before a note; see `Model.initial_state`."""
        network = self.network
        code = len(network.head.weight)
        return {
            "step": torch.zeros(batch, 1, device=self.device),
            "note": torch.zeros(batch, len(self.controls), device=self.device),
            "codes": torch.zeros(batch, network.decoder.context - 1, code, device=self.device),
            "tail": network.decoder.initial_tail(batch),
            **network.lstm.initial_state(batch),
        }

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """The next frames of a note; see `Model.advance`."""
        network, frames = self.network, controls.shape[1]
        first = self.note_of(controls[:, 0])
        note = torch.where(state["step"] < 0.5, first, state["note"])
        steps = state["step"]
        if frames > 1:
            steps = steps + torch.arange(frames, device=steps.device)
        made, recurrent = network.codes(note, steps, state)
        # After the last whole samples there is silence, and engines compute nothing; before the first ones too, but for
        # codes: a window is heard through OVERLAP hops, so of those in the silence only the last are.
        playing = steps < self.silent_steps + self.note_frames - 0.5
        heard = playing & (steps > self.silent_steps - OVERLAP + 0.5)
        codes = torch.cat([state["codes"], torch.where(playing[..., None], made, 0.0)], dim=1)
        audio, tail = network.decoder(codes, state["tail"])
        hops = torch.where(heard[..., None], audio.view(len(audio), frames, HOP_SAMPLES), 0.0)
        sounding = torch.where(steps[..., None] > self.silent_steps - 0.5, hops, 0.0)
        following = state["step"] + frames
        after = {
            "step": torch.where(following < self.steps, following, float(self.steps)),
            "note": note,
            "codes": codes[:, frames:],
            **moved_on(heard[:, -1:], state, {"tail": tail}),
            **moved_on(playing[:, :1], state, recurrent),
        }
        return sounding.reshape(audio.shape), after

    def note_of(self, controls: Tensor) -> Tensor:
        """What the tables are asked for: the controls, pitch as a MIDI number; both (batch, control)."""
        midi = 12.0 * torch.log2(controls[:, :1] / 440.0) + 69.0
        return torch.cat([midi, controls[:, 1:]], dim=1)

    def controls_of(self, excerpt: Excerpt) -> Tensor:
        """The one note of each excerpt, (batch, frame, control): its median pitch, and how hard it was played.

        Args:
            excerpt: "f0_hz" and "loudness_db"; "velocity" and "instrument", (batch, frame), where they are known.

        Returns:
            (batch, frame, control), the same in all frames.
        """
        f0, loudness = excerpt["f0_hz"], excerpt["loudness_db"]
        pitch = median_pitch(f0, excerpt.get("confidence"))[:, None]
        shares = (loudness.amax(dim=1, keepdim=True) - SOFT_DB) / (LOUD_DB - SOFT_DB)
        velocity = excerpt.get("velocity", 25.0 + (127.0 - 25.0) * shares.clamp(0.0, 1.0).expand_as(f0))
        # Without a voiced frame there is no pitch: the lowest note stands for it.
        curves = [pitch.clamp(min=hertz_of(0)).expand_as(f0), velocity]
        if len(self.controls) > 2:
            curves.append(excerpt.get("instrument", torch.zeros_like(f0)))
        return torch.stack(curves, dim=-1)

    def note(self, controls: Tensor, frames: int) -> Tensor:
        """The beginning of a note without the silence before it.

        Args:
            controls: (batch, control).
            frames: at most `note_frames` of them are sound.

        Returns:
            (batch, frames * HOP_SAMPLES).
        """
        held = controls[:, None].expand(-1, self.silent_steps + frames, -1)
        return self.forward(held)[:, self.latency_samples :]

    # -- learning ----------------------------------------------------------------------------------------------------

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        """Three stages: an auto-encoder, its codes from the recurrent layers, the whole.

        End to end from the start, the recurrent layers first find one sound for all of a note, and leave it late. So an
        encoder, which is not played, teaches the decoder first; then the recurrent layers learn the encoder's codes, in
        stretches of 32 steps; then both learn the sound together. A trained network that was trimmed learns in the same
        stages: with fewer codes its recurrent layers are as lost as fresh ones.

        Args:
            again: the network was trained before.

        Returns:
            a turn for each stage.
        """
        if len(self.encoder.head.weight) != len(self.network.head.weight):
            self.encoder = self._fitting_encoder()
        decoder = list(self.network.decoder.parameters())
        before = [held for name, held in self.network.named_parameters() if not name.startswith("decoder.")]
        return (
            Turn("auto-encoder", [*self.encoder.parameters(), *decoder], self.encoded_loss, span=STAGES[0:2]),
            Turn("codes", before, self.code_losses, span=STAGES[1:3]),
            Turn("whole", list(self.network.parameters()), self.loss, span=STAGES[2:4]),
        )

    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Log-spectral distance of a note to an excerpt that begins where the note does.

        What lasts longer than a note is left out.
        """
        excerpt = self._within(excerpt)
        made = self.note(self.controls_of(excerpt)[:, 0], excerpt["f0_hz"].shape[1])
        distance: Tensor = self.distance(made, excerpt["audio"])
        return distance

    def encoded_loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """Log-spectral distance of a sound to itself through encoder and decoder: the first stage's."""
        audio = self._within(excerpt)["audio"]
        distance: Tensor = self.distance(self.decode(self.encode(audio)), audio)
        return distance

    def code_losses(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """Mean squared error to the encoder's codes, stretch by stretch, the state handed on: the second stage's."""
        excerpt = self._within(excerpt)
        with torch.no_grad():
            wanted = self.encode(excerpt["audio"])
        note = self.note_of(self.controls_of(excerpt)[:, 0])
        state = self.initial_state(len(note))
        for start in range(0, wanted.shape[1], STRETCH_STEPS):
            stretch = wanted[:, start : start + STRETCH_STEPS]
            numbers = torch.arange(stretch.shape[1], dtype=torch.float32, device=note.device)
            steps = (start + numbers).expand(len(note), -1)
            made, after = self.network.codes(note, steps, state)
            yield (made - stretch).square().mean()
            state = {name: value.detach() for name, value in after.items()}

    def encode(self, audio: Tensor) -> Tensor:
        """One code for every step of the notes.

        Args:
            audio: (batch, frame * HOP_SAMPLES), from the notes' beginnings.

        Returns:
            (batch, step, code): 265 steps for 250 frames and a context of 9.
        """
        edge, decoder = OVERLAP - 1 + DROPPED_HOPS, self.network.decoder
        padding = ((decoder.behind + edge) * HOP_SAMPLES, (decoder.ahead + edge) * HOP_SAMPLES)
        codes: Tensor = self.encoder(nn.functional.pad(audio, padding))
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """The notes that codes stand for, (batch, frame * HOP_SAMPLES); see `encode`."""
        dropped = DROPPED_HOPS * HOP_SAMPLES
        return self.network.decoder.whole(codes)[:, dropped:-dropped]

    def _fitting_encoder(self) -> FrameEncoder:
        """A fresh encoder as wide and as deep as the decoder."""
        decoder = self.network.decoder
        layers = sum(isinstance(part, nn.Linear) for part in decoder.rewrites)
        return FrameEncoder(decoder.output.weight.shape[1], layers, len(self.network.head.weight))

    def _within(self, excerpt: Excerpt) -> Excerpt:
        """What of an excerpt a note can hold."""
        frames = min(excerpt["f0_hz"].shape[1], self.note_frames)
        return {name: held[:, : frames * (HOP_SAMPLES if name == "audio" else 1)] for name, held in excerpt.items()}

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """What trimming captures: a step, in which every learnt weight has its part.

        Returns:
            a module that holds this model as `model`, and what to call it with.
        """
        step = Step(self)
        return step, step.example_inputs()
