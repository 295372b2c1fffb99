"""Pitch by the window-corrected autocorrelation: the second opinion that evaluation uses and training never sees.

It shares with `pitch.py` the 16 kHz copy of the sound and the shape of the answer, but no decision.
"""

from __future__ import annotations

import numpy as np

from pochette.sound.audio import Array, FloatArray
from pochette.sound.features import centres, frames_at
from pochette.sound.pitch import F0_MAX_HZ, F0_MIN_HZ, PitchTrack, analysed, filled, moved

_TRACK_SECONDS = 0.01
_PERIODS = 3
_OVERSAMPLING = 4
_CANDIDATES = 8
_OCTAVE_COST, _VOICING_THRESHOLD, _SILENCE_THRESHOLD = 0.01, 0.45, 0.03
_OCTAVE_JUMP_COST, _VOICED_UNVOICED_COST = 0.35, 0.14


def boersma(
    audio: FloatArray,
    sample_rate_hz: int,
    hop_samples: int,
    *,
    f0_min_hz: float = F0_MIN_HZ,
    f0_max_hz: float = F0_MAX_HZ,
) -> PitchTrack:
    """Pitch as the lag at which the sound resembles itself most, the window's own fading taken out.

    Boersma, Proceedings of the Institute of Phonetic Sciences 17, 1993: Hann window of three periods of the lowest
    pitch, autocorrelation divided by the window's (eq. 9), strengths (eqs. 23-24) and path (eq. 27) with his
    parameters. Deviations: 8 candidates a frame; a finely interpolated autocorrelation with a parabola instead of
    sinc interpolation. Tracked every 10 ms, then interpolated to the frames.

    Args:
        audio: (samples,).
        sample_rate_hz: its rate.
        hop_samples: samples from frame to frame.
        f0_min_hz: lowest pitch looked for.
        f0_max_hz: highest pitch looked for.

    Returns:
        the track; confidence is the correlation at the chosen lag, kept to the side of one half that the path chose.
    """
    rate, sound = analysed(audio, sample_rate_hz)
    grid = centres(len(sound), round(_TRACK_SECONDS * rate))
    length = 2 * round(_PERIODS * rate / f0_min_hz / 2)
    loudest = float(np.max(np.abs(sound), initial=0.0)) or 1.0
    f0, height = np.empty((len(grid), _CANDIDATES)), np.empty((len(grid), _CANDIDATES))
    unvoiced = np.empty(len(grid))
    for chunk, frames in frames_at(sound, grid, length):
        f0[chunk], height[chunk] = _candidates(frames, rate, f0_min_hz, f0_max_hz)
        centred = frames - frames.mean(axis=1, keepdims=True)
        # Eq. 23: a frame far below the loudest one is taken for silence.
        relative = np.max(np.abs(centred), axis=1) / loudest
        quiet = 2 - relative * (1 + _VOICING_THRESHOLD) / _SILENCE_THRESHOLD
        unvoiced[chunk] = _VOICING_THRESHOLD + np.maximum(0.0, quiet)
    strength = np.where(height > 0, height + _OCTAVE_COST * np.log2(f0 / f0_min_hz), -np.inf)
    # Eq. 24, which favours short lags among equals.
    path = _best_path(strength, unvoiced, np.log2(f0))
    rows, voiced = np.arange(len(grid)), path < _CANDIDATES
    chosen = np.minimum(path, _CANDIDATES - 1)
    sure = np.where(voiced, np.maximum(height[rows, chosen], 0.501), np.minimum(height.max(axis=1), 0.499))
    track = filled(f0[rows, chosen], sure, voiced, float(np.sqrt(f0_min_hz * f0_max_hz)))
    return moved(track, grid / rate, centres(len(audio), hop_samples) / sample_rate_hz)


def normalised_autocorrelation(frames: Array, lags: int, oversampling: int = 1) -> Array:
    """How much each frame resembles itself at each lag: 1 for a periodic sound at its period, the window divided out.

    Boersma 1993, eq. 9.

    Args:
        frames: (frames, length); means are taken out, a Hann window is applied.
        lags: how many lags, from 0; lag * 1 / oversampling should stay below half the length.
        oversampling: lags a sample.

    Returns:
        (frames, lags), 1 at lag 0 (0 everywhere for silence); may slightly exceed 1.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    length = frames.shape[1]
    size = next_fast_len(length + lags // oversampling + 2, real=True)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)

    def correlation(signal: Array) -> Array:
        spectrum = rfft(signal, size, axis=-1)
        power = spectrum.real**2 + spectrum.imag**2
        return np.asarray(irfft(power, size * oversampling, axis=-1)[..., :lags] * oversampling)

    own = correlation((frames - frames.mean(axis=1, keepdims=True)) * window)
    faded = correlation(window)
    energy = own[:, :1]
    silent = energy < 1e-12 * length
    ratio = own / np.where(silent, 1.0, energy)
    return np.asarray(np.where(silent, 0.0, ratio) * (faded[0] / faded))


def _candidates(frames: Array, rate: int, f0_min_hz: float, f0_max_hz: float) -> tuple[Array, Array]:
    """The strongest peaks of each frame: pitch in Hz and height, (frames, _CANDIDATES) each; height 0 where missing."""
    fine = rate * _OVERSAMPLING
    first, last = max(2, int(fine / f0_max_hz)), int(np.ceil(fine / f0_min_hz)) + 1
    curve = normalised_autocorrelation(frames, last + 2, _OVERSAMPLING)
    before, here, after = (curve[:, first + shift : last + 1 + shift] for shift in (-1, 0, 1))
    is_peak = (here > before) & (here >= after) & (here > 0)
    bend = np.where(is_peak, before - 2 * here + after, -1.0)
    shift = np.where(is_peak, 0.5 * (before - after) / bend, 0.0)
    height = np.where(is_peak, here - 0.25 * (before - after) * shift, 0.0)
    # Heights above 1 are noise of the correction; the paper reflects them.
    height = np.where(height > 1, 1 / np.maximum(height, 1e-9), height)
    f0 = np.clip(fine / (np.arange(first, last + 1) + shift), f0_min_hz, f0_max_hz)
    merit = np.where(is_peak, height + _OCTAVE_COST * np.log2(f0 / f0_min_hz), -np.inf)
    best = np.argpartition(-merit, _CANDIDATES, axis=1)[:, :_CANDIDATES]
    return np.take_along_axis(f0, best, axis=1), np.take_along_axis(height, best, axis=1)


def _best_path(strength: Array, unvoiced: Array, octaves: Array) -> Array:
    """Viterbi over candidates and the unvoiced state, which is number _CANDIDATES.

    Args:
        strength: (frames, candidates), -inf where there is none.
        unvoiced: (frames,), strength of having no pitch.
        octaves: (frames, candidates), base-2 logarithm of pitch.

    Returns:
        (frames,), state of each frame.
    """
    frames, count = strength.shape
    gains = np.concatenate([strength, unvoiced[:, None]], axis=1)
    back = np.zeros((frames, count + 1), np.int64)
    score = gains[0]
    cost = np.full((count + 1, count + 1), _VOICED_UNVOICED_COST)
    cost[count, count] = 0.0
    for frame in range(1, frames):
        cost[:count, :count] = _OCTAVE_JUMP_COST * np.abs(octaves[frame - 1][:, None] - octaves[frame])
        total = score[:, None] - cost
        back[frame] = total.argmax(axis=0)
        score = total[back[frame], np.arange(count + 1)] + gains[frame]
    path = np.empty(frames, np.int64)
    path[-1] = score.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = back[frame, path[frame]]
    return path
