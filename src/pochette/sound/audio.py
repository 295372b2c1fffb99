"""Sound files: what is in them, their samples as one mono array at the rate a model wants, and writing them back.

Files are read in blocks and resampled as a stream, so that the memory needed does not grow with the file. Decoding
and resampling need `soundfile` and `soxr`, which are imported on first use: the light player only writes, and writing
needs nothing but the standard library.
"""

from __future__ import annotations

import os
import re
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pochette.errors import SoundError, ToolError

FloatArray = NDArray[np.float32]
"""Samples or frames as they are kept and passed on: single precision."""

Array = NDArray[Any]
"""Work in progress: double precision, complex or integer."""

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".caf", ".w64"})
"""File name endings (lower case) that count as sound."""

_DAMAGED = "Open it in an audio editor and export it again as WAV or FLAC, or take it out of the folder."
_CHUNK_SIZES = re.compile(r"^ *(?:data|SSND|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED_BYTES = 0x7FFFF000


@dataclass(frozen=True)
class SoundInfo:
    """What a sound file says of itself."""

    path: Path
    """Where it lies."""
    seconds: float
    """Length."""
    sample_rate_hz: int
    """Rate it is stored at."""
    channels: int
    """1 for mono, 2 for stereo, 6 for 5.1."""
    format: str
    """Container and coding, as in "WAV PCM_16"."""


def _codec() -> tuple[Any, Any]:
    """The modules soundfile and soxr, or a sentence that says how to get them."""
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:
        raise ToolError(
            f"Reading sound files needs the packages soundfile and soxr ({error}).",
            remedy="Install them: pip install 'pochette[train]'.",
        ) from error
    return soundfile, soxr


def _open(path: Path) -> Any:
    soundfile, _ = _codec()
    if not path.is_file():
        raise SoundError("There is no such sound file.", where=str(path), remedy="Check the path.")
    try:
        with path.open("rb") as raw:
            empty = not raw.read(1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SoundError(
            f"The file cannot be opened: {reason}.", where=str(path), remedy="Check its rights."
        ) from error
    if empty:
        raise SoundError("The file is empty (0 bytes).", where=str(path), remedy="Record or copy it again.")
    try:
        # POSIX names are bytes and need not be text.
        return soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else str(path))
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        raise SoundError(
            f"This is no sound that can be decoded ({reason}).", where=str(path), remedy=_DAMAGED
        ) from error


def probe(path: Path) -> SoundInfo:
    """What a sound file says of itself, without decoding it.

    Args:
        path: the file.

    Returns:
        length, rate, channels and format.

    Raises:
        SoundError: there is no such file, or it is not a sound file.
        ToolError: soundfile is not installed.
    """
    path = Path(path)
    with _open(path) as file:
        return SoundInfo(
            path, file.frames / file.samplerate, file.samplerate, file.channels, f"{file.format} {file.subtype}"
        )


def read_blocks(path: Path, sample_rate_hz: int, block_seconds: float = 30.0) -> Iterator[FloatArray]:
    """A sound, piece by piece, mixed to mono and resampled, in memory that does not grow with the file.

    All channels are averaged with equal weights, whatever their layout (stereo, 5.1): a sound panned hard to one side
    loses 6 dB, and channels in antiphase cancel. Resampling is soxr's high quality (pass band to 0.91 of Nyquist).

    Args:
        path: wav, flac, ogg, mp3... at any rate.
        sample_rate_hz: the rate wanted, > 0.
        block_seconds: length of a piece before resampling; how much memory is used.

    Yields:
        (samples,), full scale is 1; joined, the pieces are the sound.

    Raises:
        SoundError: no such file; not sound; ends early; holds no samples; or holds NaN or infinity (says when).
        ToolError: soundfile or soxr is not installed.
    """
    path = Path(path)
    _, soxr = _codec()
    with _open(path) as file:
        rate, seen = file.samplerate, 0
        stream = soxr.ResampleStream(rate, sample_rate_hz, 1, dtype="float32", quality="HQ")
        for block in _decoded(file, path, max(1, round(block_seconds * rate))):
            bad = ~np.isfinite(block)
            if bad.any():
                seconds = (seen + int(np.argmax(bad))) / rate
                raise SoundError(
                    f"The sound holds NaN or infinity, first at {seconds:.3f} s.", where=str(path), remedy=_DAMAGED
                )
            seen += len(block)
            yield block if rate == sample_rate_hz else stream.resample_chunk(block, last=False)
        _check_length(path, file, seen)
        if rate != sample_rate_hz:
            yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _decoded(file: Any, path: Path, block: int) -> Iterator[FloatArray]:
    """Mono blocks at the file's own rate."""
    soundfile, _ = _codec()
    while True:
        try:
            samples: Array = file.read(block, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            seconds = file.tell() / file.samplerate
            raise SoundError(
                f"The sound cannot be decoded beyond about {seconds:.2f} s ({error}).", where=str(path), remedy=_DAMAGED
            ) from error
        if len(samples):
            yield samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
        if len(samples) < block:
            return


def _check_length(path: Path, file: Any, seen: int) -> None:
    """Refuse a file that holds less than it promises; every container betrays that in its own way."""
    if seen == 0:
        raise SoundError("The file holds no samples.", where=str(path), remedy="Record it again, or take it out.")
    # MP3 may only estimate its length.
    short = seen < file.frames * (0.9 if file.format == "MP3" else 1.0)
    for promised, held in _CHUNK_SIZES.findall(file.extra_info):
        # A WAV that was streamed says the largest size there is, because its writer could not know.
        short |= int(held) < int(promised) < _STREAMED_BYTES
    if short or "lacks an end-of-stream" in file.extra_info:
        raise SoundError(
            f"The file ends early, after {seen / file.samplerate:.2f} s: its header promises more.",
            where=str(path),
            remedy=f"Copy it again from its source. {_DAMAGED}",
        )


def read(path: Path, sample_rate_hz: int) -> FloatArray:
    """A whole sound as one mono array.

    Args:
        path: wav, flac, ogg, mp3... at any rate, any number of channels (averaged).
        sample_rate_hz: the rate wanted, > 0.

    Returns:
        (samples,), full scale is 1.

    Raises:
        SoundError: as `read_blocks`.
        ToolError: soundfile or soxr is not installed.
    """
    return np.concatenate(list(read_blocks(path, sample_rate_hz)))


def resampled(audio: FloatArray, ratio: float) -> FloatArray:
    """Sound played faster or slower, as a tape is.

    Args:
        audio: (samples,).
        ratio: of the speeds, > 0; 2 is an octave higher and half as long.

    Returns:
        (about samples / ratio,), without what would fold back from above the Nyquist frequency.

    Raises:
        ToolError: soxr is not installed.
    """
    _, soxr = _codec()
    faster: FloatArray = soxr.resample(audio, ratio, 1.0, quality="HQ")
    return faster


def write_wav(path: Path, audio: FloatArray, sample_rate_hz: int) -> None:
    """Write a mono sound as 16-bit WAV; whoever looks finds the old file or the whole new one, never a part.

    Samples are rounded to the nearest of 65535 steps and clipped at full scale; NaN is written as 0.

    Args:
        path: where to; its folder is made if it is missing.
        audio: (samples,), full scale is 1.
        sample_rate_hz: integer rate.

    Raises:
        SoundError: the file cannot be written there.
    """
    path = Path(path)
    steps = np.clip(np.rint(np.nan_to_num(np.asarray(audio, np.float64)) * 32767.0), -32767, 32767).astype("<i2")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as raw, wave.open(raw, "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(int(sample_rate_hz))
                file.writeframes(steps.tobytes())
            # mkstemp makes private files; a sound is written with the rights any other file would get.
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SoundError(
            f"The sound cannot be written: {error.strerror or error}.",
            where=str(path),
            remedy="Choose a folder that can be written to and has room.",
        ) from error
