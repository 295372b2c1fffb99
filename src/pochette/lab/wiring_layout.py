"""Where the spots of a network's wiring are drawn: columns by the longest way from an input, few crossings.

After Sugiyama et al. 1981, "Methods for Visual Understanding of Hierarchical System Structures": an edge that spans
several columns passes through a place in each; the places of a column are ordered by the mean of their neighbours'.
Long edges from one speaker to many, or from many to one who hears them, share these places: one line that branches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pochette.measure.wiring import Edge, Spot, Wiring

Place = tuple[float, float]
"""To the right and down."""
SWEEPS = 12
ROOM: dict[str, Place] = {"layer": (15.0, 42.0), "fold": (15.0, 42.0), "input": (15.0, 32.0), "output": (15.0, 32.0),
                          "junction": (13.0, 13.0), "way": (8.0, 8.0)}  # fmt: skip
"""Pixels that a place takes above and below its middle; a way is a place that an edge passes through."""
LOOP = 20.0
"""And more above it where something is carried to it."""
WIDE, NARROW = 128.0, 46.0
"""Pixels of a column with names in it, and without."""


@dataclass(frozen=True)
class Layout:
    """What is drawn where, in pixels."""

    at: dict[str, Place]
    """Name of a spot, or of a way, to its middle."""
    pieces: tuple[Edge, ...]
    """Of edges, from column to column: names of spots or ways."""
    width: float
    height: float


def laid_out(wiring: Wiring) -> Layout:
    """Place everything.

    Args:
        wiring: not too large, see `folded`.

    Returns:
        the layout.
    """
    column = columns_of(wiring)
    kinds: dict[str, str] = {spot.name: spot.kind for spot in wiring.spots}
    rank = {name: column[name] for name in kinds}
    pieces: dict[Edge, None] = {}
    speaks, hears = (_degrees(edge[end] for edge in wiring.edges) for end in (0, 1))
    for speaker, name in wiring.edges:
        by_speaker = speaks[speaker] >= hears[name]
        stops = [speaker]
        for between in range(column[speaker] + 1, column[name]):
            way = f"{'from' if by_speaker else 'to'}\n{speaker if by_speaker else name}\n{between}"
            kinds[way], rank[way] = "way", between
            stops.append(way)
        pieces |= dict.fromkeys(pairwise([*stops, name]))
    rows = _ordered(_by_column(rank), list(pieces))
    room = {name: ROOM[kind] for name, kind in kinds.items()}
    room |= {name: (room[name][0] + LOOP, room[name][1]) for edge in wiring.carried for name in edge}
    middle = _heights(rows, list(pieces), room)
    left, across = 0.0, []
    for names in rows:
        wide = WIDE if any(kinds[name] not in ("way", "junction") for name in names) else NARROW
        across.append(left + wide / 2)
        left += wide
    at = {name: (across[rank[name]], middle[name]) for name in rank}
    return Layout(at, tuple(pieces), left, max(middle[name] + room[name][1] for name in rank))


def columns_of(wiring: Wiring) -> dict[str, int]:
    """The column of every spot: the length of the longest way to it.

    What hears nobody, and what one speaks to who speaks to many, stands just before who hears it.

    Args:
        wiring: any.

    Returns:
        name to column, 0 for the first.
    """
    heard, readers = _neighbours(wiring)
    order, column = _in_order(heard), dict[str, int]()
    for name in order:
        column[name] = max((column[speaker] + 1 for speaker in heard[name]), default=0)
    for name in reversed(order):
        if not readers[name]:
            continue
        nearest = min(column[reader] for reader in readers[name]) - 1
        hub = len(heard[name]) == len(readers[name]) == 1 and (
            len(readers[heard[name][0]]) > len(heard[readers[name][0]])
        )
        if not heard[name] or hub:
            column[name] = nearest
    return column


def folded(wiring: Wiring, most: int) -> tuple[Wiring, list[str]]:
    """A wiring with so many spots at most: blocks that repeat are folded into one, all but the first and the last.

    Args:
        wiring: any.
        most: spots, 10 or more.

    Returns:
        the wiring, and what was folded, in sentences.
    """
    notes = []
    while len(wiring.spots) > most:
        members, title = _repeated(wiring) or _middle(wiring, len(wiring.spots) - most + 1)
        inside = _closed(wiring, members)
        whole = [spot for spot in wiring.spots if spot.name in inside]
        layers = sum(spot.kind == "layer" for spot in whole)
        notes.append(f"{title}: {layers} layers are drawn as one.")
        wiring = _contracted(wiring, inside, Spot(title, "fold", weights=sum(spot.weights for spot in whole)))
    return wiring, notes


def _repeated(wiring: Wiring) -> tuple[set[str], str] | None:
    """The layers of all blocks of the largest numbered list but its first and last; None if no list has three."""
    blocks: dict[str, dict[int, set[str]]] = {}
    for spot in wiring.spots:
        parts = spot.name.split(".")
        for place, part in enumerate(parts):
            if spot.kind == "layer" and part.isdecimal() and place:
                blocks.setdefault(".".join(parts[:place]), {}).setdefault(int(part), set()).add(spot.name)
    inner = {prefix: sorted(numbers)[1:-1] for prefix, numbers in blocks.items() if len(numbers) >= 4}
    if not inner:
        return None
    size = {prefix: sum(len(blocks[prefix][number]) for number in numbers) for prefix, numbers in inner.items()}
    prefix = max(size, key=lambda prefix: size[prefix])
    numbers = inner[prefix]
    return set[str]().union(*(blocks[prefix][n] for n in numbers)), f"{prefix}.{numbers[0]} to {numbers[-1]}"


def _middle(wiring: Wiring, fewer: int) -> tuple[set[str], str]:
    """What stands in the middle columns: spots enough to be rid of so many."""
    column = columns_of(wiring)
    inner = {spot.name for spot in wiring.spots if spot.kind not in ("input", "output")}
    first = last = max(column.values()) // 2
    while len(members := {name for name in inner if first <= column[name] <= last}) <= fewer and members != inner:
        first, last = (first - 1, last) if first > 0 else (first, last + 1)
        last = last + 1 if last < max(column.values()) else last
    return members, f"the middle {last - first + 1} of {max(column.values()) + 1} columns"


def _closed(wiring: Wiring, members: set[str]) -> set[str]:
    """Members and all that lies on a way between two of them, so that drawing them as one closes no circle."""
    heard, readers = _neighbours(wiring)
    return members | (_reached(members, heard) & _reached(members, readers))


def _reached(members: set[str], by: Mapping[str, Sequence[str]]) -> set[str]:
    met, waiting = set[str](), list(members)
    while waiting:
        for name in by[waiting.pop()]:
            if name not in met:
                met.add(name)
                waiting.append(name)
    return met


def _contracted(wiring: Wiring, inside: set[str], fold: Spot) -> Wiring:
    def renamed(edges: Iterable[Edge]) -> tuple[Edge, ...]:
        moved = ((fold.name if a in inside else a, fold.name if b in inside else b) for a, b in edges)
        return tuple(dict.fromkeys((a, b) for a, b in moved if a != b))

    spots = dict.fromkeys(fold if spot.name in inside else spot for spot in wiring.spots)
    edges = renamed(wiring.edges)
    carried = tuple(edge for edge in renamed(wiring.carried) if edge not in edges)
    own = tuple(edge for edge in wiring.carried if edge[0] == edge[1] and edge[0] not in inside)
    return replace(wiring, spots=tuple(spots), edges=edges, carried=carried + own)


def _neighbours(wiring: Wiring) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Whom each spot hears, and who hears it."""
    heard: dict[str, list[str]] = {spot.name: [] for spot in wiring.spots}
    readers: dict[str, list[str]] = {spot.name: [] for spot in wiring.spots}
    for speaker, name in wiring.edges:
        heard[name].append(speaker)
        readers[speaker].append(name)
    return heard, readers


