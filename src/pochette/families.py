"""The families of pochette: every thing that can be added as one file is a member of one of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pochette.recipe import Family

if TYPE_CHECKING:
    from pochette.boards.board import Board
    from pochette.measure.analysis import Analysis

models: Family[Any] = Family("models", "pochette.models")
"""Recipe classes of generative models (frozen dataclasses whose `build()` gives the `Model`)."""

methods: Family[Any] = Family("methods", "pochette.reduce.methods")
"""Reduction methods: model in, smaller model out."""

criteria: Family[Any] = Family("criteria", "pochette.reduce.criteria")
"""Scores of units: model and data in, one score per unit out."""

scores: Family[Any] = Family("scores", "pochette.reduce.sparse.scores")
"""Scores of single weights: a network in, one score per weight out."""

analyses: Family[type[Analysis]] = Family("analyses", "pochette.measure.analyses")
"""Ways to read a network: its topology, and the information in it."""

boards: Family[Board] = Family("boards", "pochette.boards")
"""Machines that an engine is made for."""

shells: Family[Any] = Family("shells", "pochette.shells")
"""Wrappers of an engine for one host world: web page, C folder..."""

metrics: Family[Any] = Family("metrics", "pochette.sound.metrics")
"""Distances between a sound and its reference."""

FAMILIES: dict[str, Family[Any]] = {
    family.name: family for family in (models, methods, criteria, scores, analyses, boards, shells, metrics)
}
"""All families by their plural name."""
