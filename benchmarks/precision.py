"""Engines in fewer bits, of trained models: what is lost on held-out sounds, in quiet passages and layer by layer.

    python benchmarks/precision.py --measure          measure what is not stored yet (needs recordings)
    python benchmarks/precision.py --measure wavenet  this again
    python benchmarks/precision.py                    rewrite docs/engine.md from what is stored
    python benchmarks/precision.py --check            exit 1 if the page differs from what is stored

The models are those of `models.py`, taken from their checkpoints under build/models, or trained where there is none.
The engines of models that are played by controls are compiled, played along held-out sounds and judged as
`models_judge` judges models. A model that tells the probability of samples is judged by its bits, its matrices being
those that the engine holds; vectors, which an int8 engine rounds too, are floats there, and how little that matters is
told apart.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from make_sax import machine  # noqa: E402
from models_judge import judged  # noqa: E402
from publish import fill  # noqa: E402

from models import RUNS, SOUNDS, WORKS, Work  # noqa: E402
from pochette.corpus.folder import FolderCorpus  # noqa: E402
from pochette.engine.build import compile_host_library  # noqa: E402
from pochette.engine.export import export_with_twin  # noqa: E402
from pochette.engine.native import NativeRunner  # noqa: E402
from pochette.engine.packing import FloatArray  # noqa: E402
from pochette.engine.precision import BITS, LayerPrecision, snr_db  # noqa: E402
from pochette.engine.rounding import layers_of, with_outputs  # noqa: E402
from pochette.engine.runner import run_frames  # noqa: E402
from pochette.engine.source import EngineSource  # noqa: E402
from pochette.engine.twin import Playing  # noqa: E402
from pochette.families import boards  # noqa: E402
from pochette.lab.bits_anchors import model_bits  # noqa: E402
from pochette.lab.fit import COUNTED_FRAMES, cost_on  # noqa: E402
from pochette.lab.judge import Parts, divide, excerpts_of  # noqa: E402
from pochette.models.model import Model  # noqa: E402
from pochette.sound.log_spectral import LogSpectral  # noqa: E402
from pochette.train.session import Session  # noqa: E402

MEASURED = ("ddsp", "nsf", "wavenet")
RESULTS = ROOT / "benchmarks" / "results" / "precision"
PAGE = ROOT / "docs" / "engine.md"
BOARD = "daisy-seed"
"""Whose Cortex-M7 the instructions are counted for."""
QUIET_DB = -40.0
"""The loudest that the loudness control is in a quiet passage."""
PLAYED_FRAMES, DRAWN_FRAMES = 250, 12
"""Of a held-out sound, over which layers and quiet passages are measured; fewer of a step that hears itself."""


def trained(name: str, work: Work) -> tuple[Model, Parts]:
    """A work's dense model, from its checkpoint or trained, and its sounds."""
    torch.manual_seed(work.training.seed)
    model: Model = work.recipe.build()
    parts = divide(FolderCorpus.prepare(SOUNDS / work.sounds, model.sample_rate_hz, model.hop_samples), model)
    folder = RUNS / f"{name}-{work.steps}"
    folder.mkdir(parents=True, exist_ok=True)
    Session(folder, parts.training, parts.looks, work.training, float("inf"), work.steps).phase("dense", model, 1.0)
    return model.eval(), parts


def measure(name: str) -> dict[str, Any]:
    """All precisions of one work."""
    model, parts = trained(name, WORKS[name])
    verdict, found = judged(model, parts), dict[str, Any]()
    for precision in BITS:
        source, twin = export_with_twin(model, name, precision)
        found[precision] = _measured(model, parts, source, twin)
        print(f"  {name} {precision}: {found[precision]['value']:.5f}", flush=True)
    for each in found.values():
        each["ratio_to_float"] = each["value"] / found["float32"]["value"]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "metric": verdict.metric,
        "network_in_torch": verdict.value,
        "quiet_db": QUIET_DB,
        "precisions": found,
    }


