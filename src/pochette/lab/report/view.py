"""What the page says, worked out from a result: rows, bars and sentences; how they look is the template's business."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pochette.boards.board import Board
from pochette.errors import UnknownNameError
from pochette.families import boards, metrics
from pochette.lab.report import words
from pochette.lab.result import MakeResult

COUNTED, MEASURED, EMULATED = "counted", "measured", "emulated"
FITS, FITS_IN_MEMORY, DOES_NOT_FIT = "fits", "fits the memory of", "does not fit"


@dataclass(frozen=True)
class CostRow:
    """One cost, before and after trimming."""

    name: str
    help: str
    before: str
    after: str
    ratio: float | None
    """After per before; None where that says nothing."""
    obtained: str


@dataclass(frozen=True)
class Bar:
    """What is taken of what is there."""

    name: str
    used: str
    limit: str
    """Empty if none is known."""
    share: float | None
    obtained: str


@dataclass(frozen=True)
class Scale:
    """What lies at the ends of a scale of distances, in words."""

    worst: str
    best: str
    far: str
    """Short, for the gauge."""
    near: str
    note: str


SCALES = {
    ("mean spectrum", "floor"): Scale(
        "one average tone",
        "the best that its synthesiser could do",
        "average tone",
        "best possible",
        "At one end is an average tone, which follows pitch and loudness and nothing else; at the other the same "
        "synthesiser with its controls fitted to each recording directly, which is the best that any network could "
        "make of it.",
    ),
    ("untrained", "recordings"): Scale(
        "a network that learnt nothing",
        "other recordings of the same kind",
        "nothing learnt",
        "recordings",
        "No sound that it makes stands for a recording, so crowds of both are compared. At one end is the same network "
        "before it learnt anything; at the other recordings themselves, some held against the others.",
    ),
}
"""By the anchors at the ends, see `MakeResult.ends`."""
CROWD_METRICS = {
    "coverage": "share of the held-out recordings that it comes as near as their fifth neighbour; higher is better",
    "nearest_learnt_db": "how far its sounds are from the nearest one that it learnt; near zero means repeated",
    "nearest_of_its_own_db": "how far its sounds are from each other's nearest; near zero means always the same",
}
"""Measures of crowds, see `pochette.lab.unpaired`."""


@dataclass(frozen=True)
class Mark:
    """An anchor on the scale of distances."""

    name: str
    help: str
    distance: float
    share: float
    """Of the longest bar, 0 to 1."""


@dataclass(frozen=True)
class MetricRow:
    """One metric over all rows."""

    name: str
    help: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class LayerRow:
    """One layer before and after trimming."""

    name: str
    parameters_before: int
    parameters_after: int
    macs_before: float
    macs_after: float


@dataclass(frozen=True)
class Slice:
    """A stage of the work on the bar of time."""

    name: str
    seconds: float
    start: float
    """Percent of the whole."""
    width: float


def marks(result: MakeResult) -> list[Mark]:
    """The anchors from far to near."""
    anchors = [a for a in result.anchors if math.isfinite(a.distance)]
    longest = max((a.distance for a in anchors), default=1.0) or 1.0
    return [
        Mark(a.name, a.help, a.distance, max(0.0, a.distance / longest))
        for a in sorted(anchors, key=lambda a: a.distance, reverse=True)
    ]


def metric_rows(result: MakeResult) -> tuple[list[str], list[MetricRow]]:
    """All metrics: the rows that occur, and a line for each metric."""
    columns = list(dict.fromkeys(row for values in result.metrics.values() for row in values))
    return columns, [
        MetricRow(_metric_name(name), _metric_help(name), tuple(values.get(column) for column in columns))
        for name, values in result.metrics.items()
    ]


def _metric_name(name: str) -> str:
    for ending, unit in (("_db", " (dB)"), ("_cents", " (cents)")):
        name = name.removesuffix(ending) + unit if name.endswith(ending) else name
    return name.replace("_", " ")


def _metric_help(name: str) -> str:
    if name in CROWD_METRICS:
        return CROWD_METRICS[name]
    try:
        return metrics.help(name)
    except UnknownNameError:
        return ""


def cost_rows(result: MakeResult) -> list[CostRow]:
    """Every cost before and after, with how it was obtained."""
    before, after, engine = result.profile_before, result.profile_after, result.engine
    dense, trimmed = result.dense, result.trimmed

    def row(name: str, help_: str, show: Any, old: Any, new: Any, obtained: str, *, compare: bool = True) -> CostRow:
        old, new = _number(old), _number(new)
        ratio = new / old if compare and old and new is not None else None
        return CostRow(name, help_, show(old), show(new), ratio, obtained if (old, new) != (None, None) else "")

    share_before = _share(engine.network_instructions_per_second_before, engine.instructions_per_second_before)
    share_after = _share(engine.network_instructions_per_second, engine.instructions_per_second)
    state_after = after.get("state_bytes") if engine.state_bytes is None else engine.state_bytes
    where = f"Instructions of {engine.counted_for}" if engine.counted_for else "Instructions"
    return [
        row("Parameters", "learnt numbers", words.amount, before.get("parameters"), after.get("parameters"), COUNTED),
        row("Network MACs per second", "multiplications with additions, the learnt part alone", words.amount,
            dense and dense.network_macs_per_second, trimmed and trimmed.network_macs_per_second, COUNTED),
        row("All MACs per second", "with the synthesiser, which is not trimmed", words.amount,
            before.get("macs_per_second"), after.get("macs_per_second"), COUNTED),
        row("Weights", "as 32-bit floats, tables included", words.size, before.get("weight_bytes"),
            after.get("weight_bytes"), COUNTED),
        row("State", "what one frame hands to the next", words.size, before.get("state_bytes"), state_after, COUNTED),
        row(f"{where} per second", "of audio, one voice, the whole engine", words.amount,
            engine.instructions_per_second_before, engine.instructions_per_second, EMULATED),
        row("… of these in the network", "the part that trimming can reach", words.amount,
            engine.network_instructions_per_second_before, engine.network_instructions_per_second, EMULATED),
        row("Network's share of instructions", "the rest is the synthesiser", words.percent, share_before, share_after,
            EMULATED, compare=False),
        row("Work on this computer", "processor seconds per second of audio", words.number,
            engine.host_real_time_factor_before, engine.host_real_time_factor, MEASURED),
        row("Network's share of that", "the rest is the synthesiser", words.percent, engine.host_network_share_before,
            engine.host_network_share, MEASURED, compare=False),
    ]  # fmt: skip


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _number(value: Any) -> float | None:
    """A finite number, or None; profiles come as plain JSON."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def board_of(result: MakeResult) -> Board | None:
    """The board's facts; None if this installation does not know it."""
    try:
        return boards[result.board]
    except UnknownNameError:
        return None


