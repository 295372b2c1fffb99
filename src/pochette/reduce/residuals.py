"""Whole residual blocks that go: those with the smallest factors, until a call is cheap enough.

Every stack keeps one block: networks that lost a whole stage were the published method's known failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pochette.errors import ReductionError
from pochette.graph.copying import copy_of
from pochette.layers.residual import Block, blocks_of, remove_blocks
from pochette.measure.profile import macs_of
from pochette.models.model import Model
from pochette.reduce.shares import check_least
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import PREFIX, FamilyTrim, TrimReport, structure_of


def blocks_to_choose(model: Model, keep: float) -> dict[str, Block]:
    """The residual blocks of a model of which some can go, and enough.

    Args:
        model: looked at.
        keep: see `without_smallest`.

    Returns:
        by path.

    Raises:
        ReductionError: it has none, or no more than one in any stack; or with the dearest of every stack left it needs
            too much.
    """
    blocks, whole = blocks_of(model), structure_of(model)
    macs = whole.macs_by_parameter()
    needs = {path: sum(count for name, count in macs.items() if name.startswith(f"{PREFIX}{path}.")) for path in blocks}
    # Which block of a stack stays is known only once factors are trained: what works with the dearest works with any.
    order = _order(blocks, needs)
    if not order:
        raise ReductionError(
            "No block can go whole: the network has no stack of two residual blocks or more, x + f(x), and whatever "
            "else it is made of, the network does not go on without.",
            where=type(model).__name__,
            remedy="Remove channels: pochette reduce RUN --method sss --structures channels.",
        )
    _check_within(_without(model, order)[1], whole, keep)
    return blocks


def without_smallest(model: Model, factors: Mapping[str, float], keep: float) -> tuple[Model, TrimReport]:
    """A model without its blocks of the smallest factors: as few as the budget asks, and all whose factor is zero.

    Args:
        model: left as it was; each block's factor is folded into it.
        factors: of each block, by path.
        keep: share of the multiply-accumulates of learnt weights that a call may take at most.

    Returns:
        the smaller model and the report, whose families are stacks.

    Raises:
        ReductionError: one block in every stack is too much already.
    """
    blocks, whole = blocks_of(model), structure_of(model)
    order = _order(blocks, factors)
    best = _without(model, order)
    most = _check_within(best[1], whole, keep)
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        tried = _without(model, order[:middle])
        if tried[1].matrix_macs() <= most:
            high, best = middle, tried
        else:
            low = middle
    zeros = sum(factors[path] == 0.0 for path in blocks)
    idle = sum(factors[path] == 0.0 for path in order)
    if idle > high:
        high, best = idle, _without(model, order[:idle])
    small, left = best
    return small, _report(
        blocks, blocks_of(small), whole, left, f"of blocks, {zeros} of whose factors are exactly zero"
    )


def _check_within(least: Structure, whole: Structure, keep: float) -> float:
    """Refuse a budget that is not kept with one block in every stack; the multiply-accumulates that it allows."""
    share = least.matrix_macs() / whole.matrix_macs()
    check_least(
        keep,
        share,
        f"With one block left in every stack the network still needs {100 * share:.3g} % of its multiply-accumulates",
        " of them, and remove units then: --then lottery",
    )
    return keep * whole.matrix_macs() * (1 + 1e-9)


def _order(blocks: Mapping[str, Block], factors: Mapping[str, float]) -> list[str]:
    """The blocks that may go, the smallest factor first; of every stack all but one."""
    left = Counter(block.stack for block in blocks.values())
    order = []
    for path in sorted(blocks, key=factors.__getitem__):
        if left[blocks[path].stack] > 1:
            left[blocks[path].stack] -= 1
            order.append(path)
    return order


def _without(model: Model, paths: list[str]) -> tuple[Model, Structure]:
    small = copy_of(model)
    remove_blocks(small, paths)
    assert isinstance(small, Model)
    return small, structure_of(small)


def _report(
    before: Mapping[str, Block], after: Mapping[str, Block], whole: Structure, left: Structure, note: str
) -> TrimReport:  # fmt: skip
    stacks = [Counter(block.stack for block in blocks.values()) for blocks in (before, after)]
    families = tuple(FamilyTrim(name, count, stacks[1][name], ()) for name, count in stacks[0].items())
    gone = [path for path in before if path not in after]
    return TrimReport(
        families=families,
        kept={path: "the only block left of its stack" for path, block in after.items() if stacks[1][block.stack] == 1},
        macs_before=macs_of(whole.graph),
        macs_after=macs_of(left.graph),
        parameters_before=whole.parameters(),
        parameters_after=left.parameters(),
        note=f"{note}; gone: {', '.join(gone)}",
    )
