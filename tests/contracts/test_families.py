"""Every family: its members can be found, named, helped, and carry nothing that only one machine knows."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import pochette
from pochette.errors import ExportError
from pochette.families import FAMILIES
from pochette.graph.graph import Node
from pochette.graph.operator import Operator, operators
from pochette.recipe import Family

EVERY: dict[str, Family[Any]] = {**FAMILIES, "operators": operators}
MEMBERS = [pytest.param(family, name, id=f"{key}-{name}") for key, family in EVERY.items() for name in family.names()]
every_family = pytest.mark.parametrize("family", EVERY.values(), ids=EVERY)


@every_family
def test_lives_in_a_package_whose_modules_all_load(family: Family[Any]) -> None:
    package = importlib.import_module(family.package)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{family.package}.{module.name}")
    assert family.names() == sorted(set(family.names()))


@pytest.mark.parametrize(("family", "name"), MEMBERS)
def test_a_member_has_a_name_and_one_line_of_help(family: Family[Any], name: str) -> None:
    line = family.help(name)
    assert 10 < len(line) <= 120 and line == line.strip()
    # A sentence, or a formula: "y = x W^T", "softmax(q k^T) v", "x[a, :, b]", or a name as it is written in code.
    assert line[0].isupper() or line[0] == "`" or re.match(r"[a-z]\w*( = |[(\[]| [*+@] )", line), line
    assert name == name.strip() and not set(name) & set(" /\\\n")
    assert family[name] is dict(family.items())[name]


# -- operators ---------------------------------------------------------------------------------------------------------

every_operator = pytest.mark.parametrize("name", operators.names())
FREE = {
    **dict.fromkeys(("Same", "Like", "Fresh", "Numbered"), "makes numbers that depend on nothing, or keeps them"),
    **dict.fromkeys(("Reshape", "Permute", "Expand", "Unflatten", "Unsqueeze", "Halves"), "other axes, same numbers"),
    **dict.fromkeys(("Split", "Select", "Slice", "Unbind", "Unfold", "Scatter", "Concatenate", "Stack"), "moves parts"),
    **dict.fromkeys(("Pad", "Flip", "Roll", "Repeat", "RepeatInterleave", "PixelShuffle", "Transformed"), "moves them"),
    **dict.fromkeys(
        ("Index", "IndexSelect", "Gather", "Take", "Embedding", "OneHot", "LookUp"), "reads memory at a number"
    ),
}
"""Descriptions whose operators compute nothing, and why."""


@every_operator
def test_an_operator_says_what_is_coupled(name: str) -> None:
    """Its own coupling: the plain one would freeze all it touches, as if nobody had described it."""
    operator = operators[name]
    assert isinstance(operator, Operator)
    assert type(operator).couple is not Operator.couple


@every_operator
def test_an_operator_counts_what_it_costs_or_is_known_to_cost_nothing(name: str) -> None:
    kind = type(operators[name])
    assert (kind.cost is Operator.cost) == (kind.__name__ in FREE), kind.__name__


def test_what_costs_nothing_is_still_there() -> None:
    assert {type(operator).__name__ for _, operator in operators.items()} >= set(FREE)


@every_operator
def test_an_operator_without_c_says_so(name: str) -> None:
    """Whoever exports it hears which operator has no C, where it stands and what to do; never a silent gap."""
    operator = operators[name]
    if type(operator).emit is not Operator.emit:
        return  # its C is held against torch in test_operators
    node = Node(name, (), (), "body.layer")
    with pytest.raises(ExportError, match=re.escape(name)) as caught:
        operator.emit(node, None)  # type: ignore[arg-type]
    assert caught.value.where == "body.layer" and caught.value.remedy


def test_recipes_of_models_are_frozen_and_every_field_has_a_default_and_a_word() -> None:
    for _, recipe in FAMILIES["models"].items():
        assert recipe.__dataclass_params__.frozen
        tree = ast.parse(Path(sys.modules[recipe.__module__].__file__).read_text())
        body = next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == recipe.__name__).body
        explained = {
            before.target.id  # type: ignore[union-attr]
            for before, after in pairwise(body)
            if isinstance(before, ast.AnnAssign)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        }
        for field in dataclasses.fields(recipe):
            assert field.default is not dataclasses.MISSING and field.name in explained, field.name


def test_members_of_light_families_need_no_torch() -> None:
    """What the light player lists must not import torch: asked in a fresh process, which forbids it."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import pochette.families as f, pochette.control, pochette.errors, pochette.instrument\n"
        "assert f.boards.names()\n"
        "import pochette.engine.source, pochette.engine.runner, pochette.engine.native, pochette.engine.wasm\n"
        "import pochette.engine.build, pochette.engine.emulate\n"
    )
    source = Path(pochette.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": str(source)}, check=False
    )
    assert done.returncode == 0, done.stderr


FLOORS = [
    {"errors", "recipe", "control", "families"}, {"sound"}, {"graph", "layers", "corpus"},
    {"models", "measure", "boards"}, {"reduce", "engine", "train"}, {"lab", "shells", "instrument"}, {"cli"},
]  # fmt: skip


def imports_at_the_top(path: Path) -> set[str]:
    """Rooms a file imports when it is read; not what functions import later, nor what only type checkers see."""
    rooms = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pochette."):
            rooms.add(node.module.split(".")[1])  # type: ignore[union-attr]
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pochette.")}
    return rooms


def test_nobody_imports_upwards() -> None:
    root = Path(pochette.__file__).parent
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    broken = []
    for path in root.rglob("*.py"):
        here = path.relative_to(root).parts[0].removesuffix(".py")
        for room in imports_at_the_top(path):
            if here in floor and room in floor and floor[room] > floor[here]:
                broken.append(f"{path.relative_to(root)} imports {room}")
    assert not broken


def test_a_model_knows_nothing_of_c_or_reduction_and_a_board_nothing_of_torch() -> None:
    root = Path(pochette.__file__).parent
    for room, forbidden in {"models": {"engine", "reduce", "boards"}, "boards": {"models", "layers", "graph"}}.items():
        for path in (root / room).rglob("*.py"):
            assert not imports_at_the_top(path) & forbidden, path.name
    assert not any("import torch" in path.read_text() for path in (root / "boards").rglob("*.py"))
