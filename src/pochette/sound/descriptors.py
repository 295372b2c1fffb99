"""What a sound is like, in numbers that have names: brightness, width, noisiness, attack.

Definitions follow Peeters, "A large set of audio features for sound description", IRCAM 2004, unless said otherwise.
Those of spectra take magnitudes (frames, bins) as `spectra.magnitudes` gives them and answer per frame; a silent frame
has centroid, spread and roll-off 0 Hz and flatness 1.
"""

from __future__ import annotations

import numpy as np

from pochette.sound.audio import Array, FloatArray
from pochette.sound.boersma import normalised_autocorrelation
from pochette.sound.features import centres, frames_at

_SMALL = 1e-12


def _bins_hz(magnitude: Array, sample_rate_hz: int) -> Array:
    return np.linspace(0.0, sample_rate_hz / 2, magnitude.shape[1])


def centroid_hz(magnitude: FloatArray, sample_rate_hz: int) -> FloatArray:
    """Brightness: the mean frequency of the spectrum, each weighted by its magnitude.

    Args:
        magnitude: (frames, bins), >= 0.
        sample_rate_hz: rate of the sound.

    Returns:
        (frames,), Hz: a sine's own frequency; a quarter of the rate for white noise.
    """
    weight = magnitude.astype(np.float64)
    return np.asarray(weight @ _bins_hz(magnitude, sample_rate_hz) / (weight.sum(axis=1) + _SMALL), np.float32)


def spread_hz(magnitude: FloatArray, sample_rate_hz: int) -> FloatArray:
    """Bandwidth: the standard deviation of frequency around the centroid, weighted by magnitude.

    Args:
        magnitude: (frames, bins), >= 0.
        sample_rate_hz: rate of the sound.

    Returns:
        (frames,), Hz: 0 for one spectral line; rate / (4 sqrt 3) for white noise.
    """
    weight = magnitude.astype(np.float64)
    middle = centroid_hz(magnitude, sample_rate_hz)[:, None]
    square = (_bins_hz(magnitude, sample_rate_hz) - middle) ** 2
    return np.asarray(np.sqrt((weight * square).sum(axis=1) / (weight.sum(axis=1) + _SMALL)), np.float32)


def flatness(magnitude: FloatArray) -> FloatArray:
    """Noisiness: the geometric over the arithmetic mean of the power spectrum.

    Args:
        magnitude: (frames, bins), >= 0.

    Returns:
        (frames,), 0 (lines) to 1 (flat); white noise gives exp(-0.5772) = 0.561, Euler's constant being the mean log
        of an exponential variable's fall below its mean.
    """
    power = magnitude.astype(np.float64) ** 2 + _SMALL
    return np.asarray(np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1), np.float32)


def rolloff_hz(magnitude: FloatArray, sample_rate_hz: int, share: float = 0.85) -> FloatArray:
    """The frequency below which most of the power lies.

    Args:
        magnitude: (frames, bins), >= 0.
        sample_rate_hz: rate of the sound.
        share: how much is most, 0 to 1.

    Returns:
        (frames,), Hz: `share` of half the rate for white noise.
    """
    running = np.cumsum(magnitude.astype(np.float64) ** 2, axis=1)
    total = running[:, -1:]
    index = np.argmax(running >= share * total, axis=1)
    found = np.where(total[:, 0] > _SMALL, _bins_hz(magnitude, sample_rate_hz)[index], 0.0)
    return np.asarray(found, np.float32)


def slope_db_per_octave(magnitude: FloatArray, sample_rate_hz: int, low_hz: float = 100.0) -> FloatArray:
    """Darkness: the straight line through the spectrum's level over the logarithm of frequency.

    Args:
        magnitude: (frames, bins), >= 0.
        sample_rate_hz: rate of the sound.
        low_hz: bins below are left out.

    Returns:
        (frames,), dB per octave: 0 for white noise, -6.02 for 1 / f.
    """
    bins = _bins_hz(magnitude, sample_rate_hz)
    used = bins >= low_hz
    octaves = np.log2(bins[used])
    # Each octave counts alike, not each bin: the top octave holds half of them.
    weight = 1 / bins[used]
    weight /= weight.sum()
    octaves -= weight @ octaves
    level = 20 * np.log10(magnitude[:, used].astype(np.float64) + _SMALL)
    return np.asarray(level @ (weight * octaves) / (weight @ octaves**2), np.float32)


def log_attack_time(audio: FloatArray, sample_rate_hz: int) -> float:
    """How fast a note speaks: log10 of the seconds its envelope takes from 20 % to 90 % of its maximum.

    The envelope is the root mean square in windows of 5 ms; the attack is followed back from the first time it reaches
    90 % to the last time before that it was below 20 %.

    Args:
        audio: (samples,), one note.
        sample_rate_hz: its rate.

    Returns:
        log10(seconds), at least -3 (1 ms); -3 for silence.
    """
    length = max(1, round(0.005 * sample_rate_hz))
    power = np.concatenate([[0.0], np.cumsum(np.asarray(audio, np.float64) ** 2)])
    if len(power) <= length or power[-1] <= 0:
        return -3.0
    envelope = np.sqrt(np.maximum(power[length:] - power[:-length], 0.0) / length)
    top = int(np.argmax(envelope >= 0.9 * envelope.max()))
    below = np.flatnonzero(envelope[:top] < 0.2 * envelope.max())
    start = int(below[-1]) if len(below) else 0
    return max(-3.0, float(np.log10(max(top - start, 1) / sample_rate_hz)))


def harmonic_to_noise_db(audio: FloatArray, sample_rate_hz: int, hop_samples: int, f0_hz: FloatArray) -> FloatArray:
    """How much stronger what repeats is than what does not: 10 log10(r / (1 - r)), r being the correlation at a period.

    Boersma 1993, eq. 4, read at the lag that `f0_hz` names (give or take 3 %), in windows of 6 periods of its median.

    Args:
        audio: (samples,).
        sample_rate_hz: its rate.
        hop_samples: samples from frame to frame.
        f0_hz: (frames,), pitch of each frame.

    Returns:
        (frames,), dB, clipped to [-20, 60]: 0 where a harmonic sound and white noise have the same power.
    """
    length = 2 * round(3 * sample_rate_hz / float(np.median(f0_hz)))
    lags = length // 2
    out = np.empty(len(f0_hz), np.float32)
    period = sample_rate_hz / f0_hz
    for chunk, frames in frames_at(audio, centres(len(audio), hop_samples), length):
        curve = normalised_autocorrelation(frames, 2 * lags, 2)
        near = np.abs(np.arange(2 * lags) / 2 - period[chunk, None]) <= np.maximum(0.03 * period[chunk, None], 0.5)
        r = np.clip(np.where(near, curve, 0.0).max(axis=1), 1e-2, 1 - 1e-6)
        out[chunk] = np.clip(10 * np.log10(r / (1 - r)), -20, 60)
    return out
