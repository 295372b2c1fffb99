"""The page of a study: which properties of networks go with what reducing them cost, and which only look so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup

from pochette.families import analyses
from pochette.lab import disturbing
from pochette.lab.outcomes import ERROR
from pochette.lab.relations import LEVEL, PERMUTATIONS, Observation, Relation, held_ranks, ranks
from pochette.lab.report import _policy, _text, words
from pochette.lab.report.figures import _STYLE, BRASS, INK, SOFT, WINE, _canvas, _svg
from pochette.lab.report.property_names import called, outcome_called

DRAWN = 6
"""Relations that are drawn."""
LISTED = 5
"""Relations, or properties, that a sentence names at most."""
COLOURS = (BRASS, WINE, INK, SOFT)
MARKERS = "osD^vPX"


def page(observations: Sequence[Observation], found: Sequence[Relation], title: str, notes: Sequence[str]) -> str:
    """The report of a study.

    Args:
        observations: experiments.
        found: relations between their properties and outcomes.
        title: of the page.
        notes: what was left out, in sentences.

    Returns:
        HTML, in one file, with nothing that is fetched from elsewhere.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {name: getattr(words, name) for name in ("number", "percent")}
    environment.filters |= {"called": called, "outcome": outcome_called}
    style = _text("report.css") + _text("relations.css")
    return environment.from_string(_text("relations.html.j2")).render(
        policy=_policy(style, ""),
        style=Markup(style),
        title=title,
        notes=notes,
        groups=_networks(observations),
        sentences=sentences(found),
        figures=[(item, figure(observations, item)) for item in _drawn(found)],
        relations=found,
        meanings={name: meaning(name) for name in sorted({item.name for item in found}, key=called)},
        level=LEVEL,
        permutations=PERMUTATIONS,
    )


def _drawn(found: Sequence[Relation]) -> list[Relation]:
    """The strongest of those that size does not explain; where there are too few, the strongest of all."""
    beyond = sorted((item for item in found if item.beyond_size), key=lambda item: (not item.wide, -abs(item.partial)))
    return [*beyond, *(item for item in found if not item.beyond_size)][:DRAWN]


def _groups(observations: Sequence[Observation]) -> list[str]:
    return sorted({item.group for item in observations})


def meaning(name: str) -> str:
    """What a property is, in the words of its analysis or of stability; empty where there is no such analysis here.

    Args:
        name: "analysis: number", or "stability: figure".

    Returns:
        some words.
    """
    if name.startswith(disturbing.PREFIX):
        return disturbing.WORDS.get(name.removeprefix(disturbing.PREFIX), "")
    analysis, _, number = name.partition(": ")
    return analyses[analysis].words.get(number, "") if analysis in analyses else ""


def _networks(observations: Sequence[Observation]) -> dict[str, int]:
    """How many networks there are of each model."""
    single = [item for item in observations if ERROR in item.outcomes]
    return {group: sum(item.group == group for item in single) for group in _groups(single)}


def sentences(found: Sequence[Relation]) -> list[str]:
    """What a study may say: how many relations there are, which are there beyond size, and which are size alone.

    Args:
        found: relations.

    Returns:
        some sentences.
    """
    if not found:
        return ["There are too few networks for any relation to be told."]
    there = [item for item in found if item.found]
    beyond = sorted((item for item in found if item.beyond_size), key=lambda item: -abs(item.partial))
    alone = [item for item in there if not item.beyond_size and math.isfinite(item.partial)]
    alone.sort(key=lambda item: -abs(item.correlation))
    unheld = [item for item in there if not math.isfinite(item.partial)]
    told = [
        f"Of {len(found)} relations {len(there)} are found at a false discovery rate of {words.percent(LEVEL)}, "
        f"{len(beyond)} with the size of the network held fixed."
    ]
    wide = [item for item in beyond if item.wide]
    narrow = [item for item in beyond if not item.wide]
    if wide:
        told.append(f"Strongest with size held fixed: {_held(wide)}.")
    if narrow:
        told.append(
            f"With size held fixed, but known in one or two groups only, which is weak evidence: {_held(narrow)}."
        )
    if alone:
        listed = [f"{_named(item, item.correlation)} ({_signed(item.correlation)})" for item in alone]
        told.append(f"There, but no longer told from chance once size is held fixed: {_listed(listed)}.")
    for reason in sorted({item.unheld for item in unheld}):
        those = [item for item in unheld if item.unheld == reason]
        listed = [f"{_named(item, item.correlation)} ({_signed(item.correlation)}, {_models(item)})" for item in those]
        told.append(f"There, where size cannot be held fixed, since {reason}: {_listed(listed)}.")
    told += _never_held(found)
    lost = [item for item in found if not item.found and not item.beyond_size]
    if there and lost:
        told.append(f"Not told from chance: {len(lost)} relation{'s' if len(lost) != 1 else ''}.{_of_nothing(found)}")
    if not there:
        told.append("None is told from chance: with these networks no property is shown to predict anything.")
    return told


