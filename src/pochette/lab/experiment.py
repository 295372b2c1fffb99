"""What an experiment is: everything that decides its outcome, and nothing else, as a frozen value with a signature.

An experiment has at most one parent, whose result it must know and whose weights it mostly starts from, so that a path
of many cuts is a chain:

    Dense --- Cut 50 % --- Cut 80 % --- Cut 95 % ...
      |          |            |
      |       Control      Control, Timing
      +-- Reduced --- Engine, Properties, Disturbed

Each link is stored, resumed and computed on its own; a longer path reuses the shorter one, and whoever loses a machine
loses one link at most. Where the sounds lie, which machine computes and which version of pochette it has are no part of
the identity; the corpus's fingerprint, every recipe and every seed are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pochette.errors import RecipeError
from pochette.families import methods, models
from pochette.recipe import check_ranges, from_json, signature, to_json
from pochette.reduce.choosing import SWITCH, Choice, Scaling, Scope
from pochette.reduce.technique import DENSE_SHARE
from pochette.train.loop import Training

Removal = Literal["trim", "mask"]
Rewind = Literal["learning_rate", "weights", "init"]
Of = Literal["weights", "operations"]
ControlKind = Literal["reinit", "scratch_epochs", "scratch_compute"]

BRANCH_STEPS = 15
"""Of each branch that goes on from a disturbed network, unless otherwise asked."""
ENGINE_STEPS = 50
"""Steps of training that an engine takes as long as: it is generated, compiled, timed and emulated."""
CAP = 2.0
"""Most that `scratch_compute` lengthens training: Liu et al. 2018 double it at most in their large runs."""


@dataclass(frozen=True)
class Dense:
    """A model trained whole; what everything else is measured against."""

    corpus: str
    """Fingerprint of the sounds."""
    model: str
    """Registered name."""
    recipe: Any
    """The model's own recipe."""
    steps: int
    """Of the optimiser; wall time bounds no experiment."""
    training: Training = field(default_factory=Training)
    """How it and all that follows from it is trained; its seed is the experiment's."""

    def __post_init__(self) -> None:
        check_ranges(self, steps=(1, 10**8))


@dataclass(frozen=True)
class Anchor:
    """The corpus's mean sound played with the model's own synthesiser: the error of having learnt an average."""

    corpus: str
    """Fingerprint of the sounds."""
    model: str
    """Registered name."""
    recipe: Any
    """The model's own recipe."""
    steps: int = 150
    """Of fitting the mean."""


@dataclass(frozen=True)
class Cut:
    """One stop of a reduction path: units of the parent go, what is left is rewound and trained on."""

    parent: Dense | Cut
    removed: float
    """Share of the dense model that is gone at this stop, over all stops so far."""
    steps: int
    """Of training after the cut."""
    criterion: str = "magnitude"
    """What makes a unit worth keeping; "random" is the control of all others."""
    scope: Scope = "local"
    """Whether units are ranked within a layer or over all of them."""
    scaling: Scaling = "maximum"
    """What makes scores of different layers comparable, where the scope compares them."""
    removal: Removal = "trim"
    """Whether units are taken out, or set to zero and held there, which saves nothing."""
    rewind: Rewind = "learning_rate"
    """Where survivors start again: as they are, at their weights early in dense training, or at their first ones."""
    of: Of = "weights"
    """What that is a share of: learnt numbers, or the multiply-accumulates that they take part in."""

    def choice(self, seed: int, dense_weights: int | None = None) -> Choice:
        """How units are chosen.

        Args:
            seed: of what criteria draw.
            dense_weights: learnt numbers of the dense model; global ranking may end at a tenth of them.

        Returns:
            criterion, scope and scaling.
        """
        switch = None if dense_weights is None else round(SWITCH * dense_weights)
        return Choice(self.criterion, self.scope, self.scaling, seed=seed, switch_weights=switch)

    def __post_init__(self) -> None:
        check_ranges(self, removed=(1e-6, 1.0 - 1e-9), steps=(1, 10**8))
        if isinstance(self.parent, Cut) and self.parent.removed >= self.removed:
            raise RecipeError(
                f"A stop at {self.removed:.3%} removed cannot follow one at {self.parent.removed:.3%}.",
                remedy="Give the stops in ascending order, each once.",
            )
        if isinstance(self.parent, Cut) and method_of(self.parent) != method_of(self):
            raise RecipeError("A path keeps one method at all its stops.", remedy="Begin another path from the dense.")


@dataclass(frozen=True)
class Control:
    """What a cut must beat to have been worth it: networks of its size that owe nothing to the dense training.

    "reinit" has the cut's very shape, drawn anew and trained as long as the cut was. The other two have as many
    weights in layers thinned evenly: "scratch_epochs" trains as many steps as the dense model, "scratch_compute" as
    many as cost the dense model's arithmetic, but `CAP` times as many at most (Liu et al. 2018, "Rethinking").
    """

    parent: Cut
    kind: ControlKind


@dataclass(frozen=True)
class Timing:
    """How long a model of another experiment takes on a machine of one kind."""

    parent: Dense | Cut | Control
    machine: str
    """Tag that a worker carries to be given this task: "raspberry-pi"."""


@dataclass(frozen=True)
class Reduced:
    """A model made small by a technique, within a budget of steps that its dense training is part of."""

    parent: Dense
    """The dense model that most techniques begin with, trained for `technique.DENSE_SHARE` of the budget."""
    method: str
    """Registered name of the technique."""
    options: Any
    """The technique itself, with its options."""
    steps: int
    """Of the optimiser: dense training and all that follows together."""

    def __post_init__(self) -> None:
        wanted = dense_steps(self.steps)
        if self.parent.steps != wanted:
            raise RecipeError(
                f"Of {self.steps} steps {wanted} are dense training; the parent has {self.parent.steps}.",
                remedy=f"Give it a parent of {wanted} steps.",
            )


