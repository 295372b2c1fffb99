"""WaveGAN: a whole sound from a handful of random numbers, learnt against a critic (Donahue et al., ICLR 2019).

    latent -- dense -- 16 places -- x4 -- x4 -- ... -- x4 -- tanh      transposed convolutions of 25 taps, rectified
    sound -- /4 -- shuffle -- /4 -- shuffle -- ... -- /4 -- dense -- score          convolutions, leaky rectified

Trained as a Wasserstein GAN with gradient penalty: five updates of the critic to one of the generator. A sound is
`slice_samples` long whatever the rate. Its controls are the numbers of the latent, read when a sound begins, and the
class; a new sound begins with a new state, as players do. What is made of the same numbers is always the same.

Played, a sound comes in 16 hops, each after the work for that hop alone: every layer makes the stretch that the hop
needs of it, from what the layer before makes now and from the few samples it remembers (`layers.upsampling`). A hop
looks ahead by `reach` places in every layer; as every step must do as the first one does, who had no one before, that
stretch is made again by the next step. That costs a third more than the whole sound at once.
After the sound there is silence, in which engines compute next to nothing.

What is not in the paper, and deviations:
- Classes: the generator's dense layer is also given the class, one of so many inputs being 1; the critic's score is
  that of all classes plus a product of its last layer with a row of the class (Miyato & Koyama 2018).
- Controls rest at one fixed draw: around zero, where knobs would stand, latents are hardly ever drawn.
- `loss` is not what training goes down, but what looks at held-out sound and comparisons ask for: the discrepancy of
  made and recorded sounds as two crowds (`sound.unpaired`).
- Every sound of training is brought to full scale, as the published code does, whatever it is told; `normalise=False`
  leaves levels as they are.
- Critic and generator are drawn as TensorFlow draws (Glorot uniform, offsets zero).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pochette.control import Control
from pochette.errors import RecipeError
from pochette.families import models
from pochette.layers.adversary import gradient_penalty
from pochette.layers.generator import uniform_noise
from pochette.layers.strided import PLACES, Critic, GeneratorNetwork
from pochette.models.model import Excerpt, State, moved_on
from pochette.models.turn import Turn
from pochette.models.unpaired import Unpaired
from pochette.recipe import check_ranges
from pochette.sound.unpaired import LogMelStatistics

Size = Literal["tiny", "small", "paper"]

PENALTY = 10.0
CRITIC_UPDATES = 5
RATE = 0.05
"""Times the training's learning rate: the published 1e-4 where training says 2e-3."""
BETAS = (0.5, 0.9)


@models.member("wavegan")
@dataclass(frozen=True)
class Wavegan:
    """One-shot sounds from random numbers, learnt against a critic (Donahue et al. 2019)."""

    channels: int = 8
    """Width of the layer next to the sound; each layer further in is twice as wide."""
    latent: int = 16
    """Random numbers that a sound is made of; each is a control."""
    slice_samples: int = 16384
    """Length of a sound: 16 times a power of 4, or twice that."""
    classes: int = 0
    """Kinds of sound to tell apart, as the corpus names them; 0 for one crowd. With classes, the class is a control."""
    shuffle: int = 2
    """Samples by which phase shuffle moves what the critic hears, at most; 0 for none."""
    shuffle_each: bool = False
    """Whether each sound of a batch is moved by its own draw, and not all by one as in the published code."""
    normalise: bool = True
    """Whether every sound of training is brought to full scale."""
    sample_rate_hz: int = 16000
    """Samples per second."""

    SIZES: ClassVar[dict[str, dict[str, int]]] = {
        "tiny": {"channels": 4, "latent": 4, "slice_samples": 1024},
        "small": {"channels": 8, "latent": 16},
        "paper": {"channels": 64, "latent": 100},
    }

    def __post_init__(self) -> None:
        check_ranges(
            self,
            channels=(1, 1024),
            latent=(1, 200),
            slice_samples=(64, 262144),
            classes=(0, 10000),
            shuffle=(0, 16),
            sample_rate_hz=(4000, 384000),
        )
        powers = [PLACES * 2**power for power in range(2, 15)]
        if self.slice_samples not in powers:
            near = min(powers, key=lambda length: abs(length - self.slice_samples))
            raise RecipeError(
                f"--slice-samples is {self.slice_samples}, which the layers do not come to.",
                remedy=f"Give --slice-samples {near}, or another of {', '.join(map(str, powers))}.",
            )
        if self.classes == 1:
            raise RecipeError(
                "--classes is 1: there is nothing to tell apart.", remedy="Give --classes 0, or 2 or more."
            )

    @classmethod
    def sized(cls, size: Size = "small", **changes: int | bool) -> Wavegan:
        """The recipe of a named size.

        Args:
            size: "tiny" and "small" are ours, "paper" is the published one.
            **changes: other fields.

        Returns:
            the recipe.
        """
        return replace(cls(**cls.SIZES[size]), **changes)  # type: ignore[arg-type]

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the layers from the latent on: 4, and 2 at last where the length asks for it."""
        power = (self.slice_samples // PLACES).bit_length() - 1
        return (4,) * (power // 2) + (2,) * (power % 2)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels between the layers, from the latent on, without the sound's one."""
        return tuple(self.channels << layer for layer in reversed(range(len(self.strides))))

    def build(self) -> WaveganModel:
        """The model with fresh weights, drawn from torch's generator."""
        return WaveganModel(self)


