"""Low rank: every matrix becomes two narrow ones whose product is nearest to it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from pochette.errors import ReductionError
from pochette.families import methods
from pochette.layers.factored import NORMED, Rank
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.recipe import check_ranges
from pochette.reduce.low_rank import Spectrum, factor, least_numbers, ranks_within, spectra_of
from pochette.reduce.shares import check_least
from pochette.reduce.technique import DENSE_SHARE, Axes, Path, Round, Technique, Told
from pochette.reduce.trimming import TrimReport
from pochette.train.session import Session


@methods.member("low-rank")
@dataclass(frozen=True)
class LowRank(Technique):
    """Train, make linear layers, convolutions, GRUs and LSTMs two products each, train on (Denil et al. 2013).

    Of a convolution the matrix is (input and tap) by output, of a transposed one input by (output and tap). All gates
    of a recurrent layer's matrix are factored jointly: they read the same vector, which is made narrow once for all of
    them. A weight that is normed is factored as it acts, and has no norm from then on. Grouped convolutions stay whole.
    """

    axes: ClassVar[Axes] = Axes(
        source="Denil et al. 2013, Xue et al. 2013; filters in three: Kim et al. 2016",
        scored="singular values of trained matrices",
        over="directions of matrices, which are removed",
        when="after training, at once",
        rest="trained on from where it is",
    )
    computes_anew: ClassVar[bool] = True

    keep: float = 0.25
    """Share of the numbers of all matrices and filters that it plays with that is left, at most."""
    filters: Literal["two", "fewest"] = "two"
    """Filters become two, or three (Tucker-2) where that takes fewer numbers for the same error."""

    def __post_init__(self) -> None:
        check_ranges(self, keep=(1e-6, 0.999999))

    def apply(self, model: Model, session: Session, told: Told | None = None) -> list[Round]:
        """See `Technique.apply`; the report names the matrices that stay whole, and why."""
        self._within(model)  # refuses before anything trains
        path = Path(told)
        path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
        before = profile_model(model)
        model = copy.deepcopy(model)
        spectra, kept, most = self._within(model)
        ranks = ranks_within(spectra, most)
        factor(model, spectra, ranks)
        kept |= {name: "two would be no smaller" for name, rank in ranks.items() if rank is None}
        after = profile_model(model)
        said = ", ".join(f"{name} {_said(rank)}" for name, rank in ranks.items() if rank is not None)
        report = TrimReport(
            (), kept, before.macs, after.macs, before.parameters, after.parameters, note=f"ranks: {said}"
        )
        progress = session.phase("round-1", model, 1.0 - DENSE_SHARE, again=True)
        path.reach("round-1", model, progress, report)
        return path

    def _within(self, model: Model) -> tuple[dict[str, Spectrum], dict[str, str], int]:
        """What can be factored, why other matrices stay whole, and how many numbers the factors may take."""
        spectra, kept = spectra_of(model, tucker=self.filters == "fewest")
        if not spectra:
            raise ReductionError(
                f"No matrix of this network can be factored: {'; '.join(sorted(set(kept.values())))}.",
                where=next(iter(kept), ""),
                remedy="Remove units instead: pochette reduce RUN --method lottery.",
            )
        gains = f"{NORMED}.original0"
        played = model.played_parameters().items()
        whole = sum(p.numel() for path, p in played if p.dim() >= 2 and not path.endswith(gains))
        fixed = whole - sum(spectrum.matrix.numel() for spectrum in spectra.values())
        least = (fixed + least_numbers(spectra)) / whole
        check_least(
            self.keep,
            least,
            f"No ranks are low enough: at rank 1 the matrices keep {100 * least:.3g} % of their numbers",
            ", or remove units first: pochette reduce RUN --method lottery --then low-rank",
        )
        return spectra, kept, math.floor(self.keep * whole * (1 + 1e-9)) - fixed


def _said(rank: Rank) -> str:
    """A rank, or those of inputs and outputs."""
    return f"{rank[0]} and {rank[1]}" if isinstance(rank, tuple) else str(rank)
