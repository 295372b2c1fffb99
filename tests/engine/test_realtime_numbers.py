"""Numbers that have no business in sound: what is not finite or too small is gone a call later, and nothing drifts.

What the engines promise, and these tests hold:
- a model's controls are clamped to their ranges and NaN is the lowest, so that nothing strange comes in at all;
- the inputs of a captured step are cleaned: NaN, infinities and denormals are 0, huge numbers 2^60;
- so is what it carries on, but for the states of gated layers, which cannot leave -1 to 1.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from pochette.engine.build import compile_files, host_compiler
from pochette.engine.runner import FloatArray
from tests.engine.realtime import (
    MODELS,
    NAMES,
    STEPS,
    Instance,
    Rig,
    engine,
    is_strange,
    module_of,
    rig,
    rig_files,
)

NOT_FINITE = (np.nan, -np.nan, np.inf, -np.inf)
STRANGE = (*NOT_FINITE, 3e38, -3e38, 1e30, 1e-40, -1e-40)
BEFORE, AFTER = 20, 1600
"""Calls before the strange one and after it."""
RATE_HZ, SECONDS = 16_000, 60


def same_bits(left: FloatArray, right: FloatArray) -> bool:
    return np.array_equal(left.view(np.uint32), right.view(np.uint32))


def struck(name: str, value: float) -> tuple[Instance, FloatArray]:
    """An instance after some sane calls and one whose inputs are all strange, and the sane inputs that follow."""
    inputs = engine(name).noise(BEFORE + 1 + AFTER)
    inputs[BEFORE] = value
    instance = rig().instance(name)
    instance.play(inputs[: BEFORE + 1])
    return instance, inputs[BEFORE + 1 :]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_strange_is_not_heard_in_the_next_call(name: str) -> None:
    for value in STRANGE:
        instance, sane = struck(name, value)
        assert not is_strange(instance.play(sane[:100])).any(), value


@pytest.mark.parametrize("name", NAMES)
def test_what_is_strange_is_not_remembered_after_the_next_call(name: str) -> None:
    """Not even where no harm is done, as in a past whose sums a tanh bounds: other numbers there change nothing, for
    they are never read again.
    """
    for value in STRANGE:
        instance, sane = struck(name, value)
        instance.play(sane[:1])
        other = instance.replaced(0.25)
        assert same_bits(instance.play(sane[1:100]), other.play(sane[1:100]))


@pytest.mark.parametrize("name", STEPS)
def test_it_settles_to_what_it_would_have_said(name: str) -> None:
    """Steps that forget their inputs forget strange ones too: in the end the sound is as if nothing had happened."""
    inputs = engine(name).noise(BEFORE + 1 + AFTER)
    instance = rig().instance(name)
    want = instance.play(inputs)[-10:]
    for value in NOT_FINITE:
        instance, sane = struck(name, value)
        assert np.abs(instance.play(sane)[-10:] - want).max() <= 1e-5 * np.abs(want).max(), value


@pytest.mark.parametrize("name", MODELS)
def test_controls_are_clamped_and_nan_is_the_lowest(name: str) -> None:
    """To the bit: the strange call and all after it are those of a control at the end of its range."""
    low, high = engine(name).low, engine(name).high
    ends = {np.nan: low, -np.nan: low, -np.inf: low, np.inf: high, 3e38: high, -1e30: low}
    for value, end in ends.items():
        inputs = engine(name).noise(20)
        strange = inputs.copy()
        inputs[5], strange[5] = end, value
        instance, same = rig().instance(name), rig().instance(name)
        assert same_bits(instance.play(strange), same.play(inputs))


@pytest.mark.parametrize("name", NAMES)
def test_silence_leaves_no_denormals(name: str) -> None:
    """They cost a processor a hundred cycles each: what fades must reach zero or stay above."""
    instance = rig().instance(name)
    instance.play(engine(name).noise(50))
    rest = np.clip(np.zeros((10_000, len(engine(name).low)), np.float32), engine(name).low, engine(name).high)
    calls = 500 if name in MODELS else 10_000
    instance.play(rest[:calls])
    other = instance.replaced(0.25)
    made = instance.play(rest[:100])
    assert not is_strange(made).any()
    assert same_bits(made, other.play(rest[:100]))


def test_fast_math_of_strangers_lets_nothing_in(tmp_path: Path) -> None:
    """A firmware built with -ffast-math, by which no number is NaN, is told NaN by a broken sensor."""
    table = [engine(name) for name in ("gru", "ddsp")]
    library = tmp_path / "fast.so"
    # All that -ffast-math is made of: linked with the name itself, a library sets the whole process to flush denormals.
    fast = ("-fno-math-errno", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math", "-fassociative-math",
            "-freciprocal-math", "-ffp-contract=fast")  # fmt: skip
    flags = ("-std=c99", "-O3", *fast, "-shared", "-fPIC")
    library.write_bytes(compile_files(rig_files(table), [*host_compiler(), *flags], link=()))
    fast = Rig(table, library)
    for built in table:
        for value in NOT_FINITE:
            inputs = built.noise(30)
            inputs[10] = value
            assert not is_strange(fast.instance(built.name).play(inputs)).any()


# -- a minute ----------------------------------------------------------------------------------------------------------


def errors(made: FloatArray, want: FloatArray) -> float:
    """Root mean square of the difference over that of the sound."""
    difference = made.astype(np.float64).ravel() - want.ravel()
    return float(np.sqrt((difference**2).mean() / (want.astype(np.float64) ** 2).mean()))


def holds_still(made: FloatArray, want: FloatArray) -> bool:
    """Whether the last second is as near as the first, and both are near."""
    second = len(want) // SECONDS
    first, last = errors(made[:second], want[:second]), errors(made[-second:], want[-second:])
    # Errors are a few units of rounding, which processors place differently.
    return first < 1e-6 and last < 1e-6 and last < 2 * first + 2e-7


@pytest.mark.parametrize("name", ["ddsp", "sing"])
@torch.no_grad()
def test_a_minute_of_a_model(name: str) -> None:
    model = module_of(name)
    frames = SECONDS * RATE_HZ // engine(name).outputs[0]
    controls = engine(name).noise(frames)
    want = model(torch.from_numpy(controls)[None])[0].numpy().reshape(frames, -1)
    assert holds_still(rig().instance(name).play(controls), want)


@pytest.mark.parametrize(("name", "channels"), [("gated", 1), ("far", 1), ("straight", 1), ("decoder", 8)])
@torch.no_grad()
def test_a_minute_of_convolutions(name: str, channels: int) -> None:
    """Torch takes all of it at once; the engine in blocks."""
    built = engine(name)
    block, width = built.inputs[0] // channels, len(module_of(name)(torch.zeros(1, channels, 64))[0])
    made_a_call = built.outputs[0] // width
    calls = SECONDS * RATE_HZ // made_a_call
    sound = np.random.default_rng(0).uniform(-1, 1, (channels, calls * block)).astype(np.float32)
    want = module_of(name)(torch.from_numpy(sound)[None])[0].numpy()
    cut = [x.reshape(len(x), calls, -1).transpose(1, 0, 2).reshape(calls, -1) for x in (sound, want)]
    assert holds_still(rig().instance(name).play(cut[0]), cut[1])


@torch.no_grad()
def test_a_minute_of_a_recurrent_layer() -> None:
    """A call a sample. Torch would need long for all of it: for the last second it begins a tenth earlier, which a
    recurrent layer that forgets does not hear.
    """
    sound = np.random.default_rng(0).uniform(-1, 1, (SECONDS * RATE_HZ, 1)).astype(np.float32)
    made = rig().instance("gru").play(sound)
    lead = RATE_HZ // 10
    first = module_of("gru")(torch.from_numpy(sound[:RATE_HZ, None]))[:, 0].numpy()
    last = module_of("gru")(torch.from_numpy(sound[-RATE_HZ - lead :, None]))[lead:, 0].numpy()
    assert holds_still(made, np.concatenate([first, *itertools.repeat(first, SECONDS - 2), last]))
