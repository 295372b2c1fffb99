"""Mu-law: every code is its own sample's code, and the curve is the textbook's."""

from __future__ import annotations

import math

import numpy as np

from pochette.sound import mulaw


def by_hand(x: float) -> int:
    curve = math.copysign(math.log(1 + 255 * abs(x)) / math.log(256), x)
    return math.floor((curve + 1) / 2 * 255 + 0.5)


def test_every_code_survives() -> None:
    codes = np.arange(256)
    samples = mulaw.decode(codes)
    assert np.array_equal(mulaw.encode(samples), codes)
    assert np.array_equal(mulaw.encode(samples.astype(np.float32)), codes)
    assert abs(samples[0] + 1.0) < 1e-12 and abs(samples[-1] - 1.0) < 1e-12 and (np.diff(samples) > 0).all()


def test_the_curve() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 5000)
    assert mulaw.encode(x).tolist() == [by_hand(float(v)) for v in x]
    # Of the texts: half of full scale lies at 0.8757 of the curve, a hundredth at 0.2285.
    assert abs(math.log(1 + 127.5) / math.log(256) - 0.8757) < 1e-4 and by_hand(0.5) == math.floor(0.5 + 1.8757 * 127.5)


def test_silence_and_what_is_too_loud() -> None:
    assert mulaw.encode(np.zeros(3)).tolist() == [128] * 3 == [mulaw.SILENCE] * 3
    assert mulaw.encode(np.array([-7.0, -1.0, 1.0, 7.0])).tolist() == [0, 0, 255, 255]
    assert abs(mulaw.decode(np.array([127, 128]))).max() < 1e-4
    assert mulaw.decode(np.array([127]))[0] == -mulaw.decode(np.array([128]))[0]


def test_codes_lie_between_their_edges() -> None:
    edges, samples = mulaw.edges(), mulaw.decode(np.arange(256))
    assert edges.shape == (255,) and (samples[:-1] < edges).all() and (edges < samples[1:]).all()
    x = np.random.default_rng(1).uniform(-1, 1, 5000)
    assert np.array_equal(np.searchsorted(edges, x, side="right"), mulaw.encode(x))
    for code in range(129, 256):  # the edges above silence
        below, above = mulaw.encode(edges[code - 1] * np.array([1 - 1e-9, 1 + 1e-9]))
        assert (below, above) == (code - 1, code)
