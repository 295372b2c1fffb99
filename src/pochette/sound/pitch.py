"""Pitch over time, by three methods that share no decision: YIN, probabilistic YIN, and Boersma's autocorrelation.

`pyin` labels training sounds. `boersma` is the second opinion that evaluation uses and training never sees. `yin` is
the plain method, causal apart from its window, that an instrument can run live. All three work on a copy of the sound
at 16 kHz at most, give one pitch for every frame (frame f centred on sample f * hop_samples), and say how sure they
are: confidence above one half means voiced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pochette.sound.audio import Array, FloatArray
from pochette.sound.features import centres, frames_at

ANALYSIS_RATE_HZ = 16000
"""Rate of the copy that is analysed; lower rates are analysed as they are."""

F0_MIN_HZ, F0_MAX_HZ = 40.0, 2000.0
"""Range of pitch looked for unless told otherwise: below a double bass's E to above a violin's B6."""

_TRACK_SECONDS = 0.01
_YIN_WINDOW_SECONDS = 0.064
_SILENCE_POWER = 1e-8
_OVERSAMPLING = 2


@dataclass(frozen=True)
class PitchTrack:
    """One pitch a frame, and how sure the tracker is of it."""

    f0_hz: FloatArray
    """(frames,), Hz. Unvoiced frames are filled: interpolated between voiced neighbours, held at the ends."""
    confidence: FloatArray
    """(frames,), 0 to 1; above 0.5 the frame is voiced."""

    @property
    def voiced(self) -> Array:
        """(frames,), bool: which frames have a pitch of their own."""
        return self.confidence > 0.5


def yin(
    audio: FloatArray,
    sample_rate_hz: int,
    hop_samples: int,
    *,
    f0_min_hz: float = F0_MIN_HZ,
    f0_max_hz: float = F0_MAX_HZ,
    threshold: float = 0.15,
) -> PitchTrack:
    """Pitch frame by frame: the shortest period after which the sound nearly repeats.

    YIN, de Cheveigné & Kawahara, JASA 2002, steps 1-5 (difference function, cumulative mean, threshold, parabola).
    Deviation: the difference at lag t is a mean over all pairs of samples of a Hann-weighted frame, so that the
    estimate is centred on the frame whatever the period, and vibrato is followed.

    Args:
        audio: (samples,).
        sample_rate_hz: its rate.
        hop_samples: samples from frame to frame.
        f0_min_hz: lowest pitch looked for; >= 32 Hz for the window of 64 ms to hold two periods.
        f0_max_hz: highest pitch looked for.
        threshold: how deep a dip must be to be taken, 0 to 1.

    Returns:
        the track; confidence is the share of all thresholds (see `pyin`) that would take the dip.
    """
    rate, sound = analysed(audio, sample_rate_hz)
    where = np.rint(centres(len(audio), hop_samples) * (rate / sample_rate_hz)).astype(np.int64)
    f0, depth = np.empty(len(where)), np.empty(len(where))
    for chunk, frames in frames_at(sound, where, _even(_YIN_WINDOW_SECONDS * rate)):
        dips = _Dips.of(frames, rate, f0_min_hz, f0_max_hz)
        deep = dips.is_dip & (dips.depth < threshold)
        chosen = np.where(deep.any(axis=1), np.argmax(deep, axis=1), np.argmin(dips.masked_depth(), axis=1))
        rows = np.arange(len(frames))
        f0[chunk], depth[chunk] = dips.f0_hz[rows, chosen], dips.depth[rows, chosen]
    confidence = 1 - _threshold_mass(np.clip(depth, 0, 1))
    return filled(f0, confidence, confidence > 0.5, np.sqrt(f0_min_hz * f0_max_hz))


def pyin(
    audio: FloatArray,
    sample_rate_hz: int,
    hop_samples: int,
    *,
    f0_min_hz: float = F0_MIN_HZ,
    f0_max_hz: float = F0_MAX_HZ,
) -> PitchTrack:
    """The most plausible course of pitch through a whole sound: YIN with every threshold at once, then the best path.

    Probabilistic YIN, Mauch & Dixon, ICASSP 2014: thresholds follow a beta distribution of mean 0.15; the probability
    of a dip is the mass of the thresholds that would choose it; Viterbi finds the path. Deviations: the mass is the
    beta distribution's own integral instead of a sum over 100 thresholds; pitch bins are 20 cents and the pitch given
    is the dip's own, not the bin's; there is one unvoiced state, not one a bin, and a leap between any two pitches is
    allowed at a price, so that a slur needs no glide. Tracked every 10 ms, then interpolated to the frames.

    Args:
        audio: (samples,).
        sample_rate_hz: its rate.
        hop_samples: samples from frame to frame.
        f0_min_hz: lowest pitch looked for; >= 32 Hz.
        f0_max_hz: highest pitch looked for.

    Returns:
        the track; confidence is the probability of voicing that the frame has by itself, kept to the side of one half
        that the best path decided for.
    """
    rate, sound = analysed(audio, sample_rate_hz)
    grid = centres(len(sound), round(_TRACK_SECONDS * rate))
    bins = int(np.ceil(60 * np.log2(f0_max_hz / f0_min_hz))) + 1
    emission = np.zeros((len(grid), bins))
    pitch = np.zeros((len(grid), bins))
    for chunk, frames in frames_at(sound, grid, _even(_YIN_WINDOW_SECONDS * rate)):
        dips = _Dips.of(frames, rate, f0_min_hz, f0_max_hz)
        mass = dips.probability()
        row, lag = np.nonzero(mass > 1e-6)
        f0 = dips.f0_hz[row, lag]
        column = np.clip(np.rint(60 * np.log2(f0 / f0_min_hz)).astype(np.int64), 0, bins - 1)
        np.add.at(emission, (row + chunk.start, column), mass[row, lag])
        pitch[row + chunk.start, column] = f0
    path = _best_path(emission)
    rows = np.arange(len(grid))
    state = np.minimum(path, bins - 1)
    own = np.where(emission[rows, state] > 0, pitch[rows, state], f0_min_hz * 2 ** (state / 60))
    likely, voiced = emission.sum(axis=1), path < bins
    confidence = np.where(voiced, np.maximum(likely, 0.501), np.minimum(likely, 0.499))
    track = filled(own, confidence, voiced, np.sqrt(f0_min_hz * f0_max_hz))
    return moved(track, grid / rate, centres(len(audio), hop_samples) / sample_rate_hz)


def _best_path(emission: Array) -> Array:
    """Viterbi over pitch bins (20 cents) and one unvoiced state, the last.

    Args:
        emission: (frames, bins), probability of each pitch; what is missing to 1 is the probability of no pitch.

    Returns:
        (frames,), bin of each frame, or the number of bins where unvoiced.
    """
    frames, bins = emission.shape
    reach, leap, switch = 8, np.log(1e-3 / bins), 0.01
    near = np.log(1.0 - np.abs(np.arange(-reach, reach + 1)) / (reach + 1)) - np.log(reach + 1) + np.log(1 - switch)
    voiced_log = np.log(emission + 1e-9)
    unvoiced_log = np.log(np.maximum(1 - emission.sum(axis=1), 1e-3))
    into_voiced, into_unvoiced, stay = np.log(switch / bins), np.log(switch), np.log(1 - switch)
    back = np.empty((frames, bins + 1), np.int16)
    padded = np.full(bins + 2 * reach, -np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, bins)
    score, silent = voiced_log[0] - np.log(bins), unvoiced_log[0]
    for frame in range(1, frames):
        padded[reach:-reach] = score
        stepped = windows + near[:, None]
        step = stepped.argmax(axis=0)
        best, source = stepped.max(axis=0), np.arange(bins) + step - reach
        top = int(score.argmax())
        far, origin = max((score[top] + leap, top), (silent + into_voiced, bins))
        source = np.where(best < far, origin, source)
        rest, fall = silent + stay, score[top] + into_unvoiced
        back[frame, :bins], back[frame, bins] = source, bins if rest >= fall else top
        score, silent = np.maximum(best, far) + voiced_log[frame], max(rest, fall) + unvoiced_log[frame]
    path = np.empty(frames, np.int64)
    path[-1] = bins if silent > score.max() else score.argmax()
    for frame in range(frames - 1, 0, -1):
        path[frame - 1] = back[frame, path[frame]]
    return path


@dataclass(frozen=True)
class _Dips:
    """YIN's normalised difference function of some frames, and its local minima; all (frames, lags)."""

    depth: Array
    """Parabola's minimum around each lag: 0 where the sound repeats exactly, near 1 where it does not."""
    is_dip: Array
    f0_hz: Array
    """Pitch of the parabola's minimum."""

    @classmethod
    def of(cls, frames: Array, rate: int, f0_min_hz: float, f0_max_hz: float) -> _Dips:
        """Analyse (frames, length) at `rate`; lags run from 1 / f0_max_hz to 1 / f0_min_hz."""
        fine = rate * _OVERSAMPLING
        first, last = max(2, int(fine / f0_max_hz)), int(np.ceil(fine / f0_min_hz)) + 1
        difference = _normalised_difference(frames, last + 2)
        before, here, after = (
            difference[:, first - 1 : last],
            difference[:, first : last + 1],
            difference[:, first + 1 :],
        )
        after = after[:, : here.shape[1]]
        is_dip = (here < before) & (here <= after) & (here < 1)
        curve = np.where(is_dip, before - 2 * here + after, 1.0)
        shift = np.where(is_dip, 0.5 * (before - after) / curve, 0.0)
        depth = np.maximum(here - 0.25 * (before - after) * shift, 0.0)
        f0 = np.clip(fine / (np.arange(first, last + 1) + shift), f0_min_hz, f0_max_hz)
        return cls(depth, is_dip, f0)

    def masked_depth(self) -> Array:
        """Depth where there is a dip, 1 elsewhere."""
        return np.where(self.is_dip, np.minimum(self.depth, 1.0), 1.0)

    def probability(self) -> Array:
        """Mass of the thresholds that choose each dip: those above it and not above any dip at a shorter lag."""
        depth = self.masked_depth()
        shorter = np.minimum.accumulate(depth, axis=1)
        limit = np.concatenate([np.ones((len(depth), 1)), shorter[:, :-1]], axis=1)
        row, lag = np.nonzero(self.is_dip & (depth < limit))
        mass = np.zeros_like(depth)
        mass[row, lag] = _threshold_mass(limit[row, lag]) - _threshold_mass(depth[row, lag])
        # Where no dip is below the threshold the deepest one is taken, but with 1 % of the trust (section 2.1).
        rows, deepest = np.arange(len(depth)), np.argmin(depth, axis=1)
        found = depth[rows, deepest] < 1
        mass[rows, deepest] += np.where(found, 0.01 * _threshold_mass(depth[rows, deepest]), 0.0)
        return mass


