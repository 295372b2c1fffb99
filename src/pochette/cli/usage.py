"""What the parser of options says of a command line it cannot follow, as an error of ours."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from io import StringIO


@contextlib.contextmanager
def overheard() -> Iterator[StringIO]:
    """Let a person still read on stderr what is said there, and keep it.

    Yields:
        what was said, once the context has ended.
    """
    said = StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield said
    finally:
        sys.stderr.write(said.getvalue())


def usage_error(said: str) -> dict[str, str]:
    """The parser's box of text taken apart.

    Args:
        said: a frame of sections; the first tells what is wrong, the last where help is, those between what is near.

    Returns:
        "kind", "what", "where" and "remedy".
    """
    lines = [line.strip("│").strip() for line in said.splitlines() if line.startswith("│")]
    sections = [" ".join(part.split()) for part in re.split(r"^─+$", "\n".join(lines), flags=re.MULTILINE)]
    what, *rest = [section for section in sections if section] or ["The command line was not understood."]
    return {"kind": "UsageError", "what": what, "where": "", "remedy": " ".join(rest) or "Ask with --help."}
