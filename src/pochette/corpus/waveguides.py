"""Physical models of a reed pipe, a bowed string and a plucked string, for sounds that need no download and no licence.

Each is a digital waveguide (Smith, "Physical modeling using digital waveguides", Computer Music Journal 16(4), 1992):
what travels is delayed by whole samples, so a stretch as long as the shortest delay depends only on what came before
it and is computed at once. Losses are symmetric filters, whose delay is a whole number of samples too; the pitch that
results is therefore known exactly, and the caller warps time to reach the pitch wanted.
"""

from __future__ import annotations

import numpy as np

from pochette.sound.audio import Array


def reed(f0_hz: float, strength: Array, sample_rate_hz: int, rng: np.random.Generator) -> tuple[Array, float]:
    """A cylindrical pipe closed by a reed, as in a clarinet: odd harmonics, breath noise, silence below a threshold.

    McIntyre, Schumacher & Woodhouse, JASA 74, 1983; the reed is a reflection that grows as it closes, straight and
    clipped to [-1, 1].

    Args:
        f0_hz: pitch wanted, to the nearest whole-sample pipe.
        strength: (samples,), how hard the player blows, 0 to 1.
        sample_rate_hz: rate of `strength` and of the answer.
        rng: where breath noise comes from.

    Returns:
        pressure in the mouthpiece, (samples,), about -1 to 1, and the pitch it has in Hz.
    """
    losses = _triangle(2) * 0.96
    smear = len(losses) // 2
    # The wave comes back inverted, so that two round trips make a period.
    pipe = max(len(losses) + 1, round(sample_rate_hz / (2 * f0_hz)) - smear)
    breath = np.where(strength > 0, 0.61 + 0.34 * strength, 0.0) * _onset(strength, sample_rate_hz)
    breath = breath * (1 + (0.01 + 0.03 * strength) * rng.standard_normal(len(strength)))
    out = np.zeros(len(strength) + pipe)
    back = np.zeros(pipe + 2 * smear)
    for start in range(0, len(strength), pipe):
        pressure = breath[start : start + pipe]
        returned = -np.convolve(back, losses, "valid")[: len(pressure)]
        opening = returned - pressure
        sent = pressure + opening * np.clip(0.7 - 0.3 * opening, -1.0, 1.0)
        out[start : start + len(sent)] = sent
        back = np.concatenate([back[-2 * smear :], np.pad(sent, (0, pipe - len(sent)))])
    return out[: len(strength)], sample_rate_hz / (2 * (pipe + smear))


def bowed(f0_hz: float, strength: Array, sample_rate_hz: int, rng: np.random.Generator) -> tuple[Array, float]:
    """A string that a bow catches and lets slip: all harmonics but those with a node under the bow.

    Smith 1986 ("Efficient simulation of the reed-bore and bow-string mechanisms"): two waveguides meet at the bow,
    where friction falls steeply with slip.

    Args:
        f0_hz: pitch wanted, to the nearest whole-sample string.
        strength: (samples,), how fast and hard the bow is drawn, 0 to 1.
        sample_rate_hz: rate of `strength` and of the answer.
        rng: where the roughness of the bow comes from.

    Returns:
        velocity at the bridge, (samples,), about -1 to 1, and the pitch it has in Hz.
    """
    losses = _triangle(3) * 0.95
    smear = len(losses) // 2
    period = round(sample_rate_hz / f0_hz)
    bridge = max(2 * smear + 4, round(0.13 * period))
    neck = period - bridge - smear
    bow = (0.06 + 0.2 * strength) * _onset(strength, sample_rate_hz)
    bow = bow * (1 + 0.02 * rng.standard_normal(len(strength)))
    slope = 5.0 - 3.5 * strength
    history = period + 2 * len(losses)
    to_bridge, to_neck = (np.zeros(history + len(strength)) for _ in range(2))
    block = bridge
    for start in range(0, len(strength), block):
        now, speed = history + start, bow[start : start + block]
        count = len(speed)
        first = now - bridge - 2 * smear
        from_bridge = -np.convolve(to_bridge[first : first + count + 2 * smear], losses, "valid")
        from_neck = -to_neck[now - neck : now - neck + count]
        slip = speed - (from_bridge + from_neck)
        grip = np.clip((np.abs(slip) * slope[start : start + block] + 0.75) ** -4.0, 0.01, 0.98)
        to_neck[now : now + count] = from_bridge + slip * grip
        to_bridge[now : now + count] = from_neck + slip * grip
    return to_bridge[history:], sample_rate_hz / (bridge + neck + smear)


def plucked(f0_hz: float, strength: Array, sample_rate_hz: int, rng: np.random.Generator) -> tuple[Array, float]:
    """A string that is plucked once and rings: bright at first, the high partials dying soonest.

    Karplus & Strong, Computer Music Journal 7(2), 1983, with a symmetric loss filter and a comb for where the pick is.

    Args:
        f0_hz: pitch wanted, to the nearest whole-sample string.
        strength: (samples,); how hard it is plucked, 0 to 1, is the first value.
        sample_rate_hz: rate of the answer.
        rng: where the burst that sets it off comes from.

    Returns:
        displacement, (samples,), about -1 to 1, and the pitch it has in Hz.
    """
    from scipy.signal import lfilter

    period = max(4, round(sample_rate_hz / f0_hz))
    hardness = 0.15 + 0.75 * float(strength[0])
    burst = np.zeros(len(strength))
    burst[:period] = rng.uniform(-1, 1, period)
    burst[:period] -= burst[:period].mean()
    burst = lfilter([hardness], [1, hardness - 1], burst)
    pick = max(1, round(0.18 * period))
    burst[pick:] = burst[pick:] - 0.9 * burst[:-pick]
    kept = 0.001 ** (1 / (f0_hz * 4.0))  # falls by 60 dB in 4 s
    loop = np.zeros(period + 2)
    loop[0] = 1.0
    loop[period - 1 : period + 2] = -kept * np.array([0.03, 0.94, 0.03])
    out = np.asarray(lfilter([1.0], loop, burst))
    return out / np.max(np.abs(out)), sample_rate_hz / period


def _triangle(half: int) -> Array:
    """A symmetric low-pass of 2 * half + 1 taps that adds up to 1."""
    taps = np.concatenate([np.arange(1, half + 2), np.arange(half, 0, -1)]).astype(np.float64)
    return np.asarray(taps / taps.sum())


def _onset(strength: Array, sample_rate_hz: int) -> Array:
    """A rise over 30 ms at the start, so that the tone builds up instead of cracking."""
    rise = np.minimum(1.0, np.arange(len(strength)) / (0.03 * sample_rate_hz))
    return np.asarray(np.sin(np.pi / 2 * rise) ** 2)
