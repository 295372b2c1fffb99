"""The whole job: a folder of sounds in; a verified, light instrument with its page and its report out.

listen -> plan for the board -> train -> trim in rounds -> keep the smallest that sounds as well -> evaluate ->
generate C -> verify on every machine -> write.

Everything lands in one folder. Run again on the same folder, the job goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from pochette.boards.board import Board
from pochette.corpus.folder import FolderCorpus
from pochette.engine.export import export, identifier
from pochette.engine.precision import Precision
from pochette.engine.verify import USUAL, Check, verify
from pochette.errors import RunError, SoundError
from pochette.families import boards, models, shells
from pochette.instrument import Instrument, remember_built_here
from pochette.lab.aim import Tell, aim_for, bears
from pochette.lab.build import Ranges, build_instrument, golden_curve
from pochette.lab.cost import costs_of
from pochette.lab.evaluate import Evaluation, distance_to_held_out, engine_to_held_out, evaluate
from pochette.lab.judge import hold_out
from pochette.lab.keeping import kept_of
from pochette.lab.playing import listen_to
from pochette.lab.result import MakeResult
from pochette.lab.runs import Run, check_same, sized
from pochette.lab.tell_result import Findings, clips_of, result_of
from pochette.models.model import Model
from pochette.recipe import check_ranges, signature
from pochette.reduce.methods.lottery import Lottery
from pochette.reduce.technique import DENSE_SHARE, Round
from pochette.train.device import device_of
from pochette.train.loop import Trainer, Training
from pochette.train.session import Session

TRAINING = "train and trim"
"""Name of the stage that an earlier run may have done part of."""


@dataclass(frozen=True)
class Make:
    """What is asked for."""

    sounds: Path
    """Folder of recordings."""
    board: str = "pi-4"
    """Machine the instrument is for; asked before training, because it decides rate and size."""
    model: str = "ddsp"
    """Which model plays."""
    size: str = "small"
    """Declared size that training starts from."""
    minutes: float = 10.0
    """Wall time for the whole job, about."""
    out: Path | None = None
    """Folder for the results; ./NAME-BOARD by default."""
    seed: int = 0
    """Draws weights, excerpts, phases, and the held-out sounds."""
    steps: int | None = None
    """Bound training by optimiser steps instead of time: the same seed then gives the same instrument."""
    sample_rate_hz: int | None = None
    """Rate of the instrument; the board's own by default."""
    precision: Precision = "float32"
    """In which the engine's large matrices are stored."""
    device: str = "cpu"
    """What training computes on."""

    def __post_init__(self) -> None:
        day = 24.0 * 60.0
        check_ranges(
            self, minutes=(0.05, 30 * day), steps=(1, 10**9), seed=(0, 2**31 - 1), sample_rate_hz=(4000, 384000)
        )


@dataclass(frozen=True)
class Made:
    """What the job made, and where it lies."""

    folder: Path
    instrument: Instrument
    instrument_path: Path
    page: Path
    report: Path
    sources: Path
    result: MakeResult
    resumed: tuple[str, ...] = ()
    """Phases of training that an earlier run had finished or begun."""


