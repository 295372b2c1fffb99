"""Train whole, decide once which units stay, cut, train on: the path of all methods that score a trained network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pochette.models.model import Model
from pochette.reduce.channels.choosing import Chooser
from pochette.reduce.channels.filters import counts_within
from pochette.reduce.channels.reconstruction import How, Mending, reconstructed
from pochette.reduce.channels.settling import settled
from pochette.reduce.structure import Structure, check_share
from pochette.reduce.technique import DENSE_SHARE, Path, Round, Told
from pochette.reduce.trimming import TrimReport, structure_of, trim_model
from pochette.train.loop import Companion
from pochette.train.session import Session

DRAWS = 2
"""Batches of training sound on which what readers hear is watched."""


@dataclass(frozen=True, eq=False)
class Decided:
    """What is to be cut."""

    model: Model
    """Whole, its weights perhaps set right for what goes."""
    survivors: Mapping[str, np.ndarray]
    """Family name to the numbers of the units that stay."""
    note: str = ""
    """How units were chosen, where that depends on the model."""
    settle: bool = False
    """Whether norms over trimmed units are set right on training sound."""


Decide = Callable[[Model, Structure, float], Decided]
"""A trained model, its structure, and the multiply-accumulates that a call may take at most, to what stays."""
Shrunk = tuple[Model, TrimReport]
"""A smaller model, and what was taken out of it."""
Shrink = Callable[[Model], Shrunk]


def cut_after_training(model: Model, session: Session, told: Told | None, keep: float, decide: Decide) -> list[Round]:
    """Walk that path.

    Args:
        model: fresh.
        session: where phases train.
        told: called after each round.
        keep: share of the network's multiply-accumulates that is left.
        decide: what stays.

    Returns:
        the dense model and the smaller one.

    Raises:
        ReductionError: nothing would go, or nothing would be left.
    """
    check_share(structure_of(model), keep)  # before anything trains
    path = Path(told)
    path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
    _train_on(path, session, _cut(model, session, keep, decide), 1.0 - DENSE_SHARE)
    return path


def cut_after_penalty(
    model: Model,
    session: Session,
    told: Told | None,
    keep: float,
    penalised: Callable[[Model], tuple[Companion, Decide]],
    floor: int = 1,
) -> list[Round]:
    """Walk that path with a second training before the cut, in which a companion draws something to zero.

    Args:
        model: fresh.
        session: where phases train; what the dense training leaves of its budget is halved by the cut.
        told: called after each round.
        keep: share of the network's multiply-accumulates that is left.
        penalised: a model that is about to be trained on, to who goes along with that and what stays after it.
        floor: units that every layer keeps.

    Returns:
        the dense model, the one trained under the penalty, and the smaller one.

    Raises:
        ReductionError: nothing would go, or nothing would be left, or the penalty does not suit the model.
    """
    check_share(structure_of(model), keep, floor)  # before anything trains

    def prepared(model: Model) -> tuple[Companion, Shrink]:
        companion, decide = penalised(model)
        return companion, lambda drawn: _cut(drawn, session, keep, decide)

    return shrunk_after_penalty(model, session, told, prepared)


def shrunk_after_penalty(
    model: Model, session: Session, told: Told | None, penalised: Callable[[Model], tuple[Companion, Shrink]]
) -> list[Round]:
    """Walk the path of `cut_after_penalty`, whatever is removed in the end.

    Args:
        model: fresh.
        session: see `cut_after_penalty`.
        told: called after each round.
        penalised: a model that is about to be trained on, to who goes along with that and what makes it smaller after.

    Returns:
        the dense model, the one trained under the penalty, and the smaller one.

    Raises:
        ReductionError: nothing would go, or nothing would be left, or the penalty does not suit the model.
    """
    penalised(model)  # refuses before anything trains
    path, half = Path(told), (1.0 - DENSE_SHARE) / 2.0
    path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
    drawn = copy.deepcopy(model)
    companion, shrink = penalised(drawn)
    path.reach("penalised", drawn, session.phase("penalised", drawn, half, again=True, companions=(companion,)))
    _train_on(path, session, shrink(drawn), half)
    return path


def _cut(model: Model, session: Session, keep: float, decide: Decide) -> Shrunk:
    """Cut units once."""
    structure = structure_of(model)
    decided = decide(model, structure, keep * structure.matrix_macs())
    small, _, report = trim_model(decided.model, survivors=decided.survivors, structure=structure)
    report = replace(report, note=decided.note)
    if decided.settle and report.not_exact:
        layers = settled(small, decided.model, decided.survivors, session.training_excerpt(model))
        report = replace(report, recalibrated=layers)
    return small, report


def _train_on(path: Path, session: Session, shrunk: Shrunk, share: float) -> None:
    """Train what is left for a share of the session."""
    small, report = shrunk
    path.reach("round-1", small, session.phase("round-1", small, share, again=True), report)


def reconstructing(
    model: Model, session: Session, told: Told | None, keep: float, choose: Chooser, mend: Mending
) -> list[Round]:  # fmt: skip
    """Walk the path with channels chosen by what their readers hear of training sound, and readers set right.

    Args:
        model: fresh.
        session: where phases train; its seed draws the sound.
        told: called after each round.
        keep: share of the network's multiply-accumulates that is left, layers thinned alike.
        choose: which channels stay.
        mend: how readers make up for the others.

    Returns:
        the dense model and the smaller one.

    Raises:
        ReductionError: nothing would go or nothing be left, or the model cannot be watched.
    """

    def decide(trained: Model, structure: Structure, macs: float) -> Decided:
        excerpts = [session.training_excerpt(trained, draw=number) for number in range(DRAWS)]
        how = How(choose, mend, session.training.seed)
        return Decided(*reconstructed(trained, counts_within(structure, macs), excerpts, how))

    return cut_after_training(model, session, told, keep, decide)
