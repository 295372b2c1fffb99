"""What "Diet deep generative audio models with structured lottery" (DAFx 2020) says, held against rows of a comparison.

Every verdict follows from intervals over seeds by one rule. A bound holds if the whole interval lies at or below it and
does not hold if the whole interval lies above it. That one way beats another holds if the interval of their
differences, seed by seed, lies below zero, and does not hold if it lies above. Everything between is open; fewer than
three seeds give no interval and no verdict. Where a claim is about several stops, all of them must be there, all must
hold for it to hold, and one that does not is enough for it not to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pochette.lab.compare import Row, Spread, spread

HOLDS, FAILS, OPEN, FEW, UNKNOWN = "holds", "does not hold", "open", "too few seeds", "not measured"
CONTROLS = ("reinit", "scratch, same epochs", "scratch, same compute")
SEEDS_FOR_AN_INTERVAL = 3
ALL = "mean of the models"
"""As the paper does: the multipliers of all models averaged, seed by seed."""


@dataclass(frozen=True)
class Bound:
    """A multiplier that is not exceeded at any of some stops; of the best of all criteria if no curve is named."""

    claim: str
    theirs: str
    curve: str
    stops: tuple[float, ...]
    bound: float


@dataclass(frozen=True)
class Better:
    """One way of choosing that has the lower multiplier at every one of some stops."""

    claim: str
    theirs: str
    winner: str
    loser: str
    stops: tuple[float, ...]


@dataclass(frozen=True)
class Best:
    """The stop at which a way of choosing has its lowest multiplier."""

    claim: str
    theirs: str
    curve: str
    stop: float


At = Callable[[str, float], dict[int, float]]
"""Curve and stop to seed to multiplier."""
Claim = Bound | Better | Best


@dataclass(frozen=True)
class Line:
    """A line of the table: what a claim has become of on one model."""

    claim: str
    theirs: str
    model: str
    here: str
    verdict: str


def claims(stops: Sequence[float]) -> list[Claim]:
    """What is held against the rows.

    Args:
        stops: shares of weights removed that the comparison has.

    Returns:
        claims of the paper first, then the bounds this project set itself.
    """
    early, late = (
        tuple(stop for stop in stops if stop <= 0.9),
        tuple(stop for stop in stops if stop > 0.9),
    )
    to_95 = tuple(stop for stop in stops if stop <= 0.95)
    published = "information, global"
    return [
        Bound("masking by magnitude, local: best point, 76.1 % masked", "0.893",
              "masked by magnitude, local", (0.761,), 0.893),
        Bound("trimming by information, global: at 80 %", "0.912", published, (0.8,), 0.912),
        Best("trimming by information, global: 80 % is its best point", "best at 80 %", published, 0.8),
        Bound("trimming by information, global: no loss up to 95 %", "≤ 1.0", published, to_95, 1.0),
        Bound("trimming by information, global: at 99 %", "about 1.2", published, (0.99,), 1.2),
        Better("ranking globally beats ranking locally up to 90 % (here by magnitude)", "global lower",
               "magnitude, global", "magnitude, local", early),
        Better("ranking locally beats ranking globally past 90 % (here by magnitude)", "local lower",
               "magnitude, local", "magnitude, global", late),
        Better("globally first and then locally beats globally past 90 % (by information)", "suggested, no figure",
               "information, global then local", published, late),
        Bound("our bound: the best of all criteria at 95 %", "≤ 1.0", "", (0.95,), 1.0),
        Bound("our bound: the best of all criteria at 99 %", "≤ 1.2", "", (0.99,), 1.2),
    ]  # fmt: skip


def lines(rows: Sequence[Row], models: Sequence[str], stops: Sequence[float], beside: Sequence[str] = ()) -> list[Line]:
    """The whole table.

    Args:
        rows: of a comparison.
        models: names, whether they have rows or not.
        stops: of the comparison.
        beside: names of other sizes, told of where they have what one of the paper's claims needs.

    Returns:
        for each claim a line a model, and one of their mean where all models have what it needs.
    """
    table = []
    for claim in claims(stops):
        named = not isinstance(claim, Bound) or bool(claim.curve)
        others = [_line(claim, rows, name, (), stops) for name in beside if named]
        mine = [_line(claim, rows, model, models, stops) for model in (*models, ALL)]
        if all(line.verdict == UNKNOWN for line in mine):
            mine = [Line(claim.claim, claim.theirs, "all", "not among the experiments", UNKNOWN)]
        elif mine[-1].verdict == UNKNOWN or len(models) < 2:
            mine = mine[:-1]
        table += [*mine, *(line for line in others if line.here)]
    return table


def _line(claim: Claim, rows: Sequence[Row], model: str, models: Sequence[str], stops: Sequence[float]) -> Line:
    def at(curve: str, stop: float) -> dict[int, float]:
        return multipliers(rows, model, models, curve, stop)

    if isinstance(claim, Bound):
        here, verdict = _bound(claim, at, sorted({row.curve for row in rows}))
    elif isinstance(claim, Better):
        here, verdict = _better(claim, at)
    else:
        here, verdict = _best(claim, at, stops)
    return Line(claim.claim, claim.theirs, model, here, verdict)


def multipliers(rows: Sequence[Row], model: str, models: Sequence[str], curve: str, stop: float) -> dict[int, float]:
    """Error multipliers of one stop of one curve.

    Args:
        rows: of a comparison.
        model: its name, or `ALL`.
        models: all names, for `ALL`.
        curve: as `compare.curve_of` names it.
        stop: share of weights that was to go.

    Returns:
        seed to multiplier; of all models' mean only for seeds that every model has.
    """
    if model != ALL:
        return {
            row.seed: row.multiplier
            for row in rows
            if (row.model, row.curve, row.asked_removed, row.timed_on) == (model, curve, stop, "")
        }
    each = [multipliers(rows, name, models, curve, stop) for name in models]
    seeds = set.intersection(*(set(found) for found in each)) if each else set()
    return {seed: sum(found[seed] for found in each) / len(each) for seed in sorted(seeds)}


def differences(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Ours less theirs for every seed that both have, by seed."""
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def against(found: Spread | None, bound: float) -> str:
    """The verdict on "at most a bound".

    Args:
        found: a figure over seeds; None if there is none.
        bound: what it should not exceed.

    Returns:
        one of the five verdicts.
    """
    if found is None:
        return UNKNOWN
    if found.seeds < SEEDS_FOR_AN_INTERVAL:
        return FEW
    return HOLDS if found.high <= bound else FAILS if found.low > bound else OPEN