class WaveganModel(Unpaired):
    """WaveGAN as a playable model: latents (and a class) in, a sound out, hop by hop.

    With classes an excerpt must hold `class_number`, (batch, frame).

    Args:
        recipe: sizes and rate.
    """

    mode = "one_shot"
    heard_from = "beginning"
    split_by = "sound"
    aids = ("critic",)
    latency_samples = 0

    def __init__(self, recipe: Wavegan) -> None:
        super().__init__()
        self.recipe = recipe
        self.sample_rate_hz = recipe.sample_rate_hz
        self.hop_samples = recipe.slice_samples // PLACES
        rests = uniform_noise(torch.zeros(1, dtype=torch.int64, device="cpu"), recipe.latent)[0].tolist()
        says = "one of the numbers that a sound is made of: what it does, training decides"
        self.controls = tuple(
            Control(f"latent_{number}", "", -1.0, 1.0, rest, "linear", says) for number, rest in enumerate(rests, 1)
        )
        if recipe.classes:
            last = float(recipe.classes - 1)
            self.controls += (Control("class_number", "", 0.0, last, 0.0, "linear", "which of the classes"),)
        self.network = GeneratorNetwork(recipe.latent + recipe.classes, recipe.widths, recipe.strides)
        self.critic = Critic(recipe.classes, recipe.widths, recipe.strides)
        self.statistics = LogMelStatistics(recipe.sample_rate_hz)

    @property
    def classes(self) -> int:
        """How many classes it was built for."""
        classes: int = self.recipe.classes
        return classes

    @property
    def excerpt_frames(self) -> int:
        """A whole sound."""
        return PLACES

    # -- playing -------------------------------------------------------------------------------------------------------

    def generate(self, note: Tensor) -> Tensor:
        """Whole sounds at once.

        Args:
            note: (batch, control).

        Returns:
            (batch, slice_samples).
        """
        made: Tensor = self.network(self.told(note))
        return made

    def told(self, note: Tensor) -> Tensor:
        """What the network is given: (batch, control) to (batch, latent + class); the lower class half-way."""
        latents = note[:, : self.recipe.latent]
        return torch.cat([latents, self.chosen(note[:, -1])], dim=1) if self.classes else latents

    def chosen(self, class_number: Tensor) -> Tensor:
        """1 at the class nearest to a number, 0 elsewhere: (batch,) to (batch, class)."""
        away = class_number[:, None] - torch.arange(self.classes, device=class_number.device)
        return torch.where(away > -0.5, torch.where(away <= 0.5, 1.0, 0.0), 0.0)

    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """State before a sound; see `Model.initial_state`."""
        return {
            "hop": torch.zeros(batch, 1, device=self.device),
            "note": torch.zeros(batch, len(self.controls), device=self.device),
            **{
                f"heard_{number}": layer.weight.new_zeros(batch, len(layer.weight), layer.reach)
                for number, layer in enumerate(self.network.upsamplings())
            },
        }

    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """The next frames of a sound; see `Model.advance`."""
        audio = []
        for frame in range(controls.shape[1]):
            hop, state = self._advance(controls[:, frame], state)
            audio.append(hop)
        return torch.cat(audio, dim=1), state

    def _advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame: (batch, control) to (batch, hop_samples), and the state after it."""
        hop = state["hop"]
        note = torch.where(hop < 0.5, controls, state["note"])
        layers, wanted = self.network.upsamplings(), self._stretches()
        each, after = 1, {}
        x = self._within(torch.relu(self.network.dense(self.told(note), hop[:, 0], wanted[0])), hop, each)
        for number, layer in enumerate(layers):
            heard = torch.cat([state[f"heard_{number}"], x], dim=-1)
            after[f"heard_{number}"] = heard[..., each : each + layer.reach]
            each *= layer.stride
            x = layer(heard, stretch=True)[..., : wanted[number + 1]]
            x = self._within(torch.tanh(x) if layer is layers[-1] else torch.relu(x), hop, each)
        playing = hop < PLACES - 0.5
        following = {"hop": torch.where(playing, hop + 1.0, hop), "note": note, **moved_on(playing, state, after)}
        return torch.where(playing, x[:, 0], 0.0), following

    def _stretches(self) -> list[int]:
        """How many samples of each layer's input, and of the sound, a step makes: its own and those ahead of it."""
        length, made = self.hop_samples, [self.hop_samples]
        for layer in reversed(self.network.upsamplings()):
            length = -(-length // layer.stride) + layer.reach
            made.append(length)
        return made[::-1]

    def _within(self, x: Tensor, hop: Tensor, each: int) -> Tensor:
        """Zero behind the sound's end: (batch, channel, sample), of which `each` are a hop long."""
        ahead = torch.arange(x.shape[-1], device=x.device) / each
        return torch.where((hop + ahead < PLACES)[:, None], x, 0.0)

    # -- learning ------------------------------------------------------------------------------------------------------

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        """Five updates of the critic, one of the generator; nothing is clipped, as published."""
        return (
            Turn("critic", list(self.critic.parameters()), self.criticise, RATE, BETAS, CRITIC_UPDATES,
                 gradient_clip=math.inf),
            Turn("generator", list(self.network.parameters()), self.deceive, RATE, BETAS, gradient_clip=math.inf),
        )  # fmt: skip

    def criticise(self, excerpt: Excerpt, generator: torch.Generator) -> Tensor:
        """What the critic goes down: made less recorded, and ten times the penalty."""
        real = self.heard(excerpt["audio"])
        note = self.notes(len(real), generator, excerpt.get("class_number"))
        with torch.no_grad():
            made = self.generate(note)
        chosen = self.chosen(note[:, -1]) if self.classes else None
        shifts = self._shifts(len(real), generator)

        def score(audio: Tensor) -> Tensor:
            found: Tensor = self.critic(audio, chosen, shifts)
            return found

        penalty = gradient_penalty(score, real, made, generator)
        return score(made).mean() - score(real).mean() + PENALTY * penalty

    def deceive(self, excerpt: Excerpt, generator: torch.Generator) -> Tensor:
        """What the generator goes down: the score of its sounds, turned over."""
        count = len(excerpt["audio"])
        note = self.notes(count, generator, excerpt.get("class_number"))
        chosen = self.chosen(note[:, -1]) if self.classes else None
        score: Tensor = self.critic(self.generate(note), chosen, self._shifts(count, generator))
        return -score.mean()

    def heard(self, audio: Tensor) -> Tensor:
        """Sounds as they are learnt: the beginning, silence behind it, at full scale if so wanted.

        Args:
            audio: (batch, sample).

        Returns:
            (batch, slice_samples).
        """
        missing = max(0, self.recipe.slice_samples - audio.shape[1])
        begun = functional.pad(audio, (0, missing))[:, : self.recipe.slice_samples]
        if not self.recipe.normalise:
            return begun
        peak = begun.abs().amax(dim=1, keepdim=True)
        return begun / torch.where(peak > 0.0, peak, 1.0)

    def notes(self, batch: int, generator: torch.Generator | None, class_number: Tensor | None = None) -> Tensor:
        """What sounds are made of: latents evenly drawn, and classes.

        Args:
            batch: how many.
            generator: where chance comes from.
            class_number: (batch, frame); drawn where it is not given.

        Returns:
            (batch, control).
        """
        latents = (2.0 * torch.rand(batch, self.recipe.latent, generator=generator) - 1.0).to(self.device)
        if not self.classes:
            return latents
        if class_number is None:
            class_number = torch.randint(self.classes, (batch, 1), generator=generator).float()
        return torch.cat([latents, class_number[:, :1].to(self.device)], dim=1)

    def _shifts(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draws of phase shuffle: (shuffled layer, 1 or batch)."""
        most, each = self.recipe.shuffle, batch if self.recipe.shuffle_each else 1
        return torch.randint(-most, most + 1, (self.critic.shuffled_layers, each), generator=generator)

    def notes_like(self, excerpt: Excerpt, generator: torch.Generator | None, times: int = 1) -> Tensor:
        """Of the excerpts' classes; see `Unpaired.notes_like`."""
        numbers = excerpt["class_number"].repeat(times, 1) if self.classes else None
        return self.notes(times * len(excerpt["audio"]), generator, numbers)

    # -- trimming ------------------------------------------------------------------------------------------------------

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """What trimming captures: whole sounds, of which every layer is plain.

        Returns:
            a module that holds this model as `model`, and what to call it with.
        """
        return WholeSound(self), (self.told(torch.tensor([[knob.default for knob in self.controls]])),)

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """Drawn latents with the excerpt's classes, and the sounds they make, (batch, 1, sample).

        Of a made sound nobody knows which recording is wanted, so a unit is judged by what it tells of the sound that
        comes of it.
        """
        note = self.controls_of(excerpt)[:, 0]
        return (self.told(note),), self.generate(note)[:, None]


class WholeSound(nn.Module):
    """A model's generator on whole sounds.

    Args:
        model: of which it is the generator.
    """

    def __init__(self, model: WaveganModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, told: Tensor) -> Tensor:
        """See `GeneratorNetwork.forward`."""
        made: Tensor = self.model.network(told)
        return made
