"""Which instruments may run as native code: those built on this machine, or trusted by name.

Native code can do anything the player may do, so a file cannot vouch for itself: the record of what was built here is
kept outside it, in a list of checksums of the person's own (`POCHETTE_STATE`, or `~/.local/state/pochette`).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from pochette.errors import InstrumentError
from pochette.instrument.archive import write_atomically

RECORD_LIMIT = 10_000
"""Oldest entries are forgotten beyond this many."""


def state_dir() -> Path:
    """Where this person's machine-local records live (`POCHETTE_STATE` wins, then the XDG folder)."""
    if chosen := os.environ.get("POCHETTE_STATE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pochette"


def digest_of(data: bytes) -> str:
    """SHA-256 of some bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def built_here(digest: str) -> bool:
    """Whether a file of this SHA-256 was built on this machine."""
    return digest in _recorded()


def remember_built_here(path: Path) -> None:
    """Note that a file was built on this machine, so that it may run as native code here.

    Args:
        path: the .pochette file, as it was just written.

    Raises:
        InstrumentError: the file or the record cannot be read or written.
    """
    try:
        digest = digest_of(path.read_bytes())
        _record_path().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InstrumentError(
            f"The record of instruments built here cannot be kept: {error.strerror}.",
            where=error.filename or str(path),
            remedy="Point POCHETTE_STATE to a folder that you may write to.",
        ) from error
    known = [entry for entry in _recorded() if entry != digest] + [digest]
    write_atomically(_record_path(), (json.dumps(known[-RECORD_LIMIT:], indent=0) + "\n").encode())


def _record_path() -> Path:
    return state_dir() / "built-here.json"


def _recorded() -> list[str]:
    """Checksums on record; a damaged record trusts nothing."""
    try:
        known = json.loads(_record_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [entry for entry in known if isinstance(entry, str)] if isinstance(known, list) else []
