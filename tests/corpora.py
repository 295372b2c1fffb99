"""Small corpora made on the spot: notes with a decaying spectrum and a little noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pochette.corpus.folder import FolderCorpus
from pochette.sound.audio import write_wav

RATE, HOP = 16000, 64


def write_notes(folder: Path, notes: tuple[int, ...] = (57, 60, 62, 64, 67, 69), seconds: float = 0.6) -> Path:
    """One file a MIDI note; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(0)
    for note in notes:
        f0 = 440.0 * 2 ** ((note - 69) / 12)
        tone = sum(np.sin(2 * np.pi * k * f0 * t) / k**1.5 for k in range(1, 8))
        level = 0.2 * (0.4 + 0.6 * np.sin(np.pi * t / seconds))
        write_wav(
            folder / f"note{note}.wav", (level * tone + 0.002 * rng.standard_normal(len(t))).astype(np.float32), RATE
        )
    return folder


def notes_corpus(folder: Path, hop: int = HOP) -> tuple[FolderCorpus, FolderCorpus]:
    """Training and held-out part of such notes; the analysis is kept in the same folder."""
    corpus = FolderCorpus.prepare(write_notes(folder / "notes"), RATE, hop, cache_dir=folder / "cache")
    return corpus.split()