def _in_order(heard: Mapping[str, Sequence[str]]) -> list[str]:
    """Names, each after all that it hears."""
    order: dict[str, None] = {}
    waiting = list(heard)[::-1]
    while waiting:
        missing = [speaker for speaker in heard[waiting[-1]] if speaker not in order]
        if missing:
            waiting += missing
        else:
            order[waiting.pop()] = None
    return list(order)


def _degrees(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def _by_column(rank: Mapping[str, int]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max(rank.values()) + 1)]
    for name, place in rank.items():
        rows[place].append(name)
    return rows


def _ordered(rows: list[list[str]], pieces: Sequence[Edge]) -> list[list[str]]:
    """The columns, each ordered by the means of its neighbours' places; of all sweeps the one with fewest crossings."""
    before, after = _sides(pieces)
    best, fewest = [list(names) for names in rows], _crossings(rows, pieces)
    for sweep in range(SWEEPS):
        backwards = sweep % 2 == 1
        for names in rows[::-1] if backwards else rows:
            place = {name: (number + 0.5) / len(row) for row in rows for number, name in enumerate(row)}
            side = after if backwards else before
            mean = {n: _mean([place[other] for other in side.get(n, ())], place[n]) for n in names}
            names.sort(key=lambda name: mean[name])
        if (crossings := _crossings(rows, pieces)) < fewest:
            best, fewest = [list(names) for names in rows], crossings
    return best