def bars(result: MakeResult) -> list[Bar]:
    """What the instrument takes of its board."""
    board, engine = board_of(result), result.engine
    limits = (None, None, None) if board is None else (board.ram_bytes, board.flash_bytes, board.cycle_budget)
    # Results of before the band have instructions only: one a cycle.
    spent = engine.cycles_per_second_high or engine.instructions_per_second
    rows = [
        ("Memory (RAM)", engine.ram_bytes, words.size, COUNTED),
        ("Storage (flash)", engine.flash_bytes, words.size, COUNTED),
        ("Cycles per second, at worst", spent, words.amount, EMULATED),
    ]
    made = []
    for (name, used, show, obtained), limit in zip(rows, limits, strict=True):
        share = _share(used, limit)
        allowed = show(limit) if limit else ""
        made.append(Bar(name, show(used), allowed, share, obtained if used is not None else ""))
    return made


def layer_rows(result: MakeResult) -> list[LayerRow]:
    """Layers that have parameters or MACs, before and after, MACs per frame."""
    before = {layer["layer"]: layer for layer in result.profile_before.get("layers", [])}
    after = {layer["layer"]: layer for layer in result.profile_after.get("layers", [])}
    rows = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, {}), after.get(name, {})
        row = LayerRow(
            name.removeprefix("model.") or "(outermost)",
            old.get("parameters", 0),
            new.get("parameters", 0),
            old.get("cost", {}).get("macs", 0),
            new.get("cost", {}).get("macs", 0),
        )
        if row.parameters_before or row.parameters_after or row.macs_before or row.macs_after:
            rows.append(row)
    return rows


