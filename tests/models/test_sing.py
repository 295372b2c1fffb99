"""SING: the published size and lengths, tables, what a code reaches, and that the whole note is played."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pochette.engine.build import compile_elf, compile_host_library
from pochette.engine.emulate import EmulatedRunner, heard_frames
from pochette.engine.export import export
from pochette.engine.native import NativeRunner
from pochette.engine.source import EngineSource
from pochette.errors import RecipeError
from pochette.families import boards
from pochette.graph.capture import capture
from pochette.instrument import Instrument, Polyphony
from pochette.lab.cost import count, to_sound
from pochette.layers.lstm import GATES
from pochette.layers.overlap import HOP_SAMPLES, OVERLAP
from pochette.layers.table import Table, numbered
from pochette.models.model import Excerpt
from pochette.models.sing import VELOCITIES, Sing, SingModel
from pochette.reduce.trimming import trim_model
from pochette.sound.audio import FloatArray
from pochette.train.loop import Budget, Trainer, Training


def learnt(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def tiny(seed: int = 0, **changes: float) -> SingModel:
    torch.manual_seed(seed)
    return Sing.sized("tiny", **changes).build().eval()


def held(model: SingModel, frames: int, **values: float) -> Tensor:
    return torch.tensor([[values.get(knob.name, knob.default) for knob in model.controls]])[:, None].expand(
        -1, frames, -1
    )


# -- sizes and lengths -------------------------------------------------------------------------------------------------


def test_parameter_counts_are_the_published_ones() -> None:
    with torch.device("meta"):
        network = Sing.sized("paper").build().network
    tables = (network.velocity, network.instrument, network.pitch, network.time)
    assert sum(learnt(table) for table in tables) == 18_136
    assert (learnt(network.lstm), learnt(network.head)) == (21_118_976, 131_200)
    assert learnt(network.decoder) == 42_479_617 and learnt(network) == 63_747_929
    # A small one, counted by somebody else.
    assert learnt(Sing.sized("small", instruments=1006).build().network) == 268_265


def test_a_note_of_four_seconds_has_265_steps_and_64_000_samples() -> None:
    model = tiny(note_seconds=4.0)
    assert (model.steps, model.note_frames, model.latency_samples) == (265, 250, 13 * HOP_SAMPLES)
    assert model.network.time.rows.weight.shape == (4, 265)
    with torch.no_grad():
        assert model.network.decoder.whole(torch.zeros(1, 265, 6)).shape == (1, 65_024)
        audio = model(held(model, 280))[0]
    assert not audio[: model.latency_samples].any() and not audio[model.latency_samples + 64_000 :].any()
    assert audio[model.latency_samples + 1] != 0 and audio[model.latency_samples + 63_999] != 0


@torch.no_grad()
def test_the_note_is_the_published_one() -> None:
    """All steps at once, the context where it is whole, the windows where they all are, 512 samples off each end."""
    model = tiny(note_seconds=0.5)
    note = torch.tensor([[60.0, 100.0]])
    steps = torch.arange(model.steps, dtype=torch.float32)[None]
    codes, _ = model.network.codes(note, steps, model.initial_state(1))
    whole = model.network.decoder.whole(codes)[:, 512:-512]
    controls = torch.tensor([[440.0 * 2 ** (-9 / 12), 100.0]])
    assert whole.shape[1] == model.note_frames * HOP_SAMPLES
    assert torch.allclose(model.note(controls, model.note_frames), whole, atol=1e-6)
    # The training stages' encoder speaks the same language.
    sound = torch.randn(1, model.note_frames * HOP_SAMPLES)
    assert model.encode(sound).shape == codes.shape
    assert torch.allclose(model.decode(codes), whole, atol=1e-6)


# -- tables ------------------------------------------------------------------------------------------------------------


def test_the_nearest_row_is_read() -> None:
    table = Table(VELOCITIES, 6, 2)
    rows = table.rows.weight.T
    for value, row in [(0, 0), (25, 0), (37, 0), (38, 1), (75, 2), (87, 2), (88, 4), (100, 4), (114, 5), (200, 5)]:
        assert torch.equal(table(torch.tensor(float(value))), rows[row])
    reached = {int((table(torch.tensor(float(v))) == rows).all(dim=1).nonzero()) for v in range(128)}
    assert reached == {0, 1, 2, 4, 5}  # the published mapping skips row 3
    plain = Table(numbered(4), 4, 3)
    asked = torch.tensor([[-5.0, 0.4, 0.6], [2.49, 2.51, 99.0]])
    assert torch.equal(plain(asked), plain.rows.weight.T[torch.tensor([[0, 0, 1], [2, 3, 3]])])


@torch.no_grad()
def test_pitches_are_whole_notes_and_instruments_differ() -> None:
    model = tiny(instruments=3)

    def played(**values: float) -> Tensor:
        return model.note(held(model, 1, **values)[:, 0], 10)

    assert torch.equal(played(pitch_hz=440.0), played(pitch_hz=450.0))
    assert not torch.equal(played(pitch_hz=440.0), played(pitch_hz=460.0))
    assert torch.equal(played(instrument=1.0), played(instrument=1.4))
    assert not torch.equal(played(instrument=1.0), played(instrument=1.6))


# -- who hears whom ----------------------------------------------------------------------------------------------------


def test_a_code_reaches_twelve_frames() -> None:
    model = tiny(note_seconds=0.5)
    decoder = model.network.decoder
    codes = torch.randn(1, model.steps, 6)
    with torch.no_grad():
        before = decoder.whole(codes)
        codes[:, 20] += 1.0
        changed = (decoder.whole(codes) != before)[0].nonzero()
    # Code 20 is read for windows 12 to 20; window 12 begins at hop 12 of all windows, hop 9 of what is whole.
    first, last = 9 * HOP_SAMPLES, 21 * HOP_SAMPLES
    # A window begins and ends so softly that its outermost samples may round away.
    assert first <= changed.min() <= first + 16 and last - 16 <= changed.max() < last


def test_a_step_of_the_note_depends_on_earlier_ones_only_and_never_on_the_sound() -> None:
    model = tiny(note_seconds=0.5)
    time = model.network.time.rows.weight
    note = torch.tensor([[60.0, 100.0]])
    steps = torch.arange(model.steps, dtype=torch.float32)[None]
    codes, _ = model.network.codes(note, steps, model.initial_state(1))
    (gradient,) = torch.autograd.grad(codes[:, 12].sum(), time, retain_graph=True)
    assert gradient[:, :13].abs().amax(dim=0).gt(0).all() and not gradient[:, 13:].any()
    decoder = list(model.network.decoder.parameters())
    gradients = torch.autograd.grad(codes.sum(), decoder, allow_unused=True)
    assert all(gradient is None for gradient in gradients)


@torch.no_grad()
def test_other_players_of_a_batch_may_be_elsewhere_in_their_notes() -> None:
    model = tiny(note_seconds=0.3)
    alone = model(held(model, 40, pitch_hz=300.0))
    state = model.initial_state(1)
    _, ahead = model.advance(held(model, 9), state)
    both = {name: torch.cat([ahead[name], state[name]]) for name in state}
    audio, _ = model.advance(held(model, 40, pitch_hz=300.0).expand(2, -1, -1), both)
    assert torch.allclose(audio[1:], alone, atol=1e-6)
    assert torch.allclose(audio[:1], model(held(model, 49))[:, 9 * HOP_SAMPLES :], atol=1e-6)


# -- learning ----------------------------------------------------------------------------------------------------------


def notes(seconds: float = 0.3) -> Excerpt:
    """Four rich, decaying notes."""
    t = torch.arange(int(seconds * 16000) // HOP_SAMPLES * HOP_SAMPLES) / 16000
    f0 = 220.0 * 2 ** (torch.arange(4) * 2 / 12)[:, None]
    partials = [torch.sin(2 * torch.pi * k * f0 * t + k * k) / k**0.5 * (k * f0 < 7800) for k in range(1, 36)]
    sound = torch.stack(partials).sum(0) * torch.exp(-2 * t)
    frames = sound.shape[1] // HOP_SAMPLES
    curve = f0.expand(-1, frames).contiguous()
    return {"audio": 0.3 * sound / sound.std(), "f0_hz": curve, "loudness_db": torch.full_like(curve, -20.0)}


def test_what_an_excerpt_says_of_its_note() -> None:
    model = tiny(instruments=5)
    excerpt = {"f0_hz": torch.full((2, 8), 220.0), "loudness_db": torch.tensor([[-60.0] * 8, [-70.0] * 7 + [-10.0]])}
    excerpt["f0_hz"][0, :3] = 0.0  # unvoiced beginning
    controls = model.controls_of(excerpt)
    assert controls.shape == (2, 8, 3) and (controls == controls[:, :1]).all()
    assert torch.allclose(controls[:, 0], torch.tensor([[220.0, 25.0, 0.0], [220.0, 127.0, 0.0]]))
    known = model.controls_of({**excerpt, "velocity": torch.full((2, 8), 75.0), "instrument": torch.full((2, 8), 3.0)})
    assert known[0, 0].tolist() == [220.0, 75.0, 3.0]


class OneExcerpt:
    """A corpus of one batch."""

    def __init__(self, excerpt: Excerpt) -> None:
        self.arrays = {name: values.numpy() for name, values in excerpt.items()}

    def excerpt_batch(self, *_: object) -> dict[str, FloatArray]:
        return self.arrays


def trainer_of(model: SingModel, excerpt: Excerpt, steps: int, *, again: bool = False) -> Trainer:
    corpus: Any = OneExcerpt(excerpt)
    training = Training(batch=4, learning_rate=3e-3, evaluate_steps=50, patience=10**6)
    return Trainer(model, corpus, corpus, training, Budget(steps=steps), again=again)


@torch.no_grad()
def test_a_note_is_resynthesised_from_its_beginning() -> None:
    model, excerpt = tiny(), notes()
    made = model.resynthesised(excerpt)
    assert torch.allclose(made, model.note(model.controls_of(excerpt)[:, 0], made.shape[1] // HOP_SAMPLES), atol=1e-6)


def test_each_stage_trains_its_part() -> None:
    excerpt = notes()

    def changed(used: float, *, again: bool = False) -> set[str]:
        model = tiny()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        trainer_of(model, excerpt, 12, again=again).step(used)
        after = dict(model.named_parameters())
        parts = {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])}
        return {"encoder" if part.startswith("encoder.") else part.removeprefix("network.") for part in parts}

    before_decoder = {"pitch", "velocity", "instrument", "time", "lstm", "head"}
    assert changed(0.0) == changed(0.41) == {"encoder", "decoder"}
    assert changed(0.42) == changed(0.83) == before_decoder
    assert changed(0.84) == before_decoder | {"decoder"}
    assert changed(0.0, again=True) == changed(0.0) and changed(0.5, again=True) == before_decoder


def test_codes_are_learnt_in_stretches() -> None:
    model = tiny()
    losses = list(model.code_losses(notes()))
    # Of one network, the stretches together are the error of all steps at once.
    excerpt = model._within(notes())
    with torch.no_grad():
        note = model.note_of(model.controls_of(excerpt)[:, 0])
        wanted = model.encode(excerpt["audio"])
        steps = torch.arange(wanted.shape[1], dtype=torch.float32).expand(len(note), -1)
        made, _ = model.network.codes(note, steps, model.initial_state(len(note)))
    lengths = torch.tensor([32.0] * (wanted.shape[1] // 32) + [wanted.shape[1] % 32])
    assert len(losses) == len(lengths) > 1
    mean = (torch.stack(losses).detach() * lengths).sum() / lengths.sum()
    assert torch.allclose(mean, (made - wanted).square().mean(), rtol=1e-5)
    # And no gradient runs from one into the one before.
    (gradient,) = torch.autograd.grad(losses[1], model.network.time.rows.weight)
    assert not gradient[:, :32].any() and gradient[:, 32:].any()


def test_a_trimmed_network_starts_over_with_an_encoder_that_fits() -> None:
    model = tiny()
    small, _, _ = trim_model(model, keep=0.5)
    assert isinstance(small, SingModel) and len(small.network.head.weight) == 3
    assert len(small.encoder.head.weight) == 6  # left alone, and too wide
    trainer_of(small, notes(), 12).step(0.0)
    assert len(small.encoder.head.weight) == 3


@pytest.mark.slow
def test_overfits_a_few_notes_in_stages() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, excerpt = Sing.sized("small", channels=256, note_seconds=0.304).build(), notes()
    first = model.loss(excerpt).item()
    trainer = trainer_of(model, excerpt, 700)
    losses: list[float] = []
    trainer.after_step.append(lambda t: losses.append(model.loss(excerpt).item()) if t.progress.steps == 584 else None)
    trainer.fit()
    assert model.loss(excerpt).item() < first / 4
    # The third stage begins near where the first has ended.
    assert losses[0] < first / 2


@torch.no_grad()
def test_without_a_silent_unit_the_note_is_the_same() -> None:
    """A unit whose rows are zero always says zero; its rows, columns and biases can go."""
    model = tiny(layers=2, note_seconds=0.5)
    below, above = model.network.lstm.layers
    zeroed: list[tuple[nn.Linear, int]] = [
        (gates[gate], 0) for gates in (below.from_input, below.from_hidden) for gate in GATES
    ]
    read = [(gates[gate], 1) for gates in (below.from_hidden, above.from_input) for gate in GATES]
    for linear, _ in zeroed:
        linear.weight[3] = 0.0
        linear.bias[3] = 0.0
    before, kept = model(held(model, 40)), torch.tensor([n for n in range(20) if n != 3])
    for linear, axis in [*zeroed, *read]:
        linear.weight = nn.Parameter(linear.weight.index_select(axis, kept))
        if axis == 0:
            linear.bias = nn.Parameter(linear.bias[kept])
    assert model.initial_state(1)["cell_0"].shape == (1, 19)
    assert torch.allclose(model(held(model, 40)), before, atol=1e-7)


def test_what_is_trimmed_holds_every_weight() -> None:
    model = tiny()
    form, inputs = model.trim_form()
    assert form.model is model
    captured = {value.path for value in capture(form, inputs).of_kind("parameter")}
    assert captured == {f"model.{name}" for name in model.played_parameters()}


# -- what nobody hears -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def board_costs() -> tuple[list[int], SingModel, EngineSource]:
    """Instructions of every frame of a short note and of some after it, on a Raspberry Pi's processor."""
    pytest.importorskip("ziglang")
    pytest.importorskip("unicorn")
    torch.manual_seed(0)
    model = Sing.sized("small", note_seconds=0.2).build().eval()
    source, board = export(model, "sing"), boards["pi-4"]
    assert board.target is not None and board.machine is not None
    runner = EmulatedRunner(compile_elf(source, board.target), board.machine, counting=True)
    costs = []
    for row in held(model, model.steps + 4)[0].numpy():
        before = runner.instructions()
        runner.process(row, HOP_SAMPLES)
        costs.append(runner.instructions() - before)
    return costs, model, source


