"""What every verb is: its options as typed fields with their help, and a function that does it."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import FlagCreatePairsOff, Positional, arg

from pochette.cli.console import Answer, Screen, folder_of

Sounds = Annotated[Positional[Path], arg(metavar="SOUNDS")]
InstrumentPath = Annotated[Positional[Path], arg(metavar="INSTRUMENT")]
RunPath = Annotated[Positional[Path], arg(metavar="RUN")]


@dataclass(frozen=True, kw_only=True)
class Verb(ABC):
    """One thing that `pochette` does."""

    json: FlagCreatePairsOff[bool] = False
    """Print one JSON document and nothing else; progress and messages go to stderr."""

    resumes: ClassVar[bool] = False
    """Whether the same command, given again, goes on where it was stopped."""

    @abstractmethod
    def run(self, screen: Screen) -> Answer:
        """Do it.

        Args:
            screen: where to speak meanwhile.

        Returns:
            the answer.

        Raises:
            PochetteError: something a person can mend.
        """


def command(*arguments: object) -> str:
    """A command of pochette as it is typed in a shell."""
    typed = (folder_of(part) if isinstance(part, Path) else str(part) for part in arguments)
    return shlex.join(["pochette", *typed])
