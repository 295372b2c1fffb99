"""What the models' page says of boards: what an engine takes of each, which fit, and how far the others are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_page_words import listed

from pochette.families import boards
from pochette.lab.report import words

FORMS = ("dense", "trimmed")


def heads_of(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Every board that something was counted for.

    Args:
        found: works' documents, by name.

    Returns:
        title to what is to be known of its column, in the order of counting.
    """
    keys = [key.split(" on ") for data in found.values() for key in data["engine"]["costs"]]
    whole = {board for form, board in keys if form == "dense"}
    return {boards[name].title: "" if name in whole else "only a quarter counted" for _, name in keys}


def row_of(form: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What one form of a model costs.

    Args:
        form: `dense` or `trimmed`.
        data: its work's document.

    Returns:
        parameters, multiply-accumulates and time here, and a cell a board, by title: its tightest budget, the share of
        that, whether it fits, all shares, cycles over the clock, and milliseconds from a key to its sound.
    """
    cells = {}
    for key, found in data["engine"]["costs"].items():
        own, board = key.split(" on ")
        if own != form:
            continue
        budget, share = max(found["shares"].items(), key=lambda item: item[1])
        high, clock = found["cost"]["cycles_per_second_high"], boards[board].clock_hz
        lead = found["cost"].get("lead_cycles_high")
        cells[boards[board].title] = {
            "budget": budget,
            "share": share,
            "fits": share <= 1.0,
            "shares": found["shares"],
            "factor": high / clock if high and clock else None,
            "key_ms": 1000 * lead / clock if lead and clock else None,
        }
    return {
        "form": form,
        "parameters": data[form]["parameters"],
        "macs": data[form]["macs_per_second"],
        "host": data["engine"]["host_real_time_factor"][form],
        "cells": cells,
    }


def verdict_of(rows: Mapping[str, Mapping[str, Any]], board: str) -> dict[str, Any]:
    """What of a model a board plays, in a few words.

    Args:
        rows: form to what it costs, as `row_of` gives it.
        board: its title.

    Returns:
        whether anything fits; what does, or by how much the smallest form misses; and what is to be known beside.
    """
    dense, trimmed = (rows[form]["cells"].get(board) for form in FORMS)
    if dense is not None and dense["fits"]:
        return {"fits": True, "said": "whole", "beside": ""}
    if trimmed is None:
        return {"fits": False, "said": "not counted", "beside": ""}
    if trimmed["fits"]:
        return {"fits": True, "said": "a quarter", "beside": ""}
    late = f"{words.percent(trimmed['shares']['cycles'])} of cycles" if _only_late(trimmed) else ""
    return {"fits": False, "said": f"{words.number(trimmed['share'], 2)} × {trimmed['budget']}", "beside": late}


def _only_late(cell: Mapping[str, Any]) -> bool:
    """Whether a board has the cycles, and the bytes, and yet cannot play: one call is too dear."""
    others = [share for budget, share in cell["shares"].items() if budget != "block"]
    return not cell["fits"] and "cycles" in cell["shares"] and all(share <= 1.0 for share in others)


def fitting_said(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Where a trimmed engine fits, or how far it is from the nearest board.

    Args:
        cells: board to cell, of `row_of`.

    Returns:
        a sentence.
    """
    fit = [board for board, cell in cells.items() if cell["fits"]]
    far = {board: cell["share"] for board, cell in cells.items() if not cell["fits"]}
    if not far:
        return "Trimmed, it fits every board that was counted."
    nearest, furthest = min(far, key=far.__getitem__), max(far, key=far.__getitem__)
    nearly, widely = (
        f"{board} by {words.number(far[board], 2)} times ({cells[board]['budget']})" for board in (nearest, furthest)
    )
    missed = f"misses {nearly}"
    if furthest != nearest:
        missed += f" and {widely}" + (", the others between" if len(far) > 2 else "")
    return f"Trimmed, it fits {listed(fit, 'and')}; it {missed}." if fit else f"Trimmed, it fits nothing; it {missed}."


def average_said(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Boards that have the cycles, and the bytes, and yet cannot play.

    Args:
        cells: board to cell, of `row_of`.

    Returns:
        a sentence; nothing where there are none.
    """
    late = {board: cell["shares"]["cycles"] for board, cell in cells.items() if _only_late(cell)}
    if not late:
        return ""
    shares = " to ".join(dict.fromkeys(words.percent(share) for share in (min(late.values()), max(late.values()))))
    return (
        f"On {listed(list(late), 'and')} only the block stands in the way: on average {shares} of the cycles would "
        "do, but the dearest call is not done when the sound card asks again."
    )
