"""What every generative model is: an `nn.Module` that knows its knobs, rates and loss, and how to play in pieces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from pochette.control import Control
from pochette.errors import ReductionError
from pochette.models.turn import Turn

State = dict[str, Tensor]
"""What a model carries from frame to frame: name to tensor, batch first."""
Excerpt = dict[str, Tensor]
"""A batch of training sound: `audio` (batch, sample) and features (batch, frame), see `FolderCorpus.excerpt_batch`."""


def moved_on(playing: Tensor, before: State, after: State) -> State:
    """The state after a step in which only some voices play; an engine that does not play computes nothing of it.

    Args:
        playing: (batch, 1), which ones.
        before: the state before the step.
        after: what it becomes of those that play; other tensors of `before` are left out.

    Returns:
        tensors of the names in `after`.
    """
    return {
        name: torch.where(playing.view(-1, *[1] * (value.dim() - 1)), value, before[name])
        for name, value in after.items()
    }


class Model(nn.Module, ABC):
    """A generative model that makes `hop_samples` of audio from each frame of controls.

    A member writes `initial_state` and `advance`; offline and streaming forms follow from them and therefore agree.
    """

    mode: ClassVar[Literal["streaming", "one_shot", "offline"]] = "streaming"
    recipe: Any
    """The frozen dataclass that built the model."""
    controls: tuple[Control, ...]
    sample_rate_hz: int
    hop_samples: int
    latency_samples: int
    """From a change of a control to its full effect on the sound."""
    feeds_back: ClassVar[bool] = False
    """Whether samples are drawn from what was drawn before: a rounding that turns one draw is heard ever after, so that
    engines and torch agree to the sample only until then."""
    split_by: ClassVar[Literal["pitch", "take", "sound"]] = "pitch"
    """What is held out to judge it by: whole pitches, or single sounds where a new pitch is not its business."""
    features: ClassVar[tuple[str, ...]] = ()
    """Names of the excerpt's features that the model's first controls are fed with in training."""
    heard_from: ClassVar[Literal["anywhere", "beginning"]] = "anywhere"
    """Where in its sound an excerpt of training starts: anywhere, or where the sound does, as a whole note must."""
    knows_notes_only: ClassVar[bool] = False
    """Whether a pitch is one of a list to it: training moves sounds by whole semitones, as in between they would be
    out of tune with the nearest."""
    aids: ClassVar[tuple[str, ...]] = ()
    """Names of the parts that only training uses (an adversary, a teacher): kept in checkpoints, never played, counted
    or trimmed."""

    @abstractmethod
    def initial_state(self, batch: int, generator: torch.Generator | None = None) -> State:
        """State before the first frame.

        Args:
            batch: number of voices.
            generator: draws what may differ between takes (phase, noise); without it everything starts at zero.

        Returns:
            fresh tensors.
        """

    @abstractmethod
    def advance(self, controls: Tensor, state: State) -> tuple[Tensor, State]:
        """Sound of some frames, and the state after them.

        Args:
            controls: (batch, frame, control), in the controls' units.
            state: of the same batch.

        Returns:
            audio (batch, frame * hop_samples) and the new state.
        """

    @abstractmethod
    def loss(self, excerpt: Excerpt, generator: torch.Generator | None = None) -> Tensor:
        """What training minimises.

        Args:
            excerpt: a batch of sound with its features.
            generator: for what is random in training.

        Returns:
            scalar.
        """

    @property
    def device(self) -> torch.device:
        """Where its weights lie: what it makes, it makes there; what is drawn is drawn on the CPU and brought there."""
        return next((held.device for held in self.parameters()), torch.device("cpu"))

    @property
    def classes(self) -> int:
        """How many classes of sound its controls tell apart; 0 if it knows none. Excerpts must name theirs."""
        return 0

    @property
    def excerpt_frames(self) -> int | None:
        """Length of every excerpt of training, in hops, where the model and not the training decides it."""
        return None

    @property
    def window_frames(self) -> int | None:
        """How many hops gradients of `loss` go back through at most, where training cuts an excerpt into windows."""
        return None

    def turns(self, again: bool = False) -> tuple[Turn, ...]:
        """What a step of training does: by default one turn that moves everything down `loss`.

        `loss` stays what looks at held-out sound, criteria and comparisons ask for; turns may minimise something else.

        Args:
            again: the model was trained and has lost some units since: what taught it to begin with may be left out.

        Returns:
            the turns, in order.
        """
        return (Turn("model", list(self.parameters()), self.loss),)

    def begin_step(self, used: float) -> None:
        """Told before every step of training how much of the budget is used, 0 to 1: for what grows or follows."""

    def played_parameters(self) -> dict[str, nn.Parameter]:
        """What the model plays with: all parameters but those of its `aids`, by path."""
        return {path: held for path, held in self.named_parameters() if path.partition(".")[0] not in self.aids}

    @property
    def delay_samples(self) -> int:
        """How much later than a sound its resynthesis comes, when its controls are taken from it as it is heard."""
        return 0

    @property
    def lead_samples(self) -> int:
        """Silence, whole frames of it, that a sound which is made in one piece begins with: players need not wait."""
        if self.mode != "one_shot":
            return 0
        return -(-self.delay_samples // self.hop_samples) * self.hop_samples

    def heard_out(self, excerpt: Excerpt) -> Excerpt:
        """An excerpt and as much silence behind it as its resynthesis comes late; features stay as they were last."""
        hops = -(-self.delay_samples // self.hop_samples)
        after = {name: values[:, -1:].expand(-1, hops) for name, values in excerpt.items()}
        after["audio"] = excerpt["audio"].new_zeros(len(excerpt["audio"]), hops * self.hop_samples)
        return {name: torch.cat([values, after[name]], dim=1) for name, values in excerpt.items()}

    def resynthesised(self, excerpt: Excerpt) -> Tensor:
        """What the model makes of an excerpt's own controls, in step with its sound.

        Args:
            excerpt: a batch of sound with its features.

        Returns:
            (batch, sample), as long as the excerpt.
        """
        made = self(self.controls_of(self.heard_out(excerpt)))
        start: int = self.delay_samples
        return made[:, start : start + excerpt["audio"].shape[1]]  # type: ignore[no-any-return]

    def forward(self, controls: Tensor) -> Tensor:
        """A whole sound from rest.

        Args:
            controls: (batch, frame, control).

        Returns:
            audio, (batch, frame * hop_samples).
        """
        return self.advance(controls, self.initial_state(len(controls)))[0]

    def trim_form(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """A module that holds this model as `model` and uses all its learnt weights, and inputs to capture it with.

        Trimming reads its graph. The streaming form serves unless training uses weights that playing does not, or one
        step of it is needlessly large.

        Returns:
            module and positional arguments.
        """
        step = Step(self)
        return step, step.example_inputs()

    def watched(self, excerpt: Excerpt) -> tuple[tuple[Tensor, ...], Tensor]:
        """What the trim form is called with to watch the model on some sound, and what training wants of it there.

        Args:
            excerpt: a batch of sound with its features.

        Returns:
            positional arguments of the trim form, and the target (batch, feature, time).

        Raises:
            ReductionError: the model cannot be watched frame by frame.
        """
        raise ReductionError(
            f"{type(self).__name__} does not say how to watch its units on sound.",
            remedy="Choose a criterion of weights such as magnitude, or give the model a `watched`.",
        )

    def controls_of(self, excerpt: Excerpt) -> Tensor:
        """Control curves that an excerpt was played with: its features, the remaining knobs at rest.

        Args:
            excerpt: must hold every name of `features`.

        Returns:
            (batch, frame, control).
        """
        curves = [excerpt[name] for name in self.features]
        rest = [torch.full_like(curves[0], knob.default) for knob in self.controls[len(curves) :]]
        return torch.stack(curves + rest, dim=-1)


class Step(nn.Module):
    """A model's streaming form: one frame a call, its state in buffers, its parameters shared with the model.

    This is what is captured as a graph, and so what is counted, trimmed and turned into C.

    Args:
        model: any streaming model.
        names: of the state that it carries; all of it by default.
    """

    def __init__(self, model: Model, names: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.model: Any = model
        self.names = tuple(model.initial_state(1)) if names is None else names
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Back to rest."""
        state = self.model.initial_state(1)
        for name in self.names:
            # A copy: where a state at rest is learnt, it is a view of a weight.
            self.register_buffer(f"state_{name}", state[name].clone(), persistent=False)

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Controls at rest, (1, control): what the step can be called with."""
        return (torch.tensor([[knob.default for knob in self.model.controls]]),)

    def forward(self, controls: Tensor) -> Tensor:
        """The next hop of sound.

        Args:
            controls: (1, control).

        Returns:
            (1, hop_samples).
        """
        state = self._state()
        return self._keep(self.model.advance(controls[:, None], state), state)

    def _state(self) -> State:
        return {name: self.get_buffer(f"state_{name}") for name in self.names}

    def _keep(self, made: tuple[Tensor, State], state: State) -> Tensor:
        """Write the state after a call over the one before it, and give the sound."""
        audio, after = made
        # What is handed on may be the old state itself (a line of delays), which the next line overwrites.
        after = {name: value.clone() for name, value in after.items()}
        audio = audio.clone()
        for name, value in after.items():
            state[name].copy_(value)
        return audio


class TorchRunner:
    """The model itself behind the interface of an engine: the reference that every engine is held against.

    Args:
        model: any streaming model.
    """

    kind = "torch"

    def __init__(self, model: Model) -> None:
        self.model = model.eval()
        self.sample_rate_hz = model.sample_rate_hz
        self.hop_samples = model.hop_samples
        self.n_controls = len(model.controls)
        self.latency_samples = model.latency_samples
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Back to silence."""
        self._state = self.model.initial_state(1)
        self._ready = torch.zeros(0)

    @torch.no_grad()
    def process(self, controls: Any, samples: int) -> Any:
        """The next samples; see `pochette.engine.runner.Runner.process`.

        Args:
            controls: (control,) array.
            samples: how many.

        Returns:
            (samples,) float32 array.
        """
        while len(self._ready) < samples:
            frame = torch.as_tensor(controls, dtype=torch.float32).view(1, 1, -1)
            audio, self._state = self.model.advance(frame, self._state)
            self._ready = torch.cat([self._ready, audio[0]])
        out, self._ready = self._ready[:samples], self._ready[samples:]
        return out.numpy()
