"""How small a network has to be for a board: decided before it is trained, by counting engines of untrained ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pochette.boards.board import Board
from pochette.engine.export import export
from pochette.engine.precision import Precision
from pochette.errors import ToolError
from pochette.lab.cost import count
from pochette.models.model import Model
from pochette.reduce.choosing import Choice
from pochette.reduce.trimming import structure_of, trim_model

KEEPS = (0.05, 0.025, 0.0125)
"""Shares of the network tried in turn until the board is satisfied."""
COUNTED_FRAMES = 30
Tell = Callable[[str, float, str], None]
"""Stage, share done (0 to 1), and a line of detail."""


def aim_for(model: Model, board: Board, precision: Precision, tell: Tell) -> float:
    """Share of the network that is aimed at: counted for the board on an untrained engine, before any training.

    Trimming leaves shapes that do not depend on the weights, so the answer is exact but for what the sound itself
    changes (the number of audible partials). If nothing fits, the smallest is made and the report says by how much.

    Args:
        model: untrained; left as it was.
        board: the machine.
        precision: in which large matrices will be stored.
        tell: told of each try.

    Returns:
        the share of its multiply-accumulates.

    Raises:
        ReductionError: nothing of it can be removed.
        ExportError: the model holds what the engine cannot do.
    """
    structure = structure_of(model)
    total = structure.matrix_macs()
    # A network that is small from the start cannot lose nineteen in twenty.
    aims = list(dict.fromkeys(max(keep, structure.least_macs() / total) for keep in KEEPS))
    if board.machine is None:
        return aims[0]
    for number, keep in enumerate(aims):
        tell("plan", number / len(aims), f"{keep:.0%} of the network on {board.title}")
        small, _, _ = trim_model(model, structure.keep_for(keep * total), choice=Choice("random"), structure=structure)
        if bears(board, small, precision):
            return keep
    return aims[-1]


def bears(board: Board, model: Model, precision: Precision) -> bool:
    """Whether a board bears a model's engine, counted on the model's own controls at rest.

    Args:
        board: the machine; one whose instructions cannot be counted bears all.
        model: of any size.
        precision: in which large matrices are stored.

    Returns:
        the verdict; yes where nothing can be counted here.

    Raises:
        ExportError: the model holds what the engine cannot do.
    """
    if board.machine is None:
        return True
    # Its own: a trimmed auto-encoder has lost some of its code.
    rest = np.array([[knob.default for knob in model.controls]], np.float32)
    try:
        cost = count(export(model, "plan", precision=precision), board, np.tile(rest, (COUNTED_FRAMES, 1)))
    except ToolError:
        return True
    return cost.verdict(board, model.sample_rate_hz).fits
