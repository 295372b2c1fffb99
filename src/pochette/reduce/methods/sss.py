"""Sparse structure selection: scale factors are drawn to zero while training, and get there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.channels.flow import Decide, Decided, Shrink, cut_after_penalty, shrunk_after_penalty
from pochette.reduce.channels.gates import BlockGates, Gates, Pull
from pochette.reduce.channels.threshold import below_threshold_gone, zeros_in
from pochette.reduce.residuals import blocks_to_choose, without_smallest
from pochette.reduce.structure import Structure
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.reduce.trimming import PREFIX, structure_of
from pochette.train.loop import Companion
from pochette.train.session import Session


@methods.member("sss")
@dataclass(frozen=True)
class Sss(Technique):
    """Train weights and scale factors of structures together until factors are exactly zero (Huang & Wang 2018).

    Structures are units, or whole residual blocks, y = x + s f(x): with s = 0 the block is removed, not masked. Factors
    move by the paper's accelerated proximal steps (equations 10 to 12).

    Deviations: factors come to a network that is trained already, so that any run can be reduced; how much stays is
    asked for, so that factors that are small but not zero go too where zeros are too few, and the report's note counts
    the zeros; what is left trains on, as after every other method here; every stack keeps one block; where a tanh
    stands last in a block (NSF), the factor stands before it.
    """

    axes: ClassVar[Axes] = Axes(
        source="Huang & Wang 2018",
        scored="scale factors, trained by accelerated proximal steps",
        over="units, or whole residual blocks, which are removed",
        when="while training on, cut at its end",
        rest="trained on from where it is",
    )

    keep: float = 0.1
    """Share of the network's multiply-accumulates that is left at most."""
    strength: float = 0.01
    """Of the penalty on factors."""
    rate: float = 0.1
    """Of the steps that factors take."""
    structures: Literal["channels", "blocks"] = "channels"
    """What has factors: units of layers, or whole residual blocks of stacks (WaveNet, NSF, NSynth, RAVE, flows)."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), strength=(0.0, 1e3), rate=(1e-9, 1e3))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        if self.structures == "blocks":
            return shrunk_after_penalty(model, session, told, self._penalised_blocks)
        return cut_after_penalty(model, session, told, self.keep, self._penalised)

    def _penalised_blocks(self, model: Model) -> tuple[Companion, Shrink]:
        blocks = blocks_to_choose(model, self.keep)
        gates = BlockGates(model, blocks, Pull(self.strength, self.rate, "accelerated"))
        return gates, lambda trained: without_smallest(trained, gates.factors(), self.keep)

    def _penalised(self, model: Model) -> tuple[Companion, Decide]:
        gates = Gates(model, structure_of(model), Pull(self.strength, self.rate, "accelerated"), PREFIX)

        def decide(trained: Model, structure: Structure, macs: float) -> Decided:
            scores = gates.scores()
            note = f"by scale factors, of which {zeros_in(scores)} are exactly zero"
            return Decided(trained, below_threshold_gone(structure, scores, macs), note, settle=True)

        return gates, decide