def slices(result: MakeResult) -> list[Slice]:
    """The stages laid end to end."""
    total = sum(stage.seconds for stage in result.stages) or 1.0
    made, start = [], 0.0
    for stage in result.stages:
        width = 100 * stage.seconds / total
        made.append(Slice(stage.name, stage.seconds, start, width))
        start += width
    return made


def verdict(result: MakeResult) -> str:
    """Whether it fits, and if its speed is open, no more than is known."""
    board = board_of(result)
    open_ = result.engine.instructions_per_second is None and (board is None or board.cycle_budget is not None)
    return DOES_NOT_FIT if not result.verdict.fits else FITS_IN_MEMORY if open_ else FITS


def sentences(result: MakeResult) -> list[str]:
    """The whole job in three sentences, in words that need no course in machine learning."""
    lasts = result.sound_seconds
    said = [] if lasts is None else [f"Each of its sounds lasts {words.duration(lasts)}."]
    return [_learnt(result), *said, _trimmed(result), _fitted(result)]


def _learnt(result: MakeResult) -> str:
    corpus = result.corpus
    start = (
        f"{result.title} learnt to play from {corpus.sounds} sounds, {words.duration(corpus.seconds)} without the "
        f"silence around them, in the folder {corpus.folder_name}"
    )
    gap, kept = result.gap_closed("trimmed"), len(corpus.held_out)
    if gap is None or result.ends is None:
        return f"{start}."
    scale = SCALES[result.ends]
    heard = f"on {kept} sound{'s' if kept != 1 else ''} that it never heard" if kept else "on held-out sound"
    if gap <= 0:
        return f"{start}; {heard} it is no better than {scale.worst}: give it more minutes to learn."
    return f"{start}; {heard}, it comes {words.percent(gap)} of the way from {scale.worst} to {scale.best}."


def _trimmed(result: MakeResult) -> str:
    dense, trimmed, ratio = result.dense, result.trimmed, result.macs_ratio
    if result.kept_whole:
        return "Its network was left whole: those that were made smaller sounded worse."
    if dense is not None and trimmed is None:
        return "Its network was not trimmed."
    if dense is None or trimmed is None or ratio is None:
        return "What was trimmed of its network was not measured."
    start = (
        f"Of the arithmetic of its network only {words.percent(ratio)} was kept: "
        f"{words.in_words(trimmed.network_macs_per_second)} multiplications per second instead of "
        f"{words.in_words(dense.network_macs_per_second)}"
    )
    change = result.distance_ratio
    if change is None:
        return f"{start}; what that did to the sound was not measured."
    if abs(change - 1) < 0.005:
        return f"{start}, and its sound is as near to the recordings as before."
    way = "further from" if change > 1 else "nearer to"
    return f"{start}, and its sound came out {words.percent(abs(change - 1))} {way} the recordings than before."


def _fitted(result: MakeResult) -> str:
    start = f"It {verdict(result)} the {result.board_title}"
    if verdict(result) == FITS_IN_MEMORY:
        start += " (whether it is fast enough was not measured)"
    ran = [check for check in result.golden if check.passed is not None]
    failed = [check.engine for check in ran if not check.passed]
    if not ran:
        return f"{start}; whether its C engine plays as the model does was not tried."
    if failed:
        return f"{start}, but its C engine does not play as the model does on {', '.join(failed)}."
    places = "kind of machine" if len(ran) == 1 else "kinds of machine"
    but = ", but" if not result.verdict.fits else ", and"
    return f"{start}{but} its C engine plays as the model does on {len(ran)} {places} it was tried on."
