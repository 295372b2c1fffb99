"""What the models' page says of a work in whole sentences: how it was trained, and what its figures mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models_judge import PITCH_KEPT

from models import AGAIN, Work
from pochette.lab.report import words

SPLITS = {
    "pitch": "whole pitches, each with all its sounds",
    "take": "whole takes",
    "sound": "single sounds",
}
MEANINGS = {
    "coverage": "Coverage is the share of held-out recordings that a made sound comes near, as near as the fifth of "
    "their own kind does; 1 is best.",
    PITCH_KEPT: "“Pitch kept” is the share of the time in which what the engine plays along "
    "held-out sounds’ controls is within half a semitone of those sounds: 1 is best. Its log-spectral distance to them "
    "is heard alike, from beginnings of 2 s.",
    "nearest learnt, dB": "“Nearest learnt” is how far a made sound is from the nearest recording that was learnt, in "
    "the mean, and “nearest own” from the nearest other made one: a model that repeats what it heard has a small "
    "first one, one that always makes the same sound has a small second one.",
}
IN_TUNE = 0.9
"""Share of the time that a model keeps the pitch it is asked for, from which on it is said to."""
DISCREPANCY = (
    "The discrepancy is how far two crowds of sounds are apart (maximum mean discrepancy, squared) where each sound is "
    "a point, the mean and the spread of its power in mel bands: near 0 for two crowds of one kind, 2 at most."
)


def listed(names: Sequence[str], joint: str) -> str:
    """Names in a sentence, as "white noise, silence and itself untrained".

    Args:
        names: one or more, of which `untrained` is the model itself before it learnt.
        joint: what stands before the last.

    Returns:
        part of a sentence.
    """
    said = ["itself untrained" if name == "untrained" else name for name in names]
    return f"{', '.join(said[:-1])} {joint} {said[-1]}" if len(said) > 1 else said[0]


def said_of(recipe: Any, data: Mapping[str, Any], unusual: str) -> str:
    """What a work learnt from, for how long and where.

    Args:
        recipe: of its model.
        data: what is stored.
        unusual: in what the recipe is not the declared size.

    Returns:
        some sentences.
    """
    split, took = data["split"], data["cpu_seconds"]
    return (
        f"{split['training']} sounds of {data['sounds']} to learn from, {split['looks']} to look at meanwhile, "
        f"{split['test']} to be judged by, set apart by {SPLITS[recipe.build().split_by]}; "
        f"{took['dense'] / 60:.1f} minutes of CPU, {took['trimmed'] / 60:.1f} more after "
        f"the cut; {data['machine']['cpu']}, {data['date']}.{unusual} {data.get('remark', '')}".strip()
    )


def trained_how(work: Work, data: Mapping[str, Any]) -> str:
    """How a work was trained.

    Args:
        work: its training.
        data: what is stored, of which the steps are told.

    Returns:
        a sentence or two.
    """
    training, steps = work.training, data["steps"]
    long = "a whole sound" if data["mode"] == "one_shot" else f"{training.excerpt_seconds * 1000:g} ms"
    varied = []
    if training.shift_semitones:
        varied.append(f"transposed by up to {training.shift_semitones:g} semitones")
    if training.gain_db:
        varied.append(f"made up to {training.gain_db:g} dB louder or softer")
    return (
        f"Trained for {steps:,} steps of {training.batch} excerpts of {long}, {' and '.join(varied) or 'as recorded'}; "
        f"learning rate {training.learning_rate:g}, falling after {words.percent(training.anneal_from)} of the steps. "
        f"The trimmed form had {round(AGAIN * steps):,} steps more than the dense one."
    )


def explained(verdict: Mapping[str, Any]) -> str:
    """What the words of a verdict mean, where they are not plain.

    Args:
        verdict: as stored.

    Returns:
        sentences; none of a verdict that needs none.
    """
    said = [DISCREPANCY] if verdict["metric"].startswith("discrepancy") else []
    return " ".join([*said, *(meaning for name, meaning in MEANINGS.items() if name in verdict["aside"]["dense"])])


def pitch_said(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Who keeps the pitch it is asked for.

    Args:
        found: works' documents, by name.

    Returns:
        a sentence; nothing where nobody was heard.
    """
    kept = {name: data["verdict"]["aside"]["dense"].get(PITCH_KEPT) for name, data in found.items()}
    heard = {name: share for name, share in kept.items() if share is not None}
    astray = [f"{name} {words.percent(share)}" for name, share in heard.items() if share < IN_TUNE]
    if not heard:
        return ""
    said = f"Asked to play held-out sounds’ pitches, {len(heard) - len(astray)} of {len(heard)} keep them at least "
    said += f"{words.percent(IN_TUNE)} of the time"
    return f"{said} ({', '.join(astray)})." if astray else f"{said}."


def first_step_said(found: Mapping[str, Mapping[str, Any]]) -> str:
    """How much more is computed before a note is heard than its receptive field asks for.

    Args:
        found: size to counts, as `models_first_step.first_step` gives them.

    Returns:
        a sentence; nothing of a work that has no such counts.
    """
    if not found:
        return ""
    sizes = "; ".join(
        f"{size} {words.amount(item['step_macs'])} MAC where {words.amount(item['needed_macs'])} are required, "
        f"{item['step_macs'] / item['needed_macs']:.3f} times"
        for size, item in (("at this size", found["here"]), ("at the published one", found["published"]))
    )
    return (
        f"Before the first block is heard its network does little more than the work that the block’s receptive field "
        f"requires, which gradients through the whole picture tell: {sizes}. The goal is 1.2 times."
    )