def _normalised_difference(frames: Array, lags: int) -> Array:
    """Mean squared difference at each lag (in steps of 1 / _OVERSAMPLING sample) over its mean at all shorter lags.

    With window w, the difference is sum w(j) w(j+t) (x(j) - x(j+t))^2 / sum w(j) w(j+t); multiplied out it is made of
    correlations of w, w x and w x^2, so two FFTs and one back give all lags.

    Args:
        frames: (frames, length).
        lags: how many lags, from 0.

    Returns:
        (frames, lags), 1 at lag 0 and for silence.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    length = frames.shape[1]
    size = next_fast_len(length + lags // _OVERSAMPLING + 2, real=True)
    window = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    taper, square, plain = (
        rfft(window, size),
        rfft(frames**2 * window, size, axis=1),
        rfft(frames * window, size, axis=1),
    )
    pairs = (square * taper.conj()).real - (plain.real**2 + plain.imag**2)
    # Zero-padding the spectrum interpolates between lags, so that high pitches keep their accuracy.
    fine = size * _OVERSAMPLING
    weight = irfft(taper.real**2 + taper.imag**2, fine)[:lags]
    difference = np.maximum(irfft(pairs, fine, axis=1)[:, :lags], 0.0) / weight
    difference[:, 0] = 0.0
    running = np.cumsum(difference, axis=1)
    quiet = (np.mean(frames**2, axis=1) < _SILENCE_POWER)[:, None] | (running <= 0)
    ratio = difference * np.arange(lags) / np.where(quiet, 1.0, running)
    return np.where(quiet, 1.0, ratio)


def _threshold_mass(depth: Array) -> Array:
    """Share of pYIN's thresholds below a depth: the integral of its beta distribution (2, 34/3), mean 0.15."""
    from scipy.special import betainc

    return np.asarray(betainc(2.0, 34.0 / 3.0, depth))


