"""The first steps of a run: what is trained is what is said, it goes on where it was stopped, and the page tells it."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from pochette.cli import main
from pochette.errors import RunError
from pochette.lab.early_report import chance_spread, section, sentences
from pochette.lab.judge import Parts, mean_error
from pochette.lab.runs import Run, read_run
from pochette.lab.stability import early_of_run
from pochette.lab.stability.altered import ALTERATIONS
from pochette.lab.stability.branches import Course
from pochette.lab.stability.early_of_run import AS_THEY_ARE, NOTHING, EarlyPhase, still_of
from pochette.lab.stability.early_phase import ABLATIONS, DISTURBANCES, ablations
from pochette.lab.stability.of_run import sounds_of
from pochette.models.ddsp import Ddsp
from pochette.models.model import Model
from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.weights import weights_of
from pochette.train.loop import Budget, Trainer, Training
from tests.corpora import write_notes

STEPS, KEEP = 6, 0.3
RECIPE = Ddsp.sized("tiny", hidden=8, stack_width=6, partials=6, noise_bands=5, sample_rate_hz=8000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps: only its facts are read."""
    place = tmp_path_factory.mktemp("run")
    notes = write_notes(place / "notes")
    options = ["--size", "tiny", "--hidden", "8", "--stack-width", "6", "--partials", "6", "--noise-bands", "5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POCHETTE_CACHE", str(place / "cache"))
        assert main(["train", "ddsp", str(notes), *options, "--sample-rate-hz", "8000", "--steps", "2",
                     "--out", str(place / "run")]) == 0  # fmt: skip
    facts = json.loads((place / "run" / "run.json").read_text())
    facts["training"] |= {"batch": 2, "excerpt_seconds": 0.2}
    (place / "run" / "run.json").write_text(json.dumps(facts))
    return place / "run"


