"""What the first steps of a run's training decide: its weights watched, its ticket disturbed, its sounds altered.

The run's dense training is taken anew from its first weights, for as many steps as are asked for. The weights that end
largest, layer by layer, are the ticket. It is rewound to a tenth of the way and trained to the end as it was, disturbed
in every way of `early_phase`, and beside as many weights chosen by chance (Frankle et al. 2020, "The Early Phase";
2019, "Stabilizing the Lottery Ticket Hypothesis"); and once after first steps on altered sounds. Every training is told
by its test error, that of the run's held-out sounds.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pochette
from pochette.errors import PochetteError, ReductionError, SoundError
from pochette.families import models
from pochette.lab.judge import Parts, mean_error
from pochette.lab.runs import Run, read_run
from pochette.lab.stability.altered import ALTERATIONS, pretrained
from pochette.lab.stability.apart import Apart, apart, as_vector, shuffled_masks
from pochette.lab.stability.branches import Course, Fork
from pochette.lab.stability.early_phase import ABLATIONS, ablations, put
from pochette.lab.stability.telemetry import EARLY_STEPS, Telemetry
from pochette.measure.analyses.information_plane import InformationPlane
from pochette.measure.subject import Subject
from pochette.models.model import Excerpt, Model
from pochette.recipe import check_ranges, from_json
from pochette.reduce.rounded import output_axes
from pochette.reduce.sparse.selection import kept_in_each
from pochette.reduce.sparse.weights import all_alive, effective, weights_of
from pochette.train.device import tensors_of
from pochette.train.loop import Trainer, Training

STEPS, KEEP, REWOUND = 100, 0.2, 0.1
CHANCES = 2
"""Choices of as many weights by chance: what they differ by is what a difference has to exceed."""
FRAMES, SOUNDS = 250, 4
"""Of held-out sound, which the information plane is read on."""
AS_THEY_ARE, NOTHING = "recordings", "nothing"
"""First steps on recordings as they are, with fresh moments; and none."""

Told = Callable[[str, float, str], None]
Found = dict[str, Any]


@dataclass(frozen=True)
class EarlyPhase:
    """The first steps of a run's training."""

    folder: Path
    """Of the run."""
    steps: int = STEPS
    """Of each training, from the first weights to the end."""
    keep: float = KEEP
    """Share of every layer's weights that the ticket holds."""

    def __post_init__(self) -> None:
        check_ranges(self, steps=(2, 10**7), keep=(1e-4, 0.99))

    @property
    def rewound_to(self) -> int:
        """The step that the ticket is rewound to."""
        return max(1, round(REWOUND * self.steps))

    def found(self, parts: Parts, known: Found, told: Told | None = None) -> Iterator[Found]:
        """Train and watch; whoever stops goes on with the next training.

        Args:
            parts: of the run's sounds, see `of_run.sounds_of`.
            known: what an earlier call gave; taken over where it was asked alike.
            told: hears of the progress: what, the share done, and of what.

        Yields:
            all that is known so far, as plain data: "of", what it was asked of; "steps", "rewound_to", "keep";
            "course", see `_Whole`; and by name the trainings of "masks" (with how far from the whole network's
            training and from another order's they end), "ablations" and "altered", each with its "error" or with why
            it was "left_out".
        """
        of = self._identity()
        if known.get("of") == of and "left_out" not in known and not self._left(known):
            yield known
            return
        found: Found = {"of": of, "steps": self.steps, "rewound_to": self.rewound_to, "keep": self.keep}
        found |= {group: dict(known.get(group, {})) if known.get("of") == of else {} for group in _GROUPS}
        run = read_run(self.folder)

        def tell(share: float, what: str) -> None:
            if told is not None:
                told("early phase", share, what)

        with torch.random.fork_rng(devices=[]):
            try:
                whole = _Whole(run, parts, self, lambda share, what: tell(share * self._share_done(0), what))
            except PochetteError as error:
                yield {**found, "left_out": f"{error.what} {error.remedy}"}
                return
            found["course"] = whole.told()
            yield found
            for group, name in self._left(found):
                tell(self._share_done(len(self._all()) - len(self._left(found))), f"{group}: {name}")
                try:
                    found[group][name] = whole.trained(group, name)
                except PochetteError as error:
                    found[group][name] = {"left_out": f"{error.what} {error.remedy}"}
                yield found
        tell(1.0, f"{len(self._all())} trainings")

    def _identity(self) -> Found:
        """What a finding is of, and how it was asked."""
        return {**_of(self.folder), "steps": self.steps, "keep": self.keep}

    def _all(self) -> list[tuple[str, str]]:
        return [
            *(("masks", name) for name in ("ticket", *(f"chance {n + 1}" for n in range(CHANCES)))),
            *(("altered", name) for name in (NOTHING, AS_THEY_ARE, *ALTERATIONS)),
            *(("ablations", name) for name in ABLATIONS),
        ]

    def _left(self, found: Found) -> list[tuple[str, str]]:
        return [(group, name) for group, name in self._all() if name not in found.get(group, {})]

    def _share_done(self, trainings: int) -> float:
        """So many besides the whole network's, which is watched and counts twice."""
        return (2 + trainings) / (2 + len(self._all()))


