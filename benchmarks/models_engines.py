"""What a trained model's engine costs on boards and this machine, and whether it sounds as torch does there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pochette.corpus.folder import FolderCorpus
from pochette.engine.export import export
from pochette.engine.source import EngineSource
from pochette.engine.verify import USUAL, verify
from pochette.families import boards
from pochette.instrument import Instrument
from pochette.lab.build import Ranges, build_instrument, golden_curve
from pochette.lab.cost import time_on_host
from pochette.lab.first_block import first_block
from pochette.lab.fit import COUNTED_FRAMES, cost_on
from pochette.models.model import Model

BOARDS = ("arduino-nano-33-ble", "rp2350", "daisy-seed", "teensy-4.1", "pi-zero-2w", "pi-4")
MORE_BOARDS = ("bela", "jetson-nano", "pi-5", "browser")
"""That only the trimmed form is counted for."""
EMULATED_SECONDS = 0.5
"""Of the golden sound, on every emulated processor."""
FIRST_BLOCK_BOARD = "pi-4"


def engines(name: str, small: Model, model: Model, corpus: FolderCorpus) -> dict[str, Any]:
    """Hold the trimmed engine against torch on every machine, and count what both forms cost on boards.

    Args:
        name: of the work.
        small: its trimmed form.
        model: the whole one.
        corpus: its sounds, which say what it is played with.

    Returns:
        checks, costs, times and how soon a sound begins.
    """
    ranges = Ranges.of(corpus)
    instrument = build_instrument(small, name, ranges)
    costs: dict[str, Any] = {}
    times: dict[str, float] = {}
    first: dict[str, Any] = {}
    for form, player in (("trimmed", small), ("dense", model)):
        source, own = export(player, name), golden_curve(player, ranges)[:COUNTED_FRAMES]
        costs |= costs_of(form, source, own, (*BOARDS, *MORE_BOARDS) if form == "trimmed" else BOARDS)
        times[form] = time_on_host({form: (source, own[:3])}, rounds=3)[form][0]
        if player.mode == "one_shot":
            first[form] = _first_block(source, player, own[0])
    first.update(_whole_note(model) if first else {})
    return {
        # On one machine of each kind, and on those of all boards that it fits.
        "checks": checks_of(instrument, list(dict.fromkeys((*USUAL, *machines_of(costs))))),
        "costs": costs,
        "host_real_time_factor": times,
        "first_block": first,
    }


def costs_of(form: str, source: EngineSource, curve: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """What an engine takes of every budget of boards.

    Args:
        form: "trimmed" or "dense".
        source: its engine.
        curve: (frame, control), what is played meanwhile.
        names: of the boards.

    Returns:
        "FORM on BOARD" to shares and cost.
    """
    found = {}
    for board in names:
        cost, shares = cost_on(source, boards[board], curve)
        found[f"{form} on {board}"] = {"shares": shares, "cost": cost.to_json()}
        print(f"  {form} on {board}: {max(shares.values()):.3g}", flush=True)
    return found


def machines_of(costs: Mapping[str, Any]) -> list[str]:
    """Processors of the boards that the trimmed engine fits, of what `costs_of` found."""
    trimmed = {key: found for key, found in costs.items() if key.startswith("trimmed")}
    fitting = [key.split(" on ")[1] for key, found in trimmed.items() if max(found["shares"].values()) <= 1.0]
    return list(dict.fromkeys(machine for board in fitting if (machine := boards[board].machine)))


def checks_of(instrument: Instrument, machines: Sequence[str]) -> list[dict[str, Any]]:
    """Hold an engine against torch on processors, over the beginning of its golden sound.

    Args:
        instrument: that holds both.
        machines: the processors.

    Returns:
        an answer each, as stored.
    """
    source = instrument.source
    frames = max(1, round(EMULATED_SECONDS * source.sample_rate_hz / source.hop_samples))
    golden = instrument.golden_controls[:frames], instrument.golden_audio[: frames * source.hop_samples]
    told = ("engine", "passed", "max_error", "golden_peak", "seconds_of_audio")
    return [{name: getattr(c, name) for name in told} for c in verify(source, instrument.wasm, *golden, machines)]


def _whole_note(model: Model) -> dict[str, Any]:
    """How soon a sound of the published length begins, where the work's own is shorter: weights do not matter."""
    published = type(model.recipe).sized("paper")
    if getattr(published, "note_seconds", None) == getattr(model.recipe, "note_seconds", None):
        return {}
    longer: Model = replace(model.recipe, note_seconds=published.note_seconds).build().eval()
    note = np.array([knob.default for knob in longer.controls], np.float32)
    return {f"dense, {published.note_seconds:g} s": _first_block(export(longer, "longer"), longer, note)}


def _first_block(source: EngineSource, player: Model, note: np.ndarray) -> dict[str, Any]:
    """How soon a sound begins, on this machine and on a Pi."""
    late, frames = -(-player.delay_samples // player.hop_samples), player.excerpt_frames
    assert frames is not None, "a sound of one piece has an end"
    return first_block(source, boards[FIRST_BLOCK_BOARD], note, frames, late_frames=late).to_json()
