"""Recipes, signatures and families."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from pochette.errors import UnknownNameError
from pochette.families import FAMILIES, models
from pochette.models.ddsp import Ddsp
from pochette.recipe import Family, did_you_mean, from_json, signature, to_json


@dataclass(frozen=True)
class Cake:
    layers: int = 3
    flavour: str = "plain"
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Bread:
    """Bread.

    More.
    """

    layers: int = 3


@dataclass(frozen=True)
class Meal:
    main: object = field(default_factory=Cake)
    guests: int = 2


def test_defaults_are_left_out_and_come_back() -> None:
    assert to_json(Cake()) == {}
    assert to_json(Cake(layers=4)) == {"layers": 4}
    cake = Cake(5, "plum", (7,))
    assert from_json(Cake, json.loads(json.dumps(to_json(cake)))) == cake
    assert from_json(Cake, {}) == Cake()


def test_a_new_field_with_a_default_changes_no_signature() -> None:
    old = type("Cake", (), {})  # the same recipe, before `flavour` and `sizes` were added

    @dataclass(frozen=True)
    class Earlier:
        layers: int = 3

    Earlier.__name__ = old.__name__
    assert signature(Earlier(4)) == signature(Cake(4))


def test_a_signature_tells_what_differs_and_only_that() -> None:
    described = [
        (Cake(),), (Cake(4),), (Cake(flavour="plum"),), (Bread(),), (Bread(4),), (Cake(), 1), (1, Cake()),
        (Cake(), Cake()), ("a", "b"), ("b", "a"), (["a", "b"],), ({"a": 1},), (None,),
    ]  # fmt: skip
    assert len({signature(*parts) for parts in described}) == len(described)
    assert signature({"a": 1, "b": 2}) == signature({"b": 2, "a": 1})
    assert signature(Cake(sizes=(3,))) == signature(Cake(sizes=(3,)))
    assert len(signature(Cake())) == 12 and int(signature(Cake()), 16) >= 0


def test_nested_recipes_of_different_kinds_never_share_a_signature() -> None:
    # Both are all defaults: only their kind tells them apart.
    assert signature(Meal(main=Bread())) != signature(Meal(main=Cake()))
    assert signature(Meal(main=Bread(4))) != signature(Meal(main=Cake(4)))
    assert signature((Bread(),)) != signature((Cake(),))


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Cake has no field 'icing'") as caught:
        from_json(Cake, {"icing": 1})
    assert "flavour, layers, sizes" in caught.value.remedy


def test_every_model_recipe_makes_the_round_trip() -> None:
    for _, member in models.items():
        recipe = member.sized("tiny")
        assert from_json(member, json.loads(json.dumps(to_json(recipe)))) == recipe
    assert to_json(Ddsp.sized("paper", partials=60)) == {
        "hidden": 512, "stack_width": 512, "stack_layers": 3, "partials": 60,
    }  # fmt: skip


@pytest.fixture
def shelf() -> Iterator[Family[type]]:
    family: Family[type] = Family("boards", "pochette.layers")
    family.member("oak")(Cake)
    yield family


def test_members_are_found_sorted_and_with_their_help(shelf: Family[type]) -> None:
    shelf.add("ash", Bread)
    assert shelf.names() == ["ash", "oak"] and shelf["ash"] is Bread
    assert shelf.help("ash") == "Bread." and dict(shelf.items()) == {"ash": Bread, "oak": Cake}
    shelf.remove("ash")
    shelf.remove("never there")
    assert shelf.names() == ["oak"]


def test_an_unknown_name_suggests(shelf: Family[type]) -> None:
    with pytest.raises(UnknownNameError, match="There is no board called 'oka'") as caught:
        shelf["oka"]
    assert caught.value.remedy == "Did you mean oak? Known boards: oak."
    with pytest.raises(UnknownNameError) as caught:
        shelf["zzzzz"]
    assert "Did you mean" not in caught.value.remedy


@pytest.mark.parametrize(
    ("written", "meant"), [("WAVEGAN", "wavegan"), ("daisy_seed", "daisy-seed"), ("Sing-AE", "sing-ae")]
)
def test_names_are_guessed_from_other_spellings(written: str, meant: str) -> None:
    assert did_you_mean(written, ["wavegan", "daisy-seed", "sing-ae", "rave"]).startswith(f"Did you mean {meant}")


def test_a_taken_name_and_a_missing_docstring_are_refused(shelf: Family[type]) -> None:
    with pytest.raises(ValueError, match="taken twice"):
        shelf.add("oak", Ddsp)
    with pytest.raises(ValueError, match="taken twice"):
        shelf.add("oak", Bread)  # of the same file, but another thing
    again = type("Cake", (), {"__module__": Cake.__module__, "__doc__": "The same file read again."})
    assert shelf.add("oak", again) is again
    with pytest.raises(ValueError, match="docstring"):
        shelf.add("bare", type("Bare", (), {"__doc__": " "}))


def test_values_of_one_class_are_told_apart() -> None:
    family: Family[Cake] = Family("boards", "pochette.layers")
    family.add("oak", cake := Cake())
    assert family.add("oak", cake) is cake
    with pytest.raises(ValueError, match="taken twice"):
        family.add("oak", Cake(9))


def test_a_family_that_fails_to_load_fails_again(monkeypatch: pytest.MonkeyPatch) -> None:
    family: Family[type] = Family("things", "pochette.no_such_package")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            family.names()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_can_be_listed(name: str) -> None:
    family = FAMILIES[name]
    assert family.name == name
    for member in family.names():
        assert family.help(member)
    with pytest.raises(UnknownNameError):
        family["no such thing"]