def _measured(model: Model, parts: Parts, source: EngineSource, twin: Playing) -> dict[str, Any]:
    frames = DRAWN_FRAMES if twin.feeds_back else PLAYED_FRAMES
    curve = _curve(model, parts, frames)
    cost, _ = cost_on(source, boards[BOARD], curve[:COUNTED_FRAMES])
    report = tuple(line for part, _ in twin.calls(curve[:1]) for line in part.report)
    held_bytes = sum(_bytes(line) for line in report)
    return {
        "value": _bits(model, parts, twin) if twin.feeds_back else _distance(model, parts, source),
        "quiet_snr_db": _quiet(model, curve, twin, source),
        "matrix_bytes": held_bytes,
        "flash_bytes": cost.flash_bytes,
        "instructions_per_second": cost.instructions_per_second,
        "layers": [_told(line) for line in (report if source.precision == "float32" else layers_of(twin, curve))],
    }


def _bytes(line: LayerPrecision) -> int:
    """Of one matrix: its numbers and, of whole ones, a scale a row; rows are told of as the network has them."""
    scales = 4 * line.shape[0] if line.precision == "int8" else 0
    return math.prod(line.shape) * BITS[line.precision] // 8 + scales


def _told(line: LayerPrecision) -> dict[str, Any]:
    ratios = {"weight_snr_db": line.weight_snr_db, "output_snr_db": line.output_snr_db}
    told = {
        name: None if value is None or not math.isfinite(value) else round(value, 1) for name, value in ratios.items()
    }
    return {
        "weight": line.weight,
        "shape": list(line.shape),
        "precision": line.precision,
        **told,
        "reason": line.reason,
    }


@torch.no_grad()
def _curve(model: Model, parts: Parts, frames: int) -> FloatArray:
    """The first frames of what a held-out sound is played with."""
    held = parts.test.excerpt_batch(np.random.default_rng(7), 1, frames, "beginning")
    excerpt = {name: torch.from_numpy(values) for name, values in held.items()}
    curve: FloatArray = model.controls_of(model.heard_out(excerpt))[0].numpy()
    return curve[:frames]


@torch.no_grad()
def _distance(model: Model, parts: Parts, source: EngineSource) -> float:
    """Log-spectral distance of what the engine plays to the held-out sounds, as `models_judge` averages it."""
    distances, excerpts = [], excerpts_of(parts.test, model)
    for excerpt in excerpts:
        curves = model.controls_of(model.heard_out(excerpt)).numpy()
        made = np.stack([_played(source, curve)[model.delay_samples :] for curve in curves])
        length = min(made.shape[1], excerpt["audio"].shape[1])
        distances.append(float(LogSpectral()(torch.from_numpy(made[:, :length]), excerpt["audio"][:, :length])))
    return float(np.average(distances, weights=[len(excerpt["audio"]) for excerpt in excerpts]))


def _played(source: EngineSource, curve: FloatArray) -> FloatArray:
    with tempfile.TemporaryDirectory(prefix="pochette-") as folder:
        played = run_frames(NativeRunner(compile_host_library(source, Path(folder))), curve)
    return np.asarray(played, np.float32)


def _bits(model: Model, parts: Parts, twin: Playing) -> float:
    """Bits per sample of the network that holds the engine's matrices."""
    holding = copy.deepcopy(model)
    weights = holding.state_dict()
    for part, _ in twin.calls(np.array([[knob.default for knob in model.controls]], np.float32)):
        for path, stored in part.stored().items():
            weights[path.removeprefix("model.")].copy_(stored)
    return float(model_bits(holding, parts.test))  # type: ignore[arg-type]


def _quiet(model: Model, curve: FloatArray, twin: Playing, source: EngineSource) -> float | None:
    """Signal to noise in a quiet passage, against floats that hold the same matrices; None where nothing is rounded.

    Of a step that hears itself it is the least of all that is made with a matrix, since what it draws is another sound
    if a single sample is drawn otherwise.
    """
    if source.precision == "float32":
        return None
    quiet = curve.copy()
    loudness = [knob.name for knob in model.controls].index("loudness_db")
    quiet[:, loudness] += QUIET_DB - quiet[:, loudness].max()
    if not twin.feeds_back:
        twin.reset()
        return snr_db(twin.floats(rounded=True).play(quiet), _played(source, quiet)[: len(quiet) * model.hop_samples])
    lines = [
        line.output_snr_db
        for part, calls in twin.calls(quiet)
        for line in with_outputs(part, calls, vectors_alone=True, follow=True)
    ]
    least = min(ratio for ratio in lines if ratio is not None)
    return least if math.isfinite(least) else None


