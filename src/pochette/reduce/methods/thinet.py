"""ThiNet: channels go that the next layer would miss least, and it weighs the others anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pochette.families import methods
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.channels.choosing import forward_selected, greedily_removed
from pochette.reduce.channels.flow import reconstructing
from pochette.reduce.technique import Axes, Round, Technique, Told
from pochette.train.session import Session


@methods.member("thinet")
@dataclass(frozen=True)
class Thinet(Technique):
    """Train, remove channels that the next layer misses least, weigh the rest anew, train on (Luo et al. 2017)."""

    axes: ClassVar[Axes] = Axes(
        source="Luo et al. 2017",
        scored="what channels add to outputs of the next layer, on sound",
        over="units, which are removed",
        when="after training, layer after layer",
        rest="scaled by least squares, then trained on",
    )

    keep: float = 0.1
    """Share of the network's multiply-accumulates that is left."""
    form: Literal["removed", "kept"] = "removed"
    """Whether what goes is picked one by one (the paper), or what stays (its authors' later code)."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`."""
        choose = greedily_removed if self.form == "removed" else forward_selected
        return reconstructing(model, session, told, self.keep, choose, "factors")
