"""How soon a sound of one piece begins."""

from __future__ import annotations

import numpy as np
import pytest

from pochette.engine.build import compile_elf
from pochette.engine.emulate import workload
from pochette.engine.export import export
from pochette.families import boards, models
from pochette.lab.first_block import _spent, first_block


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "changes", "sooner"),
    # Without guards SING would make 14 whole frames of 138 before it is heard, and begin 9.9 times sooner.
    [("wavegan", "tiny", {}, 5.0), ("sing", "small", {"note_seconds": 2.0}, 15.0)],
)
def test_a_sound_begins_long_before_it_is_made(name: str, size: str, changes: dict[str, float], sooner: float) -> None:
    model, board = models[name].sized(size, **changes).build().eval(), boards["pi-4"]
    source, late = export(model, name), -(-model.delay_samples // model.hop_samples)
    note = np.array([control.default for control in model.controls], np.float32)
    found = first_block(source, board, note, model.excerpt_frames, late_frames=late, rounds=3)
    assert found.instructions is not None and found.whole_instructions is not None
    assert found.whole_instructions > sooner * found.instructions and found.times_sooner > 1.0
    # Another way to count the same calls.
    frames = model.excerpt_frames + late
    assert board.target is not None and board.machine is not None
    whole = workload(
        compile_elf(source, board.target), board.machine, np.repeat(note[None], frames, axis=0),
        block_samples=model.hop_samples, warm_up_frames=0,
    )  # fmt: skip
    assert found.whole_instructions == pytest.approx(whole.instructions, rel=0.001)


def test_silence_before_a_sound_is_not_its_first_block() -> None:
    model, board = models["sing"].sized("tiny").build().eval(), boards["browser"]
    source = export(model, "sing")
    note = np.array([control.default for control in model.controls], np.float32)
    found = first_block(source, board, note, 4, late_frames=2, rounds=1)
    assert found.instructions is None and 0.0 < found.host_seconds < found.host_whole_seconds


class Counted:
    """A player of whom every frame costs 3."""

    hop_samples, spent, frames = 4, 0, 0

    def reset(self) -> None:
        self.frames = 0

    def process(self, note: np.ndarray, samples: int) -> None:
        self.frames, self.spent = self.frames + 1, self.spent + 3


@pytest.mark.parametrize(("most", "whole", "played"), [(30.0, 30.0, 10), (20.0, np.inf, 7), (1.0, np.inf, 3)])
def test_a_sound_that_costs_too_much_is_not_counted_whole(most: float, whole: float, played: int) -> None:
    runner = Counted()
    assert _spent(runner, np.zeros(1), 2, 10, lambda: float(runner.spent), most) == (6.0, whole)  # type: ignore[arg-type]
    assert runner.frames == played
