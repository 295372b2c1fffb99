"""A run: the folder in which a model was trained, and what must be known to go on with it later."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

import pochette
from pochette.corpus.folder import FolderCorpus
from pochette.errors import InstrumentError, PochetteError, RunError, UnknownNameError
from pochette.families import methods
from pochette.instrument import Instrument
from pochette.lab.build import Ranges
from pochette.models.model import Model
from pochette.recipe import did_you_mean, from_json, to_json
from pochette.train.checkpoint import load, save
from pochette.train.loop import Budget, Training
from pochette.train.session import load_model, rebuild

SCHEMA = 1
FILE = "run.json"
TRAINED_ON = "trained-on"
"""The phase in which a reduced network was trained on, after its method had ended."""


@dataclass(frozen=True)
class Run:
    """What is known of a run besides its checkpoints."""

    model: str
    """Registered name."""
    recipe: dict[str, Any]
    """Of the dense model, as JSON."""
    corpus: str
    """Folder of the sounds."""
    fingerprint: str
    """Of their names and contents."""
    seed: int
    training: dict[str, Any]
    """How it was trained, as JSON."""
    pitch_range_hz: tuple[float, float] | None
    loudness_range_db: tuple[float, float]
    sounds: int = 0
    seconds: float = 0.0
    """Of sound."""
    reduction: dict[str, Any] | None = None
    """Method and its fields, of a reduced run."""
    kept: str | None = None
    """Phase of training whose network became the instrument, where that was chosen; else it is the last."""
    weights_alive: float | None = None
    """Share of the single weights that are not zero, of a reduced network that was trained on."""
    version: str = pochette.__version__

    @classmethod
    def of(cls, model: str, recipe: Any, sounds: Path, corpus: FolderCorpus, training: Training) -> Run:
        """The facts of a run that begins.

        Args:
            model: registered name.
            recipe: of the dense model.
            sounds: folder of the recordings.
            corpus: made of them.
            training: how it is trained.

        Returns:
            the facts.
        """
        ranges = Ranges.of(corpus)
        return cls(
            model=model,
            recipe=to_json(recipe),
            corpus=str(sounds.resolve()),
            fingerprint=corpus.fingerprint,
            seed=training.seed,
            training=asdict(training),
            pitch_range_hz=ranges.pitch_hz,
            loudness_range_db=ranges.loudness_db,
            sounds=len(corpus),
            seconds=round(corpus.seconds, 1),
        )

    @property
    def ranges(self) -> Ranges:
        """Of pitch and loudness in the corpus."""
        return Ranges(self.pitch_range_hz, self.loudness_range_db)

    def write(self, folder: Path) -> None:
        """Write the run's facts into its folder, whole or not at all.

        Args:
            folder: made if missing.

        Raises:
            RunError: it cannot be written.
        """
        temporary = folder / f".{FILE}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, folder / FILE)
        except OSError as error:
            raise RunError(
                f"The run cannot be written: {error.strerror or error}.",
                where=str(folder),
                remedy="Free some space, or choose another folder with --out.",
            ) from error


def read_run(folder: Path) -> Run:
    """Read a run's facts.

    Args:
        folder: of the run.

    Returns:
        the facts.

    Raises:
        RunError: it is no run, or of a later version, or damaged.
    """
    path = Path(folder) / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            "This is no folder of a training run.",
            where=str(folder),
            remedy="Train first: pochette train MODEL SOUNDS --out RUN.",
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(data, dict) or "schema" not in data:
        raise _damaged(path, "they are not those of a run")
    if (schema := data.pop("schema")) != SCHEMA:
        raise RunError(
            f"The run has schema {schema}; this pochette reads {SCHEMA}.",
            where=str(path),
            remedy="Update pochette: pip install --upgrade pochette.",
        )
    missing = {field.name for field in fields(Run) if field.default is MISSING} - set(data)
    if missing or (foreign := set(data) - set(_FACTS)):
        said = f"{', '.join(sorted(missing))} missing" if missing else f"{', '.join(sorted(foreign))} unknown"
        raise _damaged(path, said)
    for name, value in data.items():
        if not _FACTS[name](value):
            raise _damaged(path, f"{name} cannot be {json.dumps(value)[:40]}")
    ranges = {name: tuple(data[name]) for name in ("pitch_range_hz", "loudness_range_db") if data[name] is not None}
    return Run(**{**data, **ranges})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]


_FACTS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("model", "corpus", "fingerprint", "version"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("recipe", "training"), lambda value: isinstance(value, dict)),
    **dict.fromkeys(("seed", "sounds"), lambda value: isinstance(value, int)),
    "seconds": _is_number,
    "loudness_range_db": _is_range,
    "pitch_range_hz": lambda value: value is None or _is_range(value),
    "reduction": lambda value: value is None or isinstance(value, dict),
    "kept": lambda value: value is None or isinstance(value, str),
    "weights_alive": lambda value: value is None or (_is_number(value) and 0.0 <= value <= 1.0),
}
"""What each fact can be."""


def check_same(folder: Path, model: str, sounds: Path, corpus: FolderCorpus) -> None:
    """Refuse to make an instrument where another lies, which would be lost; with more sounds it is the same one.

    Args:
        folder: of an instrument, with its runs in `training/`, if anything was made there.
        model: registered name.
        sounds: folder of the recordings.
        corpus: made of them.

    Raises:
        RunError: it is of another model, or of other sounds.
    """
    for path in sorted(Path(folder).glob(f"training/*/{FILE}")):
        before = read_run(path.parent)
        other_sounds = before.corpus != str(sounds.resolve()) and before.fingerprint != corpus.fingerprint
        if before.model != model or other_sounds:
            said = f"of the sounds in {before.corpus!r}" if other_sounds else f"with the model {before.model}"
            raise RunError(
                f"This folder holds an instrument that was made {said}.",
                where=str(folder),
                remedy="Choose another folder with --out.",
            )


def sized(recipe: Any, size: str, **changes: Any) -> Any:
    """The recipe of a declared size.

    Args:
        recipe: class of a model's recipe.
        size: one of its `SIZES`; a model that declares none has one size, whatever it is called.
        **changes: other fields.

    Returns:
        the recipe.

    Raises:
        UnknownNameError: the model declares no such size.
    """
    known = getattr(recipe, "SIZES", {})
    if not known:
        return recipe(**changes)
    if size not in known:
        raise UnknownNameError(
            f"{recipe.__name__} has no size {size!r}.",
            remedy=f"{did_you_mean(size, known)}Choose one with --size: {', '.join(known)}.",
        )
    return recipe.sized(size, **changes)


def last_phase(folder: Path) -> str:
    """The phase of training whose network a run stands for: later training of a reduced one, the chosen, or the last.

    Args:
        folder: of the run.

    Returns:
        name of the phase.

    Raises:
        RunError: nothing was trained there yet.
    """
    if (Path(folder) / f"{TRAINED_ON}.safetensors").is_file():
        return TRAINED_ON
    chosen = read_run(folder).kept if (Path(folder) / FILE).is_file() else None
    if chosen is not None and (Path(folder) / f"{chosen}.safetensors").is_file():
        return chosen
    found = sorted(
        (int(path.stem.removeprefix("round-")), path.stem)
        for path in Path(folder).glob("round-*.safetensors")
        if path.stem.removeprefix("round-").isdecimal()
    )
    if found:
        return found[-1][1]
    if (Path(folder) / "dense.safetensors").is_file():
        return "dense"
    raise RunError(
        "There is no checkpoint in this run yet.",
        where=str(folder),
        remedy="Train it: pochette train MODEL SOUNDS --out RUN.",
    )


def trained_model(folder: Path) -> tuple[Model, str]:
    """The model of a run as its last phase left it.

    Args:
        folder: of the run.

    Returns:
        the model, and the phase's name.

    Raises:
        RunError: nothing was trained there, or the checkpoint is damaged.
    """
    phase = last_phase(folder)
    return load_model(Path(folder) / f"{phase}.safetensors")[0], phase


def reductions_of(folder: Path) -> list[tuple[str, Any]]:
    """The methods that led to a run's network.

    Args:
        folder: of the run.

    Returns:
        name and method with its options, in order; none of a run that was trained alone.

    Raises:
        RunError: the facts of the run, or of one that it was made of, are damaged.
        UnknownNameError: a method is not known, or has other options.
    """
    done: list[tuple[str, Any]] = []
    while (Path(folder) / FILE).is_file() and (named := read_run(folder).reduction) is not None:
        options = {option: value for option, value in named.items() if option != "method"}
        done.insert(0, (named["method"], from_json(methods[named["method"]], options)))
        folder = Path(folder).parent
    return done


def progress_of(checkpoint: Path) -> dict[str, Any]:
    """Where the training stood that left a checkpoint.

    Args:
        checkpoint: its file.

    Returns:
        fields of `Progress`.

    Raises:
        RunError: missing or damaged.
    """
    progress: dict[str, Any] = load(checkpoint)[1]["progress"]
    return progress


def reopen(checkpoint: Path, budget: Budget) -> bool:
    """Let a training that spent its budget go on if it is given more.

    The learning rate then rises again to where the larger budget puts it.

    Args:
        checkpoint: of the phase; there may be none.
        budget: the new one.

    Returns:
        whether it was finished and is not any more.

    Raises:
        RunError: the checkpoint is damaged, or cannot be written.
    """
    if not checkpoint.is_file():
        return False
    tensors, facts = load(checkpoint)
    progress = facts["progress"]
    if progress["stopped"] != "budget spent" or budget.used(progress["seconds"], progress["steps"]) >= 1.0:
        return False
    facts.pop("format_version", None)
    save(checkpoint, tensors, {**facts, "progress": {**progress, "stopped": ""}})
    return True


def corpus_of(run: Run, model: Model, progress: Any = None) -> FolderCorpus:
    """The corpus a run was trained on.

    Args:
        run: the run.
        model: gives rate and hop.
        progress: see `FolderCorpus.prepare`.

    Returns:
        the corpus, whole.

    Raises:
        SoundError: the folder is gone.
        RunError: the sounds are not the same any more.
    """
    corpus = FolderCorpus.prepare(Path(run.corpus), model.sample_rate_hz, model.hop_samples, progress=progress)
    if corpus.fingerprint != run.fingerprint:
        raise RunError(
            "The sounds changed since this run was trained.",
            where=run.corpus,
            remedy="Put them back as they were, or train anew with another --out.",
        )
    return corpus


def model_of(instrument: Instrument) -> Model:
    """The torch model inside an instrument: its recipe rebuilt around its weights.

    Args:
        instrument: loaded or made.

    Returns:
        the model.

    Raises:
        InstrumentError: the file does not hold a model that this pochette knows.
    """
    weights = {name: torch.from_numpy(array.copy()) for name, array in instrument.weights.items()}
    try:
        return rebuild(instrument.recipe, weights)
    except (PochetteError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InstrumentError(
            "The model inside this instrument cannot be rebuilt in torch: "
            f"{error.what if isinstance(error, PochetteError) else error}",
            where=str(instrument.path or instrument.name),
            remedy="Play it on another engine (wasm, c), or use the version of pochette that made it: "
            f"{instrument.pochette_version}.",
        ) from error


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"The run's facts are damaged: {why}.", where=str(path), remedy="Train anew with another --out.")
