"""How shells put their files in place: whole or not at all, and never over what is not theirs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pochette.errors import InstrumentError
from pochette.instrument.archive import write_atomically

MARKER = ".pochette-shell"
"""File by which a folder is known to be written by a shell, and thus replaceable by one."""


def write_file(path: Path, data: bytes) -> Path:
    """Write one file, making its folder; see `write_atomically`.

    Args:
        path: the file.
        data: its contents.

    Returns:
        the path.

    Raises:
        InstrumentError: it cannot be written; what was there before is unchanged.
    """
    _make_folder(path.parent)
    write_atomically(path, data)
    return path


def write_folder(path: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a folder of files, or leave what was there untouched.

    Args:
        path: the folder; replaced if a shell wrote it before.
        files: contents by name relative to the folder ("src/engine.c").

    Returns:
        the folder.

    Raises:
        InstrumentError: the folder exists and is someone else's, or it cannot be written.
    """
    path = Path(path)
    _make_folder(path.parent)
    if path.exists() and not (path / MARKER).is_file():
        raise InstrumentError(
            "There is something here that no shell of pochette wrote; it is left alone.",
            where=str(path),
            remedy="Choose another folder, or move this one away.",
        )
    fresh = ""
    try:
        fresh = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")
        for name, content in {**files, MARKER: ""}.items():
            file = Path(fresh, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        os.chmod(fresh, 0o755)
        _swap(Path(fresh), path)
    except OSError as error:
        raise InstrumentError(
            f"The folder could not be written: {error.strerror or error}. What was there before is unchanged.",
            where=str(path),
            remedy="Free some space, or choose a folder that you may write to.",
        ) from error
    finally:
        if fresh:
            shutil.rmtree(fresh, ignore_errors=True)
    return path


def _swap(fresh: Path, path: Path) -> None:
    """Put the fresh folder in place; what was there leaves by the same door."""
    if not path.exists():
        os.replace(fresh, path)
        return
    old = fresh.with_name(f"{fresh.name}.old")
    os.replace(path, old)
    try:
        os.replace(fresh, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InstrumentError(
            f"The folder cannot be made: {error.strerror or error}.",
            where=str(path),
            remedy="Choose a place that you may write to.",
        ) from error
