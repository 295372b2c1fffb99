"""Network slimming: gains are drawn to zero while training, and what is smallest goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.graph.copying import copy_of
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.channels.flow import Decide, Decided, cut_after_penalty
from pochette.reduce.channels.gains import On, Penalty, gains_of, no_gains, sizes_of
from pochette.reduce.channels.gates import Gates, Pull
from pochette.reduce.channels.threshold import below_threshold_gone, zeros_in
from pochette.reduce.observed import Observed
from pochette.reduce.structure import Structure
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.reduce.trimming import PREFIX, structure_of
from pochette.train.loop import Companion
from pochette.train.session import Session


@methods.member("slimming")
@dataclass(frozen=True)
class Slimming(Technique):
    """Train with an L1 penalty on gains of norms, or on gates, remove the smallest, train on (Liu et al. 2017).

    Deviation: the penalty comes to a network that is trained already, so that any run can be slimmed.
    """

    axes: ClassVar[Axes] = Axes(
        source="Liu et al. 2017, with gates where a network has no gains",
        scored="gains of norms, or gates, trained under an L1 penalty",
        over="units, which are removed",
        when="after training on under the penalty, below one threshold for all layers",
        rest="trained on from where it is",
    )

    keep: float = 0.1
    """Share of the network's multiply-accumulates that is left."""
    strength: float = 0.01
    """Of the penalty; a hundred times the published one, as trainings here are a hundred times shorter."""
    rate: float = 0.1
    """Of the steps that gates take; gains are moved by the training itself."""
    on: On = "automatic"
    """Gains where every unit has some of one kind, weight norms first; else gates at whatever reads a unit."""
    floor: int = 1
    """Units that every layer keeps."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), strength=(0.0, 1e3), rate=(1e-9, 1e3), floor=(1, 10**6))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`; the report's note says what the penalty lay on."""
        return cut_after_penalty(model, session, told, self.keep, self._penalised, self.floor)

    def _penalised(self, model: Model) -> tuple[Companion, Decide]:
        structure = structure_of(model)
        evidence = _evidence(model, structure)
        found = None if self.on == "gates" else gains_of(structure, evidence)
        if found is None and self.on == "gains":
            raise no_gains(structure, evidence)
        if found is None:
            gates = Gates(model, structure, Pull(self.strength, self.rate, "proximal"), PREFIX)

            def by_gates(trained: Model, structure: Structure, macs: float) -> Decided:
                scores = gates.scores()
                note = f"by gates, of which {zeros_in(scores)} are exactly zero"
                return Decided(trained, below_threshold_gone(structure, scores, macs, self.floor), note, settle=True)

            return gates, by_gates
        kind, own = next(iter(found.values())), dict(model.named_parameters())

        def by_gains(trained: Model, structure: Structure, macs: float) -> Decided:
            scores = sizes_of(structure, _evidence(trained, structure), found)
            survivors = below_threshold_gone(structure, scores, macs, self.floor)
            return Decided(trained, survivors, f"by gains of each {kind}", settle=True)

        return Penalty({path: own[path.removeprefix(PREFIX)] for path in found}, self.strength), by_gains


def _evidence(model: Model, structure: Structure) -> Observed:
    form, _ = copy_of(model).trim_form()  # type: ignore[operator]
    return Observed(form, structure.graph)
