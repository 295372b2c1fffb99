"""What a teacher says: its divergence by hand, nothing to learn for who knows it all, and who is taught."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from pochette.errors import ReductionError
from pochette.families import models
from pochette.models.unpaired import Unpaired
from pochette.reduce.distillation import Lesson, softened_divergence
from pochette.reduce.trimming import trim_model
from tests.contracts.model_checks import built, note_with_noise


def test_the_divergence_by_hand() -> None:
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    assert softened_divergence(student, teacher, 1.0).item() == pytest.approx(
        0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5), rel=1e-6
    )
    assert softened_divergence(teacher, teacher, 3.0).item() == pytest.approx(0.0, abs=1e-7)


def test_the_gradient_keeps_its_size_whatever_the_temperature() -> None:
    """At high temperatures it is (student - teacher) / classes, without T (Hinton et al. 2015, equation 4)."""
    torch.manual_seed(0)
    teacher = torch.randn(1, 5)
    teacher -= teacher.mean()
    for temperature in (100.0, 1000.0):
        student = torch.tensor([[0.3, -0.1, 0.2, -0.4, 0.0]], requires_grad=True)
        (gradient,) = torch.autograd.grad(softened_divergence(student, teacher, temperature), student)
        assert torch.allclose(gradient, (student.detach() - teacher) / 5, atol=2e-2)


@pytest.mark.parametrize("name", models.names())
def test_lessons(name: str) -> None:
    """Who says what the teacher says has nothing to learn; who was cut has, and the teacher learns nothing."""
    model = built(models[name].sized("tiny"))
    if isinstance(model, Unpaired):
        with pytest.raises(ReductionError, match="draws its sounds"):
            Lesson(model, model)
        return
    frames = model.excerpt_frames or max(4, round(0.2 * model.sample_rate_hz / model.hop_samples))
    excerpt = note_with_noise(model, min(frames, 80))
    if model.feeds_back and "mulaw" not in str(getattr(model, "loss_unit", "")):
        with pytest.raises(ReductionError, match="no lists of classes"):
            Lesson(model, model)
        return
    assert Lesson(model, copy.deepcopy(model)).distance(excerpt).item() == pytest.approx(0.0, abs=1e-5)
    small, _, _ = trim_model(model, keep=0.5)
    lesson = Lesson(model, small)
    missing = lesson.distance(excerpt)
    assert missing.item() > 1e-4
    model.zero_grad(set_to_none=True)
    missing.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in small.parameters())
