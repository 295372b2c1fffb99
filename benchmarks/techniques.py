"""Every reduction technique on five models, at two ratios: a contest on real recordings, on a budget of steps a run.

    python benchmarks/techniques.py [--models ddsp ...] [--keeps 0.25] [--seeds 0 1 2] [--workers 1] [--minutes 60]

Every experiment is stored under benchmarks/results/techniques and never repeated, so the contest may be extended for
days: call it again. Weights stay under build/techniques. `benchmarks/techniques_page.py` writes docs/techniques.html.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pochette.corpus.folder import FolderCorpus
from pochette.families import methods
from pochette.lab.contest import Contest, Entry, able, engines
from pochette.lab.execute import run
from pochette.lab.experiment import Experiment, Reduced, root_of
from pochette.lab.store import Store
from pochette.lab.workers import workers_of
from pochette.models.ddsp import Ddsp
from pochette.models.nsf import Nsf
from pochette.models.sing_ae import SingAe
from pochette.models.timbre_vae import TimbreVae
from pochette.models.wavenet import Wavenet
from pochette.train.loop import Training

ROOT = Path(__file__).resolve().parents[1]
SOUNDS = ROOT.parent / "shared" / "sounds" / "alto-sax"
STORE = ROOT / "benchmarks" / "results" / "techniques"
REFUSED = STORE / "refused.json"
KEEPS = (1 / 4, 1 / 16)
SEEDS = (0, 1, 2)
BUDGET_CPU_SECONDS = 25
"""What the training of a run is meant to take, dense phase included; batches and steps below were chosen by it."""
FOREVER = 10**6


def training(**fields: Any) -> Training:
    """A training that its steps alone end."""
    return Training(**{"excerpt_seconds": 0.25, "evaluate_steps": 100, "patience": FOREVER, **fields})


def varied(**fields: Any) -> Training:
    """The same with every excerpt a little higher or lower, louder or softer: of few notes there are few."""
    return training(shift_semitones=3.0, gain_db=6.0, **fields)


RATE = {"sample_rate_hz": 16000}
MODELS: dict[str, tuple[Any, Training, int]] = {
    "ddsp": (Ddsp.sized("small", **RATE), training(batch=4), 400),
    "sing-ae": (SingAe.sized("small", **RATE), varied(batch=16), 700),
    "timbre-vae": (TimbreVae.sized("small", **RATE), varied(batch=4), 600),
    "nsf": (Nsf.sized("small", **RATE), training(batch=2), 240),
    "wavenet": (
        Wavenet.sized("small", **RATE),
        varied(batch=1, excerpt_seconds=0.15, learning_rate=4e-3, evaluate_steps=200),
        240,
    ),
}


def corpus_of(recipe: Any) -> FolderCorpus:
    """The sounds as a recipe's model hears them."""
    model = recipe.build()
    return FolderCorpus.prepare(SOUNDS, model.sample_rate_hz, model.hop_samples)


def contest(
    corpora: dict[str, FolderCorpus],
    models: tuple[str, ...],
    seeds: tuple[int, ...],
    keeps: tuple[float, ...] = KEEPS,
) -> Contest:
    """All techniques on these models."""
    entries = {
        name: Entry(MODELS[name][0], corpora[name].fingerprint, MODELS[name][2], MODELS[name][1]) for name in models
    }
    unable = able(methods.names(), KEEPS)
    return Contest(entries, tuple(name for name in methods.names() if name not in unable), keeps, seeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--keeps", nargs="+", type=float, default=list(KEEPS), choices=list(KEEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--workers", default="1")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing new after so long")
    asked = parser.parse_args()
    if not SOUNDS.is_dir():
        print(f"skipped: there are no recordings at {SOUNDS}", file=sys.stderr)
        return 0
    corpora = {name: corpus_of(MODELS[name][0]) for name in asked.models}
    crossed, store = contest(corpora, tuple(asked.models), tuple(asked.seeds), tuple(asked.keeps)), Store(STORE)
    ends = time.monotonic() + 60.0 * asked.minutes
    with workers_of(asked.workers) as workers:
        run(store.missing(crossed.anchors()), store, lambda e: corpora[root_of(e).model], workers, report=tell)  # type: ignore[union-attr]
        # A ratio, seed and model at a time, so that whenever it ends whole blocks are there.
        for block in blocks(crossed):
            for wanted in (block, None):
                if time.monotonic() > ends:
                    return 0
                missing = store.missing(engines(store.results(block)) if wanted is None else without_refused(block))
                ran = run(missing, store, lambda e: corpora[root_of(e).model], workers, report=tell)  # type: ignore[union-attr]
                note(ran.failed)
    return 0


def blocks(crossed: Contest) -> list[list[Experiment]]:
    """The contest's experiments by ratio, seed and model."""
    return [
        [crossed.whole(model, seed), *(crossed.asked(model, method, keep, seed) for method in crossed.methods)]
        for keep in crossed.keeps
        for seed in crossed.seeds
        for model in crossed.entries
    ]


def tell(share: float, line: str) -> None:
    """A line of progress."""
    print(f"{datetime.datetime.now():%H:%M:%S} {share:4.0%} {line}", flush=True)


def refused() -> dict[str, dict[str, str]]:
    """What was refused and why, by model, and technique with its ratio."""
    return json.loads(REFUSED.read_text(encoding="utf-8")) if REFUSED.is_file() else {}


def without_refused(block: list[Experiment]) -> list[Experiment]:
    """Experiments that were not refused for good: what does not suit a model does not at another time."""
    known = refused()
    return [e for e in block if not (isinstance(e, Reduced) and asked_as(e) in known.get(e.parent.model, {}))]


def asked_as(experiment: Reduced) -> str:
    """A technique and its ratio in words."""
    return f"{experiment.method} to {experiment.options.keep:.4g}"


def note(failed: Mapping[Experiment, str]) -> None:
    """Keep refusals beside the results."""
    known, found = refused(), [e for e in failed if isinstance(e, Reduced)]
    for experiment in found:
        known.setdefault(experiment.parent.model, {})[asked_as(experiment)] = failed[experiment]
    if found:
        REFUSED.parent.mkdir(parents=True, exist_ok=True)
        temporary = REFUSED.with_suffix(".tmp")
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(temporary, REFUSED)


if __name__ == "__main__":
    sys.exit(main())
