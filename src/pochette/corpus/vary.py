"""More sounds than were recorded: every training excerpt played a little higher or lower, louder or softer.

A few dozen notes are few enough to be learnt by heart. Resampling moves pitch, formants and speed together, as a tape
does: no artefact of a vocoder enters, and pitch is known exactly. Loudness is taken along as it was: what A-weighting
makes of a shifted spectrum is left out (below 2 dB for 3 semitones above 200 Hz).
"""

from __future__ import annotations

import math

import numpy as np

from pochette.corpus.folder import FolderCorpus, Start
from pochette.sound.audio import FloatArray, resampled
from pochette.sound.features import LOUDNESS_FLOOR_DB


def varied_batch(
    corpus: FolderCorpus,
    rng: np.random.Generator,
    batch: int,
    frames: int,
    *,
    shift_semitones: float,
    gain_db: float,
    whole_semitones: bool = False,
    start: Start = "anywhere",
) -> dict[str, FloatArray]:
    """Random excerpts, each transposed and amplified by its own draw.

    Args:
        corpus: where they come from.
        rng: where chance comes from.
        batch: how many.
        frames: length of each in hops.
        shift_semitones: pitches move by up to so much, either way, evenly drawn.
        gain_db: levels likewise, but never so that a sample would exceed 1.
        whole_semitones: whether pitches move from note to note only.
        start: where in their sounds they begin.

    Returns:
        as `FolderCorpus.excerpt_batch`, which this is when nothing is to be varied.
    """
    if not shift_semitones and not gain_db:
        return corpus.excerpt_batch(rng, batch, frames, start)
    longest = math.ceil((frames + 1) * 2.0 ** (shift_semitones / 12.0)) + 1
    heard = corpus.excerpt_batch(rng, batch, longest, start)
    rows = [{name: values[row] for name, values in heard.items()} for row in range(batch)]
    varied = []
    for row in rows:
        if whole_semitones:
            semitones = float(rng.integers(-math.floor(shift_semitones), math.floor(shift_semitones), endpoint=True))
        else:
            semitones = rng.uniform(-shift_semitones, shift_semitones)
        moved = _transposed(row, 2.0 ** (semitones / 12.0), frames, corpus.hop_samples)
        varied.append(_amplified(moved, rng.uniform(-gain_db, gain_db)))
    return {name: np.stack([row[name] for row in varied]) for name in heard}


def _transposed(row: dict[str, FloatArray], ratio: float, frames: int, hop: int) -> dict[str, FloatArray]:
    """One excerpt played `ratio` times as fast, its first `frames` hops."""
    audio = resampled(row["audio"], ratio)[: frames * hop]
    # Frame i describes sample (i + 1) hop, which was sample (i + 1) hop ratio.
    places = np.arange(1, frames + 1) * ratio - 1.0
    known = np.arange(len(row["f0_hz"]))
    nearest = np.clip(np.rint(places), 0, len(known) - 1).astype(int)
    moved = {
        "audio": np.asarray(audio, np.float32),
        "f0_hz": np.asarray(row["f0_hz"][nearest] * ratio, np.float32),
        "loudness_db": np.interp(places, known, row["loudness_db"]).astype(np.float32),
        "confidence": row["confidence"][nearest],
    }
    return moved | ({"class_number": row["class_number"][:frames]} if "class_number" in row else {})


def _amplified(row: dict[str, FloatArray], gain_db: float) -> dict[str, FloatArray]:
    peak = float(np.abs(row["audio"]).max())
    gain_db = min(gain_db, -20.0 * math.log10(peak)) if peak > 0.0 else 0.0
    return {
        **row,
        "audio": (row["audio"] * 10.0 ** (gain_db / 20.0)).astype(np.float32),
        "loudness_db": np.maximum(row["loudness_db"] + np.float32(gain_db), np.float32(LOUDNESS_FLOOR_DB)),
    }
