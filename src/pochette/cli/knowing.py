"""Verbs of those who want to know: list, doctor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from tyro.conf import Positional

import pochette
from pochette.boards.board import Board
from pochette.cli.console import Answer, Screen, number, table, words
from pochette.cli.verb import Verb, command
from pochette.families import FAMILIES

Kind = Literal["models", "methods", "criteria", "scores", "analyses", "boards", "shells", "metrics"]

_NEXT: dict[str, str] = {
    "models": "pochette profile MODEL --board BOARD",
    "methods": "pochette reduce RUN --method METHOD",
    "criteria": "pochette reduce RUN --criterion CRITERION",
    "scores": "pochette reduce RUN --method magnitude --score SCORE",
    "analyses": "pochette analyse RUN",
    "boards": "pochette make SOUNDS --board BOARD",
    "shells": "pochette export RUN --shell SHELL",
    "metrics": "pochette make SOUNDS",
}


_ASIDE = ("help", "title", "emulated", "sources", "figures", "scored", "rest")
"""Facts that stand in the last column or only in the JSON document."""


@dataclass(frozen=True, kw_only=True)
class List(Verb):
    """What there is to choose from: models, methods, criteria, scores, analyses, boards, shells or metrics."""

    kind: Positional[Kind]
    """Which family."""

    def run(self, screen: Screen) -> Answer:
        """List."""
        family = FAMILIES[self.kind]
        facts = {name: {"help": family.help(name), **_facts(member)} for name, member in family.items()}
        if self.kind == "models":
            from pochette.lab.figures import SIZES, figures_of

            for name, row in facts.items():
                row["figures"] = figures_of(name, lambda what: screen.say(f"counting {what}"))
                row |= {f"at {size}": _said(row["figures"].get(size)) for size in SIZES}
        columns = list(dict.fromkeys(key for row in facts.values() for key in row if key not in _ASIDE))
        rows = [(name, *(_cell(row.get(column)) for column in columns), row["help"]) for name, row in facts.items()]
        return Answer(
            {self.kind: facts},
            (table((self.kind, *(column.replace("_", " ") for column in columns), "what it is"), rows),),
            (_NEXT[self.kind],),
        )


def _facts(member: Any) -> dict[str, Any]:
    """What else is worth knowing of a family's member."""
    if isinstance(member, Board):
        return {
            "title": member.title,
            "cpu": member.cpu,
            "clock_mhz": member.clock_hz / 1e6 if member.clock_hz else None,
            "ram_kb": member.ram_bytes >> 10,
            "flash_kb": member.flash_bytes >> 10 if member.flash_bytes else None,
            "sample_rate_hz": member.sample_rate_hz,
            "emulated": member.emulator or "",
            "sources": list(member.sources),
        }
    if axes := getattr(member, "axes", None):
        return asdict(axes)
    if sizes := getattr(member, "SIZES", None):
        return {"sizes": list(sizes)}
    return {}


def _said(figures: dict[str, Any] | None) -> str:
    """What a size costs, in a few words."""
    if figures is None:
        return ""
    parameters, trained, work = (
        number(figures[name] / 1e6) for name in ("parameters", "trained_parameters", "macs_per_second")
    )
    said = f"{parameters} M parameters"
    if figures["trained_parameters"] != figures["parameters"]:
        said += f" (in training {trained} M)"
    said += f", {work} M MAC/s, {number(figures['latency_ms'])} ms until a control is heard in full"
    for name, ways in (("key_ms", "from a key"), ("through_ms", "sound to sound")):
        said += f" ({ways} {number(figures[name])})" if name in figures else ""
    return said


def _cell(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class Doctor(Verb):
    """What this machine has for making and playing instruments, what it lacks, and what each lack costs."""

    def run(self, screen: Screen) -> Answer:
        """Look."""
        from pochette.doctor import doctor

        checks = doctor()
        rows = [
            (
                check.name,
                "found" if check.present else "missing",
                check.found if check.present else f"{check.cost} Remedy: {check.remedy}",
            )
            for check in checks
        ]
        trains = all(check.present for check in checks if check.name in ("torch", "ziglang"))
        lacking = sum(not check.present for check in checks)
        verdict = f"{lacking} of {len(checks)} things are missing." if lacking else "Nothing is missing."
        return Answer(
            {"checks": [check.to_json() for check in checks]},
            (table(("what", "", "version, or what its lack costs"), rows), words(verdict)),
            (command("demo") if trains else "pip install 'pochette[train,compile]'",),
        )


@dataclass(frozen=True, kw_only=True)
class Version(Verb):
    """Which pochette this is; asked for with `pochette --version`."""

    def run(self, screen: Screen) -> Answer:
        """Tell."""
        version = pochette.__version__
        return Answer({"version": version}, (words(f"pochette {version}"),))
