"""Writing a page that is made from stored results, or only saying whether it is up to date."""

from __future__ import annotations

from pathlib import Path


def put(page: Path, new: str, *, check: bool) -> int:
    """Write a page, or with `check` leave it as it is.

    Args:
        page: its file; there may be none yet.
        new: what it is to say.
        check: write nothing.

    Returns:
        the exit code: 1 if it was only checked and differs.
    """
    old = page.read_text(encoding="utf-8") if page.is_file() else ""
    if not check:
        page.write_text(new, encoding="utf-8")
    print("up to date" if new == old else f"differs: {page.name}")
    return int(check and new != old)
