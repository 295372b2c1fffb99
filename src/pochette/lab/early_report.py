"""The first steps of a training on the page of an analysis: their course, and what a ticket bears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pochette.lab.report import words
from pochette.lab.report.figures import _STYLE, BRASS, INK, SOFT, WINE, _canvas, _svg
from pochette.lab.stability.early_of_run import AS_THEY_ARE, NOTHING
from pochette.lab.stability.early_phase import DISTURBANCES

SHOWN = 6
"""Layers whose way through the information plane is drawn, spread over the network."""
TICKET, CHANCE = "ticket", "chance"
_PALETTE = (BRASS, WINE, INK, SOFT)


def section(found: dict[str, Any]) -> dict[str, Any] | None:
    """What the page shows.

    Args:
        found: "early_phase" is as `early_of_run.EarlyPhase.found` gave it.

    Returns:
        figures, tables and sentences; None if nobody asked for it.
    """
    early = found.get("early_phase")
    if not early:
        return None
    if "left_out" in early:
        return {"left_out": early["left_out"]}
    masks = {name: told for name, told in early["masks"].items() if "left_out" not in told}
    return {
        "left_out": "",
        "told": early,
        "course": course_figure(early),
        "plane": plane_figure(early["course"]["plane"], early["steps"]),
        "disturbed": disturbed_figure(early),
        "said": sentences(early),
        "masks": list(masks.items()),
        "altered": _ratios(early, "altered"),
        "ablations": _pairs(early),
        "refused": [
            f"{name}: {told['left_out']}"
            for group in ("masks", "altered", "ablations")
            for name, told in early[group].items()
            if "left_out" in told
        ],
    }


def sentences(early: dict[str, Any]) -> list[str]:
    """What came out, in words.

    Args:
        early: see `section`; may be unfinished.

    Returns:
        sentences; none of what is not known yet.
    """
    found, own, spread = list[str](), _own(early), chance_spread(early)
    if own is None or spread is None:
        return found
    found.append(
        f"After {early['steps']} steps, of one seed, the ticket, {words.percent(early['keep'])} of every layer's "
        f"weights, ends at a test error of {words.number(own)}, the whole network at "
        f"{words.number(early['course']['error'])}. "
        f"Another order of the same sounds, or another choice of as many weights by chance, makes up to "
        f"{words.percent(spread)} of difference: less than that says nothing."
    )
    chances = [told for name, told in early["masks"].items() if name.startswith(CHANCE) and "error" in told]
    if chances:
        ticket, angles = early["masks"][TICKET], [told["from_whole"]["angle_degrees"] for told in chances]
        found.append(
            f"As many weights chosen by chance end at {_list([t['error'] for t in chances])}. Pruning turns the "
            f"ticket's weights by {words.number(ticket['from_whole']['angle_degrees'])} degrees from what the whole "
            f"network's become, theirs by {_list(angles)}; another order of the sounds turns them by "
            f"{words.number(ticket['from_other_order']['angle_degrees'])} and "
            f"{_list([t['from_other_order']['angle_degrees'] for t in chances])}."
        )
    if any(told["error"] <= own * (1.0 + spread) for told in chances):
        found.append(
            "The ticket is not told from chance: these trainings are too short, or so many weights too many, for what "
            "it bears to say anything. Give more --early-steps."
        )
        return found
    ratios = dict(_ratios(early, "ablations"))
    kept = {name: ratios[name] for name in DISTURBANCES if name in ratios}
    if len(kept) == len(DISTURBANCES):
        harmless = [name for name, ratio in kept.items() if ratio - 1.0 <= spread]
        harmful = {name: ratio for name, ratio in kept.items() if ratio - 1.0 > spread}
        found.append(f"It bears, within that: {'; '.join(harmless) if harmless else 'no disturbance'}.")
        if harmful:
            told = [f"{name} {ratio - 1.0:+.0%}" for name, ratio in sorted(harmful.items(), key=lambda kv: kv[1])]
            found.append(f"It does not bear: {'; '.join(told)}.".replace("%", "\u202f%"))
    altered = dict(_ratios(early, "altered"))
    if {NOTHING, AS_THEY_ARE} <= altered.keys():
        found.append(_of_altered(altered, spread))
    return found


def _of_altered(altered: dict[str, float], spread: float) -> str:
    """What the first steps are worth, and how much of that altered sounds teach."""
    gained = altered[NOTHING] - altered[AS_THEY_ARE]
    if abs(gained) <= spread:
        said = "Rewinding to the first weights costs no more than another order: its first steps are not needed."
    elif gained < 0:
        said = f"Rewound to its first weights it ends {-gained:.0%} better: it has more steps to go."
    else:
        rest = {name: ratio for name, ratio in altered.items() if name not in (NOTHING, AS_THEY_ARE)}
        told = [f"{(altered[NOTHING] - ratio) / gained:.0%} of that {name}" for name, ratio in rest.items()]
        said = f"Its first steps are worth {gained:.0%} of its error; sounds teach {', '.join(told)}."
    return said.replace("%", "\u202f%")


def chance_spread(early: dict[str, Any]) -> float | None:
    """What chance does: the largest difference, per error, between orders of sounds, and between choices of weights.

    Args:
        early: see `section`.

    Returns:
        a share; None if nothing was trained in two orders yet.
    """
    told = {name: each for name, each in early["masks"].items() if "error" in each}
    orders = [abs(t["error_in_other_order"] - t["error"]) / abs(t["error"]) for t in told.values()]
    drawn = [t["error"] for name, t in told.items() if name.startswith(CHANCE)]
    choices = [(max(drawn) - min(drawn)) / abs(min(drawn))] if drawn else []
    return max(orders + choices, default=None)


def _own(early: dict[str, Any]) -> float | None:
    error: float | None = early["masks"].get(TICKET, {}).get("error")
    return error


def _ratios(early: dict[str, Any], group: str) -> list[tuple[str, float]]:
    """Errors per the ticket's own; of a likelihood, which may be below zero, how much they rise per its size."""
    own = _own(early)
    if not own:
        return []
    told = [(name, each["error"]) for name, each in early[group].items() if "error" in each]
    return [(name, 1.0 + (error - own) / abs(own)) for name, error in told]


