"""An experiment's identity: what is in it, what is not, and that it survives being written down."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pochette.errors import RecipeError
from pochette.lab.experiment import (
    Anchor,
    Control,
    Cut,
    Disturbed,
    Experiment,
    Timing,
    ancestors_of,
    from_data,
    name_of,
    path,
    root_of,
    steps_of,
    tag_of,
    to_data,
)
from pochette.models.ddsp import Ddsp
from tests.lab.tasks import dense


def every_kind() -> list[Experiment]:
    whole = dense(seed=3, learning_rate=1e-3)
    trimmed = path(whole, (0.5, 0.8), 40)
    masked = path(whole, (0.25,), 40, removal="mask", rewind="weights", criterion="random", scope="global")
    control = Control(trimmed[1], "scratch_compute")
    return [
        whole, *trimmed, *masked, control, Control(trimmed[0], "reinit"), Timing(control, "raspberry-pi"),
        Anchor("0123456789ab", "ddsp", Ddsp(hidden=7), 20), Disturbed(masked[0]), Disturbed(trimmed[1], 7),
    ]  # fmt: skip


def test_names_stay_what_they_are() -> None:
    # Results are kept under these names: a change that renames them throws away what was computed.
    whole = dense()
    assert name_of(whole) == "d026e0e53914"
    assert name_of(path(whole, (0.5, 0.8), 40)[1]) == "43f5a35e79c9"
    assert name_of(Control(path(whole, (0.5,), 40)[0], "reinit")) == "eb449f6990bb"


def test_whatever_decides_the_outcome_is_in_the_name() -> None:
    whole = dense()
    cut = path(whole, (0.5, 0.8), 40)[1]
    variants: list[Experiment] = [
        whole,
        dense(seed=1),
        dense(batch=3),
        dataclasses.replace(whole, steps=11),
        dataclasses.replace(whole, corpus="ba9876543210"),
        dataclasses.replace(whole, recipe=Ddsp.sized("small")),
        cut,
        path(whole, (0.6, 0.8), 40)[1],  # the way there counts, not only the place
        path(whole, (0.5, 0.8), 41)[1],
        path(whole, (0.5, 0.8), 40, criterion="random")[1],
        path(whole, (0.5, 0.8), 40, removal="mask")[1],
        path(whole, (0.5, 0.8), 40, rewind="init")[1],
        path(whole, (0.5, 0.8), 40, scope="global")[1],
        path(whole, (0.5, 0.8), 40, scope="global", scaling="operations")[1],
        path(whole, (0.5, 0.8), 40, of="operations")[1],
        path(dense(seed=1), (0.5, 0.8), 40)[1],
        Control(cut, "reinit"),
        Control(cut, "scratch_epochs"),
        Timing(cut, "raspberry-pi"),
        Disturbed(cut),
        Disturbed(cut, 21),
        Disturbed(whole),
    ]
    assert len({name_of(variant) for variant in variants}) == len(variants)


def test_what_is_written_down_is_read_back() -> None:
    for experiment in every_kind():
        again = from_data(json.loads(json.dumps(to_data(experiment))))
        assert again == experiment and name_of(again) == name_of(experiment)


def test_a_record_of_another_version_is_refused() -> None:
    with pytest.raises(RecipeError, match="type 'Quantised'"):
        from_data({"type": "Quantised"})


def test_a_longer_path_begins_with_the_shorter_one() -> None:
    short, long = path(dense(), (0.5, 0.8), 40), path(dense(), (0.5, 0.8, 0.9), 40)
    assert long[:2] == short and ancestors_of(long[2]) == (long[1], long[0], dense())


def test_branches_have_a_step_at_least() -> None:
    with pytest.raises(RecipeError, match="steps"):
        Disturbed(dense(), 0)


@pytest.mark.parametrize("stops", [(0.8, 0.5), (0.5, 0.5), (0.0,), (1.0,), (-0.1,)])
def test_stops_ascend_between_nothing_and_everything(stops: tuple[float, ...]) -> None:
    with pytest.raises(RecipeError):
        path(dense(), stops, 40)


def test_a_path_keeps_its_method() -> None:
    with pytest.raises(RecipeError, match="one method"):
        Cut(path(dense(), (0.5,), 40)[0], 0.8, 40, criterion="random")


def test_steps_and_tags() -> None:
    cut = path(dense(), (0.5,), 40)[0]
    assert [steps_of(e) for e in (dense(), cut, Control(cut, "reinit"), Control(cut, "scratch_epochs"))] == [
        10, 40, 40, 10,
    ]  # fmt: skip
    assert steps_of(Control(cut, "scratch_compute")) == 20
    assert steps_of(Disturbed(cut, 30)) == 1
    assert tag_of(Timing(cut, "raspberry-pi")) == "raspberry-pi" and tag_of(cut) == ""
    assert root_of(Timing(cut, "x")) == dense()
