"""The structured lottery: train, score, trim, rewind, and again, until little is left (Esling et al. 2020).

Where the original ticket (Frankle & Carbin 2019) masks weights, units are removed here, so every round trains a smaller
and faster network. What "rewind" means is a choice:
- "learning_rate" (Renda et al. 2020): survivors keep their trained weights, the learning rate starts over. It needs the
  least further training and is what a time budget of minutes asks for.
- "weights" (Frankle et al. 2019): survivors go back to their weights early in dense training.
- "init" (Frankle & Carbin 2019): survivors go back to their very first weights.

A round draws its excerpts anew from the seed and begins with fresh moments of the optimiser and the first learning rate
whatever is rewound; buffers go back with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.choosing import SWITCH, Choice, Scaling, Scope
from pochette.reduce.structure import check_share
from pochette.reduce.technique import DENSE_SHARE, EARLY, Axes, Path, Round, Technique, Told
from pochette.reduce.trimming import structure_of, trim_model
from pochette.reduce.witness import witness
from pochette.train.session import Session


@methods.member("lottery")
@dataclass(frozen=True)
class Lottery(Technique):
    """Train, score, trim and rewind in rounds; units are removed, not masked (Esling et al. 2020)."""

    axes: ClassVar[Axes] = Axes(
        source="Esling et al. 2020",
        scored="a criterion of units, on trained weights",
        over="units, which are removed",
        when="after training, in rounds",
        rest="rewound: to its first weights, to early ones, or in its learning rate alone",
    )

    keep: float = 0.1
    """Share of the network's multiply-accumulates left at the end."""
    rounds: int = 3
    """Each removes the same share of what the one before left."""
    criterion: str = "magnitude"
    """What makes a unit worth keeping (pochette list criteria)."""
    scope: Scope = "local"
    """Whether units are ranked within each layer, over all of them, or first so and then so."""
    scaling: Scaling = "maximum"
    """How scores of layers are made comparable for global ranking; operations and bytes ask what a unit costs."""
    rewind: Literal["learning_rate", "weights", "init"] = "learning_rate"
    """Where survivors start again."""

    @property
    def needs_first_weights(self) -> bool:
        """See `Technique.needs_first_weights`."""
        return self.rewind != "learning_rate"

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), rounds=(1, 100))

    def share(self, number: int) -> float:
        """Share of the session's budget that round `number` (from 1) gets: the last one half, the others the rest."""
        left = 1.0 - DENSE_SHARE
        if self.rounds == 1:
            return left
        return left / 2 if number == self.rounds else left / 2 / (self.rounds - 1)

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`; the first round is the dense model's."""
        whole = structure_of(model)
        check_share(whole, self.keep)
        first = {path: tensor.clone() for path, tensor in model.state_dict().items()} if self.rewind == "init" else None
        snapshot = EARLY if self.rewind == "weights" else None
        progress = session.phase("dense", model, DENSE_SHARE, snapshot_at=snapshot)
        path = Path(told)
        path.reach("dense", model, progress)
        early = session.early_weights("dense") if self.rewind == "weights" else first
        target = whole.matrix_macs()
        switch = round(SWITCH * whole.parameters())
        choice = Choice(self.criterion, self.scope, self.scaling, seed=session.training.seed, switch_weights=switch)
        for number in range(1, self.rounds + 1):
            structure = structure_of(model)
            aim = target * self.keep ** (number / self.rounds)
            if structure.matrix_macs() <= aim:
                continue  # a small network overshoots: its units are few and whole
            evidence = witness(model, choice, session.watched_excerpt(model))
            model, cuts, report = trim_model(model, macs=aim, choice=choice, structure=structure, evidence=evidence)
            if early is not None:
                early = cuts.apply(early)
                model.load_state_dict(early)
            progress = session.phase(f"round-{number}", model, self.share(number), again=early is None)
            path.reach(f"round-{number}", model, progress, report)
            if all(family.after == 1 for family in report.families):
                break  # nothing is left that could go
        return path
