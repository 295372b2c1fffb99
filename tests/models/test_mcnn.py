"""Multi-head inversion: its size, its lengths, which frames reach which samples, its delay, and what it learns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pochette.engine.build import compile_host_library
from pochette.engine.compiled import compile_engine
from pochette.engine.export import export
from pochette.engine.native import NativeRunner
from pochette.engine.runner import run_frames
from pochette.engine.source import MOST_CONTROLS
from pochette.errors import RecipeError
from pochette.instrument.manifest import Manifest, parse, to_text
from pochette.lab.griffin_lim import convergence_db, griffin_lim
from pochette.models.mcnn import MOST_POINTS, Mcnn, McnnModel, bounded
from pochette.models.through import Through
from pochette.reduce.trimming import trim_model
from tests.contracts.model_checks import built

BROAD: dict[str, Any] = {"layers": 8, "transform_samples": 512, "window_samples": 512}
"""257 bins, two heads."""


def tiny(**changes: int | bool) -> McnnModel:
    model = built(Mcnn.sized("tiny", **changes))
    assert isinstance(model, McnnModel)
    return model


def tone(samples: int, f0_hz: float = 220.0) -> Tensor:
    t = torch.arange(samples) / 16000
    return 0.1 * sum((torch.sin(2 * math.pi * f0_hz * k * t) / k for k in range(1, 9)), torch.zeros(samples))[None]


@pytest.mark.parametrize(
    ("recipe", "count"),
    [
        (Mcnn.sized("paper"), 14_782_738),
        (Mcnn.sized("paper", kernel=9), 10_234_834),
        (Mcnn.sized("paper", heads=2), 3_695_686),
        (Mcnn(**BROAD), 1_139_782),
    ],
    ids=["paper", "9 taps", "2 heads", "257 bins"],
)
def test_counts(recipe: Mcnn, count: int) -> None:
    assert sum(p.numel() for p in recipe.build().parameters()) == count


def test_published_frames_reach_five_back_and_six_ahead() -> None:
    model = Mcnn(**BROAD).build()
    spectra = torch.rand(1, 257, 24, requires_grad=True)
    made = model.network.centred(spectra)
    assert made.shape == (1, 256 * 24)
    reached: set[int] = set()
    for sample in range(256):
        (gradient,) = torch.autograd.grad(made[0, 12 * 256 + sample], spectra, retain_graph=True)
        reached |= set((gradient[0].abs().sum(dim=0).nonzero()[:, 0] - 12).tolist())
    assert reached == set(range(-5, 7))


@torch.no_grad()
def test_published_and_causal_are_one_network_some_samples_apart() -> None:
    model = tiny()
    spectra = torch.rand(1, 17, 60)
    streamed, _ = model.network(spectra, [head.empty(1) for head in model.network.all_heads()])
    centred, late, edge = model.network.centred(spectra), model.ahead_samples, 2 * model.latency_samples
    assert torch.allclose(streamed[:, edge:], centred[:, edge - late : -late], atol=1e-6)


@torch.no_grad()
def test_a_spectrum_that_stands_still_repeats_with_every_hop() -> None:
    model = tiny()
    made = model(torch.rand(17).repeat(1, 40, 1))[0, model.latency_samples :]
    assert torch.allclose(made[model.hop_samples :], made[: -model.hop_samples], atol=1e-5) and float(made.std()) > 1e-3


def test_delays() -> None:
    causal, ahead = Mcnn(**BROAD).build(), Mcnn(**BROAD, causal=False).build()
    assert (causal.delay_samples, causal.through_samples) == (0, 256)
    assert ahead.delay_samples == 6 * 255 and causal.latency_samples == ahead.latency_samples == 11 * 255


@torch.no_grad()
def test_what_is_heard_is_magnitude() -> None:
    model = Mcnn(layers=7, transform_samples=512, window_samples=512).build()
    sine = torch.sin(2 * math.pi * 1000 * torch.arange(128 * 20) / 16000)[None]
    heard = model.controls_of({"audio": sine})[0, -1]
    assert int(heard.argmax()) == 32 and float(heard[32]) == pytest.approx(1.0, abs=1e-4)


def test_the_sum_is_bounded() -> None:
    x = torch.linspace(-1e4, 1e4, 1001)
    assert float(bounded(x, torch.tensor(3.0), torch.tensor(-2.0)).abs().max()) < 1.5
    assert float(bounded(torch.tensor(0.5), torch.tensor(3.0), torch.tensor(-2.0))) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kernel": 12}, "--kernel"),
        ({"window_samples": 8}, "--window-samples"),
        ({"layers": 5}, "--window-samples"),
        ({"transform_samples": MOST_POINTS + 2}, "--transform-samples"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, int], named: str) -> None:
    with pytest.raises(RecipeError, match=named) as caught:
        Mcnn.sized("tiny", **changes)
    assert caught.value.remedy


def test_the_broadest_spectrum_that_is_allowed_is_the_broadest_that_a_file_holds() -> None:
    controls = Mcnn(heads=1, layers=1, transform_samples=MOST_POINTS).build().controls
    assert len(controls) == MOST_CONTROLS
    told = Manifest("broad", "Broad", "broad", 16000, 2, 0, controls)
    assert parse(to_text(told), "broad").controls == controls


def test_hundreds_of_knobs_are_played_by_the_engine(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    torch.manual_seed(0)
    model = Mcnn(heads=1, layers=2, transform_samples=600, window_samples=600).build().eval()
    curve = torch.rand(1, 6, len(model.controls), generator=torch.Generator().manual_seed(1))
    runner = NativeRunner(compile_host_library(export(model, "broad"), tmp_path))
    with torch.no_grad():
        wanted = model(curve)[0].numpy()
    assert len(model.controls) == 301
    assert np.abs(run_frames(runner, curve[0].numpy()) - wanted).max() < 1e-5 < np.abs(wanted).max()


@pytest.mark.parametrize("causal", [True, False])
def test_played_by_sound_it_says_in_c_what_it_says_in_torch(causal: bool) -> None:
    pytest.importorskip("ziglang")
    model = tiny(causal=causal)
    through = Through(model)
    engine = compile_engine(through, through.example_inputs(), name="effect")
    through.reset()
    audio = tone(model.hop_samples * 300)
    with torch.no_grad():
        whole = model(model.controls_of({"audio": audio}))[0].numpy()
        for number, hop in enumerate(audio.split(model.hop_samples, dim=1)):
            wanted = through(hop).numpy()
            (made,) = engine.process(hop.numpy())
            assert np.abs(made - wanted).max() < 1e-5
            assert np.abs(wanted - whole[number * model.hop_samples :][: model.hop_samples]).max() < 1e-5


def test_trimmed_it_has_the_same_knobs() -> None:
    model = tiny()
    small, _, _ = trim_model(model, keep=0.5)
    assert isinstance(small, McnnModel) and small.controls == model.controls
    assert small.initial_state(1).keys() == model.initial_state(1).keys()
    kept, whole = (sum(p.numel() for p in each.network.parameters()) for each in (small, model))
    assert 0.4 * whole < kept < 0.6 * whole


@pytest.mark.slow
def test_a_second_of_a_tone_that_repeats_with_every_hop_is_learnt() -> None:
    # Of 220 Hz, which does not, the same training comes nowhere near: its magnitudes hardly tell the phase.
    torch.manual_seed(0)
    excerpt = {"audio": tone(16000, 250.0) + 1e-3 * torch.randn(1, 16000)}
    model = Mcnn.sized("small", layers=6, transform_samples=256, window_samples=256).build()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(600):
        loss = model.loss(excerpt)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimiser.step()
    with torch.no_grad():
        made = model.resynthesised(excerpt)
    wanted = model.distance.spectra(excerpt["audio"]).abs()
    other = convergence_db(griffin_lim(wanted, model.distance, 16000, 3), excerpt["audio"], model.distance)
    own = convergence_db(made, excerpt["audio"], model.distance)
    assert own < -15.0 and own < other, (own, other)