def _held(those: Sequence[Relation]) -> str:
    """The first of some relations, with size held fixed, and in how many groups they go the same way."""
    return _listed(
        [
            f"{_named(item, item.partial)} ({_signed(item.partial)}, the same sign in {item.partly_agreeing} of "
            f"{item.partly_known} group{'s' if item.partly_known != 1 else ''}{_hardly(item)})"
            for item in those
        ]
    )


def _listed(those: Sequence[str]) -> str:
    """The first of some, and how many more there are."""
    more = f"; and {len(those) - LISTED} more, in the table" if len(those) > LISTED else ""
    return "; ".join(those[:LISTED]) + more


def _of_nothing(found: Sequence[Relation]) -> str:
    """Which properties go with nothing at all."""
    names = {item.name for item in found} - {item.name for item in found if item.found or item.beyond_size}
    if not names:
        return ""
    those = "this property" if len(names) == 1 else f"these {len(names)} properties"
    listed = "; ".join(sorted(map(called, names)))
    return f" With no outcome {'goes' if len(names) == 1 else 'go'} {those}: {listed}."


def _never_held(found: Sequence[Relation]) -> list[str]:
    """A sentence for each outcome of which nothing has a figure with size held fixed, with the reason."""
    told = []
    for outcome in sorted({item.outcome for item in found}):
        reasons = {item.unheld for item in found if item.outcome == outcome}
        if "" not in reasons:
            told.append(
                f"With {outcome_called(outcome)} no property has a figure with size held fixed: "
                f"{', or '.join(sorted(reasons))}."
            )
    return told


def _models(item: Relation) -> str:
    return f"{item.groups} group{'s' if item.groups != 1 else ''}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")


def _hardly(item: Relation) -> str:
    """What is to be known of a property that is the same in most networks of a group."""
    return f"; the same in most networks of {item.hardly_varying} of them" if item.hardly_varying else ""


def _named(item: Relation, value: float) -> str:
    """A relation as one would say it, by its sign."""
    return f"high {called(item.name)} with {'high' if value > 0 else 'low'} {outcome_called(item.outcome)}"


def figure(observations: Sequence[Observation], relation: Relation) -> Markup:
    """The ranks of a property and an outcome within each group, against each other, size held fixed where it can be.

    Args:
        observations: experiments.
        relation: that is drawn.

    Returns:
        SVG.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"relation-{relation.name}-{relation.outcome}"}):
        picture, axes = _canvas(3.1)
        for number, group in enumerate(_groups(observations)):
            pairs = [
                (item.properties[relation.name], item.outcomes[relation.outcome], item.size)
                for item in observations
                if item.group == group and relation.name in item.properties and relation.outcome in item.outcomes
            ]
            if len(pairs) > 1:
                x, y, size = np.array(pairs).T
                left, right = (ranks(v) if relation.unheld else held_ranks(v, size) for v in (x, y))
                spread = [max(float(np.abs(v).max()), 1e-300) for v in (left, right)]
                axes.plot(left / spread[0], right / spread[1], ls="none", marker=MARKERS[number % len(MARKERS)], ms=3.5,
                          color=COLOURS[number % len(COLOURS)], alpha=0.8, label=group)  # fmt: skip
        axes.set_xlabel(f"rank of {called(relation.name)}")
        axes.set_ylabel("\n".join(wrap(f"rank of {outcome_called(relation.outcome)}", 30)))
        axes.set_xticks([-1, 0, 1], ["least", "", "most"])
        axes.set_yticks([-1, 0, 1], ["least", "", "most"])
        picture.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=7, labelcolor=SOFT,
                       columnspacing=0.8, handletextpad=0.1, borderaxespad=0.1)  # fmt: skip
        return _svg(picture, f"{called(relation.name)} and {outcome_called(relation.outcome)}, ranked within groups")


def _plain(value: Any) -> Any:
    """What JSON can hold: numbers that are none, also of a single group, as None."""
    if isinstance(value, Mapping):
        return {key: _plain(held) for key, held in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_data(observations: Sequence[Observation], found: Sequence[Relation], notes: Sequence[str]) -> dict[str, Any]:
    """The study as plain data; what is not a number is None."""
    return {
        "networks": sum(_networks(observations).values()),
        "models": _groups(observations),
        "notes": list(notes),
        "sentences": sentences(found),
        "relations": [
            {
                "called": called(item.name),
                "outcome_called": outcome_called(item.outcome),
                **{key: _plain(value) for key, value in vars(item).items()},
            }
            for item in found
        ],
    }