@dataclass
class _Clock:
    """Wall time per stage."""

    stages: list[tuple[str, float]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.stages.append((name, time.monotonic() - begun))

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began


@dataclass(frozen=True)
class _Job:
    """What is settled before anything is trained."""

    request: Make
    tell: Tell
    clock: _Clock
    board: Board
    folder: Path
    dense: Model
    corpus: FolderCorpus
    training_part: FolderCorpus
    held_out: FolderCorpus

    @property
    def name(self) -> str:
        """Of the instrument, its files and its C functions."""
        return identifier(Path(self.request.sounds).resolve().name)

    @property
    def title(self) -> str:
        """Of the instrument, for people."""
        name = Path(self.request.sounds).resolve().name
        printable = "".join(letter if letter.isprintable() and letter not in "-_" else " " for letter in name)
        return " ".join(printable.split()).title()


def make(request: Make, tell: Tell | None = None) -> Made:
    """Do the whole job.

    Args:
        request: what is asked for.
        tell: told of the progress.

    Returns:
        where everything lies and what was measured.

    Raises:
        PochetteError: something a person can mend; what was made before stays.
    """
    job = _begin(request, tell or (lambda *_: None))
    with job.clock.stage("plan"):
        method = Lottery(keep=aim_for(job.dense, job.board, request.precision, job.tell))
    session = _session(job, method)
    # What is trained is a run as any other, to be analysed, exported, or reduced by other means.
    run = Run.of(request.model, job.dense.recipe, Path(request.sounds), job.corpus, session.training)
    run.write(session.folder)
    with job.clock.stage(TRAINING):
        rounds = method.apply(job.dense, session)
    with job.clock.stage("evaluate"):
        distances = _distances(job, rounds)
        kept = kept_of(distances, _untrained(job), lambda number: _bears(job, rounds[number]))
        replace(run, kept=rounds[kept].name).write(session.folder)
        evaluation = _evaluate(job, rounds, kept, distances)
    with job.clock.stage("generate"):
        instrument = _build(job, rounds, kept, evaluation)
        instrument, evaluation = _heard_as_engine(job, instrument, rounds[kept], evaluation)
        dense = export(job.dense, job.name), golden_curve(job.dense, Ranges.of(job.corpus))
    with job.clock.stage("verify"):
        checks = _verify(instrument, job.tell)
    with job.clock.stage("measure"):
        job.tell("measure", 0.0, "instructions, time, pitch and loudness")
        costs = costs_of({"trimmed": (instrument.source, instrument.golden_controls), "dense": dense}, job.board)
        playing = listen_to(instrument, job.corpus)
    with job.clock.stage("write"):
        job.tell("write", 0.0, str(job.folder))
        stages = _stages(job.clock, rounds)
        found = Findings(
            job.board,
            job.dense.recipe,
            job.corpus,
            job.held_out,
            rounds,
            kept,
            evaluation,
            costs,
            checks,
            playing,
            stages,
            instrument,
        )
        seconds = sum(took for _, took in stages)
        result = result_of(found, job.name, job.title, request.model, request.size, request.seed, seconds)
        made = _write(job.folder, instrument, result, evaluation, session)
    job.tell("write", 1.0, str(job.folder))
    return made


def _stages(clock: _Clock, rounds: list[Round]) -> tuple[tuple[str, float], ...]:
    """Wall time of each stage; training counts what earlier runs of a resumed job spent on it too."""
    trained = sum(item.progress.seconds for item in rounds)
    return tuple((name, max(took, trained) if name == TRAINING else took) for name, took in clock.stages)


# -- before training ---------------------------------------------------------------------------------------------------


def _begin(request: Make, tell: Tell) -> _Job:
    """Settle what the board decides, and listen to the sounds."""
    clock = _Clock()
    board = boards[request.board]
    rate = request.sample_rate_hz or board.sample_rate_hz
    torch.manual_seed(request.seed)
    dense: Model = sized(models[request.model], request.size, sample_rate_hz=rate).build()
    folder = _output_folder(request)
    try:
        with clock.stage("listen"):
            corpus = FolderCorpus.prepare(
                Path(request.sounds),
                rate,
                dense.hop_samples,
                progress=lambda done, total, name: tell("listen", done / max(total, 1), name),
            )
            check_same(folder, request.model, Path(request.sounds), corpus)
            training_part, held_out = hold_out(corpus, dense, request.seed)
    except SoundError:
        with suppress(OSError):  # where something lies in it, it stays
            folder.rmdir()
        raise
    return _Job(request, tell, clock, board, folder, dense, corpus, training_part, held_out)


def _output_folder(request: Make) -> Path:
    folder = (
        Path(request.out)
        if request.out is not None
        else Path(f"{identifier(Path(request.sounds).resolve().name)}-{request.board}")
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"The output folder cannot be written: {error.strerror or error}.",
            where=str(folder),
            remedy="Choose another with --out.",
        ) from error
    return folder


# -- while training ----------------------------------------------------------------------------------------------------


def _session(job: _Job, method: Lottery) -> Session:
    """Training in a folder of its own for everything that decides its course, within what is left of the time."""
    request = job.request
    described = {"seed": request.seed, "corpus": job.corpus.fingerprint}
    seconds = request.minutes * 60.0
    reserve = min(max(0.25 * seconds, 20.0), 200.0)
    return Session(
        job.folder / "training" / signature(job.dense.recipe, method, described),
        job.training_part,
        job.held_out,
        Training(seed=request.seed),
        seconds=max(10.0, seconds - job.clock.elapsed - reserve) if request.steps is None else float("inf"),
        steps=request.steps,
        device=device_of(request.device),
        report=lambda phase, trainer: job.tell("train", _share(phase, trainer, method), _line(phase, trainer)),
    )


def _share(phase: str, trainer: Trainer, method: Lottery) -> float:
    """Share of all training that is done."""
    used = trainer.budget.used(trainer.progress.seconds, trainer.progress.steps)
    if phase == "dense":
        return DENSE_SHARE * used
    number = int(phase.removeprefix("round-"))
    return DENSE_SHARE + sum(method.share(n) for n in range(1, number)) + method.share(number) * used


def _line(phase: str, trainer: Trainer) -> str:
    step, loss, held_out = trainer.progress.history[-1]
    return f"{phase}: step {step}, loss {loss:.3f}, held out {held_out:.3f}"


# -- after training ----------------------------------------------------------------------------------------------------


def _distances(job: _Job, rounds: list[Round]) -> list[float]:
    """How far each network is from the held-out sounds."""
    found = []
    for item in rounds:
        job.tell("evaluate", 0.0, f"hearing {item.name}")
        found.append(distance_to_held_out(item.model, job.held_out))
    return found


def _untrained(job: _Job) -> float:
    """How far the dense network was before it learnt anything."""
    torch.manual_seed(job.request.seed)
    untrained: Model = job.dense.recipe.build()
    return distance_to_held_out(untrained, job.held_out)


def _bears(job: _Job, item: Round) -> bool:
    job.tell("evaluate", 0.0, f"counting {item.name} on {job.board.title}")
    return bears(job.board, item.model, job.request.precision)


def _evaluate(job: _Job, rounds: list[Round], kept: int, distances: list[float]) -> Evaluation:
    """Dense and kept on held-out sounds, beside the anchors; a short job is judged by shorter fits."""
    contenders = {"dense": rounds[0].model, "trimmed": rounds[kept].model}
    effort = min(1.0, job.request.minutes / 10.0)

    def report(what: str, share: float) -> None:
        job.tell("evaluate", share, what)

    found = evaluate(contenders, job.training_part, job.held_out, report, effort=effort)
    others = {
        item.name: distance
        for number, (item, distance) in enumerate(zip(rounds, distances, strict=True))
        if number not in (0, kept)
    }
    return replace(found, distance={**found.distance, **others})


def _build(job: _Job, rounds: list[Round], kept: int, evaluation: Evaluation) -> Instrument:
    job.tell("generate", 0.0, "C99 and WebAssembly")
    return build_instrument(
        rounds[kept].model,
        job.name,
        Ranges.of(job.corpus),
        title=job.title,
        board=job.board.name,
        provenance=_provenance(job.request, job.corpus, rounds[: kept + 1], evaluation),
        precision=job.request.precision,
    )


def _heard_as_engine(
    job: _Job, instrument: Instrument, kept: Round, evaluation: Evaluation
) -> tuple[Instrument, Evaluation]:
    """The engine itself among the contenders, where fewer bits may have made it another instrument."""
    if instrument.precision == "float32":
        return instrument, evaluation
    distance = {**evaluation.distance, "engine": engine_to_held_out(instrument.source, kept.model, job.held_out)}
    told = {**instrument.provenance, "distance": distance}
    return replace(instrument, provenance=told), replace(evaluation, distance=distance)


def _verify(instrument: Instrument, tell: Tell) -> list[Check]:
    checks: list[Check] = []
    for number, engine in enumerate(USUAL):
        tell("verify", number / len(USUAL), f"playing on {engine}")
        golden = instrument.golden_controls, instrument.golden_audio
        checks += verify(instrument.source, instrument.wasm, *golden, (engine,))
    tell("verify", 1.0, "played on all")
    return checks


def _provenance(request: Make, corpus: FolderCorpus, rounds: list[Round], evaluation: Evaluation) -> dict[str, object]:
    return {
        "corpus": corpus.fingerprint,
        "sounds": len(corpus),
        "seconds": round(corpus.seconds, 1),
        "seed": request.seed,
        "steps": {item.name: item.progress.steps for item in rounds},
        "devices": {item.name: item.progress.devices for item in rounds},
        "reduction": rounds[-1].report.to_json() if rounds[-1].report else {},
        "distance": evaluation.distance,
    }


def _write(folder: Path, instrument: Instrument, result: MakeResult, evaluation: Evaluation, session: Session) -> Made:
    """Everything a person wants to find in the folder."""
    from pochette.lab.report import write_report

    path = instrument.save(folder / f"{instrument.name}.pochette")
    remember_built_here(path)
    page = shells["web"](instrument, folder)
    sources = shells["c"](instrument, folder)
    clips = clips_of(evaluation, instrument.sample_rate_hz, whole=result.kept_whole)
    report = write_report(result, clips, folder / "report.html")
    text = json.dumps(result.to_json(), indent=1, allow_nan=False)
    temporary = folder / ".result.json"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / "result.json")
    return Made(folder, instrument, path, page, report, sources, result, tuple(session.resumed))
