"""Doing one experiment: what is cut, where survivors start again, what masks hold, what is judged, and resuming."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as unpack
from torch import Tensor, nn

import pochette
from pochette.corpus.folder import FolderCorpus
from pochette.errors import PochetteError
from pochette.families import models
from pochette.lab import execute, judge, networks, shrink
from pochette.lab.experiment import Anchor, Control, Dense, Experiment, Timing, ancestors_of, parent_of, path
from pochette.lab.networks import Outcome, Task, fresh
from pochette.lab.shrink import compose, cut_tensors
from pochette.lab.store import CHECKPOINT, Result
from pochette.lab.walk import lengthened, perform
from pochette.models.ddsp import Ddsp
from pochette.reduce.drawn_small import scaled_to_size
from pochette.reduce.trimming import structure_of
from pochette.train.loop import Training
from tests.corpora import write_notes

RECIPE = Ddsp.sized("tiny", sample_rate_hz=8000, partials=10, noise_bands=5)
TINY_STEPS = Training(batch=2, excerpt_seconds=0.2, evaluate_steps=2)
STANDSTILL = dataclasses.replace(TINY_STEPS, learning_rate=1e-8)
"""So slow that weights stay what they were to six digits."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FolderCorpus:
    folder = tmp_path_factory.mktemp("corpus")
    hop = RECIPE.build().hop_samples
    return FolderCorpus.prepare(write_notes(folder / "notes"), 8000, hop, cache_dir=folder / "cache")


class Walker:
    """Does experiments with all they descend from, each once."""

    def __init__(self, corpus: FolderCorpus) -> None:
        self.corpus, self.done = corpus, dict[Experiment, Outcome]()

    def __call__(self, experiment: Experiment) -> Outcome:
        if experiment not in self.done:
            parent = parent_of(experiment)
            weights = b"" if parent is None else self(parent).weights
            results: dict[Experiment, Result] = {item: self(item).result for item in ancestors_of(experiment)}
            self.done[experiment] = perform(Task(experiment, results, weights), self.corpus)
        return self.done[experiment]

    def tensors(self, experiment: Experiment, part: str) -> dict[str, Tensor]:
        stored = unpack(self(experiment).weights)
        return {name.removeprefix(f"{part}/"): tensor for name, tensor in stored.items() if name.startswith(f"{part}/")}


@pytest.fixture(scope="module")
def walker(corpus: FolderCorpus) -> Walker:
    return Walker(corpus)


def dense(training: Training = STANDSTILL, steps: int = 4) -> Dense:
    return Dense("0123456789ab", "ddsp", RECIPE, steps, training)


def differing(found: dict[str, Tensor], expected: dict[str, Tensor]) -> set[str]:
    """Names of tensors that only one has, or that differ in shape or by more than rounding."""
    return set(found) ^ set(expected) | {
        name
        for name in set(found) & set(expected)
        if found[name].shape != expected[name].shape or not torch.allclose(found[name], expected[name], atol=2e-6)
    }


@pytest.mark.slow
def test_what_is_left_is_what_was_asked_for(walker: Walker) -> None:
    whole = walker(dense()).result
    assert whole.weights == sum(p.numel() for p in RECIPE.build().parameters())
    for cut in path(dense(), (0.5, 0.8), 2):
        result = walker(cut).result
        assert result.weights <= round((1 - cut.removed) * whole.weights)
        # A unit more in every layer would be too much.
        assert result.weights > 0.75 * (1 - cut.removed) * whole.weights
        assert result.weights == sum(t.numel() for t in walker.tensors(cut, "model").values())
        assert result.macs_per_second < whole.macs_per_second and result.weight_bytes < whole.weight_bytes


@pytest.mark.slow
def test_operations_are_left_as_asked_for(walker: Walker) -> None:
    """And the controls of a stop have as many, whatever weights they have."""
    whole = structure_of(RECIPE.build()).matrix_macs()
    (cut,) = path(dense(), (0.6,), 2, of="operations", scope="global", scaling="operations")
    for experiment in (cut, Control(cut, "scratch_epochs"), Control(cut, "reinit")):
        left = structure_of(networks.rebuilt(dense(), walker.tensors(experiment, "model"))).matrix_macs()
        assert 0.9 * 0.4 * whole < left <= 0.4 * whole
    (other,) = path(dense(), (0.6,), 2)
    assert cut != other and execute.describe(cut).startswith("ddsp, seed 0, 0.6 of operations removed by magnitude")