def _crossings(rows: Sequence[Sequence[str]], pieces: Sequence[Edge]) -> int:
    """Pairs of pieces between the same two columns that cross."""
    place = {name: (number, row) for number, names in enumerate(rows) for row, name in enumerate(names)}
    between: dict[int, list[tuple[int, int]]] = {}
    for one, other in pieces:
        between.setdefault(place[one][0], []).append((place[one][1], place[other][1]))
    return sum(
        (a - c) * (b - d) < 0
        for lines in between.values()
        for number, (a, b) in enumerate(lines)
        for c, d in lines[:number]
    )


def _heights(rows: Sequence[Sequence[str]], pieces: Sequence[Edge], room: Mapping[str, Place]) -> dict[str, float]:
    """The middle of each place, as near to its neighbours' as order and room allow."""
    before, after = _sides(pieces)
    middle: dict[str, float] = {}
    for names in rows:
        whole = sum(sum(room[name]) for name in names)
        middle |= dict(zip(names, _apart([-whole / 2] * len(names), [room[name] for name in names]), strict=True))
    for sweep in range(SWEEPS):
        for names in rows[::-1] if sweep % 2 else rows:
            near = {name: [middle[n] for n in (*before.get(name, ()), *after.get(name, ()))] for name in names}
            wish = [_mean(near[name], middle[name]) for name in names]
            middle |= dict(zip(names, _apart(wish, [room[name] for name in names]), strict=True))
    least = min(middle[name] - room[name][0] for name in middle)
    return {name: height - least for name, height in middle.items()}


def _apart(wish: Sequence[float], room: Sequence[Place]) -> list[float]:
    """Middles in the given order whose rooms do not overlap, of all such the nearest to what is wished, by squares."""
    least = [0.0]
    for (_, below), (above, _) in pairwise(room):
        least.append(least[-1] + below + above)
    # Less the room that those before it take, middles only have to rise: the nearest that do are means of pools.
    pools: list[tuple[float, int]] = []
    for at, taken in zip(wish, least, strict=True):
        pools.append((at - taken, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n)]
    risen = [value for value, count in pools for _ in range(count)]
    return [value + taken for value, taken in zip(risen, least, strict=True)]


def _sides(pieces: Sequence[Edge]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for one, other in pieces:
        before.setdefault(other, []).append(one)
        after.setdefault(one, []).append(other)
    return before, after


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
