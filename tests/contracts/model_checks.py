"""What every streaming model must keep, as plain functions of a recipe: registered or written a minute ago."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pochette.engine.runner import FloatArray, Runner, run_frames
from pochette.models.autoregressive import Autoregressive
from pochette.models.clocked import Clocked, heard_at_rest
from pochette.models.model import Model, Step, TorchRunner
from pochette.train.device import moved
from tests.stand_in import stand_in

BLOCKS = (1, 7, 64, 1000)
NOTE_HZ = 220.0


def built(recipe: Any, seed: int = 0) -> Model:
    """A model with weights large enough that every input matters."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model: Model = recipe.build()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(1.5)
    return model.eval()


def heard_for(model: Model, frames: int) -> int:
    """So many frames, or a third of them where each sample is drawn by itself, in Python, a hundred times slower."""
    return frames // 3 if model.feeds_back else frames


def at_rest(model: Model, frames: int) -> Tensor:
    """Every control at its default, (1, frame, control)."""
    return torch.tensor([knob.default for knob in model.controls]).repeat(1, frames, 1)


def wandering(model: Model, frames: int, seed: int = 1) -> Tensor:
    """Controls that move smoothly through most of their ranges, (1, frame, control)."""
    rng = np.random.default_rng(seed)
    travel = np.linspace(0, 1, frames)
    curves = []
    for knob in model.controls:
        rate, start = rng.uniform(1, 5), rng.uniform(0, 2 * np.pi)
        position = 0.5 + 0.45 * np.sin(2 * np.pi * rate * travel + start)
        curves.append([knob.from_knob(float(x)) for x in position])
    return torch.tensor(np.array(curves, np.float32).T)[None]


@torch.no_grad()
def sound(model: Model, controls: Tensor) -> FloatArray:
    """A whole sound from rest, (sample,)."""
    return model(controls)[0].numpy()  # type: ignore[no-any-return]


def close(left: FloatArray, right: FloatArray, tolerance: float = 1e-6) -> None:
    assert left.shape == right.shape
    worst = float(np.abs(left - right).max())
    assert worst <= tolerance, f"differ by {worst:.3g}"


# -- shapes, streaming, causality --------------------------------------------------------------------------------------


@torch.no_grad()
def check_shapes(recipe: Any) -> None:
    model = built(recipe)
    hop = model.hop_samples
    assert hop >= 1 and model.sample_rate_hz == recipe.sample_rate_hz and model.latency_samples >= 0
    names = [knob.name for knob in model.controls]
    assert len(set(names)) == len(names) and all(name.isidentifier() and name == name.lower() for name in names)
    for batch in (1, 3):
        controls = wandering(model, 5).repeat(batch, 1, 1)
        state = model.initial_state(batch)
        before = {name: value.clone() for name, value in state.items()}
        audio, after = model.advance(controls, state)
        assert audio.shape == (batch, 5 * hop) and audio.dtype == torch.float32
        assert {n: (v.shape, v.dtype) for n, v in after.items()} == {n: (v.shape, v.dtype) for n, v in state.items()}
        assert all(torch.equal(state[name], before[name]) for name in state), "the given state was written to"
        # Voices of a batch do not hear each other.
        assert torch.allclose(audio, audio[:1].expand_as(audio), atol=1e-6)
    assert Step(model)(*Step(model).example_inputs()).shape == (1, hop)


@torch.no_grad()
def check_streamed_equals_offline(recipe: Any) -> None:
    model = built(recipe)
    frames = heard_for(model, 37)
    controls, third = wandering(model, frames), frames // 3
    whole = sound(model, controls)
    middle = [third + 1, frames - 2 * third - 2, third + 1]
    for cuts in ([1] * frames, [5, frames - 5], [frames - 1, 1], [1, 2, 3, 4, frames - 10], middle):
        state, pieces = model.initial_state(1), []
        for piece in controls.split(cuts, dim=1):
            audio, state = model.advance(piece, state)
            pieces.append(audio[0])
        close(torch.cat(pieces).numpy(), whole)
    step = Step(model)
    close(torch.cat([step(row[None])[0] for row in controls[0]]).numpy(), whole)
    runner: Runner = TorchRunner(model)
    for block in BLOCKS:
        close(run_frames(runner, controls[0].numpy(), block), whole)


