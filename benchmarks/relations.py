"""What foretells a reduced network's error: docs/relations.html, from the networks of techniques.py and criterion.py.

    python benchmarks/relations.py                           read what nobody has read yet, and write the page
    python benchmarks/relations.py --stability [--seeds 0]   disturb networks too, about ten seconds each
    python benchmarks/relations.py --page                    only write it
    python benchmarks/relations.py --check                   exit 1 if it differs from what is stored

Properties are stored beside the networks; to find them needs weights, which lie under a store's work/ where it was run.
Stopped, the same command goes on with the next network. What cannot be disturbed is kept with its reason beside the
results, and tried again when asked again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

import criterion  # noqa: E402
import techniques  # noqa: E402
from pages import put  # noqa: E402

from pochette.corpus.folder import FolderCorpus  # noqa: E402
from pochette.lab.execute import run  # noqa: E402
from pochette.lab.experiment import BRANCH_STEPS, Dense, Disturbed, Experiment, name_of, root_of  # noqa: E402
from pochette.lab.outcomes import ERROR  # noqa: E402
from pochette.lab.properties import studied  # noqa: E402
from pochette.lab.relations import relations  # noqa: E402
from pochette.lab.relations_report import page, sentences  # noqa: E402
from pochette.lab.store import Store  # noqa: E402
from pochette.lab.workers import workers_of  # noqa: E402

PAGE = ROOT / "docs" / "relations.html"
STORES = (techniques.STORE, criterion.STORE)
LEFT_OUT = ROOT / "benchmarks" / "results" / "relations-left-out.json"


def read(stores: list[Store], disturb: tuple[int, ...]) -> None:
    """Let every analysis read the networks whose weights are here, and disturb those of some seeds."""
    corpora: dict[str, FolderCorpus] = {}

    def sounds_of(experiment: Experiment) -> FolderCorpus:
        dense = root_of(experiment)
        if dense.model not in corpora:
            corpora[dense.model] = techniques.corpus_of(dense.recipe)
        return corpora[dense.model]

    with workers_of("1") as workers:
        for store in stores:
            found = studied(store, branch_steps=BRANCH_STEPS)
            asked = [*found.missing, *(item for item in found.undisturbed if seed_of(item) in disturb)]
            wanted = [item for item in asked if store.has_weights(item.parent)]
            ran = run(wanted, store, sounds_of, workers, report=techniques.tell)
            note([*ran.done, *ran.reused], ran.failed)


def seed_of(experiment: Experiment) -> int:
    """Of the network's training."""
    dense = root_of(experiment)
    assert isinstance(dense, Dense)
    return dense.training.seed


def left_out() -> dict[str, str]:
    """What could not be disturbed and why, by signature."""
    return json.loads(LEFT_OUT.read_text(encoding="utf-8")) if LEFT_OUT.is_file() else {}


def note(done: list[Experiment], failed: Mapping[Experiment, str]) -> None:
    """Keep why networks could not be disturbed, until they can."""
    known = left_out()
    # Where on this machine more is written of an unforeseen error is nobody's business elsewhere.
    now = known | {name_of(e): why.partition(" (see ")[0] for e, why in failed.items() if isinstance(e, Disturbed)}
    now = {name: why for name, why in now.items() if name not in set(map(name_of, done))}
    if now != known:
        temporary = LEFT_OUT.with_suffix(".tmp")
        temporary.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(temporary, LEFT_OUT)


def text(stores: list[Store]) -> str:
    """The page."""
    found = studied(*stores, branch_steps=BRANCH_STEPS)
    notes = ["Made by benchmarks/relations.py from the networks that benchmarks/techniques.py and criterion.py stored."]
    notes.insert(0, found.origin)
    if found.missing:
        notes.append(
            f"Of {len(found.missing)} more reduced networks, which count nowhere here, nobody has read the properties."
        )
    if found.of_stability:
        notes.append(found.of_stability)
    for why, count in sorted(Counter(left_out().values()).items()):
        notes.append(f"Networks that could not be disturbed: {count}. {why}")
    for name, folder in zip(("techniques.py", "criterion.py"), STORES, strict=True):
        alone = studied(Store(folder), branch_steps=BRANCH_STEPS).observations
        told = " ".join(sentences([item for item in relations(alone) if item.outcome == ERROR])[:2])
        notes.append(f"Of the networks of {name} alone, and their errors: {told}")
    seen = found.observations
    return page(seen, relations(seen), "Techniques and criteria", notes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="read nothing")
    parser.add_argument("--check", action="store_true", help="read nothing, write nothing")
    parser.add_argument("--stability", action="store_true", help="disturb networks too")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(techniques.SEEDS), help="whose are disturbed")
    asked = parser.parse_args()
    stores = [Store(folder) for folder in STORES]
    if not (asked.page or asked.check) and techniques.SOUNDS.is_dir():
        read(stores, tuple(asked.seeds) if asked.stability else ())
    return put(PAGE, text(stores), check=asked.check)


if __name__ == "__main__":
    sys.exit(main())