def test_silence_costs_little(board_costs: tuple[list[int], SingModel, EngineSource]) -> None:
    """Before the note's last silent frames there are codes only; after its end there is next to nothing."""
    costs, model, _ = board_costs
    first, last = model.silent_steps - (OVERLAP - 1), model.silent_steps + model.note_frames
    heard = costs[first:last]
    assert max(heard) < 1.02 * min(heard)
    assert max(costs[:first]) < 0.45 * min(heard)
    assert max(costs[last:]) < 0.02 * min(heard)


def test_what_is_counted_is_heard(board_costs: tuple[list[int], SingModel, EngineSource]) -> None:
    """Played on far behind its end, a note costs a board what its dearest frame does, nearly all in the network."""
    costs, model, source = board_costs
    curve = held(model, 30)[0].numpy()
    lead, counted = heard_frames(source, curve)
    assert (lead, len(counted)) == (model.silent_steps, model.note_frames) and model.note_frames < 20
    cost = count(source, boards["pi-4"], curve)
    dearest = max(costs) * model.sample_rate_hz / HOP_SAMPLES
    assert cost.instructions_per_second == pytest.approx(dearest, rel=0.01)
    assert cost.network_instructions_per_second is not None
    assert 0.95 * dearest < cost.network_instructions_per_second < dearest
    # What a struck key asks for before its sound: at worst an instruction a cycle, and what divisions wait.
    assert cost.lead_cycles_low is not None and cost.lead_cycles_high is not None
    assert cost.lead_cycles_low < sum(costs[:lead]) <= cost.lead_cycles_high < 1.1 * sum(costs[:lead])
    told = [note for note in cost.verdict(boards["pi-4"], model.sample_rate_hz).notes if "A struck key" in note]
    assert len(told) == 1 and f"to {1000 * cost.lead_cycles_high / 1.5e9:.3g} ms" in told[0]


