"""How much of a model a board bears: the largest share of its network that keeps every budget, found by counting.

Counts depend on shapes and not on weights, so nothing is trained to find it: the model is trimmed at random, its engine
generated, compiled for the board, emulated and counted. Budgets fall with the network's size, so bisection finds the
border; the rest of an engine (synthesis) cannot be trimmed and may be what does not fit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pochette.boards.board import Board
from pochette.engine.build import compile_wasm
from pochette.engine.export import export
from pochette.engine.firmware import compile_firmware, run_qemu
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.engine.verify import TOLERANCE, Check, verify
from pochette.engine.wasm import WasmRunner
from pochette.errors import FitError, InstrumentError, ToolError
from pochette.graph.capture import capture
from pochette.graph.units import units_of
from pochette.instrument import Instrument
from pochette.lab.build import Ranges, golden_curve
from pochette.lab.cost import EngineCost, count, time_on_host
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.reduce.choosing import Choice
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import structure_of, trim_model

STEPS = 5
"""Bisections: the border is found to within a thirtieth of the way, on a logarithmic scale."""
COUNTED_FRAMES = 30
QEMU_FRAMES = 20
TIMED_SECONDS = 1.0
Tell = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Trial:
    """An engine of one size, counted for a board."""

    keep: float
    """Share of the network's multiply-accumulates."""
    parameters: int
    shares: dict[str, float]
    """Of each budget, what it takes; see `Board.shares`."""
    cost: EngineCost

    @property
    def fits(self) -> bool:
        """Whether every budget holds."""
        return all(share <= 1.0 for share in self.shares.values())

    @property
    def tightest(self) -> tuple[str, float]:
        """The budget that it takes most of, and how much."""
        return max(self.shares.items(), key=lambda item: item[1])

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "fits": self.fits}


@dataclass(frozen=True)
class Plan:
    """What was tried, largest first, and the largest that fits."""

    board: str
    trials: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial | None:
        """The largest that fits; None if not even the smallest does."""
        return max((trial for trial in self.trials if trial.fits), key=lambda trial: trial.keep, default=None)

    def broken(self) -> str:
        """Which budget the smallest network breaks, and by what factor; empty if something fits."""
        if self.chosen:
            return ""
        smallest = min(self.trials, key=lambda trial: trial.keep)
        whole = max(self.trials, key=lambda trial: trial.keep)
        first, first_factor = whole.tightest
        last, factor = smallest.tightest
        return (
            f"The whole model takes {first_factor:.3g} times the {first} that {self.board} allows; with "
            f"{smallest.keep:.1%} of its network it still takes {factor:.3g} times the {last}."
        )


def plan(model: Model, board: Board, ranges: Ranges, tell: Tell, *, at_most: float = 1.0) -> Plan:
    """Find the largest network that fits a board.

    Args:
        model: with any weights; left as it was.
        board: the machine.
        ranges: of what it will be played with; a low note costs more than a high one where partials are made.
        tell: told of each trial.
        at_most: the largest share to try.

    Returns:
        every trial; boards without an emulator of their own are timed on this machine instead.

    Raises:
        ExportError: the model holds what the engine cannot do.
        ReductionError: nothing of it can be removed, and whole it does not fit.
        ToolError: no compiler, or no emulator.
    """
    curve = golden_curve(model, ranges)[:COUNTED_FRAMES]

    def tried(keep: float, structure: Structure | None) -> Trial:
        tell("fit", len(trials) / (STEPS + 2), f"{keep:.1%} of the network on {board.title}")
        return trial_of(model, board, keep, structure, curve)

    trials: list[Trial] = []
    trials.append(tried(at_most, None))
    if not trials[0].fits:
        structure = structure_of(model)
        least = max(structure.least_macs() / structure.matrix_macs(), 1e-4)
        trials.append(tried(least, structure))
        low, high = least, at_most
        for _ in range(STEPS if trials[1].fits else 0):
            middle = float(np.sqrt(low * high))
            trials.append(tried(middle, structure))
            low, high = (middle, high) if trials[-1].fits else (low, middle)
    return Plan(board.title, tuple(sorted(trials, key=lambda trial: -trial.keep)))


