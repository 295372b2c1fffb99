"""The student of a WaveNet: counts, who teaches whom, and that a known law is learnt."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochette.layers.laws import normal_divergence
from pochette.models.model import Excerpt
from pochette.models.parallel_wavenet import ParallelWavenet, ParallelWavenetModel, Student
from pochette.reduce.trimming import trim_model


def tiny(seed: int = 0, **changes: object) -> ParallelWavenetModel:
    torch.manual_seed(seed)
    return ParallelWavenet.sized("tiny", **changes).build()


def notes() -> Excerpt:
    t = torch.arange(4096) / 16000
    f0 = torch.tensor([[220.0], [330.0]])
    curve = f0.expand(-1, 4096 // 32).contiguous()
    return {"audio": 0.2 * torch.sin(6.2832 * f0 * t), "f0_hz": curve, "loudness_db": torch.full_like(curve, -20.0)}


def learnt(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("gate", "count"), [(32, 886_024), (64, 1_750_024)])
def test_the_published_student(gate: int, count: int) -> None:
    recipe = ParallelWavenet.sized("paper", conditioning="none", gate_channels=gate)
    with torch.device("meta"):
        assert learnt(Student(recipe)) == count


def test_who_learns_when() -> None:
    model, excerpt = tiny().train(), notes()
    teacher, student = model.turns()
    assert teacher.is_on(0.2) and not teacher.is_on(0.6) and student.is_on(0.6) and not student.is_on(0.2)
    (again,) = model.turns(again=True)
    assert list(again.parameters) == list(student.parameters)
    loss = student.losses(excerpt, torch.Generator().manual_seed(0))
    assert isinstance(loss, Tensor)
    for held in teacher.parameters:
        held.requires_grad_(False)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(held.grad is not None for held in model.network.parameters())
    assert all(held.grad is None for held in model.teacher.parameters())


@pytest.mark.parametrize("law", ["gaussian", "logistic"])
def test_the_student_feels_the_teacher_through_its_own_samples(law: str) -> None:
    model, excerpt = tiny(law=law), notes()
    made = torch.zeros(2, 4096, requires_grad=True)
    told = model._taught(made, model.conditioning(model.controls_of(excerpt)))
    (gradient,) = torch.autograd.grad(told[:, 100].sum(), made)
    assert gradient[:, :100].any() and not gradient[:, 100:].any()


@pytest.mark.parametrize("law", ["gaussian", "logistic"])
def test_both_turns_go_down(law: str) -> None:
    torch.set_num_threads(1)
    model, excerpt = tiny(law=law).train(), notes()
    for turn in model.turns():
        optimiser = torch.optim.Adam(turn.parameters, 3e-3)
        losses = []
        for _ in range(40):
            loss = turn.losses(excerpt, torch.Generator().manual_seed(0))
            assert isinstance(loss, Tensor)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] - 0.1 * abs(losses[0]), turn.name


class Recursion(nn.Module):
    """A teacher whose law is known: mean nine tenths of the sample before, deviation a tenth."""

    def forward(self, previous: Tensor, conditioning: Tensor | None) -> Tensor:
        return torch.stack([0.9 * previous, torch.full_like(previous, 0.1).log()], dim=-1)


@pytest.mark.slow
def test_a_known_law_is_learnt() -> None:
    """A Gaussian recursion must be matched to a hundredth of a nat a sample (facts on ClariNet)."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ParallelWavenet.sized("tiny", conditioning="none", channels=8, gate_channels=8, flows=(4, 4)).build()
    teacher, optimiser = Recursion(), torch.optim.Adam(model.network.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(1)
    found = 1.0
    for step in range(800):
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - step / 820)
        noise = torch.randn(16, 256, generator=generator)
        made, mean, log_scale, _ = model.network(noise, None, [flow.empty(16) for flow in model.network.all_flows()])
        told = teacher(torch.nn.functional.pad(made[:, :-1], (1, 0)), None)
        divergence = normal_divergence(mean, log_scale, told[..., 0], told[..., 1]).mean()
        optimiser.zero_grad()
        divergence.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.network.parameters(), 3.0)
        optimiser.step()
        found = divergence.item() if step == 0 else 0.95 * found + 0.05 * divergence.item()
    assert found < 0.01


def test_the_buzz_is_at_the_pitch_and_goes_on_from_call_to_call() -> None:
    model = tiny()
    controls = torch.tensor([440.0, -20.0, 1.0]).expand(1, 250, 3)
    whole, _ = model._buzz(controls, model.initial_state(1))
    state, pieces = model.initial_state(1), []
    for piece in controls.split([1, 100, 149], dim=1):
        made, clock = model._buzz(piece, state)
        assert made is not None
        pieces.append(made)
        state |= clock
    assert whole is not None and torch.equal(torch.cat(pieces, dim=1), whole)
    spectrum = torch.fft.rfft(whole[0, :, 0]).abs()
    # 8000 samples of 16000 a second: bins of 2 Hz, three sines of a tenth.
    assert spectrum.topk(3).indices.sort().values.tolist() == [220, 440, 660]
    assert spectrum[220].item() == pytest.approx(0.1 * 8000 / 2, rel=1e-3)
    for other in (tiny(sines=0), tiny(conditioning="none")):
        assert other._buzz(controls, other.initial_state(1)) == (None, {})
        assert "phase" not in other.initial_state(1)


def test_temperature_scales_the_noise() -> None:
    model = tiny()
    controls = torch.tensor([[[440.0, -20.0, temperature]] * 20 for temperature in (0.1, 1.0)])
    with torch.no_grad():
        quiet, loud = model(controls).std(dim=1)
    assert quiet < 0.3 * loud


def test_trimmed_it_keeps_its_teacher_whole() -> None:
    model = tiny()
    small, _, _ = trim_model(model, keep=0.5)
    assert isinstance(small, ParallelWavenetModel)
    assert learnt(small.teacher) == learnt(model.teacher) and learnt(small.network) < 0.5 * learnt(model.network)
    loss = small.loss(notes(), torch.Generator().manual_seed(0))
    assert torch.isfinite(loss)
