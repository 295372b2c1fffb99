"""How good an engine is on sound that was held out: what fewer bits cost, measured and not guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RunError, SoundError
from pochette.instrument import Instrument
from pochette.lab.evaluate import distance_to_held_out, engine_to_held_out
from pochette.lab.judge import hold_out
from pochette.lab.runs import Run, corpus_of
from pochette.models.model import Model
from pochette.train.loop import Training


def held_out_part(run: Run, model: Model, progress: Any = None) -> FolderCorpus:
    """The sounds that a run kept from training; see `divided`."""
    return divided(run, model, progress)[1]


def divided(run: Run, model: Model, progress: Any = None) -> tuple[FolderCorpus, FolderCorpus]:
    """The sounds of a run as its training divided them.

    Args:
        run: trained.
        model: of it.
        progress: see `FolderCorpus.prepare`.

    Returns:
        what it trained on, and what it kept from training.

    Raises:
        SoundError: the folder is gone.
        RunError: the sounds are not the same any more.
    """
    return hold_out(corpus_of(run, model, progress), model, Training(**run.training).seed)


def with_held_out(instrument: Instrument, model: Model, run: Run) -> Instrument:
    """Tell in an instrument of fewer bits how far its engine is from held-out sounds, and its network in floats.

    Args:
        instrument: of the model.
        model: trained.
        run: it was trained in.

    Returns:
        the instrument; as it was where the run's sounds cannot be found any more.

    Raises:
        ToolError: there is no compiler.
    """
    try:
        held_out = held_out_part(run, model)
    except (SoundError, RunError):
        return instrument
    distances = {
        "held_out_engine": engine_to_held_out(instrument.source, model, held_out),
        "held_out_network": distance_to_held_out(model, held_out),
    }
    rounding = {**instrument.provenance.get("rounding", {}), **distances}
    return replace(instrument, provenance={**instrument.provenance, "rounding": rounding})