def still_of(folder: Path, told: Found) -> bool:
    """Whether what was found is of a run, however it was asked.

    Args:
        folder: of the run.
        told: what `EarlyPhase.found` gave.

    Returns:
        whether it may be shown on.
    """
    of = told.get("of")
    return isinstance(of, dict) and _of(folder).items() <= of.items()


def _of(folder: Path) -> Found:
    """What makes a run's first steps what they are."""
    run = read_run(folder)
    facts = json.dumps([run.model, run.recipe, run.training, run.fingerprint], sort_keys=True)
    return {"run": hashlib.sha256(facts.encode()).hexdigest(), "version": pochette.__version__}


_GROUPS = ("masks", "altered", "ablations")


class _Whole:
    """The whole network's training, watched, and everything that goes out from its weights.

    Args:
        run: its facts.
        parts: of its sounds.
        asked: how long, and how much is kept.
        told: hears the share done, and of what.

    Raises:
        PochetteError: it cannot be trained.
    """

    def __init__(self, run: Run, parts: Parts, asked: EarlyPhase, told: Callable[[float, str], None]) -> None:
        training = Training(**run.training)
        self.parts, self.asked, self.seed = parts, asked, training.seed
        self.course = Course(parts.training, parts.looks, training, asked.steps)
        self.first, self.redrawn = (_drawn(run, run.seed + offset) for offset in (0, 1_000_003))
        self.end = copy.deepcopy(self.first)
        self.watch = _Watch(self.end, parts, asked, told)
        self.course.trunk(self.end, asked.steps, (self.watch,))
        self.end.eval()
        self.watch.look(self.end, asked.steps)
        ends = effective(weights_of(self.end))
        counts = {path: max(1, round(asked.keep * tensor.numel())) for path, tensor in ends.items()}
        scores = {path: tensor.abs() for path, tensor in ends.items()}
        self.ticket = kept_in_each(scores, all_alive(weights_of(self.end)), counts)
        assert self.watch.fork is not None, "the training is longer than what it is rewound to"
        self.fork = self.watch.fork
        self._disturbed: dict[str, dict[str, Tensor]] = {}

    def told(self) -> Found:
        """The course of the training.

        Returns:
            "error" at its end; "moments", see `Telemetry`; "plane", name of a layer to rows of a step, I(X; T) and
            I(T; Y) in nats; "unread", why there is none.
        """
        return {
            "error": self._error(self.end),
            "moments": [asdict(moment) for moment in self.watch.telemetry.moments()],
            "plane": self.watch.plane,
            "unread": self.watch.unread,
        }

    def trained(self, group: str, name: str) -> Found:
        """One of the trainings, to the end.

        Args:
            group: of it.
            name: of it.

        Returns:
            what is told of it.

        Raises:
            PochetteError: it ran away, or its sounds cannot be altered.
        """
        if group == "masks":
            return self._masked(name)
        if group == "altered":
            return {"error": self._error(self._branch(*self._taught(name)))}
        return self._ablated(name)

    def _masked(self, name: str) -> Found:
        masks = self.ticket if name == "ticket" else shuffled_masks(self.ticket, self.seed + int(name.split()[1]))
        one, other = (self.course.branch(self.first, self.fork, self.seed + order, masks).eval() for order in (0, 1))
        whole, own, others = (effective(weights_of(model)) for model in (self.end, one, other))
        return {
            "error": self._error(one),
            "error_in_other_order": self._error(other),
            "from_whole": asdict(apart(whole, own, masks)),
            "from_other_order": asdict(apart(own, others, masks)),
        }

    def _taught(self, name: str) -> tuple[Model, Fork]:
        """What the ticket begins with after first steps on some sounds, moments fresh."""
        if name == NOTHING:
            return self.first, self.course.trunk(copy.deepcopy(self.first), 0)
        steps = self.fork.steps
        if name == AS_THEY_ARE:
            taught = copy.deepcopy(self.first)
            self.course.trunk(taught, steps)
        else:
            taught = pretrained(self.course, self.first, name, steps)  # type: ignore[arg-type]  # of ALTERATIONS
        return taught, replace(self.course.trunk(taught, 0), steps=steps)

    def _ablated(self, name: str) -> Found:
        start = copy.deepcopy(self.first)
        start.load_state_dict({k[6:]: v for k, v in self.fork.tensors.items() if k.startswith("model/")})
        weights = effective(weights_of(start))
        if not self._disturbed:
            again = effective(weights_of(self.redrawn))
            self._disturbed = ablations(weights, again, self.ticket, seed=self.seed, axes=output_axes(start))
        put(start, self._disturbed[name])
        disturbed = {f"model/{k}": v for k, v in start.state_dict().items()}
        moved: Apart = apart(weights, self._disturbed[name], self.ticket)
        norm = float(as_vector(weights, self.ticket).norm())
        fork = Fork({**self.fork.tensors, **disturbed}, self.fork.steps)
        return {"error": self._error(self._branch(start, fork)), "moved": moved.distance / max(norm, 1e-30)}

    def _branch(self, model: Model, fork: Fork) -> Model:
        """The ticket, trained from there in the whole training's order."""
        return self.course.branch(model, fork, self.seed, self.ticket).eval()

    def _error(self, model: Model) -> float:
        return mean_error(model.loss, model, self.parts.test)


