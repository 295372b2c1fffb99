"""Steps that are learnt: the published gradient, against autograd and by hand, and that they serve few bits."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pochette.errors import RecipeError
from pochette.models.ddsp import Ddsp
from pochette.reduce.learnt_steps import LearntSteps, first_steps, held, limits, slopes
from pochette.reduce.methods.quantise import Quantise
from pochette.reduce.rounded import Rounding, output_axes
from pochette.reduce.sparse.weights import weights_of
from pochette.train.loop import Trainer, Training
from pochette.train.session import Session
from tests.corpora import notes_corpus


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gradients_are_those_of_autograd_with_straight_rounding(bits: int) -> None:
    """round(x) as x + (round(x) - x) that no gradient sees: the rest is the chain rule's."""
    torch.manual_seed(0)
    rows = torch.randn(5, 40, dtype=torch.float64, requires_grad=True)
    steps = (0.3 * torch.rand(5, 1, dtype=torch.float64) + 0.2).requires_grad_()
    below, above = limits(bits)
    places = (rows / steps).clamp(-below, above)
    made = (places + (places.round() - places).detach()) * steps
    assert torch.allclose(made, held(rows, steps, bits))
    gradient = torch.randn(5, 40, dtype=torch.float64)
    made.backward(gradient)  # type: ignore[no-untyped-call]
    by_rows, by_steps = slopes(rows.detach(), steps.detach(), bits, gradient)
    assert rows.grad is not None and steps.grad is not None
    cut = int((by_rows == 0).sum())
    assert cut > 0, "some are cut off"
    assert torch.allclose(by_rows, rows.grad)
    assert torch.allclose(by_steps * math.sqrt(40 * above), steps.grad)


def test_a_steps_gradient_by_hand() -> None:
    """Equation 3 of 3 bits, Qn = 4 and Qp = 3, at s = 0.5: by v / s = 0.4, 0.6, 5 and -6."""
    rows, steps = torch.tensor([[0.2], [0.3], [2.5], [-3.0]]), torch.full((4, 1), 0.5)
    by_rows, by_steps = slopes(rows, steps, 3, torch.ones(4, 1))
    assert torch.allclose(by_steps[:, 0] * math.sqrt(3.0), torch.tensor([-0.4, 0.4, 3.0, -4.0]))
    assert by_rows[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert held(rows, steps, 3)[:, 0].tolist() == [0.0, 0.5, 1.5, -2.0]


def test_first_steps_are_the_published_ones_and_positive() -> None:
    rows = torch.tensor([[1.0, -3.0], [0.0, 0.0]])
    assert first_steps(rows, 3)[0].item() == pytest.approx(2 * 2.0 / math.sqrt(3.0))
    assert first_steps(rows, 3)[1].item() > 0.0
    assert not held(rows, first_steps(rows, 3), 3)[1].any()


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    teacher, x = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 2)), torch.randn(512, 12)
    return x, teacher(x).detach()


def trained(net: nn.Module, rounding: Rounding | LearntSteps | None, steps: int = 400) -> float:
    (x, wanted), stepper = data(), torch.optim.Adam(net.parameters(), 3e-3)
    if rounding is not None:
        rounding.attach(stepper)
    for _ in range(steps):
        stepper.zero_grad()
        (net(x) - wanted).square().mean().backward()
        stepper.step()
    return (net(x) - wanted).square().mean().item()


def test_of_two_bits_they_beat_the_largest_weights_step_and_steps_that_stand_still() -> None:
    torch.manual_seed(0)
    net, bits = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 2)), 2
    trained(net, None)
    largest, still, learnt = (copy.deepcopy(net) for _ in range(3))
    by_loss = LearntSteps(weights_of(learnt), bits, output_axes(net), 0.01)
    before = {path: steps.clone() for path, steps in by_loss.steps.items()}
    error = trained(learnt, by_loss)
    assert error < 0.5 * trained(largest, Rounding(weights_of(largest), bits, output_axes(net)))
    assert error < 0.5 * trained(still, LearntSteps(weights_of(still), bits, output_axes(net), 1e-9))
    for path, weight in weights_of(learnt).items():
        assert not torch.equal(by_loss.steps[path], before[path])
        places = weight.parameter.detach() / by_loss.steps[path]
        assert torch.allclose(places, places.round(), atol=1e-4)
        assert float(places.min()) >= -limits(bits)[0] - 1e-4 and float(places.max()) <= limits(bits)[1] + 1e-4


def test_rows_of_a_transposed_convolution_lie_along_its_second_axis() -> None:
    net = nn.ConvTranspose1d(3, 4, 5)
    steps = LearntSteps(weights_of(net), 2, output_axes(net), 0.01)
    assert steps.steps["weight"].shape == (4, 1)
    for row, own in zip(net.weight.detach().movedim(1, 0), steps.steps["weight"], strict=True):
        assert torch.allclose((row / own).round() * own, row)


def test_a_walk_with_them_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    technique = Quantise(bits=3, scales="learnt")

    def session(name: str) -> Session:
        how = Training(batch=2, excerpt_seconds=0.1, evaluate_steps=2)
        return Session(tmp_path / name, *notes_corpus(tmp_path / name / "c"), how, float("inf"), steps=15)

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return Ddsp(hidden=12, stack_width=10, stack_layers=1, partials=6, noise_bands=5).build()

    whole = technique.apply(fresh(), session("whole"))  # type: ignore[arg-type]
    assert [item.name for item in whole] == ["dense", "after", "round-1"]

    def stop(phase: str, trainer: Trainer) -> None:
        if phase == "round-1" and trainer.progress.steps >= 4 and not trainer.progress.stopped:
            raise KeyboardInterrupt

    broken = session("broken")
    broken.report = stop
    with pytest.raises(KeyboardInterrupt):
        technique.apply(fresh(), broken)  # type: ignore[arg-type]
    again = technique.apply(fresh(), session("broken"))  # type: ignore[arg-type]
    for path, tensor in whole[-1].model.state_dict().items():
        assert torch.equal(tensor, again[-1].model.state_dict()[path]), path
    for weight in weights_of(again[-1].model).values():
        assert all(len(row.unique()) <= 8 for row in weight.parameter.detach().flatten(1))


def test_of_many_bits_they_are_refused() -> None:
    with pytest.raises(RecipeError) as refused:
        Quantise(bits=8, scales="learnt")
    assert "--bits 4" in refused.value.remedy
