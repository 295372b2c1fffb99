"""From a folder of sound files to memory-mapped samples and features, once.

Each file is analysed on its own into a *part*, so that an interrupted preparation resumes where it was; when all parts
are there they are joined into one *store*: `audio.npy` (samples,), `frames.npy` (3, frames) and `index.json`, in a
folder that appears under its name in one step. Memory does not grow with the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pochette.corpus.cache import cache_root
from pochette.corpus.processes import nameless_main, pool_of
from pochette.errors import SoundError
from pochette.recipe import signature
from pochette.sound.audio import AUDIO_SUFFIXES, Array, FloatArray, read_blocks
from pochette.sound.features import loudness_db
from pochette.sound.pitch import pyin

LEAST_SECONDS = 0.05
"""Of a file: what is shorter is a click, in which no model hears anything."""
TOO_SHORT_REMEDY = f"Use sounds of {LEAST_SECONDS:g} s or more."
TOO_LOUD = 4.0
"""Times full scale; what lies beyond was never meant as a sound between -1 and 1, and would outweigh all others."""
SILENT_REMEDY = (
    "Record it louder; if its two channels cancel each other, keep one of them; or take it out of the folder."
)
FEATURE_VERSION = 1
"""Raised whenever the same file would give other features: old stores are then left aside."""

SILENCE_DB = -60.0
"""Loudness below which the ends of a sound are cut off."""

Progress = Callable[[int, int, str], None]
"""Called as work goes on: how many are done, of how many, and the name of the one just done."""

_KEPT_SILENCE_SECONDS = 0.05
_CHUNK_SECONDS, _CONTEXT_SECONDS = 60.0, 1.0
_PARALLEL_FROM = 8
_COPIED_HOPS = 4096


@dataclass(frozen=True)
class Job:
    """One file to analyse."""

    path: str
    name: str
    """Path relative to the corpus folder, with forward slashes."""
    digest: str
    """SHA-256 of the file's bytes."""
    sample_rate_hz: int
    hop_samples: int
    parts: str
    """Folder that the part is written to."""

    @property
    def part(self) -> Path:
        """Path of the part, without suffix."""
        return Path(self.parts) / self.digest[:24]