@torch.no_grad()
def check_parts_equal_the_whole(recipe: Any) -> None:
    """A model in parts, each with its clock, says what it says frame by frame; in two parts, in batches too."""
    model = built(recipe)
    if not isinstance(model, Autoregressive):
        return
    controls = wandering(model, 4).repeat(2, 1, 1)
    whole, wanted = model.advance(controls, model.initial_state(2))
    assert torch.equal(_by_parts(model, controls[:1]), whole[:1])
    if isinstance(model, Clocked):
        return
    state, samples = model.initial_state(2), []
    for frame in range(4):
        held = model.hold(controls[:, frame])
        for _ in range(model.hop_samples):
            sample, state = model.draw(held, state)
            samples.append(sample)
    assert torch.equal(torch.cat(samples, dim=1), whole)
    assert state.keys() == wanted.keys() and all(torch.allclose(state[name], wanted[name]) for name in wanted)


def _by_parts(model: Autoregressive, controls: Tensor) -> Tensor:
    """Samples as the parts make them that engines are made of: each is called when its turn has come."""
    hold, *others = model.parts()
    heard, ends = heard_at_rest(model)[None], [part.every_samples for part in others[1:]]
    before = heard.shape[1]
    for n in range(controls.shape[1] * model.hop_samples):
        if n % hold.every_samples == 0:
            held, said = hold(controls[:, n // model.hop_samples]), {}
        above: list[Tensor] = []
        for part, following in zip(others, [*ends, 1], strict=True):
            if n % part.every_samples == 0:
                latest = [heard[:, heard.shape[1] - part.heard_samples :]] if part.heard_samples else []
                said[part.name] = part(*held, *above, *latest)
            turn, turns = n % part.every_samples // following, part.every_samples // following
            above = [said[part.name].chunk(turns, dim=1)[turn]]
        heard = torch.cat([heard, above[0]], dim=1)
    return heard[:, before:]


def check_causal(recipe: Any) -> None:
    model = built(recipe)
    controls, frame = wandering(model, heard_for(model, 24)), heard_for(model, 15)
    before = sound(model, controls)
    for number, knob in enumerate(model.controls):
        changed = controls.clone()
        changed[:, frame:, number] = knob.low
        after = sound(model, changed)
        assert np.array_equal(after[: frame * model.hop_samples], before[: frame * model.hop_samples]), knob.name


def check_latency(recipe: Any) -> None:
    """A step of a knob is heard from its frame on and, where the knob acts without memory, wholly after the latency.

    A knob acts without memory if the sound after the step becomes the sound of the knob having stood there always.
    Where it never does (it went through a recurrence, or turned the phase), only the beginning can be measured; so too
    where a model hears itself, since two of its sounds may meet again by chance.
    """
    model = built(recipe)
    if model.mode == "one_shot":
        _check_onset(model)
        return
    hop, frame = model.hop_samples, heard_for(model, 20)
    frames = frame + 4 + (0 if model.feeds_back else math.ceil(4 * max(model.latency_samples, hop) / hop))
    measured = 0
    for number, knob in enumerate(model.controls):
        old, new = at_rest(model, frames), at_rest(model, frames)
        old[..., number], new[..., number] = knob.from_knob(0.3), knob.from_knob(0.8)
        stepped = sound(model, torch.cat([old[:, :frame], new[:, frame:]], dim=1))
        start = frame * hop
        heard = np.flatnonzero(stepped != sound(model, old))
        assert len(heard) and start <= heard[0] <= start + max(model.latency_samples, hop), knob.name
        if model.feeds_back:
            continue
        always = sound(model, new)
        apart = np.flatnonzero(np.abs(stepped - always) > 1e-6 * float(np.abs(always).max()))
        settled = (int(apart[-1]) + 1 if len(apart) else 0) - start
        if settled < (frames - frame - 1) * hop:
            measured = max(measured, settled)
            assert settled <= model.latency_samples, f"{knob.name}: whole after {settled} samples"
    # Not promised larger than it is, by more than a frame.
    assert measured == 0 or model.latency_samples - measured <= hop, f"measured {measured}"


def _check_onset(model: Model) -> None:
    """A note begins after the latency, as its first frame says; what its controls do later is of no consequence."""
    hop = model.hop_samples
    quiet = model.latency_samples // hop
    frames = quiet + 12
    still = sound(model, at_rest(model, frames))
    assert not still[: model.latency_samples].any()
    assert still[model.latency_samples : model.latency_samples + hop].any()
    for number, knob in enumerate(model.controls):
        later, turned = at_rest(model, frames), at_rest(model, frames)
        later[:, 1:, number] = turned[..., number] = knob.from_knob(0.1)
        assert np.array_equal(sound(model, later), still), knob.name
        changed = np.flatnonzero(sound(model, turned) != still)
        assert len(changed) and changed[0] < model.latency_samples + hop, knob.name


def check_reset(recipe: Any) -> None:
    model = built(recipe)
    controls = wandering(model, 12)
    runner = TorchRunner(model)
    first = run_frames(runner, controls[0].numpy())
    runner.process(controls[0, 3].numpy(), 3 * model.hop_samples // 2)
    assert np.array_equal(run_frames(runner, controls[0].numpy()), first)
    assert np.array_equal(run_frames(TorchRunner(built(recipe)), controls[0].numpy()), first)


def check_extremes_are_finite(recipe: Any) -> None:
    model = built(recipe)
    rows = [[knob.low for knob in model.controls], [knob.high for knob in model.controls]]
    for number, knob in enumerate(model.controls):
        for value in (knob.low, knob.high):
            rows.append([value if i == number else k.default for i, k in enumerate(model.controls)])
    jumping = torch.tensor(rows * 2)[None].repeat_interleave(heard_for(model, 3), dim=1)
    audio = sound(model, jumping)
    assert np.isfinite(audio).all() and np.abs(audio).max() < 1e3
    for row in rows:
        assert np.isfinite(sound(model, torch.tensor(row).repeat(1, heard_for(model, 6), 1))).all()


def check_every_control_matters(recipe: Any) -> None:
    model = built(recipe)
    frames = heard_for(model, 24)
    still = sound(model, at_rest(model, frames))
    level = float(np.sqrt(np.mean(still**2)))
    assert level > 0
    for number, knob in enumerate(model.controls):
        for position in (0.1, 0.9):
            turned = at_rest(model, frames)
            turned[..., number] = knob.from_knob(position)
            change = float(np.sqrt(np.mean((sound(model, turned) - still) ** 2)))
            assert change > 1e-4 * level, f"{knob.name} at {position}: {change:.2g} of {level:.2g}"


def check_silence(recipe: Any, seconds: float = 60.0) -> None:
    """A minute at the bottom of every range: finite, and no number so small that it would slow a processor down."""
    model = built(recipe)
    runner = TorchRunner(model)
    lowest = np.array([knob.low for knob in model.controls], np.float32)
    if model.feeds_back:  # drawn sample by sample in Python, and never quiet enough for small numbers to gather
        seconds = 16000 / model.sample_rate_hz
    elif model.mode == "one_shot":  # over after a few seconds, and nothing gathers
        seconds /= 6
    block = 50 * model.hop_samples
    tiny = np.finfo(np.float32).tiny
    controls = torch.tensor(lowest).repeat(1, 50, 1)
    state = model.initial_state(1)
    with torch.no_grad():
        for _ in range(math.ceil(seconds * model.sample_rate_hz / block)):
            audio, state = model.advance(controls, state)
            assert torch.isfinite(audio).all()
            assert not ((audio != 0) & (audio.abs() < tiny)).any()
    for name, value in state.items():
        assert torch.isfinite(value).all(), name
        assert not (value.is_floating_point() and bool(((value != 0) & (value.abs() < tiny)).any())), name
    assert np.isfinite(runner.process(lowest, 10)).all()


@torch.no_grad()
def check_phase_after_a_minute(recipe: Any) -> None:
    """Where a model carries an integer phase, it is after 60 s what arithmetic says, not a sum of roundings."""
    model = built(recipe)
    if "phase" not in model.initial_state(1):
        return
    f0 = 441.7
    frames = 60 * model.sample_rate_hz // model.hop_samples
    controls = at_rest(model, frames)
    controls[..., 0] = f0
    state = model.initial_state(1)
    for piece in controls.split(500, dim=1):
        _, state = model.advance(piece, state)
    step = int(np.float32(f0) * np.float32(2**32 / model.sample_rate_hz))
    assert state["phase"].tolist() == [step * frames * model.hop_samples % 2**32]
    # The step itself is a float32 product: a frequency right to one part in 2^22.
    assert abs(step / 2**32 * model.sample_rate_hz - f0) < f0 * 2**-22


# -- learning, files ---------------------------------------------------------------------------------------------------


def note_with_noise(model: Model, frames: int) -> dict[str, Tensor]:
    """A harmonic note that decays over a breath of noise, as an excerpt of batch 1."""
    rng = np.random.default_rng(5)
    t = np.arange(frames * model.hop_samples) / model.sample_rate_hz
    tone = sum(np.sin(2 * np.pi * k * NOTE_HZ * t) / k for k in range(1, 9))
    audio = 0.1 * tone * np.exp(-3 * t) + 0.003 * rng.standard_normal(len(t))
    loudness = np.linspace(-25, -40, frames)
    curves = {"f0_hz": np.full(frames, NOTE_HZ), "loudness_db": loudness, "confidence": np.ones(frames)}
    return {name: torch.tensor(x, dtype=torch.float32)[None] for name, x in {"audio": audio, **curves}.items()}


def check_overfits(recipe: Any, steps: int = 300, fall: float = 0.5) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model: Model = recipe.build()
    # What learns sample by sample has enough to learn in a twentieth of a second, and takes its time over more.
    seconds = 0.05 if model.feeds_back else 0.2
    excerpt = note_with_noise(model, max(1, round(seconds * model.sample_rate_hz / model.hop_samples)))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    first = float("nan")
    for step in range(steps):
        loss = model.loss(excerpt, torch.Generator().manual_seed(step))
        if step == 0:
            first = loss.item()
        if loss.item() < (1 - fall) * first:
            return
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
    raise AssertionError(f"the loss fell from {first:.3g} only to {loss.item():.3g}")


def check_every_weight_learns(recipe: Any) -> None:
    """A loss that does not reach a weight leaves it as it was drawn."""
    model = built(recipe)
    excerpt = note_with_noise(model, 16)
    model.train().loss(excerpt, torch.Generator().manual_seed(0)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.played_parameters().items():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def check_turns_reach_what_they_move(recipe: Any) -> None:
    """Every turn has a slope for all that it moves, and all turns together move everything.

    An offset of an aid may have none: that of a critic, which only compares scores, cancels.
    """
    model = built(recipe).train()
    excerpt = note_with_noise(model, 16)
    paths = {id(parameter): path for path, parameter in model.named_parameters()}
    moved = set()
    for turn in model.turns():
        model.begin_step(turn.span[0])
        model.zero_grad(set_to_none=True)
        given = turn.losses(excerpt, torch.Generator().manual_seed(0))
        for loss in [given] if isinstance(given, Tensor) else given:
            loss.backward()  # type: ignore[no-untyped-call]
        for parameter in turn.parameters:
            path = paths[id(parameter)]
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), path
            assert parameter.grad.abs().max() > 0 or (path.startswith(model.aids) and parameter.dim() == 1), path
        moved |= {paths[id(parameter)] for parameter in turn.parameters}
    assert moved == set(paths.values())


def check_trains_elsewhere(recipe: Any) -> None:
    """Losses on another device are those here: nothing a model makes or draws stays behind (see `tests.stand_in`)."""

    def losses(device: torch.device) -> list[float]:
        model = built(recipe).train().to(device)
        one = note_with_noise(model, heard_for(model, 16))
        # Two notes, as some turns compare a batch's sounds.
        excerpt = {name: torch.cat([x, x.flip(0) * (1.5 if name == "f0_hz" else 0.7)]) for name, x in one.items()}
        found, excerpt = [], moved(excerpt, device)
        for turn in model.turns():
            model.begin_step(turn.span[0])
            given = turn.losses(excerpt, torch.Generator().manual_seed(0))
            for loss in [given] if isinstance(given, Tensor) else given:
                loss.backward()  # type: ignore[no-untyped-call]
                found.append(loss.item())
            found += [
                parameter.grad.square().sum().item() for parameter in turn.parameters if parameter.grad is not None
            ]
        with torch.no_grad():
            return [*found, model.eval().loss(excerpt, torch.Generator().manual_seed(0)).item()]

    here = losses(torch.device("cpu"))
    with stand_in() as device:
        there = losses(device)
    assert len(here) > 1 and np.allclose(there, here, rtol=1e-3, atol=1e-6)


def check_file_round_trip(recipe: Any, folder: Path) -> None:
    model = built(recipe)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "w.safetensors")
    again = built(recipe, seed=9)
    controls = wandering(model, 24)
    assert not np.array_equal(sound(again, controls), sound(model, controls))
    again.load_state_dict(load_file(folder / "w.safetensors"))
    assert np.array_equal(sound(again, controls), sound(model, controls))
