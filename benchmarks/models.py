"""Every model, trained small on real recordings and judged by what suits it, whole and trimmed, and on boards.

    python benchmarks/models.py                 train, judge, trim and count what is not stored yet
    python benchmarks/models.py ddsp wavegan    only these
    python benchmarks/models.py --engines sing  make the engines of a stored work anew, from its checkpoints
    python benchmarks/models.py --boards sing   count a stored work for boards that it was not counted for
    python benchmarks/models.py --heard sing    listen anew to what a stored work's engines play
    python benchmarks/models.py --anchors sing  find what a stored work is judged beside anew, without its weights
    python benchmarks/models_page.py            write docs/models.html from what is stored

A work's training is bounded by steps, chosen so that it takes at most 20 minutes of one core; what it took is stored.
A training that was stopped goes on from its checkpoint under build/models. Results lie under benchmarks/results/models:
a JSON document a work, and generated sounds as MP3.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from make_sax import machine  # noqa: E402
from models_engines import BOARDS, MORE_BOARDS, checks_of, costs_of, engines, machines_of  # noqa: E402
from models_first_step import first_step  # noqa: E402
from models_judge import Verdict, anchors_of, heard, judged, played  # noqa: E402

from pochette.corpus.folder import FolderCorpus  # noqa: E402
from pochette.lab.build import Ranges, build_instrument, golden_curve  # noqa: E402
from pochette.lab.fit import COUNTED_FRAMES  # noqa: E402
from pochette.lab.judge import Parts, divide  # noqa: E402
from pochette.lab.shrink import shrink, weights_of  # noqa: E402
from pochette.measure import profile_model  # noqa: E402
from pochette.models.ddsp import Ddsp  # noqa: E402
from pochette.models.gansynth import Gansynth  # noqa: E402
from pochette.models.mcnn import Mcnn  # noqa: E402
from pochette.models.model import Model  # noqa: E402
from pochette.models.nsf import Nsf  # noqa: E402
from pochette.models.nsynth import Nsynth  # noqa: E402
from pochette.models.parallel_wavenet import ParallelWavenet  # noqa: E402
from pochette.models.rave import Rave  # noqa: E402
from pochette.models.samplernn import SampleRnn  # noqa: E402
from pochette.models.sing import Sing  # noqa: E402
from pochette.models.sing_ae import SingAe  # noqa: E402
from pochette.models.timbre_vae import TimbreVae  # noqa: E402
from pochette.models.unpaired import Unpaired  # noqa: E402
from pochette.models.wavegan import Wavegan  # noqa: E402
from pochette.models.wavenet import Wavenet  # noqa: E402
from pochette.reduce.choosing import Choice  # noqa: E402
from pochette.train.loop import Trainer, Training  # noqa: E402
from pochette.train.session import Session  # noqa: E402

SOUNDS = ROOT.parent / "shared" / "sounds"
RESULTS = ROOT / "benchmarks" / "results" / "models"
RUNS = ROOT / "build" / "models"
PITCHED = "alto-sax"
KEPT = 0.25
"""Share of its learnt numbers that the trimmed form of every model keeps."""
AGAIN = 0.5
"""Steps of training after the cut, as a share of those before."""
FOREVER = 10**6


@dataclass(frozen=True)
class Work:
    """One model, the sounds that suit it, and how it is trained."""

    recipe: Any
    sounds: str
    training: Training
    steps: int
    remark: str = ""
    """What a reader has to know of how it came about."""


def looked_at(**fields: Any) -> Training:
    """A training that is looked at now and then and ended by its steps alone."""
    return Training(**{"evaluate_steps": 100, "patience": FOREVER, **fields})


def varied(**fields: Any) -> Training:
    """The same with every excerpt a little higher or lower, louder or softer: of few notes there are few."""
    return looked_at(shift_semitones=3.0, gain_db=6.0, **fields)


RATE = {"sample_rate_hz": 16000}
WORKS: dict[str, Work] = {
    "ddsp": Work(Ddsp.sized("small", **RATE), "alto-sax", looked_at(), 1500),
    "nsf": Work(Nsf.sized("small", **RATE), "alto-sax", looked_at(batch=4, excerpt_seconds=0.5), 1200),
    "sing": Work(
        Sing.sized("small", note_seconds=2.0, **RATE),
        "alto-sax",
        looked_at(learning_rate=1e-3, gain_db=6.0, shift_semitones=2.0),
        6000,
        "A first training, its sounds unmoved, knew nothing of a pitch whose two takes are both held out, and was no "
        "better than silence on the sounds looked at meanwhile. Those chose this one; the test sounds had been judged "
        "before.",
    ),
    "sing-ae": Work(SingAe.sized("small", **RATE), "alto-sax", varied(batch=32, excerpt_seconds=0.25), 3000),
    "wavenet": Work(
        Wavenet.sized("small", **RATE), "alto-sax", varied(batch=2, excerpt_seconds=0.25, learning_rate=4e-3), 5000
    ),
    "parallel-wavenet": Work(
        ParallelWavenet.sized("small", **RATE), "alto-sax", varied(batch=4, excerpt_seconds=0.256), 1600
    ),
    "samplernn": Work(
        SampleRnn.sized("small", **RATE), "alto-sax", varied(batch=16, excerpt_seconds=0.256, evaluate_steps=20), 340
    ),
    "nsynth": Work(
        Nsynth.sized("small", **RATE),
        "alto-sax",
        varied(batch=4, excerpt_seconds=0.256, learning_rate=3e-3, evaluate_steps=50),
        1600,
    ),
    "wavegan": Work(
        Wavegan.sized("small", **RATE),
        "body-percussion",
        looked_at(learning_rate=4e-3, anneal_from=0.6, evaluate_steps=50),
        800,
    ),
    "wavegan-digits": Work(
        Wavegan.sized("small", slice_samples=4096, classes=10, sample_rate_hz=8000),
        "spoken-digits",
        looked_at(learning_rate=1e-2, anneal_from=0.6),
        2200,
    ),
    "gansynth": Work(
        Gansynth.sized("small", lowest_note=49, pitches=32, **RATE),
        "alto-sax",
        looked_at(batch=4, learning_rate=2e-3, anneal_from=0.6),
        1500,
    ),
    "timbre-vae": Work(TimbreVae.sized("small", **RATE), "alto-sax", varied(), 2000),
    # Its sounds are speech, as in the paper: of a steady tone magnitudes do not tell how phase goes on.
    "mcnn": Work(
        Mcnn.sized("small", sample_rate_hz=8000),
        "spoken-digits",
        looked_at(excerpt_seconds=0.4, learning_rate=4e-3, gain_db=6.0),
        18000,
        "Its sounds were chosen after it had learnt nothing of saxophone notes. A smaller network was judged on these "
        "test sounds before; this one's size and its losses' weights were chosen by looks at other sounds.",
    ),
    "rave": Work(Rave.sized("small", **RATE), "alto-sax", varied(excerpt_seconds=0.512, learning_rate=3e-3), 2500),
}


def do(name: str, work: Work) -> dict[str, Any]:
    """Train, judge, trim, train on, judge again, and count.

    Args:
        name: of the work, and of its files.
        work: what is to be done.

    Returns:
        all that was found.
    """
    model, small, corpus, parts, cpu_seconds = _trained(name, work)
    verdict = _verdicts(*(judged(form, parts) for form in (work.recipe.build(), model, small)))
    _hear(verdict["aside"], work, model, small, parts)
    sounds = _sounds(name, model, small, parts)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "model": type(work.recipe).__name__,
        "mode": model.mode,
        "sounds": work.sounds,
        "remark": work.remark,
        "split": {"training": len(parts.training), "looks": len(parts.looks), "test": len(parts.test)},
        "steps": work.steps,
        "cpu_seconds": cpu_seconds,
        "verdict": verdict,
        "dense": _size(model),
        "trimmed": _size(small),
        "played": sounds,
        "engine": engines(name, small, model, corpus),
        **_first_steps(work),
    }


def engines_of(name: str, work: Work) -> dict[str, Any]:
    """What is stored of a work, with its engines made, held against torch and counted anew.

    Args:
        name: of the work, and of its files.
        work: trained before, so that its checkpoints are found.

    Returns:
        all that was found.
    """
    found, model, small, corpus = _stored(name, work)
    return {**found, "engine": engines(name, small, model, corpus)}


def boards_of(name: str, work: Work) -> dict[str, Any]:
    """What is stored of a work, counted for the boards that are missing, and held against torch where it fits one.

    Args:
        name: of the work, and of its files.
        work: trained before, so that its checkpoints are found.

    Returns:
        all that was found.
    """
    found, _, small, corpus = _stored(name, work)
    engine = found["engine"]
    missing = [board for board in (*BOARDS, *MORE_BOARDS) if f"trimmed on {board}" not in engine["costs"]]
    ranges = Ranges.of(corpus)
    instrument = build_instrument(small, name, ranges)
    costs = costs_of("trimmed", instrument.source, golden_curve(small, ranges)[:COUNTED_FRAMES], missing)
    known = {check["engine"] for check in engine["checks"]}
    checks = checks_of(instrument, [machine for machine in machines_of(costs) if machine not in known])
    return {**found, "engine": {**engine, "costs": engine["costs"] | costs, "checks": engine["checks"] + checks}}


def heard_anew(name: str, work: Work) -> dict[str, Any]:
    """What is stored of a work, with what its engines play heard anew, where that is told.

    Args:
        name: of the work, and of its files.
        work: trained before, so that its checkpoints are found.

    Returns:
        all that was found.
    """
    found, model, small, corpus = _stored(name, work)
    _hear(found["verdict"]["aside"], work, model, small, divide(corpus, model))
    return found


def _hear(aside: dict[str, dict[str, float]], work: Work, model: Model, small: Model, parts: Parts) -> None:
    """Put beside a verdict what is heard of both forms, of a model that is played by pitch."""
    if work.sounds == PITCHED and not isinstance(model, Unpaired):
        for form, player in (("dense", model), ("trimmed", small)):
            aside[form] |= heard(player, parts)
            print(f"  {form}: {aside[form]}", flush=True)


def anchors_anew(name: str, work: Work) -> dict[str, Any]:
    """What is stored of a work, with all that it is judged beside found anew: for that it need not be trained.

    Itself untrained stays as it was: with it goes the training of that day.

    Args:
        name: of the work, and of its files.
        work: whose sounds are there.

    Returns:
        all that was found.
    """
    found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    model: Model = work.recipe.build()
    anchors, to_beat = anchors_of(model, divide(_corpus(work, model), model))
    before = found["verdict"]["anchors"]
    for anchor, value in anchors.items():
        print(
            f"  {anchor}: {value!r}, {'as stored' if before.get(anchor) == value else before.get(anchor)}", flush=True
        )
    verdict = {**found["verdict"], "anchors": {**before, **anchors}, "to_beat": list(to_beat)}
    return {**found, "verdict": verdict, **_first_steps(work)}


def _first_steps(work: Work) -> dict[str, Any]:
    """What a note of GANSynth computes before it is heard, at the work's size and the published one."""
    if not isinstance(work.recipe, Gansynth):
        return {}
    return {"first_step": {"here": first_step(work.recipe), "published": first_step(Gansynth.sized("paper"))}}