# -- the page ----------------------------------------------------------------------------------------------------------


def stored() -> dict[str, Any]:
    """Every work's document, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def page(found: Mapping[str, Any]) -> str:
    """What stands in docs/engine.md."""
    lines = [_dates(found), "", *_table(found)]
    for name, data in found.items():
        lines += ["", f"{name}, in int8: {_layers(data['precisions']['int8']['layers'])}"]
    return "\n".join(lines)


def _dates(found: Mapping[str, Any]) -> str:
    each = sorted({f"{data['date']}, {data['machine']['cpu']}" for data in found.values()})
    return f"{'; '.join(each)}; instructions of a Cortex-M7, emulated."


def _table(found: Mapping[str, Any]) -> list[str]:
    rows = [
        "| trained model, held-out metric | stored in | metric | of float's | quiet passages | matrices "
        "| M7 instructions a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, data in found.items():
        for precision, own in data["precisions"].items():
            quiet = "" if own["quiet_snr_db"] is None else f"{own['quiet_snr_db']:.0f} dB"
            rows.append(
                f"| {name}, {data['metric']} | {precision} | {own['value']:.4f} | {own['ratio_to_float']:.4f} "
                f"| {quiet} | {own['matrix_bytes'] / 1000:.1f} KB | {own['instructions_per_second'] / 1e6:.1f} M |"
            )
    return rows


def _layers(lines: Sequence[Mapping[str, Any]]) -> str:
    """The range over what is stored in whole numbers, and what stays in floats, by reason."""
    whole = [line for line in lines if line["precision"] == "int8"]
    weights, outputs = ([line[f"{of}_snr_db"] for line in whole] for of in ("weight", "output"))
    worst = min(whole, key=lambda line: line["output_snr_db"])
    said = (
        f"{len(whole)} matrices, signal to rounding {min(weights):.1f} to {max(weights):.1f} dB, of what is made with "
        f"them {min(outputs):.1f} to {max(outputs):.1f} dB, least at `{worst['weight']}`"
    )
    reasons: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        if line["precision"] == "float32":
            reasons.setdefault(line["reason"], []).append(line)
    floats = [f"{len(each)} with {_numbers(each):,} numbers in all ({reason})" for reason, each in reasons.items()]
    kept = f"{_numbers(whole) / _numbers(lines):.1%} of the {_numbers(lines):,} numbers are stored in 8 bits"
    return f"{kept}; {said}" + (f". Matrices that stay in floats: {'; '.join(floats)}." if floats else ".")


def _numbers(lines: Sequence[Mapping[str, Any]]) -> int:
    return sum(math.prod(line["shape"]) for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", choices=MEASURED, help="measure these; all not stored by default")
    parser.add_argument("--check", action="store_true", help="exit 1 if the page differs from what is stored")
    asked = parser.parse_args()
    if asked.measure is not None:
        if not SOUNDS.is_dir():
            print(f"skipped: there are no recordings at {SOUNDS}", file=sys.stderr)
            return 0
        torch.set_num_threads(1)
        RESULTS.mkdir(parents=True, exist_ok=True)
        for name in asked.measure or [name for name in MEASURED if not (RESULTS / f"{name}.json").is_file()]:
            text = json.dumps(measure(name), indent=1, allow_nan=False)
            (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    old = PAGE.read_text(encoding="utf-8")
    new = fill(old, "precision", page(stored()))
    if not asked.check:
        PAGE.write_text(new, encoding="utf-8")
    print("up to date" if new == old else f"differs: {PAGE.name}")
    return int(asked.check and new != old)


if __name__ == "__main__":
    sys.exit(main())
