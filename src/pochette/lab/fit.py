"""How much of a model a board bears: the largest share of its network that keeps every budget, and in how many bits.

Counts depend on shapes and not on weights, so nothing is trained to find it: the model is trimmed at random, its engine
generated, compiled for the board, emulated and counted. Budgets fall with the network's size, so bisection finds the
border; the rest of an engine (synthesis) cannot be trimmed and may be what does not fit. Where all of it does not fit
in floats, fewer bits are tried too. More units in fewer bits or fewer units in more: which loses less depends on the
network and is not guessed, nor asked of what is not trained yet. Each contender is trained on, its engine plays
held-out sounds, and the nearest is what is delivered.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

import pochette
from pochette.boards.board import Board
from pochette.corpus.folder import FolderCorpus
from pochette.engine.build import compile_wasm
from pochette.engine.export import export
from pochette.engine.firmware import compile_firmware, run_qemu
from pochette.engine.precision import Precision
from pochette.engine.runner import FloatArray
from pochette.engine.source import EngineSource
from pochette.engine.verify import Check, allowed_error, peak_of, silence_note, verify
from pochette.engine.wasm import WasmRunner
from pochette.errors import FitError, InstrumentError, ToolError
from pochette.graph.capture import capture
from pochette.graph.units import units_of
from pochette.instrument import Instrument
from pochette.lab.build import Ranges, golden_curve
from pochette.lab.cost import EngineCost, count, time_on_host, to_sound
from pochette.lab.evaluate import engine_to_held_out
from pochette.lab.trials import PRECISIONS, Notes, Plan, Trial
from pochette.measure import profile_model
from pochette.models.model import Model
from pochette.reduce.choosing import Choice
from pochette.reduce.structure import Structure
from pochette.reduce.trimming import structure_of, trim_model

STEPS = 5
"""Bisections: the border is found to within a thirtieth of the way, on a logarithmic scale."""
WORTH = 1.1
"""How much larger a network must be to make up for a precision that is less exact."""
LEAST_SHARE = 1e-4
COUNTED_FRAMES = 30
QEMU_FRAMES = 20
TIMED_SECONDS = 1.0
Tell = Callable[[str, float, str], None]


def plan(
    model: Model, board: Board, ranges: Ranges, tell: Tell, *, precisions: Sequence[Precision] = PRECISIONS,
    notes: Notes | None = None,
) -> Plan:  # fmt: skip
    """Find the largest network that fits a board, in floats and, if that is not all of it, in fewer bits.

    A less exact precision is followed only if it bears a larger network than the more exact ones before it.

    Args:
        model: with any weights; left as it was.
        board: the machine.
        ranges: of what it will be played with; a low note costs more than a high one where partials are made.
        tell: told of each trial.
        precisions: that may be used, the most exact first.
        notes: where trials are kept, and taken from if they were counted before.

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
        trial = None if notes is None else notes.find(keep, precision)
        if trial is None:
            trial = trial_of(model, board, keep, structure() if keep < 1.0 else None, curve, precision)
            if notes is not None:
                notes.add(keep, trial)
        trials.append(trial)
        return trial.fits

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


def notes_for(checkpoint: Path, board: Board, ranges: Ranges) -> Notes:
    """Where the trials of a trained model on a board are kept: beside its checkpoint.

    Args:
        checkpoint: of the model.
        board: the machine.
        ranges: of what it is played with.

    Returns:
        the notes, with what an earlier search left there.
    """
    told = repr((pochette.__version__, board, ranges)).encode()
    identity = hashlib.sha256(told + checkpoint.read_bytes()).hexdigest()
    return Notes(checkpoint.with_name(f"fit-{board.name}.json"), identity)


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
    golden = audio[: len(made)]
    wrong, peak = float(np.abs(made - golden).max()), peak_of(golden)
    passed, took = wrong <= allowed_error(peak), time.monotonic() - begun
    return Check(engine, passed, wrong, seconds, (source.hop_samples,), took, silence_note(peak), peak)


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
        whole, _ = time_on_host({"fit": (source, curve[:1])}, rounds=3)["fit"]
        shares["time"] = whole / board.usable_share
    return cost, shares


def _sandboxed(source: EngineSource, curve: FloatArray) -> float:
    """CPU seconds per second of audio in the WebAssembly sandbox of this machine, the least of three runs."""
    runner = WasmRunner(compile_wasm(source))
    best = np.inf
    for _ in range(3):
        samples = to_sound(runner, source, curve[0], TIMED_SECONDS)
        begun = time.process_time()
        runner.process(curve[0], samples)
        best = min(best, (time.process_time() - begun) / (samples / source.sample_rate_hz))
    return float(best)


def _network_macs(model: Model) -> int:
    """Multiply-accumulates of learnt matrices, also of a network that nothing more can be taken from."""
    module, inputs = model.trim_form()
    graph = capture(module, inputs)
    return Structure(graph, units_of(graph)).matrix_macs()
