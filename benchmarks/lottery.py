"""The structured lottery on real recordings: DDSP, the auto-encoder of SING and WaveNet, trimmed along one path each.

And the source-filter model, whose weights run at two rates, trimmed to shares of its operations.

python benchmarks/lottery.py [--models ddsp sing-ae wavenet nsf] [--seeds 0 1 2] [--workers 2] [--parts cost controls]

Every experiment is stored under benchmarks/results/lottery and never repeated, so the comparison may be extended for
days: call it again with more models, seeds or parts. `benchmarks/lottery_page.py` writes docs/lottery.md from it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pochette.corpus.folder import FolderCorpus
from pochette.lab.compare import Comparison
from pochette.lab.execute import run
from pochette.lab.experiment import root_of
from pochette.lab.store import Store
from pochette.lab.workers import workers_of
from pochette.models.ddsp import Ddsp
from pochette.models.nsf import Nsf
from pochette.models.sing_ae import SingAe
from pochette.models.wavenet import Wavenet
from pochette.train.loop import Training

ROOT = Path(__file__).resolve().parents[1]
SOUNDS = ROOT.parent / "shared" / "sounds" / "alto-sax"
STORE = ROOT / "benchmarks" / "results" / "lottery"
STOPS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
CONTROL_STOPS = (0.8, 0.95, 0.99)

RECIPES: dict[str, Any] = {
    "ddsp": Ddsp(hidden=256, stack_width=256, stack_layers=2, sample_rate_hz=16000),
    "sing-ae": SingAe.sized("small", channels=1024, sample_rate_hz=16000),
    "wavenet": Wavenet.sized("small", sample_rate_hz=16000),
}
NARROWER: dict[str, Any] = {"sing-ae": SingAe.sized("small", sample_rate_hz=16000)}
"""The same model trained and trimmed alike from fewer channels: what a network can lose depends on what it had."""
BY_OPERATIONS: dict[str, Any] = {"nsf": Nsf.sized("small", sample_rate_hz=16000)}
"""Models of which some weights run at every sample and others once a frame, cut to shares of their operations."""
OPERATION_STOPS = (0.5, 0.8, 0.9, 0.95)
TRAINING = {
    "ddsp": Training(batch=8, excerpt_seconds=0.5, evaluate_steps=100, patience=10**6),
    "sing-ae": Training(
        batch=32, excerpt_seconds=0.25, evaluate_steps=100, patience=10**6, shift_semitones=3.0, gain_db=6.0
    ),
    "wavenet": Training(
        batch=2,
        excerpt_seconds=0.25,
        learning_rate=4e-3,
        evaluate_steps=100,
        patience=10**6,
        shift_semitones=3.0,
        gain_db=6.0,
    ),
    "nsf": Training(batch=4, excerpt_seconds=0.5, evaluate_steps=100, patience=10**6),
}
STEPS = {"ddsp": (1000, 300), "sing-ae": (3000, 1000), "wavenet": (1500, 500), "nsf": (1000, 300)}
"""Of dense training, and at each stop of a path."""


def comparisons(
    model: str, corpus: str, seeds: tuple[int, ...], part: str, recipes: Mapping[str, Any] = RECIPES
) -> list[Comparison]:
    """What one part of the work crosses."""
    steps, stop_steps = STEPS[model]
    common: dict[str, Any] = {
        "corpus": corpus,
        "recipes": {model: recipes[model]},
        "steps": steps,
        "stop_steps": stop_steps,
        "stops": STOPS,
        "seeds": seeds,
        "training": TRAINING[model],
    }
    if part in ("magnitude", "random"):
        return [Comparison(**common, criteria=(part,))]
    if part == "controls":
        kinds = ("reinit", "scratch_epochs", "scratch_compute")
        return [Comparison(**common, criteria=("magnitude",), controls=kinds, control_stops=CONTROL_STOPS)]
    if part == "cost":
        return [Comparison(**common, criteria=("magnitude",), scopes=("global",), scalings=("operations",))]
    if part == "published":
        return [Comparison(**common, criteria=("information",), scopes=("global", "global_then_local"))]
    return [
        Comparison(**common, criteria=("magnitude",), scopes=("global",)),
        Comparison(**common, criteria=("gradient", "activation")),
    ]


def by_operations(model: str, corpus: str, seeds: tuple[int, ...]) -> Comparison:
    """Ranked within layers, over all by score, and over all by worth per operation; each to the same operations."""
    steps, stop_steps = STEPS[model]
    return Comparison(
        corpus=corpus,
        recipes={model: BY_OPERATIONS[model]},
        steps=steps,
        stop_steps=stop_steps,
        criteria=("magnitude",),
        scopes=("local", "global"),
        scalings=("maximum", "operations"),
        stops=OPERATION_STOPS,
        of="operations",
        seeds=seeds,
        training=TRAINING[model],
    )


PARTS = ("magnitude", "random", "controls", "cost", "published", "more")


def main() -> int:
    every = RECIPES | BY_OPERATIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(every), choices=every)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--workers", default="2")
    asked = parser.parse_args()
    if not SOUNDS.is_dir():
        print(f"The recordings are not at {SOUNDS}; this benchmark trains on them.")
        return 1
    corpora = {}
    for model in asked.models:
        built = every[model].build()
        corpora[model] = FolderCorpus.prepare(SOUNDS, built.sample_rate_hz, built.hop_samples)
    wanted = [
        experiment
        for part in asked.parts
        for seed in asked.seeds
        for model in asked.models
        if model in RECIPES
        for comparison in comparisons(model, corpora[model].fingerprint, (seed,), part)
        for experiment in comparison.experiments()
    ]
    for model in asked.models:
        if model in BY_OPERATIONS:
            wanted += by_operations(model, corpora[model].fingerprint, tuple(asked.seeds)).experiments()
    with workers_of(asked.workers) as crew:
        ran = run(
            list(dict.fromkeys(wanted)),
            Store(STORE),
            lambda experiment: corpora[root_of(experiment).model],
            crew,
            report=lambda share, line: print(f"{share:5.1%} {line}", flush=True),
        )
    for experiment, reason in ran.failed.items():
        print(f"failed: {experiment}: {reason}", file=sys.stderr)
    return bool(ran.failed)


if __name__ == "__main__":
    sys.exit(main())
