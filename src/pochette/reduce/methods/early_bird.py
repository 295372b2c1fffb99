"""Early-bird tickets: dense training ends as soon as it is clear which units will go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.choosing import Choice
from pochette.reduce.structure import check_share
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.reduce.tickets import Search
from pochette.reduce.trimming import structure_of, trim_model
from pochette.train.session import Session


@methods.member("early-bird")
@dataclass(frozen=True)
class EarlyBird(Technique):
    """End dense training when the units that would go have settled, remove them, train on (You et al. 2020).

    As published, units are ranked by the gains of batch norms, which audio models mostly lack. Here it is by a proxy:
    the magnitude of the weights that make a unit, or the gain of any norm over it with `proxy="normalisation"`.
    """

    axes: ClassVar[Axes] = Axes(
        source="You et al. 2020",
        scored="a proxy of batch norm's gains: magnitude of weights, or gains of other norms",
        over="units, which are removed",
        when="while training, once the choice has settled",
        rest="trained on from where it is",
    )

    keep: float = 0.1
    """Share of the network's multiply-accumulates left."""
    every: int = 20
    """Steps between two looks; an epoch in the paper."""
    epsilon: float = 0.1
    """Largest share of units by which the newest choice differs from each of the four before."""
    relative: bool = True
    """Whether epsilon counts in what random choices would differ by; otherwise as published."""
    proxy: str = "magnitude"
    """Criterion of weights that ranks units."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999), every=(1, 10**6), epsilon=(0.0, 1.0))
        Choice(self.proxy)

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`; without a ticket by the end of the dense share, what would go then goes."""
        path, structure = Path(told), structure_of(model)
        check_share(structure, self.keep)  # before anything trains
        macs = self.keep * structure.matrix_macs()
        choice = Choice(self.proxy, "global", seed=session.training.seed)
        search = Search(model, structure, choice, macs, every=self.every, epsilon=self.epsilon, relative=self.relative)
        search.look()  # refuses all and nothing before it trains
        path.reach("search", model, session.phase("search", model, DENSE_SHARE, companions=(search,)))
        small, _, report = trim_model(model, macs=macs, choice=choice)
        progress = session.phase("round-1", small, 1.0 - DENSE_SHARE, again=True)
        path.reach("round-1", small, progress, report)
        return path
