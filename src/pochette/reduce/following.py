"""Methods that follow each other: what the next must hold of the one before, and which orders mean nothing.

Zeros of single weights are held by every training that follows (`pochette.reduce.sparse.held.Zeros`). What cannot be
held is refused before anything is trained: first weights that are gone, matrices that are computed anew from sparse
ones, few values that any further training would make many again.
"""

from __future__ import annotations

from collections.abc import Sequence

from pochette.errors import ReductionError
from pochette.reduce.technique import Technique

Named = tuple[str, Technique]
"""A method's name, and the method with its options."""


def check_order(before: Sequence[Named], then: Sequence[Named], where: str) -> None:
    """Refuse methods that cannot follow those before them.

    Args:
        before: what was done to the network already.
        then: what is to be done, in order.
        where: what the person gave, for the errors.

    Raises:
        ReductionError: one of them would undo what one before it did, or needs what a reduced network has not.
    """
    done = list(before)
    for name, method in then:
        if done:
            _check_follows(done, name, method, where)
        done.append((name, method))


def check_trained_on(done: Sequence[Named], where: str) -> None:
    """Refuse to train a network on whose methods further training would undo.

    Args:
        done: what was done to the network.
        where: what the person gave, for the errors.

    Raises:
        ReductionError: its weights are on few values.
    """
    few = next((name for name, method in done if method.few_values), None)
    if few is not None:
        raise ReductionError(
            f"{few} put the weights of this network on few values, and training on would bring them off these.",
            where=where,
            remedy=f"Train on what it was made of, the run in the folder above, and reduce that anew by {few}.",
        )


def _check_follows(done: Sequence[Named], name: str, method: Technique, where: str) -> None:
    if method.needs_first_weights:
        raise ReductionError(
            f"{name} goes back to first or early weights, and after {done[-1][0]} the network has others.",
            where=where,
            remedy="Reduce the run itself with it, as the first method, or let it rewind the learning rate alone.",
        )
    few = next((earlier for earlier, other in done if other.few_values), None)
    if few is not None and method.few_values:
        raise ReductionError(
            f"{name} would round anew what {few} has put on few values.", where=where, remedy="Use one of the two."
        )
    if few is not None:
        raise ReductionError(
            f"{few} puts weights on few values, and {name} would train them off these again.",
            where=where,
            remedy=f"Put {few} last: --method {name} --then {few}.",
        )
    for earlier, other in done:
        if other.leaves_zeros:
            _check_holds(earlier, other, name, method, where)


def _check_holds(earlier: str, other: Technique, name: str, method: Technique, where: str) -> None:
    """Refuse what cannot hold a method's zeros, or would find nothing to remove beside them."""
    if method.computes_anew:
        raise ReductionError(
            f"{name} computes matrices anew, and the weights that {earlier} set to zero would be others.",
            where=where,
            remedy=f"Put {name} first: --method {name} --then {earlier}.",
        )
    left, asked = getattr(other, "keep", None), getattr(method, "keep", None)
    if left is None or asked is None or other.axes.over != "single weights" or method.axes.over != "single weights":
        return
    if asked >= left:
        raise ReductionError(
            f"{name} is to keep {asked:.3%} of all weights, and {earlier} leaves {left:.3%} already: none would go.",
            where=where,
            remedy=f"Keep more with {earlier} (--keep), or leave out one of the two.",
        )
