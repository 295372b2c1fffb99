"""What can go wrong for a person, said so that it helps: what happened, where, and what to do about it.

Everything a user can cause is raised as a `PochetteError`; the command line prints its three parts and exits with its
code, without a traceback. Any other exception is a defect of ours.
"""

from __future__ import annotations


class PochetteError(Exception):
    """Something a person can mend.

    Args:
        what: what happened, one sentence.
        where: the file, folder or argument concerned; empty if there is none.
        remedy: what to do about it, an imperative sentence.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        place = f"\n  where: {where}" if where else ""
        super().__init__(f"{what}{place}\n  remedy: {remedy}")

    def __reduce__(self) -> tuple[object, tuple[object, ...], dict[str, str]]:
        """Let the error travel between processes, which keyword-only arguments would otherwise prevent."""
        return (_rebuild, (type(self),), {"what": self.what, "where": self.where, "remedy": self.remedy})

    def __setstate__(self, state: dict[str, str] | None) -> None:
        """Restore what, where and remedy after unpickling."""
        self.__init__(state["what"], where=state["where"], remedy=state["remedy"])  # type: ignore[index, misc]


def _rebuild(cls: type[PochetteError]) -> PochetteError:
    return cls.__new__(cls)


class UnknownNameError(PochetteError):
    """A model, method, board... of this name is not registered."""


class RecipeError(PochetteError):
    """A recipe asks for what cannot be built."""


class SoundError(PochetteError):
    """A sound file or a folder of them cannot be used."""


class ShapeError(PochetteError):
    """Arrays of the wrong shape met."""


class RunError(PochetteError):
    """A training run is missing, damaged or of another version."""


class FitError(PochetteError):
    """A model does not fit the board it was made for."""


class ReductionError(PochetteError):
    """A reduction would remove nothing, everything, or what cannot be removed."""


class ExportError(PochetteError):
    """A model cannot be turned into an engine; names the operator and its place."""


class InstrumentError(PochetteError):
    """A .pochette file is damaged, unsafe or of a later version."""


class MeasureError(PochetteError):
    """A file of measurements cannot be read, or says nothing."""


class ToolError(PochetteError):
    """A compiler, emulator, device or package that the work needs is missing."""