@dataclass(frozen=True)
class Engine:
    """What the generated engine of another experiment's model costs, here and on a board's emulated processor."""

    parent: Dense | Reduced
    board: str = "pi-4"
    """Whose processor counts instructions."""


@dataclass(frozen=True)
class Properties:
    """What all analyses (`pochette.families.analyses`) read in the network that another experiment left."""

    parent: Dense | Cut | Reduced


@dataclass(frozen=True)
class Disturbed:
    """How the network that another experiment left takes noise, rounding, and two trainings that go on from it."""

    parent: Dense | Cut | Reduced
    steps: int = BRANCH_STEPS
    """Of each of the two trainings: what lies between their ends grows with them."""

    def __post_init__(self) -> None:
        check_ranges(self, steps=(1, 10**8))


Experiment = Dense | Anchor | Cut | Control | Timing | Reduced | Engine | Properties | Disturbed
KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Dense, Anchor, Cut, Control, Timing, Reduced, Engine, Properties, Disturbed)
}


def name_of(experiment: Experiment) -> str:
    """The signature: what names the experiment's folder."""
    return signature(experiment)


def parent_of(experiment: Experiment) -> Experiment | None:
    """The experiment that this one follows, whose result it must know."""
    return None if isinstance(experiment, (Dense, Anchor)) else experiment.parent


def starts_from(experiment: Experiment) -> Experiment | None:
    """The parent, where its weights are needed too: most controls only ask how many there were."""
    if isinstance(experiment, Control) and (experiment.kind != "reinit" or has_known_shape(experiment.parent)):
        return None
    return parent_of(experiment)


def has_known_shape(cut: Cut) -> bool:
    """Whether sizes alone decide a cut's shape: all layers lose the same share, whichever units go."""
    return cut.removal == "trim" and cut.scope == "local"


def ancestors_of(experiment: Experiment) -> tuple[Experiment, ...]:
    """Parent, its parent and so on, up to the dense model."""
    parent = parent_of(experiment)
    return () if parent is None else (parent, *ancestors_of(parent))


def root_of(experiment: Experiment) -> Dense | Anchor:
    """The experiment without a parent from which this one descends; it names corpus, model and recipe."""
    parent = parent_of(experiment)
    if parent is None:
        assert isinstance(experiment, (Dense, Anchor))
        return experiment
    return root_of(parent)


def tag_of(experiment: Experiment) -> str:
    """What a worker must carry to be given this experiment; empty if any will do."""
    return experiment.machine if isinstance(experiment, Timing) else ""


def method_of(cut: Cut) -> tuple[str, str, str, str, str, str]:
    """What the stops of a path have in common: criterion, scope, scaling, removal, rewinding, what is counted."""
    return cut.criterion, cut.scope, cut.scaling, cut.removal, cut.rewind, cut.of


def steps_of(experiment: Experiment) -> int:
    """Training steps it takes, at most, or takes as long as: the weight of its share of all work."""
    if isinstance(experiment, Control):
        cut = experiment.parent
        if experiment.kind == "reinit":
            return cut.steps
        return round(steps_of(root_of(cut)) * (CAP if experiment.kind == "scratch_compute" else 1.0))
    if isinstance(experiment, Reduced):
        return experiment.steps - experiment.parent.steps
    if isinstance(experiment, Engine):
        return ENGINE_STEPS
    return 1 if isinstance(experiment, Timing | Properties | Disturbed) else experiment.steps


def dense_steps(steps: int) -> int:
    """Of a budget that a technique is given: those that train the dense model it begins with."""
    return max(1, round(DENSE_SHARE * steps))


def path(dense: Dense, stops: Sequence[float], steps: int, **method: Any) -> tuple[Cut, ...]:
    """The cuts of an iterative reduction, each starting from the one before.

    Args:
        dense: where it begins.
        stops: shares of the dense model removed, ascending.
        steps: of training after each cut.
        **method: criterion, scope and so on; fields of `Cut`.

    Returns:
        one cut a stop.

    Raises:
        RecipeError: the stops do not ascend, or are no shares.
    """
    made: list[Cut] = []
    for stop in stops:
        made.append(Cut(made[-1] if made else dense, stop, steps, **method))
    return tuple(made)


def to_data(experiment: Experiment) -> dict[str, Any]:
    """An experiment as plain data, defaults left out.

    Args:
        experiment: any.

    Returns:
        its type and fields, its parent inside.
    """
    data: dict[str, Any] = {"type": type(experiment).__name__, **to_json(experiment)}
    parent = parent_of(experiment)
    return data if parent is None else {**data, "parent": to_data(parent)}


def from_data(data: dict[str, Any]) -> Experiment:
    """The experiment that `to_data` wrote.

    Args:
        data: type and fields.

    Returns:
        the experiment.

    Raises:
        RecipeError: another version wrote it.
        UnknownNameError: of a model or a field.
    """
    kind = KINDS.get(data.get("type", ""))
    if kind is None:
        raise RecipeError(
            f"There is no experiment of the type {data.get('type')!r}.", remedy="Update pochette; a later one wrote it."
        )
    values = {name: value for name, value in data.items() if name != "type"}
    if "parent" in values:
        values["parent"] = from_data(values["parent"])
    if "recipe" in {field.name for field in fields(kind)}:
        values["recipe"] = from_json(models[values["model"]], values.get("recipe", {}))
    if "options" in values:
        values["options"] = from_json(methods[values["method"]], values["options"])
    if "training" in values:
        values["training"] = from_json(Training, values["training"])
    made: Experiment = from_json(kind, values)
    return made
