"""Where work that can be done again is kept: the user's cache folder, or one that can be written to."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def cache_root(cache_dir: Path | None = None) -> Path:
    """A folder for things that are slow to make and safe to delete; it exists and can be written to.

    Args:
        cache_dir: the folder wanted; None for the environment variable POCHETTE_CACHE, else the system's custom
            (`~/.cache/pochette` on Linux).

    Returns:
        the first of: the folder wanted, the variable's, the system's, one among the temporary files.
    """
    named = os.environ.get("POCHETTE_CACHE")
    wishes = [Path(cache_dir)] if cache_dir else []
    wishes += [Path(named)] if named else []
    wishes += [_system_cache(), Path(tempfile.gettempdir()) / f"pochette-{os.getuid() if hasattr(os, 'getuid') else 0}"]
    for folder in wishes:
        if _writable(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="pochette-"))


def _system_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "pochette" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "pochette"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pochette"


def _writable(folder: Path) -> bool:
    """Try it: rights, full disks and read-only mounts all show in the attempt, not in the mode bits."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
