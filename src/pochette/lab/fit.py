"""How much of a model a board bears: the largest share of its network that keeps every budget, and in how many bits.

Counts depend on shapes and not on weights, so nothing is trained to find it: the model is trimmed at random, its engine
generated, compiled for the board, emulated and counted. Budgets fall with the network's size, so bisection finds the
border; the rest of an engine (synthesis) cannot be trimmed and may be what does not fit. Where all of it does not fit
in floats, fewer bits are tried too, and held-out sounds decide between more units in fewer bits and fewer in floats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from pochette.boards.board import Board
from pochette.corpus.folder import FolderCorpus
from pochette.engine.build import compile_wasm
from pochette.engine.export import export
from pochette.engine.firmware import compile_firmware, run_qemu
from pochette.engine.precision import Precision
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
from pochette.lab.evaluate import engine_to_held_out
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.reduce.choosing import Choice
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import structure_of, trim_model

PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "bfloat16", "int8")
"""The most exact first."""
STEPS = 5
"""Bisections: the border is found to within a thirtieth of the way, on a logarithmic scale."""
WORTH = 1.1
"""How much larger a network must be to make up for a precision that is less exact."""
LEAST_SHARE = 1e-4
COUNTED_FRAMES = 30
QEMU_FRAMES = 20
TIMED_SECONDS = 1.0
Tell = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Trial:
    """An engine of one size and precision, counted for a board."""

    keep: float
    """Share of the network's multiply-accumulates."""
    parameters: int
    shares: dict[str, float]
    """Of each budget, what it takes; see `Board.shares`."""
    cost: EngineCost
    precision: Precision = "float32"
    """In which its large matrices are stored."""
    distance: float | None = None
    """Of its engine to held-out sounds, where it was played: of the trained network, cut by magnitude to this size but
    not yet trained on; see `measured`."""

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
    """What was tried, and what came of it."""

    board: str
    trials: tuple[Trial, ...]
    """The more exact precision first, within it the larger network first."""

    @property
    def contenders(self) -> tuple[Trial, ...]:
        """The largest that fits in each precision, if it is larger than those of the more exact ones."""
        found: list[Trial] = []
        for precision in PRECISIONS:
            fitting = [trial for trial in self.trials if trial.fits and trial.precision == precision]
            best = max(fitting, key=lambda trial: trial.keep, default=None)
            if best is not None and best.keep > max((trial.keep for trial in found), default=0.0):
                found.append(best)
        return tuple(found)

    @property
    def chosen(self) -> Trial | None:
        """The contender nearest to held-out sounds, or the largest where none was heard; None if nothing fits."""
        if any(trial.distance is not None for trial in self.contenders):
            heard = [trial for trial in self.contenders if trial.distance is not None]
            return min(heard, key=lambda trial: (trial.distance or 0.0, -trial.keep))
        return self.contenders[-1] if self.contenders else None

    def broken(self) -> str:
        """Which budget the whole network breaks first, and by what factor the least broken trial still does.

        Returns:
            a sentence; empty if something fits.
        """
        if self.chosen:
            return ""
        whole = max(self.trials, key=lambda trial: (trial.keep, -PRECISIONS.index(trial.precision)))
        least = min(self.trials, key=lambda trial: trial.tightest[1])
        first, first_factor = whole.tightest
        last, factor = least.tightest
        stored = "" if least.precision == whole.precision else f" in {least.precision}"
        return (
            f"The whole model takes {first_factor:.3g} times the {first} that {self.board} allows; with "
            f"{least.keep:.1%} of its network{stored} it still takes {factor:.3g} times the {last}."
        )