def analysed(audio: FloatArray, sample_rate_hz: int) -> tuple[int, Array]:
    """The sound at 16 kHz, or as it is where its rate is not higher."""
    if sample_rate_hz <= ANALYSIS_RATE_HZ or not len(audio):
        return sample_rate_hz, np.asarray(audio)
    import soxr

    sound = soxr.resample(np.asarray(audio, np.float32), sample_rate_hz, ANALYSIS_RATE_HZ, quality="MQ")
    return ANALYSIS_RATE_HZ, np.asarray(sound)


def _even(samples: float) -> int:
    return 2 * round(samples / 2)


def filled(f0: Array, confidence: Array, voiced: Array, otherwise_hz: float) -> PitchTrack:
    """Give unvoiced frames the pitch between their voiced neighbours, or `otherwise_hz` if nothing is voiced."""
    if voiced.any():
        where = np.flatnonzero(voiced)
        f0 = np.exp2(np.interp(np.arange(len(f0)), where, np.log2(f0[where])))
    else:
        f0 = np.full(len(f0), otherwise_hz)
    return PitchTrack(f0.astype(np.float32), np.clip(confidence, 0, 1).astype(np.float32))


def moved(track: PitchTrack, seconds: Array, wanted: Array) -> PitchTrack:
    """Read a track at other times: straight lines in pitch, but the nearest value across leaps."""
    octaves = np.log2(track.f0_hz.astype(np.float64))
    nearest = np.clip(np.searchsorted((seconds[1:] + seconds[:-1]) / 2, wanted), 0, len(seconds) - 1)
    smooth = np.interp(wanted, seconds, octaves)
    leaps = np.abs(smooth - octaves[nearest]) > 1 / 24
    moved = np.exp2(np.where(leaps, octaves[nearest], smooth))
    return PitchTrack(moved.astype(np.float32), track.confidence[nearest])