def _corpus(work: Work, model: Model) -> FolderCorpus:
    return FolderCorpus.prepare(SOUNDS / work.sounds, model.sample_rate_hz, model.hop_samples)


def _stored(name: str, work: Work) -> tuple[dict[str, Any], Model, Model, FolderCorpus]:
    """What is stored of a work, and both forms of the very model that it is of."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    model, small, corpus, _, cpu_seconds = _trained(name, work)
    if cpu_seconds != found["cpu_seconds"]:
        raise SystemExit(f"The checkpoints of {name} are not those of its stored results: train it without an option.")
    return found, model, small, corpus


def _trained(name: str, work: Work) -> tuple[Model, Model, FolderCorpus, Parts, dict[str, float]]:
    """Both forms of a model, its sounds, their parts, and the CPU time that training took."""
    torch.manual_seed(work.training.seed)
    model: Model = work.recipe.build()
    corpus = _corpus(work, model)
    parts = divide(corpus, model)
    folder = RUNS / f"{name}-{work.steps}"
    session = Session(folder, parts.training, parts.looks, work.training, float("inf"), work.steps)
    trained_in = _train(session, "dense", model, 1.0)
    small, _ = shrink(model, round(KEPT * weights_of(model)), Choice("magnitude"))
    again_in = _train(session, "trimmed", small, AGAIN, again=True)
    return model, small, corpus, parts, {"dense": round(trained_in, 1), "trimmed": round(again_in, 1)}


def _train(session: Session, phase: str, model: Model, share: float, *, again: bool = False) -> float:
    """CPU time that a phase of training took, over all sittings."""
    session.folder.mkdir(parents=True, exist_ok=True)
    path = session.folder / f"{phase}-cpu.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else 0.0
    begun = time.process_time()

    def keep(phase: str, trainer: Trainer) -> None:
        path.write_text(json.dumps(before + time.process_time() - begun), encoding="utf-8")
        step, loss, held_out = trainer.progress.history[-1]
        print(f"  {phase} {step}: loss {loss:.4f}, held out {held_out:.4f}", flush=True)

    session.report = keep
    session.phase(phase, model, share, again=again)
    return float(json.loads(path.read_text(encoding="utf-8")))


def _verdicts(untrained: Verdict, whole: Verdict, trimmed: Verdict) -> dict[str, Any]:
    return {
        "metric": whole.metric,
        "anchors": {**whole.anchors, "untrained": untrained.value},
        "to_beat": list(whole.to_beat),
        "dense": whole.value,
        "trimmed": trimmed.value,
        "aside": {"dense": whole.aside, "trimmed": trimmed.aside},
    }


def _size(model: Model) -> dict[str, Any]:
    profile = profile_model(model)
    return {
        "parameters": weights_of(model),
        "macs_per_second": profile.macs_per_second,
        "weight_bytes": profile.weight_bytes,
        "state_bytes": profile.state_bytes,
        "latency_ms": 1000 * model.latency_samples / model.sample_rate_hz,
    }


def _sounds(name: str, model: Model, small: Model, parts: Parts) -> list[str]:
    """Two sounds of each form, played by their engines, as files; what they are."""
    files = []
    for form, player in (("dense", model), ("trimmed", small)):
        for number, audio in enumerate(played(player, parts)):
            peak = float(np.abs(audio).max())
            path = RESULTS / f"{name}-{form}-{number}.mp3"
            soundfile.write(path, audio * (0.9 / peak if peak > 0.9 else 1.0), model.sample_rate_hz, format="MP3")
            files.append(path.name)
    return files


AGAINS = {
    "engines": (engines_of, "make the engines of stored works anew, and no more"),
    "boards": (boards_of, "count stored works for boards that are missing"),
    "heard": (heard_anew, "listen anew to what stored works' engines play"),
    "anchors": (anchors_anew, "find what stored works are judged beside anew"),
}
"""What may be done again of a stored work: option to how, and to what is said of it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", help=f"of {', '.join(WORKS)}; all that are not stored by default")
    for option, (way, says) in AGAINS.items():
        parser.add_argument(f"--{option}", dest="way", action="store_const", const=way, default=do, help=says)
    parser.add_argument("--steps", type=int, help="other steps than the work's, for a trial that is not stored")
    asked = parser.parse_args()
    unknown = [name for name in asked.works if name not in WORKS]
    if unknown:
        parser.error(f"there is no work {unknown[0]}")
    if not SOUNDS.is_dir():
        print(f"skipped: there are no recordings at {SOUNDS}", file=sys.stderr)
        return 0
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in asked.works or [name for name in WORKS if not (RESULTS / f"{name}.json").is_file()]:
        print(name, flush=True)
        work = WORKS[name] if asked.steps is None else replace(WORKS[name], steps=asked.steps)
        found = asked.way(name, work)
        if asked.steps is not None:
            print(json.dumps(found, indent=1))
            continue
        temporary = RESULTS / f".{name}.json"
        temporary.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, RESULTS / f"{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
