"""Low rank: every matrix becomes two narrow ones whose product is nearest to it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

from pochette.errors import ReductionError
from pochette.families import methods
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.low_rank import factor, ranks_within, spectra_of
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.reduce.trimming import TrimReport
from pochette.train.session import Session


@methods.member("low-rank")
@dataclass(frozen=True)
class LowRank(Technique):
    """Train, make linear layers, convolutions and GRUs two products each, train on (Denil et al. 2013).

    Of a convolution over time the matrix is (input and tap) by output. All gates of a GRU's matrix are factored
    jointly: they read the same vector, which is made narrow once for all of them.
    """

    axes: ClassVar[Axes] = Axes(
        source="Denil et al. 2013, Xue et al. 2013",
        scored="singular values of trained matrices",
        over="directions of matrices, which are removed",
        when="after training, at once",
        rest="trained on from where it is",
    )

    keep: float = 0.25
    """Share of the numbers of all matrices and filters that is left, at most."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`; the report names the matrices that stay whole, and why."""
        path = Path(told)
        path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
        before = profile_model(model)
        model = copy.deepcopy(model)
        spectra, kept = spectra_of(model)
        if not spectra:
            raise ReductionError(
                f"No matrix of this network can be factored: {'; '.join(sorted(set(kept.values())))}.",
                where=next(iter(kept), ""),
                remedy="Remove units instead: pochette reduce RUN --method lottery.",
            )
        whole = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() >= 2)
        fixed = whole - sum(spectrum.matrix.numel() for spectrum in spectra.values())
        ranks = ranks_within(spectra, math.floor(self.keep * whole) - fixed)
        factor(model, spectra, ranks)
        kept |= {name: "two would be no smaller" for name, rank in ranks.items() if rank is None}
        after = profile_model(model)
        said = ", ".join(f"{name} {rank}" for name, rank in ranks.items() if rank is not None)
        report = TrimReport(
            (), kept, before.macs, after.macs, before.parameters, after.parameters, note=f"ranks: {said}"
        )
        progress = session.phase("round-1", model, 1.0 - DENSE_SHARE, again=True)
        path.reach("round-1", model, progress, report)
        return path