@pytest.fixture(autouse=True)
def cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCHETTE_CACHE", str(folder.parent / "cache"))


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the information plane takes longer than these trainings."""
    monkeypatch.setattr(early_of_run._Watch, "look", lambda *_: None)


@pytest.fixture(scope="module")
def parts(folder: Path) -> Parts:
    return sounds_of(folder, "--early-phase")


@pytest.fixture(scope="module")
def whole(folder: Path, parts: Parts) -> list[dict[str, Any]]:
    """All that is told, in the order of telling."""
    told: list[float] = []
    asked = EarlyPhase(folder, STEPS, KEEP)
    found = [copy.deepcopy(each) for each in asked.found(parts, {}, lambda _, share, what: told.append(share))]
    assert told == sorted(told) and told[-1] == 1.0, "progress never falls"
    return found


def first_model() -> Model:
    torch.manual_seed(0)
    model: Model = RECIPE.build()
    return model


def taught(parts: Parts, run: Run, steps: int, model: Model) -> Model:
    """A plain training, by the loop alone."""
    Trainer(model, parts.training, parts.looks, Training(**run.training), Budget(steps=steps)).fit()
    return model


def test_what_disturbances_are_called_is_what_they_do() -> None:
    one = {"w": torch.ones(2, 2)}
    assert tuple(ablations(one, one, {"w": one["w"] > 0}, seed=0)) == ("as it was", *ABLATIONS)


def test_every_training_is_told_and_none_is_missing(whole: list[dict[str, Any]]) -> None:
    last = whole[-1]
    assert list(last["masks"]) == ["ticket", "chance 1", "chance 2"]
    assert list(last["altered"]) == [NOTHING, AS_THEY_ARE, *ALTERATIONS]
    assert tuple(last["ablations"]) == ABLATIONS
    assert len(whole) == 1 + 3 + len(last["altered"]) + len(ABLATIONS), "each is told when it ends"
    assert json.loads(json.dumps(last, allow_nan=False))["rewound_to"] == 1


def test_the_whole_training_is_that_of_the_loop_and_ends_where_it_ends(
    folder: Path, parts: Parts, whole: list[dict[str, Any]]
) -> None:
    run = read_run(folder)
    trained = taught(parts, run, STEPS, first_model())
    course = whole[-1]["course"]
    assert course["error"] == pytest.approx(mean_error(trained.loss, trained, parts.test), rel=1e-9)
    moments = course["moments"]
    assert [moment["step"] for moment in moments] == [0, 1, 2, 5]
    assert moments[0]["from_start"] == 0.0 and moments[0]["signs_changed"] == 0.0
    assert all(one["from_start"] < other["from_start"] for one, other in pairwise(moments))
    assert all(one["to_end"] > other["to_end"] > 0.0 for one, other in pairwise(moments))
    for rows in course["plane"].values():
        assert [row[0] for row in rows] == [0, 1, 2, 5, STEPS] and all(row[1] >= 0.0 <= row[2] for row in rows)
    assert course["unread"] == "" and len(course["plane"]) == 3


def test_the_ticket_is_the_largest_weights_rewound_and_held(
    folder: Path, parts: Parts, whole: list[dict[str, Any]]
) -> None:
    """Rewound to the first weights with nothing learnt, it is a masked training from the beginning: done by hand."""
    run = read_run(folder)
    ended = taught(parts, run, STEPS, first_model())
    masks = {}
    for path, weight in weights_of(ended).items():
        size = weight.effective().abs()
        places = size.flatten().argsort(descending=True)[: max(1, round(KEEP * size.numel()))]
        masks[path] = torch.zeros(size.numel(), dtype=torch.bool).index_fill(0, places, True).view(size.shape)
    model = first_model()
    trainer = Trainer(model, parts.training, parts.looks, Training(**run.training), Budget(steps=STEPS))
    trainer.accompany(Held(weights_of(model), masks))
    trainer.fit()
    wanted = mean_error(model.loss, model, parts.test)
    assert whole[-1]["altered"][NOTHING]["error"] == pytest.approx(wanted, rel=1e-9)
    assert whole[-1]["masks"]["ticket"]["error"] != pytest.approx(wanted, rel=1e-9), "it is rewound to a later step"


def test_disturbances_of_no_consequence_have_none(whole: list[dict[str, Any]]) -> None:
    """Noise moves as far as what it stands beside; nothing moves less than magnitudes alone that change places."""
    found = whole[-1]["ablations"]
    for name in DISTURBANCES:
        # A few hundred weights: the noise's own deviation is theirs within some percent; means are moved as well.
        assert found[f"noise like {name}"]["moved"] == pytest.approx(found[name]["moved"], rel=0.35), name
    for within in ("network", "layer", "filter"):
        kept = found[f"shuffled in {within}, signs kept"]["moved"]
        assert kept < found[f"shuffled in {within}"]["moved"]
    assert all(told["error"] > 0.0 for told in found.values())


@pytest.mark.usefixtures("unwatched")
def test_who_stops_goes_on_with_the_next_training(
    folder: Path, parts: Parts, whole: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, stopped = EarlyPhase(folder, STEPS, KEEP), whole[-3]
    branched, branch = [], Course.branch

    def counted(self: Course, *given: Any, **named: Any) -> Model:
        branched.append(1)
        return branch(self, *given, **named)

    monkeypatch.setattr(Course, "branch", counted)
    going_on = list(asked.found(parts, copy.deepcopy(stopped)))
    assert len(branched) == 2
    for group in ("masks", "altered", "ablations"):
        assert going_on[-1][group] == whole[-1][group]
    assert list(asked.found(parts, copy.deepcopy(whole[-1]))) == [whole[-1]]
    assert len(branched) == 2, "nothing is left to do"
    assert still_of(folder, stopped) and not still_of(folder, {"of": {**stopped["of"], "run": "another"}})
    assert not still_of(folder, {})


@pytest.mark.usefixtures("unwatched")
def test_a_training_that_fails_is_told_and_the_others_go_on(
    folder: Path, parts: Parts, whole: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs_away(*_: Any) -> Model:
        raise RunError("The loss is not finite.", remedy="Lower the learning rate.")

    monkeypatch.setattr(early_of_run, "pretrained", runs_away)
    known = {**copy.deepcopy(whole[-1]), "altered": {}}
    found = list(EarlyPhase(folder, STEPS, KEEP).found(parts, known))[-1]
    assert found["altered"]["blurred"] == {"left_out": "The loss is not finite. Lower the learning rate."}
    assert "error" in found["altered"][NOTHING]
    shown = section({"early_phase": found})
    assert shown is not None and "blurred: The loss is not finite." in shown["refused"][0]


def test_sentences_say_what_the_numbers_say() -> None:
    told = {
        "keep": 0.2, "steps": 10, "rewound_to": 1, "course": {"error": 1.0, "moments": [], "plane": {}, "unread": ""},
        "masks": {
            "ticket": {"error": 2.0, "error_in_other_order": 2.1, "from_whole": {"angle_degrees": 8.0},
                       "from_other_order": {"angle_degrees": 2.0}},
            "chance 1": {"error": 4.0, "error_in_other_order": 4.0, "from_whole": {"angle_degrees": 16.0},
                         "from_other_order": {"angle_degrees": 3.0}},
        },
        "ablations": {name: {"error": 2.05 if "signs" in name else 3.0, "moved": 1.0} for name in ABLATIONS},
        "altered": {name: {"error": error} for name, error in
                    zip((NOTHING, AS_THEY_ARE, *ALTERATIONS), (3.0, 2.0, 2.5, 3.0, 2.0), strict=True)},
    }  # fmt: skip
    assert chance_spread(told) == pytest.approx(0.05)
    other = {**told["masks"]["chance 1"], "error": 4.4, "error_in_other_order": 4.4}
    assert chance_spread({**told, "masks": {**told["masks"], "chance 2": other}}) == pytest.approx(0.1)
    lucky = {**told["masks"]["chance 1"], "error": 2.05, "error_in_other_order": 2.05}
    unsure = sentences({**told, "masks": {**told["masks"], "chance 1": lucky}})
    assert "not told from chance" in unsure[-1] and not any("bears" in line for line in unsure[:-1])
    said = " ".join(sentences(told)).replace("\u202f", " ")
    assert "up to 5.0 % of difference" in said and "as many weights chosen by chance end at 4" in said.lower()
    bears, bears_not = (said.split(word)[1].split(".")[0] for word in ("bears, within that: ", "does not bear: "))
    assert "signs alone" in bears and "drawn anew +50 %" in bears_not and "signs kept" not in bears_not
    assert "first steps are worth 50 % of its error" in said
    assert "50 % of that blurred, 0 % of that reversed, 100 % of that exchanged" in said
    assert sentences({**told, "masks": {}}) == [] and section({}) is None
    shown = section({"early_phase": told})
    assert shown is not None and "shuffled in filter" in shown["disturbed"]


@pytest.mark.slow
def test_the_verb_keeps_every_training_and_shows_them_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", str(folder), "--early-phase", "--early-steps", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["early_phase"]["steps"] == 3 and len(found["early_phase"]["ablations"]) == len(ABLATIONS)
    page = (folder / "analysis.html").read_text()
    assert "The first steps" in page and "information plane" in page and "shuffled in filter" in page
    assert main(["analyse", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["early_phase"] == found["early_phase"]


def test_a_question_that_makes_no_sense_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", "--relations", str(tmp_path), "--early-phase"]) == 2
    assert main(["analyse", str(tmp_path), "--early-steps", "7"]) == 2
    assert "--early-steps is asked of --early-phase" in capsys.readouterr().err
    assert main(["analyse", str(tmp_path), "--early-phase", "--early-steps", "1"]) == 2
    assert "--early-steps is 1" in capsys.readouterr().err