def store(
    folder: Path, sample_rate_hz: int, hop_samples: int, cache_dir: Path | None = None, progress: Progress | None = None
) -> tuple[Path, str]:
    """The store of a folder's sounds; made if it is not there or damaged.

    Args:
        folder: searched recursively for sound files.
        sample_rate_hz: rate wanted.
        hop_samples: samples from feature frame to feature frame.
        cache_dir: where stores are kept; None for the user's cache.
        progress: called after every file.

    Returns:
        its folder, and the fingerprint (names and contents) of the sounds.

    Raises:
        SoundError: no sounds, none usable, or the store cannot be written.
        ToolError: soundfile or soxr is not installed.
    """
    paths = find_sounds(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    digests = [digest(path) for path in paths]
    # ascii(): a name on disk may hold bytes that are no text.
    fingerprint = signature(*zip((ascii(name) for name in names), digests, strict=True))
    key = signature(fingerprint, sample_rate_hz, hop_samples, FEATURE_VERSION)
    made = cache_root(cache_dir) / "corpus" / key
    if not _intact(made):
        shutil.rmtree(made, ignore_errors=True)
        parts = str(made.with_name(f"{key}.parts"))
        described = zip(paths, names, digests, strict=True)
        jobs = [Job(str(path), name, hashed, sample_rate_hz, hop_samples, parts) for path, name, hashed in described]
        try:
            _fill(made, jobs, folder, progress)
        except OSError as error:
            # Another process may have finished first and swept the parts away.
            if not _intact(made):
                raise SoundError(
                    f"The analysis of the sounds cannot be kept: {error.strerror or error}.",
                    where=str(made.parent),
                    remedy="Make room there, or name another folder with the environment variable POCHETTE_CACHE.",
                ) from error
    return made, fingerprint


def _intact(made: Path) -> bool:
    """Whether a store is there and holds what its index promises."""
    try:
        index = json.loads((made / "index.json").read_text(encoding="utf-8"))
        hops, hop_samples = sum(entry["frames"] for entry in index["sounds"]), index["hop_samples"]
        audio, frames = (np.load(made / name, mmap_mode="r") for name in ("audio.npy", "frames.npy"))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(audio.shape == (hops * hop_samples,) and frames.shape == (3, hops + len(index["sounds"])))


def _fill(made: Path, jobs: list[Job], folder: Path, progress: Progress | None) -> None:
    """Make a store: analyse what is missing, set the unusable aside, join the rest."""
    parts = Path(jobs[0].parts)
    parts.mkdir(parents=True, exist_ok=True)
    twins: dict[str, Job] = {}
    for job in jobs:
        twins.setdefault(job.digest, job)
    analyse_all(list(twins.values()), progress)
    usable, problems = [], []
    for job in jobs:
        about = json.loads(job.part.with_suffix(".json").read_text(encoding="utf-8"))
        if "problem" in about:
            problems.append({"name": job.name, "what": about["problem"], "remedy": about["remedy"]})
        elif twins[job.digest] is not job:
            what = f"The same file as {twins[job.digest].name}."
            problems.append({"name": job.name, "what": what, "remedy": "Keep one of the two."})
        else:
            usable.append(job)
    if usable:
        join(usable, {"problems": problems, "hop_samples": jobs[0].hop_samples}, made)
    shutil.rmtree(parts, ignore_errors=True)
    if not usable:
        first = problems[0]
        raise SoundError(
            f"None of the {len(jobs)} sound files can be used; {first['name']}: {first['what']}",
            where=str(folder),
            remedy=first["remedy"],
        )


def find_sounds(folder: Path) -> list[Path]:
    """All sound files below a folder, sorted by relative path; hidden ones are skipped, linked folders entered once.

    Args:
        folder: where to look.

    Returns:
        at least one path.

    Raises:
        SoundError: there is no such folder, it is no folder, or it holds no sound files.
    """
    folder = Path(folder)
    if not folder.exists():
        raise SoundError("There is no such folder.", where=str(folder), remedy="Check the path.")
    if not folder.is_dir():
        raise SoundError("This is a file, not a folder.", where=str(folder), remedy="Name the folder that holds it.")
    found = [path for path in _walk(folder) if path.suffix.lower() in AUDIO_SUFFIXES]
    if not found:
        kinds = ", ".join(sorted(suffix[1:] for suffix in AUDIO_SUFFIXES))
        raise SoundError("The folder holds no sound files.", where=str(folder), remedy=f"Put sounds into it ({kinds}).")
    return sorted(found, key=lambda path: os.fsencode(path.relative_to(folder).as_posix()))


def _walk(folder: Path) -> Iterator[Path]:
    entered: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(here) / name for name in files if not name.startswith("."))


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of its name if they cannot be read.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return hashlib.sha256(b"unreadable " + os.fsencode(path.name)).hexdigest()


def analyse_all(jobs: list[Job], progress: Progress | None) -> None:
    """Make the parts that are missing; two processes share many files.

    Args:
        jobs: files to analyse, each content once.
        progress: told of every part done.
    """
    done = 0

    def tell(job: Job) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(jobs), job.name)

    missing = []
    for job in jobs:
        if job.part.with_suffix(".json").exists():
            tell(job)
        else:
            missing.append(job)
    if len(missing) > _PARALLEL_FROM and (os.cpu_count() or 1) > 1:
        missing = _analyse_together(missing, tell)
    for job in missing:
        analyse(job)
        tell(job)


