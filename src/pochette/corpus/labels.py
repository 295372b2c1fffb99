"""What kind of sound a recording holds, read off its name: the one place that says how.

The rule: where sounds lie in sub-folders, the folder a sound lies in is its label. Where all lie side by side, what
stands before the first "_", "-" or space of a file's name is, if at least two sounds share it: `snap_vl1_rr2.flac` and
`snap_vl2_rr1.flac` are two of "snap", and so are `3_george_0.flac` and `3_lucas_7.flac` two of "3".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from pochette.errors import SoundError

_ENDS_A_WORD = re.compile(r"[_\- ]")


def labels_of(names: Sequence[str]) -> dict[str, str]:
    """The label of every sound of a corpus.

    Args:
        names: paths relative to the corpus folder, with forward slashes.

    Returns:
        name to label; empty for a sound that has none.
    """
    folders = {name: name.rpartition("/")[0] for name in names}
    if any(folders.values()):
        return folders
    words = {name: _ENDS_A_WORD.split(name.rpartition(".")[0], maxsplit=1)[0] for name in names}
    shared = Counter(words.values())
    return {name: word if shared[word] > 1 else "" for name, word in words.items()}


def check_classes(labels: Sequence[str], wanted: int, where: str) -> None:
    """Refuse to train a model that tells classes apart on a corpus that tells none, or others.

    Args:
        labels: of the corpus, see `FolderCorpus.labels`.
        wanted: how many classes the model has; 0 if it knows none.
        where: folder of the corpus.

    Raises:
        SoundError: the numbers differ.
    """
    if not wanted or len(labels) == wanted:
        return
    if not labels:
        raise SoundError(
            f"The model tells {wanted} classes apart, and the names of these sounds tell none.",
            where=where,
            remedy="Put the sounds of each class into a folder of their own, or begin their names with the class and "
            "an underscore (snap_1.wav, snap_2.wav); or train a model without classes.",
        )
    some = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
    raise SoundError(
        f"The model tells {wanted} classes apart; these sounds are of {len(labels)}: {some}.",
        where=where,
        remedy=f"Give --classes {len(labels)}.",
    )
