"""What foretells a reduced network's error: docs/relations.html, from the networks of techniques.py and criterion.py.

    python benchmarks/relations.py           read the properties that nobody has read yet, and write the page
    python benchmarks/relations.py --page    only write it
    python benchmarks/relations.py --check   exit 1 if it differs from what is stored

Properties are stored beside the networks; to read them needs weights, which lie under a store's work/ where it was run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

import criterion  # noqa: E402
import techniques  # noqa: E402
from pages import put  # noqa: E402

from pochette.corpus.folder import FolderCorpus  # noqa: E402
from pochette.lab.execute import run  # noqa: E402
from pochette.lab.experiment import Experiment, root_of  # noqa: E402
from pochette.lab.outcomes import ERROR  # noqa: E402
from pochette.lab.properties import studied  # noqa: E402
from pochette.lab.relations import relations  # noqa: E402
from pochette.lab.relations_report import page, sentences  # noqa: E402
from pochette.lab.store import Store  # noqa: E402
from pochette.lab.workers import workers_of  # noqa: E402

PAGE = ROOT / "docs" / "relations.html"
STORES = (techniques.STORE, criterion.STORE)


def read(stores: list[Store]) -> None:
    """Let every analysis read the networks whose weights are here."""
    corpora: dict[str, FolderCorpus] = {}

    def sounds_of(experiment: Experiment) -> FolderCorpus:
        dense = root_of(experiment)
        if dense.model not in corpora:
            corpora[dense.model] = techniques.corpus_of(dense.recipe)
        return corpora[dense.model]

    with workers_of("1") as workers:
        for store in stores:
            wanted = [item for item in studied(store).missing if store.has_weights(item.parent)]
            run(wanted, store, sounds_of, workers, report=techniques.tell)


def text(stores: list[Store]) -> str:
    """The page."""
    found = studied(*stores)
    notes = ["Made by benchmarks/relations.py from the networks that benchmarks/techniques.py and criterion.py stored."]
    if found.missing:
        notes.append(f"Of {len(found.missing)} networks nobody has read the properties.")
    for name, folder in zip(("techniques.py", "criterion.py"), STORES, strict=True):
        alone = studied(Store(folder)).observations
        told = " ".join(sentences([item for item in relations(alone) if item.outcome == ERROR])[:2])
        notes.append(f"Of the networks of {name} alone, and their errors: {told}")
    seen = found.observations
    return page(seen, relations(seen), "Techniques and criteria", notes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="read nothing")
    parser.add_argument("--check", action="store_true", help="read nothing, write nothing")
    asked = parser.parse_args()
    stores = [Store(folder) for folder in STORES]
    if not (asked.page or asked.check) and techniques.SOUNDS.is_dir():
        read(stores)
    return put(PAGE, text(stores), check=asked.check)


if __name__ == "__main__":
    sys.exit(main())