def _pairs(early: dict[str, Any]) -> list[tuple[str, float, float, float | None]]:
    """A disturbance, how far it moves the weights, what it costs, and what noise costs that moves them as far."""
    ratios = dict(_ratios(early, "ablations"))
    return [
        (name, early["ablations"][name]["moved"], ratios[name], ratios.get(f"noise like {name}"))
        for name in DISTURBANCES
        if name in ratios
    ]


def _list(values: Sequence[float]) -> str:
    return " and ".join(words.number(value) for value in values)


# -- figures -----------------------------------------------------------------------------------------------------------


def course_figure(early: dict[str, Any]) -> Markup | None:
    """Signs that have changed, and directions of the weights, against steps.

    Args:
        early: see `section`.

    Returns:
        SVG; None where no step was watched.
    """
    moments = early["course"]["moments"]
    if not moments:
        return None
    steps = [moment["step"] for moment in moments]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "early-course"}):
        figure, axes = _canvas()
        rows = (("signs_changed", "signs changed", WINE, "o"), ("cosine_to_start", "cosine to the start", SOFT, "s"),
                ("cosine_to_end", "cosine to the end", BRASS, "D"))  # fmt: skip
        for key, label, colour, mark in rows:
            axes.plot(steps, [moment[key] for moment in moments], color=colour, lw=2, marker=mark, ms=4, label=label)
        axes.axvline(early["rewound_to"], color=SOFT, lw=0.8, ls=(0, (4, 3)))
        axes.annotate("rewound to", (early["rewound_to"], 0.5), (4, 0), xycoords=("data", "axes fraction"),
                      textcoords="offset points", color=SOFT)  # fmt: skip
        _steps(axes, steps)
        axes.set_ylim(-0.03, 1.03)
        axes.legend(frameon=False, loc="center left", handlelength=1.4, labelcolor=SOFT)
        return _svg(figure, "Signs changed and directions of the weights in the first steps of training")


def plane_figure(plane: dict[str, list[Sequence[float]]], steps: int) -> Markup | None:
    """Layers' ways through the information plane.

    Args:
        plane: see `early_of_run`.
        steps: of the training.

    Returns:
        SVG; None where it was not read.
    """
    if not plane:
        return None
    names = list(plane)
    shown = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, SHOWN).astype(int))]
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "early-plane"}):
        figure, axes = _canvas()
        for number, name in enumerate(shown):
            rows, colour = np.array(plane[name]), _PALETTE[number % len(_PALETTE)]
            dashes = "-" if number < len(_PALETTE) else (0, (3, 2))
            axes.plot(rows[:, 1], rows[:, 2], color=colour, lw=1.2, ls=dashes, marker=".", ms=4, label=name)
            axes.plot(rows[:1, 1], rows[:1, 2], "o", mfc="none", mec=colour, ms=8)
            axes.plot(rows[-1:, 1], rows[-1:, 2], "o", color=colour, ms=8)
        axes.set_xlabel("I(X; T), nats")
        axes.set_ylabel("I(T; Y), nats")
        axes.legend(frameon=False, loc="best", handlelength=1.8, labelcolor=SOFT, fontsize=8)
        return _svg(figure, f"Layers in the information plane, from the first weights to step {steps}")


def disturbed_figure(early: dict[str, Any]) -> Markup | None:
    """What each disturbance costs, beside noise that moves weights as far.

    Args:
        early: see `section`.

    Returns:
        SVG; None before anything was disturbed.
    """
    pairs, spread = _pairs(early), chance_spread(early)
    if not pairs or spread is None:
        return None
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "early-disturbed"}):
        figure, axes = _canvas(0.8 + 0.3 * len(pairs))
        axes.grid(visible=False)
        axes.axvspan(1.0 - spread, 1.0 + spread, color=SOFT, alpha=0.25, lw=0)
        places = np.arange(len(pairs))[::-1]
        noise = [(place, each[3]) for place, each in zip(places, pairs, strict=True) if each[3] is not None]
        axes.plot([each[2] for each in pairs], places, "o", color=WINE, ms=6, label="disturbed so")
        axes.plot([x for _, x in noise], [y for y, _ in noise], "D", mfc="none", mec=BRASS, ms=6, label="noise as far")
        axes.yaxis.set_major_locator(FixedLocator(list(places)))
        names = dict(zip(places.tolist(), [each[0] for each in pairs], strict=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: names.get(round(y), "")))
        axes.set_xlabel("test error per that of the ticket as it was")
        axes.legend(frameon=False, loc="best", labelcolor=SOFT)
        return _svg(figure, "What each disturbance of the early weights costs")


def _steps(axes: Axes, steps: Sequence[int]) -> None:
    """A scale on which the first steps are apart, and zero is on it."""
    axes.set_xscale("symlog", linthresh=1.0)
    axes.xaxis.set_major_locator(FixedLocator([0, *(step for step in steps if step > 0)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("step")