class _Watch:
    """Looks at a training: telemetry, the information plane, and the state that is rewound to; a `Companion`.

    Args:
        model: in training.
        parts: of its sounds.
        asked: where it is rewound to.
        told: hears the share done, and of what.
    """

    name = "watch"

    def __init__(self, model: Model, parts: Parts, asked: EarlyPhase, told: Callable[[float, str], None]) -> None:
        self.model, self.asked, self.tell = model, asked, told
        self.telemetry = Telemetry(model)
        self.fork: Fork | None = None
        self.plane: dict[str, list[tuple[float, ...]]] = {}
        self.unread = ""
        self.subject: Subject | None = None
        self.excerpt = _watched(parts, model)

    def join(self, trainer: Trainer) -> None:
        """See `pochette.train.loop.Companion`."""
        self.telemetry.join(trainer)
        trainer.before_step.append(self._before)

    def _before(self, trainer: Trainer) -> None:
        step = trainer.progress.steps
        if step == self.asked.rewound_to:
            own = {name: t.detach().clone() for name, t in trainer.state().items() if not name.startswith("companion/")}
            self.fork = Fork(own, step)
        if step in EARLY_STEPS:
            self.look(self.model, step)
        self.tell(step / self.asked.steps, f"the whole network: step {step} of {self.asked.steps}")

    def look(self, model: Model, step: int) -> None:
        """Read the information plane.

        Args:
            model: as it is at a step.
            step: how many were taken.
        """
        if self.unread:
            return
        try:
            with torch.random.fork_rng(devices=[]):
                player = copy.deepcopy(model).eval()
                if self.subject is None:
                    self.subject = Subject.hearing(player, self.excerpt)
                else:  # capturing takes far longer than reading
                    self.subject = self.subject.with_weights(player, self.excerpt)
                found = InformationPlane().find(self.subject)
        except (ReductionError, SoundError) as error:
            self.unread = f"{error.what} {error.remedy}"
            return
        for layer, rows in found.points.items():
            self.plane.setdefault(layer, []).append((step, *rows[0]))

    def state(self) -> dict[str, Tensor]:
        """Nothing: this training is not interrupted, but begun again."""
        return {}

    def restore(self, state: Any) -> None:
        """See `state`."""


def _drawn(run: Run, seed: int) -> Model:
    torch.manual_seed(seed)
    model: Model = from_json(models[run.model], run.recipe).build()
    return model


def _watched(parts: Parts, model: Model) -> Excerpt:
    import numpy as np

    frames = model.excerpt_frames or FRAMES
    return tensors_of(parts.test.excerpt_batch(np.random.default_rng(4321), SOUNDS, frames, model.heard_from))