class Watched:
    """A runner that remembers what it was asked for."""

    sample_rate_hz, hop_samples = 16000, HOP_SAMPLES

    def __init__(self) -> None:
        self.asked: list[int] = []

    def reset(self) -> None:
        self.asked.append(0)

    def process(self, row: FloatArray, samples: int) -> None:
        self.asked.append(samples)


def test_what_is_timed_is_heard() -> None:
    model = tiny(note_seconds=0.2)
    source, row, runner = export(model, "sing"), held(model, 1)[0, 0].numpy(), Watched()
    for seconds, frames in ((0.05, 3), (1.0, model.note_frames), (0.001, 1)):
        assert to_sound(runner, source, row, seconds) == frames * HOP_SAMPLES  # type: ignore[arg-type]
    assert runner.asked == [0, model.latency_samples] * 3
    # An engine that plays on is timed where it stands, to the sample.
    assert to_sound(runner, replace(source, sound_frames=None), row, 0.05) == 800  # type: ignore[arg-type]
    assert len(runner.asked) == 6


def test_a_recipe_out_of_range() -> None:
    with pytest.raises(RecipeError, match="--note-seconds"):
        Sing(note_seconds=0.0)


@pytest.mark.slow
def test_a_key_sounds_at_once(tmp_path: Path) -> None:
    model = tiny()
    source = export(model, "sing")
    assert source.lead_samples == model.latency_samples == 13 * HOP_SAMPLES
    assert f"#define sing_LEAD_SAMPLES {13 * HOP_SAMPLES}" in source.files["sing.h"]
    library, nothing = compile_host_library(source, tmp_path), np.zeros(0, np.float32)
    instrument = Instrument("sing", source, b"", {}, nothing, nothing)
    played = Polyphony(instrument, 1, runner_factory=lambda: NativeRunner(library))
    played.note_on(60, 90)
    made = played.render(2 * HOP_SAMPLES)
    with torch.no_grad():
        wanted = model.note(torch.tensor([[440.0 * 2.0 ** (-9 / 12), 90.0]]), 2)[0].numpy()
    # Behind the fade and attack that players give every note, 0.01 s, its gain no longer changes.
    steady = slice(HOP_SAMPLES, 2 * HOP_SAMPLES)
    assert np.abs(wanted[steady]).max() > 1e-3
    assert np.abs(made[steady] - wanted[steady]).max() < 1e-5 * max(1.0, np.abs(wanted).max())
    assert made[1:HOP_SAMPLES].any()