@pytest.mark.slow
@pytest.mark.parametrize("removal", ["trim", "mask"])
@pytest.mark.parametrize("rewind", ["learning_rate", "weights", "init"])
def test_survivors_start_where_they_should(walker: Walker, rewind: Any, removal: Any) -> None:
    # The dense training moves, the others stand still; so each starting point can be told from the others.
    moving = dataclasses.replace(TINY_STEPS, learning_rate=1e-2)
    whole = dense(moving, steps=10)
    origin = {
        "learning_rate": walker.tensors(whole, "model"),
        "weights": walker.tensors(whole, "early"),
        "init": {name: tensor.detach() for name, tensor in fresh(whole).state_dict().items()},
    }[rewind]
    standing = dense(STANDSTILL, steps=10)
    # A cut whose training stands still, but that descends from the dense model that moved.
    for cut in path(standing, (0.5, 0.8), 2, rewind=rewind, removal=removal):
        parent = cut.parent
        walker.done[standing] = walker(whole)
        walker(parent)
        kept = walker.tensors(cut, "kept")
        expected = cut_tensors(origin, kept)
        found = walker.tensors(cut, "model")
        assert not differing(cut_tensors(found, kept) if removal == "mask" else found, expected)


@pytest.mark.slow
def test_masks_hold_exactly_and_save_nothing(walker: Walker) -> None:
    moving = dense(dataclasses.replace(TINY_STEPS, learning_rate=1e-2))
    cuts = path(moving, (0.5, 0.8), 4, removal="mask")
    whole = walker(moving).result
    for cut in cuts:
        result, weights, kept = walker(cut).result, walker.tensors(cut, "model"), walker.tensors(cut, "kept")
        alive = shrink.masks(fresh(moving), kept)
        assert alive and all(torch.equal(weights[name] * mask, weights[name]) for name, mask in alive.items())
        assert sum(int((mask == 0).sum()) for mask in alive.values()) == whole.weights - result.weights
        assert (result.macs_per_second, result.weight_bytes) == (whole.macs_per_second, whole.weight_bytes)
        assert any(not torch.equal(weights[n], walker.tensors(moving, "model")[n] * m) for n, m in alive.items())
    before, after = (walker.tensors(cut, "kept") for cut in cuts)
    assert all(set(after[place].tolist()) <= set(before[place].tolist()) for place in before)


@pytest.mark.slow
def test_masking_and_trimming_take_the_same_units(walker: Walker) -> None:
    trimmed, masked = (path(dense(), (0.5,), 2, removal=removal)[0] for removal in ("trim", "mask"))
    assert not differing(walker.tensors(trimmed, "kept"), walker.tensors(masked, "kept"))
    assert walker(trimmed).result.weights == walker(masked).result.weights


def test_cuts_compose() -> None:
    tensors = {"a": torch.arange(24.0).reshape(4, 6), "b": torch.arange(4.0)}
    first = {"a|0": torch.tensor([0, 2, 3]), "b|0": torch.tensor([0, 2, 3])}
    second = {"a|0": torch.tensor([0, 2]), "a|1": torch.tensor([1, 5])}
    assert not differing(
        cut_tensors(tensors, compose(first, second)),
        cut_tensors(cut_tensors(tensors, first), second),
    )
    assert cut_tensors(tensors, compose(first, second))["a"].tolist() == [[1, 5], [19, 23]]


@pytest.mark.slow
def test_controls(walker: Walker) -> None:
    cut = path(dense(), (0.5, 0.8), 2)[1]
    target, whole = walker(cut).result, walker(dense()).result
    epochs, compute = (walker(Control(cut, kind)) for kind in ("scratch_epochs", "scratch_compute"))
    assert epochs.result.steps == 4
    ratio = whole.macs_per_second / compute.result.macs_per_second
    assert compute.result.steps == lengthened(4, ratio) > 4
    assert 0.75 * target.weights < epochs.result.weights <= target.weights


