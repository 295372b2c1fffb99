"""The verb of those who ask why a network works: analyse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pochette.cli.console import Answer, Screen, folder_of, number, table, words
from pochette.cli.verb import RunPath, Verb, check_folder, check_run, command


@dataclass(frozen=True, kw_only=True)
class Analyse(Verb):
    """Read the topology of a run's networks, dense and reduced, and the information in them; write a page."""

    run_folder: RunPath
    """Folder of a run."""
    out: Path | None = None
    """Where analysis.html and analysis.json go; the run's own folder by default."""

    def run(self, screen: Screen) -> Answer:
        """Analyse."""
        check_folder(self.out)
        check_run(self.run_folder)
        from pochette.lab.analyse import analysed, write
        from pochette.lab.analyse_report import page

        with screen.progress() as tell:
            found = analysed(self.run_folder, told=tell)
        html, data = write(found, page(found, self.run_folder.resolve().name), self.out or self.run_folder)
        rounds = found["rounds"]
        rows = [
            (key, name, *(number(every[key].get("numbers", {}).get(name)) for every in rounds.values()))
            for key in next(iter(rounds.values()))
            for name in dict.fromkeys(n for every in rounds.values() for n in every[key].get("numbers", {}))
        ]
        notes = tuple(words(note) for note in found["notes"])
        parts: tuple[Any, ...] = (
            table(("analysis", "", *rounds), rows),
            *notes,
            words(f"{folder_of(html)}: the whole, layer by layer"),
        )
        return Answer({**found, "page": str(html), "data": str(data)}, parts, (command("reduce", self.run_folder),))
