"""Put what `techniques.py` stored into docs/techniques.html.

python benchmarks/techniques_page.py            write docs/techniques.html
python benchmarks/techniques_page.py --check    exit 1 if it differs from what is stored
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from pages import put  # noqa: E402
from techniques import KEEPS, MODELS, SEEDS, STORE, refused  # noqa: E402

from pochette.families import methods  # noqa: E402
from pochette.lab.contest import able, rows_of  # noqa: E402
from pochette.lab.contest_report import Told, page  # noqa: E402
from pochette.lab.networks import SPENT  # noqa: E402
from pochette.lab.store import Store  # noqa: E402

PAGE = ROOT / "docs" / "techniques.html"


def text() -> str:
    """The whole page."""
    store = Store(STORE)
    results = store.results(store.experiments())
    rows = rows_of(results)
    techniques = [name for name in methods.names() if name not in able(methods.names(), KEEPS)]
    seconds = sum(result.figures.get(SPENT, result.training_seconds) for result in results.values())
    told = Told(
        title="Techniques",
        sounds="Alto saxophone notes at 16 kHz; test notes are set apart by pitch, or by sound where a model says so.",
        command="python benchmarks/techniques.py\npython benchmarks/techniques_page.py",
        budgets={name: steps for name, (_, _, steps) in MODELS.items()},
        machines=sorted({result.machine for result in results.values()}),
        hours=seconds / 3600.0,
        refused=refused(),
        models=len(MODELS),
        methods=len(techniques),
        keeps=KEEPS,
        seeds=SEEDS,
    )
    return page(rows, told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if the page differs from what is stored")
    asked = parser.parse_args()
    return put(PAGE, text(), check=asked.check)


if __name__ == "__main__":
    sys.exit(main())