@pytest.mark.slow
@pytest.mark.parametrize("method", [{}, {"scope": "global"}, {"removal": "mask"}], ids=str)
def test_a_twin_has_the_shape_of_a_cut_and_weights_of_its_own(walker: Walker, method: dict[str, Any]) -> None:
    cut = path(dense(), (0.5, 0.8), 2, **method)[1]
    twin = walker(Control(cut, "reinit")).result
    found, drawn = (walker.tensors(one, "model") for one in (cut, Control(cut, "reinit")))
    assert {name: tensor.shape for name, tensor in drawn.items()} == {name: t.shape for name, t in found.items()}
    assert not torch.allclose(drawn["network.gru.weight_hh_l0"], found["network.gru.weight_hh_l0"])
    assert (twin.steps, twin.weights) == (cut.steps, walker(cut).result.weights)


def test_a_control_begins_as_loud_as_a_small_network_would() -> None:
    torch.manual_seed(0)
    large, small = nn.Linear(512, 64), nn.Linear(32, 64)
    cut = cut_tensors(large.state_dict(), {"weight|1": torch.arange(32)})
    found, expected = scaled_to_size(cut, large.state_dict())["weight"].std(), small.weight.std()
    assert found == pytest.approx(expected.item(), rel=0.05)
    assert cut["weight"].std() < 0.3 * expected


def test_budgets_of_controls_are_the_published_ones() -> None:
    # Liu et al. 2018: int(160 * ratio) epochs, 90 doubled to 180 at most where the ratio is above two.
    assert lengthened(160, 1.7) == 272 and lengthened(90, 3.5) == 180 and lengthened(160, 1.0) == 160


@pytest.mark.slow
def test_what_a_control_has_not_is_the_dense_training(walker: Walker) -> None:
    a, b = (path(dense(TINY_STEPS, steps), (0.5,), 2)[0] for steps in (2, 4))
    controls = [walker.tensors(Control(cut, "scratch_epochs"), "kept") for cut in (a, b)]
    one, other = controls
    assert one and set(one) == set(other)
    assert all(torch.allclose(one[name], other[name], atol=2e-6) for name in one)


def test_a_timing_changes_nothing_but_the_time(walker: Walker) -> None:
    cut = path(dense(), (0.5,), 2)[0]
    timed, known = walker(Timing(cut, "raspberry-pi")).result, walker(cut).result
    assert dataclasses.replace(
        timed, steps=known.steps, training_seconds=known.training_seconds,
        inference_seconds=known.inference_seconds,
    ) == known  # fmt: skip
    assert timed.inference_seconds > 0 and timed.machine == judge.machine()


def test_the_anchor_is_what_the_same_test_sound_says_of_the_mean(walker: Walker, corpus: FolderCorpus) -> None:
    few, many = (walker(Anchor("0123456789ab", "ddsp", RECIPE, steps)).result for steps in (2, 60))
    assert 0 < many.error < few.error


def test_a_model_too_small_to_lose_so_much_is_refused(walker: Walker) -> None:
    with pytest.raises(PochetteError) as error:
        walker(path(dense(), (0.999,), 2)[0])
    assert error.value.remedy


# -- resuming and repeating --------------------------------------------------------------------------------------------


