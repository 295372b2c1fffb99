"""The families of a network in the order in which the signal meets them."""

from __future__ import annotations

from pochette.graph.units import UnitFamily
from pochette.reduce.structure import Structure, sources


def along_signal(structure: Structure) -> list[UnitFamily]:
    """Families by the first operator that makes their units.

    Args:
        structure: of the network.

    Returns:
        all of them; the network's own order of layers may be another.
    """
    source = sources(structure.graph)
    first: dict[str, int] = {}
    for number, node in enumerate(structure.graph.nodes):
        for value in node.inputs():
            # A weight's own norm, or a change of its shape, is no operator on the signal.
            if id(value) in source and id(node.output) not in source:
                first.setdefault(source[id(value)], number)
    last = len(structure.graph.nodes)

    def made_at(family: UnitFamily) -> int:
        return min((first.get(place.path, last) for place in family.makers), default=last)

    return sorted(structure.families, key=made_at)
