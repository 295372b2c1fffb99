"""Anchors, playing and cost: each is held against something known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pochette.boards.board import Demand
from pochette.control import Control
from pochette.corpus.folder import FolderCorpus
from pochette.engine.export import export
from pochette.engine.runner import FloatArray
from pochette.families import boards, models
from pochette.lab.anchors import direct_fit, mean_spectrum
from pochette.lab.build import Ranges, build_instrument, golden_curve
from pochette.lab.cost import count, time_on_host
from pochette.lab.evaluate import evaluate, excerpt_of
from pochette.lab.playing import hear_playing
from pochette.models.ddsp import Ddsp, DdspModel
from pochette.models.model import Model
from pochette.sound.losses import MultiScaleSpectral
from tests.corpora import HOP, RATE, notes_corpus

RECIPE = Ddsp.sized("tiny", partials=20, noise_bands=17)
Corpora = tuple[FolderCorpus, FolderCorpus]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return notes_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def model() -> DdspModel:
    torch.manual_seed(0)
    return RECIPE.build().eval()


@pytest.mark.slow
def test_anchors_stand_in_their_order(corpora: Corpora, model: DdspModel) -> None:
    """A direct fit is nearer than any average, an average nearer than noise."""
    found = evaluate({"dense": model}, *corpora)
    d = found.distance
    assert d["floor"] < d["mean spectrum"] < d["white noise"]
    assert d["floor"] < d["dense"]
    assert set(found.metrics) >= {"multiscale_spectral", "pitch_accuracy"}
    assert found.metrics["pitch_accuracy"]["mean spectrum"] > 0.9


@pytest.mark.slow
def test_the_mean_of_a_corpus_of_one_spectrum_is_that_spectrum(corpora: Corpora, model: DdspModel) -> None:
    """These notes share one spectrum, so their mean comes nearly as near as a fit to the very sound."""
    training, held_out = corpora
    _, excerpt = excerpt_of(held_out)
    distance = MultiScaleSpectral(RATE)
    average = mean_spectrum(model, training, steps=150)
    mean = distance(average.play(excerpt), excerpt["audio"]).item()
    fit = distance(direct_fit(model, excerpt, average, steps=60), excerpt["audio"]).item()
    silence = distance(torch.zeros_like(excerpt["audio"]), excerpt["audio"]).item()
    assert (mean - fit) / (silence - fit) < 0.1


class Obedient:
    """An engine that does exactly what it is told: a sawtooth-like tone whose level was calibrated beforehand."""

    kind, sample_rate_hz, hop_samples, n_controls, latency_samples = "fake", RATE, HOP, 2, 0

    def __init__(self, *, detune: float = 1.0, offset_db: float = 0.0) -> None:
        self.detune, self.offset_db = detune, offset_db
        self.reset()

    def reset(self) -> None:
        self.phase = 0.0

    def process(self, controls: FloatArray, samples: int) -> FloatArray:
        from pochette.sound.features import a_weighting_power

        f0, loudness = float(controls[0]) * self.detune, float(controls[1]) + self.offset_db
        phase = self.phase + np.arange(1, samples + 1) * f0 / RATE
        self.phase = phase[-1]
        tone = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 6))
        power = sum(float(a_weighting_power(np.array([k * f0]))[0]) / k**2 for k in range(1, 6))
        return np.asarray(tone * 10 ** (loudness / 20) / np.sqrt(power), np.float32)


CONTROLS = (Control("pitch_hz", "Hz", 20, 8000, 440, "logarithmic"), Control("loudness_db", "dB", -80, 0, -20))


def test_an_obedient_instrument_is_heard_as_obedient() -> None:
    heard = hear_playing(Obedient(), CONTROLS, [57, 60, 64, 69, 72], (-45.0, -15.0))
    assert heard.pitch_accuracy == 1.0
    assert heard.median_pitch_error_cents < 2.0
    assert heard.median_loudness_error_db < 0.7


def test_faults_are_heard() -> None:
    flat = hear_playing(Obedient(detune=2 ** (-80 / 1200)), CONTROLS, [57, 60, 64], (-45.0, -15.0))
    assert flat.pitch_accuracy < 0.05
    assert flat.median_pitch_error_cents == pytest.approx(80, abs=3)
    loud = hear_playing(Obedient(offset_db=6.0), CONTROLS, [57, 60, 64], (-45.0, -15.0))
    assert loud.median_loudness_error_db == pytest.approx(6.0, abs=0.7)


def test_counting_for_a_board(model: DdspModel) -> None:
    board = boards["daisy-seed"]
    source = export(model, "counted")
    rest = np.tile(np.array([[knob.default for knob in model.controls]], np.float32), (10, 1))
    cost = count(source, board, rest)
    assert cost.instructions_per_second is not None
    assert cost.network_instructions_per_second is not None
    # A multiply-accumulate is at least one instruction, and the network is a part of the whole.
    macs = sum(p.numel() for p in model.network.parameters() if p.dim() == 2) * RATE / HOP
    assert macs < cost.network_instructions_per_second < cost.instructions_per_second
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert cost.flash_bytes is not None
    assert weights < cost.flash_bytes < 3 * weights + 60_000
    assert cost.verdict(board, RATE).fits
    assert not board.fits(Demand(10**9, 10**9, RATE, 1e12)).fits


def test_times_are_of_the_whole_and_of_the_network(model: DdspModel) -> None:
    rest = np.array([[knob.default for knob in model.controls]], np.float32)
    times = time_on_host({"one": (export(model, "timed"), rest)}, rounds=3)
    whole, network = times["one"]
    assert 0.0 < network < whole < 1.0


def test_golden_curves_move_every_control_inside_its_range(corpora: Corpora, model: DdspModel) -> None:
    curve = golden_curve(model, Ranges.of(corpora[0]))
    assert curve.shape == (round(10 * RATE / HOP), len(model.controls))
    for column, knob in zip(curve.T, model.controls, strict=True):
        assert column.min() >= np.float32(knob.low)
        assert column.max() <= np.float32(knob.high)
        assert column.std() > 0.01 * (column.max() - column.min()) > 0


@pytest.mark.parametrize("name", sorted(models.names()))
def test_golden_curves_of_every_model_begin_loudest_and_move_within_a_tenth_of_a_second(name: str) -> None:
    model: Model = models[name].sized("tiny").build()
    curve = golden_curve(model, Ranges((110.0, 880.0), (-60.0, -15.0)))
    early = curve[: max(2, round(0.1 * model.sample_rate_hz / model.hop_samples))]
    for column, beginning, knob in zip(curve.T, early.T, model.controls, strict=True):
        span = knob.high - knob.low
        if knob.name == "pitch_hz":
            assert np.ptp(beginning) > 0.01 * beginning[0], "a vibrato at least"
        elif knob.name == "loudness_db":
            assert beginning[0] == column.max() == -15.0 and np.ptp(beginning) > 1.0
        else:
            assert np.ptp(beginning) > 0.05 * span, knob.name
            # Of a note in one piece this is all that is read.
            assert abs(beginning[0] - knob.default) > 0.3 * span, knob.name
        assert knob.low <= column.min() + 1e-3 * span and column.max() <= knob.high + 1e-3 * span


def test_knobs_of_golden_curves_rest_between_two_swings(model: DdspModel) -> None:
    curve = golden_curve(model, Ranges((110.0, 880.0), (-60.0, -15.0)))
    seconds = np.arange(len(curve)) * HOP / RATE
    for column, knob in list(zip(curve.T, model.controls, strict=True))[2:]:
        assert np.all(column[(seconds >= 0.5) & (seconds <= 5.0)] == np.float32(knob.default)), knob.name
        assert np.ptp(column[seconds < 0.5]) > 0.3 * (knob.high - knob.low)
        assert np.ptp(column[seconds > 5.0]) > 0.3 * (knob.high - knob.low)


def test_an_instrument_says_where_it_comes_from(corpora: Corpora, model: DdspModel, tmp_path: Path) -> None:
    instrument = build_instrument(model, "Åse's kazoo!", Ranges.of(corpora[0]), provenance={"seed": 3})
    assert instrument.name == "se_s_kazoo"
    assert instrument.provenance["seed"] == 3
    assert instrument.provenance["parameters"] == sum(p.numel() for p in model.parameters())
    assert instrument.save(tmp_path / "k.pochette").stat().st_size > 0
