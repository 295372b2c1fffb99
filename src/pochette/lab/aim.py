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
        # Of its own controls: an auto-encoder loses some of its code.
        rest = np.array([[knob.default for knob in small.controls]], np.float32)
        try:
            cost = count(export(small, "plan", precision=precision), board, np.tile(rest, (30, 1)))
        except ToolError:
            return keep
        if cost.verdict(board, model.sample_rate_hz).fits:
            return keep
    return aims[-1]
