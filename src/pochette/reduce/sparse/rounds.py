"""Single weights that go in rounds: score the living, take the least, rewind what is left or not, train on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pochette.errors import ReductionError
from pochette.families import scores
from pochette.models.model import Model
from pochette.reduce.shares import check_least
from pochette.reduce.sparse.densities import counts_of, densities
from pochette.reduce.sparse.held import Held, living
from pochette.reduce.sparse.selection import kept_in_each, kept_of_all
from pochette.reduce.sparse.subject import Subject
from pochette.reduce.sparse.weights import Masks, live, weights_of
from pochette.reduce.technique import DENSE_SHARE, EARLY, Path, Round, Told
from pochette.train.session import Session

Where = Literal["global", "uniform", "er", "erk"]
"""Whether weights are ranked all together, or within layers whose densities are alike or follow Erdos and Renyi."""
Rewind = Literal["learning_rate", "weights", "init"]
"""Where what is left starts again: as it is, at its weights early in dense training, or at its first ones."""


@dataclass(frozen=True)
class Plan:
    """How much goes when, and by what."""

    kept: tuple[float, ...]
    """Share of all weights that is left after each round, falling."""
    score: str = "magnitude"
    """Member of `pochette.families.scores`."""
    where: Where = "uniform"
    rewind: Rewind = "learning_rate"
    output_rate: float = 1.0
    """How fast the last layer loses weights, as a share of the others' rate; looked at where layers are alike."""


def in_rounds(plan: Plan, model: Model, session: Session, told: Told | None = None) -> list[Round]:
    """Train whole, then remove and train on, round by round.

    Args:
        plan: what goes when.
        model: fresh.
        session: where phases train; the rounds share alike what the dense training leaves of its budget.
        told: called after each round.

    Returns:
        the dense model and each round's, masked.

    Raises:
        ReductionError: a round would remove nothing, or everything.
    """
    total, alive = sum(mask.numel() for mask in living(model, session).values()), plan.kept[-1]
    check_least(alive, 1 / total, f"One of {total} weights is {100 / total:.3g} %", "")  # before anything trains
    path, first = Path(told), _weights(model)
    early = EARLY if plan.rewind == "weights" else None
    path.reach("dense", model, session.phase("dense", model, DENSE_SHARE, snapshot_at=early))
    if plan.rewind == "weights":
        first = session.early_weights("dense")
    masks = living(model, session)
    for number, kept in enumerate(plan.kept, start=1):
        scored = score(plan.score, model, session)
        masks = thinned(scored, masks, kept, plan.where, plan.output_rate)
        model = copy.deepcopy(model)
        if plan.rewind != "learning_rate":
            model.load_state_dict(first)
        held = Held(weights_of(model), masks)
        share = (1.0 - DENSE_SHARE) / len(plan.kept)
        again = plan.rewind == "learning_rate"
        progress = session.phase(f"round-{number}", model, share, again=again, companions=(held,))
        path.reach(f"round-{number}", model, progress, masks=masks)
    return path


def masked_after_training(
    model: Model, session: Session, told: Told | None, choose: Callable[[Model], Masks]
) -> list[Round]:
    """Train whole, mask once, train on.

    Args:
        model: fresh.
        session: where phases train.
        told: called after each round.
        choose: the trained model to masks.

    Returns:
        the dense model and the masked one.
    """
    choose(model)  # refuses before anything trains
    path = Path(told)
    path.reach("dense", model, session.phase("dense", model, DENSE_SHARE))
    alive, masks = living(model, session), choose(model)
    masks, model = {path: mask & alive[path] for path, mask in masks.items()}, copy.deepcopy(model)
    held = Held(weights_of(model), masks)
    progress = session.phase("round-1", model, 1.0 - DENSE_SHARE, again=True, companions=(held,))
    path.reach("round-1", model, progress, masks=masks)
    return path


def score(name: str, model: Model, session: Session) -> dict[str, Tensor]:
    """What a score says of a model's weights, on training sound where it listens.

    Args:
        name: of the score.
        model: left as it was.
        session: has the sound and the seed.

    Returns:
        path to worth.
    """
    found: dict[str, Tensor] = scores[name](
        Subject.heard(model, [session.training_excerpt(model)], session.training.seed)
    )
    return found


def thinned(scored: dict[str, Tensor], alive: Masks, kept: float, where: Where, output_rate: float = 1.0) -> Masks:
    """The best of the living weights, so many that a share of all weights stays.

    Args:
        scored: every weight's worth.
        alive: which are ranked.
        kept: share of all weights, dead ones counted, that stays.
        where: how the share is divided between layers.
        output_rate: see `Plan`.

    Returns:
        masks within those that were.

    Raises:
        ReductionError: no weight would go, or none would be left.
    """
    sizes = {path: mask.numel() for path, mask in alive.items()}
    count = left_of(alive, kept)
    if where == "global":
        return kept_of_all(scored, alive, count)
    shares = densities({path: tuple(mask.shape) for path, mask in alive.items()}, kept, where)
    if where == "uniform" and output_rate != 1.0:
        shares = slower_at_the_output(sizes, alive, kept, output_rate)
    counts = counts_of(sizes, shares)
    living = {path: int(mask.sum()) for path, mask in alive.items()}
    return kept_in_each(scored, alive, {path: min(counts[path], living[path]) for path in counts})


def left_of(alive: Masks, kept: float) -> int:
    """How many weights stay.

    Args:
        alive: what lives now.
        kept: share of all weights, dead ones counted, that stays.

    Returns:
        the count.

    Raises:
        ReductionError: no weight would go, or none would be left.
    """
    total = sum(mask.numel() for mask in alive.values())
    count = round(kept * total)
    if not 0 < count < live(alive):
        check_least(kept, 1 / total, f"One of {total} weights is {100 / total:.3g} %", "")
        raise ReductionError(
            f"Keeping {kept:.3%} of {total} weights removes no weight of the {live(alive)} that are left.",
            where="--keep",
            remedy=f"Keep less than {live(alive) / total:.4g}, or go there in fewer rounds.",
        )
    return count


def slower_at_the_output(sizes: dict[str, int], alive: Masks, kept: float, output_rate: float) -> dict[str, float]:
    """Shares of layers that lose weights at one rate, the last at a part of it (Frankle & Carbin 2019, figure 2).

    Args:
        sizes: weights of each layer.
        alive: which of them are left.
        kept: share of all weights that stays.
        output_rate: the last layer's rate per that of the others.

    Returns:
        path to share of its weights.
    """
    *others, last = sizes
    living = {path: int(mask.sum()) for path, mask in alive.items()}
    rest = sum(living[path] for path in others)
    gone = sum(living.values()) - kept * sum(sizes.values())
    rate = min(1.0, gone / (rest + output_rate * living[last]))
    left = {path: 1.0 - rate * (output_rate if path == last else 1.0) for path in sizes}
    return {path: left[path] * living[path] / sizes[path] for path in sizes}


def _weights(model: Model) -> dict[str, Tensor]:
    return {path: tensor.clone() for path, tensor in model.state_dict().items()}