def plan(
    model: Model, board: Board, ranges: Ranges, tell: Tell, *, precisions: Sequence[Precision] = PRECISIONS
) -> Plan:
    """Find the largest network that fits a board, in floats and, if that is not all of it, in fewer bits.

    A less exact precision is followed only if it bears a larger network than the more exact ones before it.

    Args:
        model: with any weights; left as it was.
        board: the machine.
        ranges: of what it will be played with; a low note costs more than a high one where partials are made.
        tell: told of each trial.
        precisions: that may be used, the most exact first.

    Returns:
        every trial; boards without an emulator of their own are timed on this machine instead.

    Raises:
        ExportError: the model holds what the engine cannot do.
        ReductionError: nothing of it can be removed, and whole it does not fit.
        ToolError: no compiler, or no emulator.
    """
    curve = golden_curve(model, ranges)[:COUNTED_FRAMES]
    structure = cache(lambda: structure_of(model))
    trials: list[Trial] = []
    most = len(precisions) * (STEPS + 2)

    def tried(keep: float, precision: Precision) -> bool:
        tell("fit", len(trials) / most, f"{keep:.1%} of the network in {precision} on {board.title}")
        trials.append(trial_of(model, board, keep, structure() if keep < 1.0 else None, curve, precision))
        return trials[-1].fits

    for precision in precisions:
        if tried(1.0, precision):
            break  # what is less exact can bear no more
        border = max((trial.keep for trial in trials if trial.fits), default=0.0)
        least = max(structure().least_macs() / structure().matrix_macs(), LEAST_SHARE)
        low, high = (min(border * WORTH, 1.0) if border else least), 1.0
        for _ in range(STEPS if low < 1.0 and tried(low, precision) else 0):
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if tried(middle, precision) else (low, middle)
    order = sorted(trials, key=lambda trial: (PRECISIONS.index(trial.precision), -trial.keep))
    return Plan(board.title, tuple(order))


def measured(planned: Plan, model: Model, held_out: FolderCorpus, tell: Tell) -> Plan:
    """Hear what each contender makes of held-out sounds, where there is more than one.

    More units in fewer bits or fewer units in more: which loses less depends on the network and is not guessed. Each
    contender's engine plays the trained network, cut to its size by magnitude. It is not trained on first, as that
    would take as long as all the rest for each of them; training on wins back part of what cutting loses and little
    of what rounding does, so that the measure leans towards more units. How far the one chosen is from held-out
    sounds once it is trained is measured at the end.

    Args:
        planned: what fits.
        model: trained.
        held_out: the sounds.
        tell: told of each contender.

    Returns:
        the plan with the contenders' distances.

    Raises:
        ToolError: no compiler.
    """
    contenders = planned.contenders
    if len(contenders) < 2:
        return planned
    structure = structure_of(model)
    distances: dict[int, float] = {}
    for number, trial in enumerate(contenders):
        tell("hear", number / len(contenders), f"{trial.keep:.1%} of the network in {trial.precision}")
        small = model
        if trial.keep < 1.0:
            small, _, _ = trim_model(model, macs=trial.keep * structure.matrix_macs(), structure=structure)
        source = export(small, "heard", precision=trial.precision)
        distances[id(trial)] = engine_to_held_out(source, small, held_out)
    trials = (replace(trial, distance=distances.get(id(trial), trial.distance)) for trial in planned.trials)
    return replace(planned, trials=tuple(trials))


def trial_of(
    model: Model, board: Board, keep: float, structure: Structure | None, curve: FloatArray,
    precision: Precision = "float32",
) -> Trial:  # fmt: skip
    """Count an engine of one size.

    Args:
        model: left as it was.
        board: the machine.
        keep: share of the network's multiply-accumulates, 1 for all of it.
        structure: of the model, where less than all of it is kept; found anew if None.
        curve: (frame, control), what is played while counting.
        precision: in which large matrices are stored.

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
    source = export(small, "fit", precision=precision)
    cost, shares = cost_on(source, board, curve[:, : len(small.controls)])
    return Trial(keep, profile_model(small).parameters, shares, cost, precision)


def fitted(instrument: Instrument, model: Model, dense: Model, board: Board, held_out: FolderCorpus | None) -> Trial:
    """What came of it: the trained instrument, counted with its own golden curve.

    Args:
        instrument: of the model.
        model: trained.
        dense: what it was cut from; itself if nothing was.
        board: the machine.
        held_out: sounds that its engine is heard on; None, and it is not.

    Returns:
        the trial.

    Raises:
        ToolError: what counting needs is missing.
    """
    keep = 1.0 if model is dense else _network_macs(model) / _network_macs(dense)
    cost, shares = cost_on(instrument.source, board, instrument.golden_controls[:COUNTED_FRAMES])
    distance = None if held_out is None else engine_to_held_out(instrument.source, model, held_out)
    return Trial(keep, profile_model(model).parameters, shares, cost, instrument.precision, distance)


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