def _analyse_together(jobs: list[Job], tell: Callable[[Job], None]) -> list[Job]:
    """Analyse in two processes; give back what is left should one of them die."""
    left = {job.name: job for job in jobs}
    with pool_of(2) as pool:
        with nameless_main():
            waiting = {pool.submit(analyse, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                future.result()
                tell(left.pop(waiting[future].name))
        except BrokenProcessPool:
            pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return list(left.values())


def analyse(job: Job) -> None:
    """Write the part of one file: samples, features and, last, what it is; or the reason why it cannot be used.

    Args:
        job: the file and how to analyse it.
    """
    try:
        about = _analyse(job)
    except SoundError as error:
        about = {"problem": error.what, "remedy": error.remedy}
    _write_json(job.part.with_suffix(".json"), about)


def _analyse(job: Job) -> dict[str, Any]:
    rate, hop = job.sample_rate_hz, job.hop_samples
    raw = job.part.with_suffix(".audio")
    temporary = raw.with_suffix(f".{os.getpid()}.tmp")
    try:
        samples, peak = 0, 0.0
        with temporary.open("wb") as file:
            for block in read_blocks(Path(job.path), rate):
                file.write(block.tobytes())
                samples += len(block)
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
            file.write(np.zeros(-samples % hop, np.float32).tobytes())
        if peak > TOO_LOUD:
            raise SoundError(
                f"The sound reaches {peak:.3g} times full scale.",
                remedy=f"Turn it down by {20 * np.log10(peak):.0f} dB: samples belong between -1 and 1.",
            )
        if samples < LEAST_SECONDS * rate:
            raise SoundError(f"The sound lasts {samples / rate:.2g} s.", remedy=TOO_SHORT_REMEDY)
        frames = -(-samples // hop)
        features = _features(temporary, frames, rate, hop)
        first, last = _sounding(features[1], round(_KEPT_SILENCE_SECONDS * rate / hop), frames)
        np.save(job.part.with_suffix(".npy"), features)
        os.replace(temporary, raw)
    finally:
        temporary.unlink(missing_ok=True)
    return {"first": first, "frames": last - first}


def _features(raw: Path, frames: int, rate: int, hop: int) -> FloatArray:
    """(3, frames + 1): f0 in Hz, loudness in dB, confidence; a minute at a time, with a second on either side."""
    chunk, context = (max(1, round(seconds * rate / hop)) for seconds in (_CHUNK_SECONDS, _CONTEXT_SECONDS))
    pieces = []
    for start in range(0, frames + 1, chunk):
        stop = min(start + chunk, frames + 1)
        low, high = max(0, start - context), min(frames, stop + context)
        sound = _samples(raw, low * hop, high * hop)
        track, loudness = pyin(sound, rate, hop), loudness_db(sound, rate, hop)
        pieces.append(np.stack([track.f0_hz, loudness, track.confidence])[:, start - low : stop - low])
    return np.concatenate(pieces, axis=1)


def _samples(raw: Path, first: int, stop: int) -> FloatArray:
    """Samples of a part; read rather than mapped, so that a long file never counts as memory in use."""
    return np.fromfile(raw, np.float32, stop - first, offset=4 * first)


def _sounding(loudness: Array, kept: int, frames: int) -> tuple[int, int]:
    """First hop of the sound and the hop after its last, silence at the ends left out."""
    loud = np.flatnonzero(loudness > SILENCE_DB)
    if not len(loud):
        raise SoundError(
            f"The sound is silent: nowhere louder than {SILENCE_DB:.0f} dB.",
            remedy=SILENT_REMEDY,
        )
    return max(0, int(loud[0]) - kept), min(frames, int(loud[-1]) + 1 + kept)


def join(jobs: list[Job], about: dict[str, Any], made: Path) -> None:
    """Join parts into a store that appears in one step.

    Args:
        jobs: files whose parts are there and usable.
        about: further entries of its index.
        made: folder to make; if another process makes it first, that one stays.
    """
    hop = jobs[0].hop_samples
    parts = [(job, json.loads(job.part.with_suffix(".json").read_text())) for job in jobs]
    total = sum(part["frames"] for _, part in parts)
    temporary = made.with_name(f"{made.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    frames = np.lib.format.open_memmap(temporary / "frames.npy", "w+", np.float32, (3, total + len(parts)))
    sounds, hops = [], 0
    with (temporary / "audio.npy").open("wb") as audio:
        header = {"descr": "<f4", "fortran_order": False, "shape": (total * hop,)}
        np.lib.format.write_array_header_1_0(audio, header)
        for number, (job, part) in enumerate(parts):
            first, count = part["first"], part["frames"]
            for low in range(first, first + count, _COPIED_HOPS):
                high = min(low + _COPIED_HOPS, first + count)
                audio.write(_samples(job.part.with_suffix(".audio"), low * hop, high * hop).tobytes())
            features = np.load(job.part.with_suffix(".npy"))
            frames[:, hops + number : hops + number + count + 1] = features[:, first : first + count + 1]
            sounds.append({"name": job.name, "frames": count})
            hops += count
    frames.flush()
    del frames
    _write_json(temporary / "index.json", {**about, "sounds": sounds})
    try:
        os.rename(temporary, made)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not (made / "index.json").exists():
            raise


def _write_json(path: Path, data: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
    os.replace(temporary, path)