def together(verdicts: Sequence[str]) -> str:
    """One verdict of several, all of which a claim needs."""
    for verdict in (UNKNOWN, FEW, FAILS, OPEN):
        if verdict in verdicts:
            return verdict
    return HOLDS if verdicts else UNKNOWN


def told(found: Spread, sign: bool = False) -> str:
    """A figure over seeds in words: "0.981 [0.970, 0.992], 3 seeds"."""
    form = "+.3f" if sign else ".3f"
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}"
    if found.seeds == 1:
        return f"{found.mean:{form}}, {seeds}"
    if found.seeds == 2:
        return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}}), {seeds}"
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}], {seeds}"


def _spread(values: Sequence[float]) -> Spread | None:
    return spread(values) if values else None


def _bound(claim: Bound, at: At, curves: Sequence[str]) -> tuple[str, str]:
    chosen, ours = claim.curve, [curve for curve in curves if is_ours(curve)]
    if not chosen:
        measured = {curve: s for curve in ours if (s := _spread([*at(curve, claim.stops[0]).values()]))}
        # A way that fewer seeds have seen is not the best because it was lucky once.
        most = max((s.seeds for s in measured.values()), default=0)
        full = {curve: s.mean for curve, s in measured.items() if s.seeds == most}
        chosen = min(full, key=full.__getitem__, default="")
    found = {stop: _spread([*at(chosen, stop).values()]) for stop in claim.stops}
    verdict = together([against(one, claim.bound) for one in found.values()])
    known = {stop: one for stop, one in found.items() if one is not None}
    if not known:
        return "", UNKNOWN
    worst = max(known, key=lambda stop: known[stop].mean)
    where = f" at {worst:.0%}, the worst of {len(known)} of {len(found)} stops" if len(found) > 1 else ""
    said = told(known[worst]) + where
    if not claim.curve:
        lots = _spread([*at("random, local", worst).values()])
        said += f" ({chosen}{'' if lots is None else f'; lots drawn {lots.mean:.3f}'})"
    if verdict == OPEN and known[worst].mean > claim.bound:
        said += "; the mean is above the bound"
    return said, verdict


def _better(claim: Better, at: At) -> tuple[str, str]:
    found = {stop: _spread(differences(at(claim.winner, stop), at(claim.loser, stop))) for stop in claim.stops}
    known = [f"{told(one, sign=True)} at {stop:.0%}" for stop, one in found.items() if one is not None]
    return "difference " + "; ".join(known) if known else "", together([below_zero(one) for one in found.values()])


def below_zero(found: Spread | None) -> str:
    """The verdict on "is lower", of the differences."""
    verdict = against(found, 0.0)
    # To the bit the same is not better.
    return OPEN if found is not None and verdict == HOLDS and found.high == 0.0 else verdict


def _best(claim: Best, at: At, stops: Sequence[float]) -> tuple[str, str]:
    found = {stop: _spread([*at(claim.curve, stop).values()]) for stop in stops}
    known = {stop: one for stop, one in found.items() if one is not None}
    if len(known) < len(stops) or claim.stop not in known:
        return "", UNKNOWN
    ranked = sorted(known, key=lambda stop: known[stop].mean)
    best = f"best at {ranked[0]:.0%}, {told(known[ranked[0]])}"
    rival = ranked[1] if ranked[0] == claim.stop else ranked[0]
    between = _spread(differences(at(claim.curve, claim.stop), at(claim.curve, rival)))
    best += f"; {claim.stop:.0%} less {rival:.0%}: {told(between, sign=True)}" if between else ""
    return best, below_zero(between)


def is_ours(curve: str) -> bool:
    """Whether a curve is of units chosen by a criterion and trimmed, and neither dense, masked, drawn nor a control."""
    return curve != "dense" and curve not in CONTROLS and not curve.startswith(("masked", "random"))


WHY = {
    "ddsp": "The network only says how loud each partial and band of noise is, from pitch and loudness that are given: "
    "little is asked of it, so its size hardly matters, and of layers of these widths no matter which units stay.",
    "sing-ae": "Its decoder writes every window of sound as a sum of as many learnt windows as its last layer has "
    "units, and its code has few numbers to begin with. Weights grow with the width of a layer, not with its square, "
    "because the other side of the largest matrices is a window of 1,024 samples that cannot be trimmed: most of its "
    "units must go for most of its weights to go. The published auto-encoder is 2,048 wide and has that many to spare.",
    "wavenet": "It lists 256 codes at its input and its output, whose weights grow with the width of a layer and not "
    "with its square: at 99 % a layer has one unit of 32 left. What it loses by 95 % is little beside what it has over "
    "the code before.",
}
"""What the stops do to each model, in words; the figures stand in the tables around it."""