def test_an_interrupted_experiment_goes_on_to_the_same_bits(
    corpus: FolderCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = dense(TINY_STEPS, steps=10)
    whole = perform(Task(experiment), corpus)
    monkeypatch.setattr(networks, "SAVE_SECONDS", -1.0)
    saves = []

    def save_and_stop(*arguments: Any) -> None:
        keep(*arguments)
        saves.append(arguments[0])
        if len(saves) == 2:
            raise KeyboardInterrupt

    keep = networks.save
    monkeypatch.setattr(networks, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        perform(Task(experiment, folder=str(tmp_path)), corpus)
    assert saves == [tmp_path / CHECKPOINT] * 2
    steps: list[int] = []
    original = networks.Trainer.step
    monkeypatch.setattr(networks.Trainer, "step", lambda self, used: steps.append(1) or original(self, used))
    resumed = perform(Task(experiment, folder=str(tmp_path)), corpus)
    assert len(steps) == 6  # looks, and so checkpoints, are at steps 2 and 4
    assert resumed.result.exact == whole.result.exact and resumed.weights == whole.weights


def test_threads_and_seeds_of_the_caller_change_nothing_and_stay(corpus: FolderCorpus) -> None:
    experiment = dense(TINY_STEPS)
    torch.manual_seed(5)
    first = perform(Task(experiment), corpus)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.manual_seed(9)
        expected = torch.rand(1, generator=torch.Generator().manual_seed(9))
        second = perform(Task(experiment), corpus)
        assert torch.equal(torch.rand(1), expected) and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert first.result.exact == second.result.exact


# -- judging -----------------------------------------------------------------------------------------------------------


def test_test_sound_is_heard_by_nothing_else(corpus: FolderCorpus) -> None:
    parts = judge.divide(corpus, Ddsp.sized("tiny", sample_rate_hz=8000).build())
    names = [{sound.name for sound in part.sounds} for part in (parts.training, parts.looks, parts.test)]
    assert all(names) and not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    assert set().union(*names) == {sound.name for sound in corpus.sounds}


@pytest.mark.parametrize("name", models.names())
def test_every_model_is_held_out_what_it_asks_for(corpus: FolderCorpus, name: str) -> None:
    model = models[name].sized("tiny").build()
    parts = judge.divide(corpus, model)
    for part in (judge.hold_out(corpus, model, 3)[1], parts.looks, parts.test):
        assert part.split_note.startswith(f"held out by {model.split_by}")


def test_nobody_but_the_judge_divides_a_corpus() -> None:
    """So that nobody can forget to ask the model."""
    source = Path(pochette.__file__).parent
    asking = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if re.search(r"\.split_by\b|corpus\.split\(|rest\.split\(", path.read_text(encoding="utf-8"))
    ]
    assert asking == ["lab/judge.py"]


def test_excerpts_are_stretches_of_test_sound(corpus: FolderCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "TEST_SECONDS", 0.1)
    frames, hop = round(0.1 * 8000 / corpus.hop_samples), corpus.hop_samples
    batches = judge.excerpts_of(corpus)
    audio = np.concatenate([batch["audio"].numpy() for batch in batches])
    pitch = np.concatenate([batch["f0_hz"].numpy() for batch in batches])
    expected = [
        corpus.whole(sound)["audio"][0, first * hop : (first + frames) * hop]
        for sound in corpus.sounds
        for first in range(0, sound.frames - frames + 1, frames)
    ]
    assert len(expected) <= judge.TEST_EXCERPTS and np.array_equal(audio, np.stack(expected))
    assert pitch.shape == (len(expected), frames) and max(len(batch["audio"]) for batch in batches) == judge.TEST_BATCH


def test_many_excerpts_are_thinned_evenly(corpus: FolderCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "TEST_SECONDS", 0.05)
    monkeypatch.setattr(judge, "TEST_EXCERPTS", 5)
    assert sum(len(batch["audio"]) for batch in judge.excerpts_of(corpus)) == 5


def test_every_excerpt_counts_once(corpus: FolderCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "TEST_SECONDS", 0.05)
    monkeypatch.setattr(judge, "TEST_EXCERPTS", 11)

    def loudest(excerpt: dict[str, Tensor], _: torch.Generator) -> Tensor:
        return excerpt["audio"].abs().amax(1).mean()

    every = torch.cat([batch["audio"].abs().amax(1) for batch in judge.excerpts_of(corpus)])
    assert len(every) == 11
    assert judge.mean_error(loudest, RECIPE.build(), corpus) == pytest.approx(every.mean().item(), rel=1e-6)


def test_short_sounds_end_in_silence(tmp_path: Path) -> None:
    folder = write_notes(tmp_path / "notes", (57, 60), 0.6)
    write_notes(folder, (64,), 0.3)
    corpus = FolderCorpus.prepare(folder, 8000, 32, cache_dir=tmp_path / "cache")
    (batch,) = judge.excerpts_of(corpus)
    short = next(i for i, sound in enumerate(corpus.sounds) if sound.name == "note64.wav")
    frames = corpus.sounds[short].frames
    assert batch["audio"].shape[1] > frames * 32 and not batch["audio"][short, frames * 32 :].any()
    assert (batch["loudness_db"][short, frames:] == -80).all() and not batch["confidence"][short, frames:].any()
    assert (batch["f0_hz"][short, frames:] == batch["f0_hz"][short, frames - 1]).all()


def test_a_digest_knows_names_shapes_and_bits() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    variants = [
        base, {"a": torch.zeros(3, 2), "b": torch.ones(1)}, {"a": torch.zeros(2, 3), "c": torch.ones(1)},
        {"a": torch.zeros(2, 3), "b": torch.ones(1).nextafter(torch.tensor([2.0]))},
    ]  # fmt: skip
    assert len({judge.digest(variant) for variant in variants}) == 4
    assert judge.digest({"b": base["b"], "a": base["a"]}) == judge.digest(base)