def trial_of(model: Model, board: Board, keep: float, structure: Structure | None, curve: FloatArray) -> Trial:
    """Count an engine of one size.

    Args:
        model: left as it was.
        board: the machine.
        keep: share of the network's multiply-accumulates, 1 for all of it.
        structure: of the model, where less than all of it is kept; found anew if None.
        curve: (frame, control), what is played while counting.

    Returns:
        the trial; its share is what whole units come to.

    Raises:
        ReductionError: nothing can be removed.
    """
    small = model
    if keep < 1.0:
        structure = structure or structure_of(model)
        units_kept = structure.keep_for(keep * structure.matrix_macs())
        small, _, report = trim_model(model, units_kept, choice=Choice("random"), structure=structure)
        left = {family.name: family.after for family in report.families}
        keep = structure.matrix_macs(left) / structure.matrix_macs()
    source = export(small, "fit")
    cost, shares = cost_on(source, board, curve[:, : len(small.controls)])
    return Trial(keep, profile_model(small).parameters, shares, cost)


def fitted(instrument: Instrument, model: Model, dense: Model, board: Board) -> Trial:
    """What came of it: the trained instrument, counted with its own golden curve.

    Args:
        instrument: of the model.
        model: trained.
        dense: what it was cut from; itself if nothing was.
        board: the machine.

    Returns:
        the trial.

    Raises:
        ToolError: what counting needs is missing.
    """
    keep = 1.0 if model is dense else _network_macs(model) / _network_macs(dense)
    cost, shares = cost_on(instrument.source, board, instrument.golden_controls[:COUNTED_FRAMES])
    return Trial(keep, profile_model(model).parameters, shares, cost)


def prove(instrument: Instrument, board: Board) -> Check:
    """Play the golden sound where the board's own code runs.

    Args:
        instrument: with its golden sound.
        board: the machine; one that only QEMU imitates plays the first frames there, from reset on.

    Returns:
        the answer; one that could not be had says why and does not pass.
    """
    source, controls, audio = instrument.source, instrument.golden_controls, instrument.golden_audio
    if board.emulator != "qemu" or board.memory is None or board.target is None:
        played_on = board.machine or ("wasm" if board.emulator == "wasm" else "c")
        return verify(source, instrument.wasm, controls, audio, [played_on])[0]
    begun, engine = time.monotonic(), f"qemu {board.qemu_machine}"
    seconds = QEMU_FRAMES * source.hop_samples / source.sample_rate_hz
    try:
        firmware = compile_firmware(source, controls[:QEMU_FRAMES], board.memory, target=board.target)
        made = run_qemu(firmware, board.qemu_machine)
    except (ToolError, FitError, InstrumentError) as error:
        return Check(engine, False, None, 0.0, (), 0.0, f"{error.what} {error.remedy}")
    wrong = float(np.abs(made - audio[: len(made)]).max())
    return Check(engine, wrong <= TOLERANCE, wrong, seconds, (source.hop_samples,), time.monotonic() - begun)


def cost_on(source: EngineSource, board: Board, curve: FloatArray) -> tuple[EngineCost, dict[str, float]]:
    """Count or time an engine for a board.

    Args:
        source: the engine.
        board: the machine.
        curve: (frame, control), what is played meanwhile.

    Returns:
        the cost, and the share of each budget; "time" for machines that are timed here.

    Raises:
        ToolError: what counting needs is missing.
    """
    cost = count(source, board, curve)
    shares = board.shares(cost.demand(source.sample_rate_hz))
    if board.machine is not None and cost.instructions_per_second is None:
        raise ToolError(
            f"Nothing can be counted for {board.title} here.", remedy="Run `pip install 'pochette[compile]'`."
        )
    if board.emulator == "wasm":
        shares["time"] = _sandboxed(source, curve) / board.usable_share
    elif board.target is None:
        whole, _ = time_on_host({"fit": source}, curve[:1], rounds=3)["fit"]
        shares["time"] = whole / board.usable_share
    return cost, shares


def _sandboxed(source: EngineSource, curve: FloatArray) -> float:
    """CPU seconds per second of audio in the WebAssembly sandbox of this machine, the least of three runs."""
    runner = WasmRunner(compile_wasm(source))
    samples = round(TIMED_SECONDS * source.sample_rate_hz)
    best = np.inf
    for _ in range(3):
        begun = time.process_time()
        runner.process(curve[0], samples)
        best = min(best, time.process_time() - begun)
    return float(best) / TIMED_SECONDS


def _network_macs(model: Model) -> int:
    """Multiply-accumulates of learnt matrices, also of a network that nothing more can be taken from."""
    module, inputs = model.trim_form()
    graph = capture(module, inputs)
    return Structure(graph, units_of(graph)).matrix_macs()
