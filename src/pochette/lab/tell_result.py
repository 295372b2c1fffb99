"""From what the stages of `make` found to the plain result that its report shows."""

from __future__ import annotations

import datetime
import platform
from dataclasses import dataclass
from typing import Any

import torch

import pochette
from pochette.boards.board import Board
from pochette.corpus.folder import FolderCorpus
from pochette.engine.verify import Check
from pochette.instrument import Instrument
from pochette.lab.cost import EngineCost
from pochette.lab.evaluate import Evaluation
from pochette.lab.playing import Playing
from pochette.lab.report import Clip
from pochette.lab.result import (
    Anchor,
    CorpusFacts,
    EngineFacts,
    GoldenCheck,
    MakeResult,
    PlayingFacts,
    Stage,
    TrimPoint,
    VerdictFacts,
)
from pochette.measure import Profile, profile_model
from pochette.recipe import to_json
from pochette.reduce.technique import Round

ANCHORS = {
    "silence": "no sound at all",
    "white noise": "noise of the same level",
    "mean spectrum": "the best single spectrum for the whole corpus, driven by the same pitch and loudness",
    "another take": "another recording of the same note at the same dynamic",
    "untrained": "the same network before it learnt anything",
    "recordings": "recordings against recordings, parted by chance as training and held-out sounds are",
    "dense": "the network before trimming",
    "trimmed": "the network that was kept",
    "engine": "the same as its engine plays it, matrices in fewer bits",
    "floor": "the same synthesiser, its controls fitted directly to each of these very sounds",
}
ENGINE_TITLES = {
    "c": "C on this machine",
    "wasm": "WebAssembly",
    "aarch64": "aarch64, emulated",
    "armv7": "Cortex-A8, emulated",
    "cortex-m4": "Cortex-M4F, emulated",
    "cortex-m7": "Cortex-M7, emulated",
    "cortex-m33": "Cortex-M33, emulated",
}


@dataclass(frozen=True)
class Findings:
    """What the stages found, as they found it."""

    board: Board
    recipe: Any
    corpus: FolderCorpus
    held_out: FolderCorpus
    rounds: list[Round]
    kept: int
    """Number of the round that became the instrument; 0 if that is the dense network."""
    evaluation: Evaluation
    costs: dict[str, EngineCost]
    """"trimmed" and "dense"."""
    checks: list[Check]
    playing: Playing | None
    stages: tuple[tuple[str, float], ...]
    instrument: Instrument


def result_of(found: Findings, name: str, title: str, model: str, size: str, seed: int, seconds: float) -> MakeResult:
    """The plain result of a job.

    Args:
        found: by its stages.
        name: short name.
        title: for people.
        model: registered name.
        size: declared.
        seed: of the job.
        seconds: wall time of the whole job.

    Returns:
        the result.
    """
    profiles = [profile_model(item.model) for item in found.rounds]
    first = found.rounds[0].model
    frames = first.excerpt_frames if first.mode == "one_shot" else None
    return MakeResult(
        name=name,
        title=title,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        board=found.board.name,
        board_title=found.board.title,
        model=model,
        size=size,
        recipe=to_json(found.recipe),
        sample_rate_hz=first.sample_rate_hz,
        hop_samples=first.hop_samples,
        latency_samples=first.latency_samples,
        kept_whole=found.kept == 0,
        sound_seconds=None if frames is None else frames * first.hop_samples / first.sample_rate_hz,
        seed=seed,
        minutes=seconds / 60.0,
        corpus=_corpus(found),
        anchors=tuple(
            Anchor(row, found.evaluation.distance[row], help)
            for row, help in ANCHORS.items()
            if row in found.evaluation.distance
        ),
        metrics=found.evaluation.metrics,
        trimming=_points(found, profiles),
        learning={item.name: tuple(item.progress.history) for item in found.rounds},
        profile_before=profiles[0].to_json(),
        profile_after=profiles[found.kept].to_json(),
        engine=_engine(found, profiles[found.kept]),
        verdict=_verdict(found, first.sample_rate_hz),
        golden=_golden(found.checks),
        playing=_playing(found.playing),
        stages=tuple(Stage(*stage) for stage in found.stages),
        next_command=f"pochette play {name}.pochette\npochette verify {name}.pochette",
        versions={"pochette": pochette.__version__, "torch": torch.__version__, "python": platform.python_version()},
        precision=found.instrument.precision,
        matrices=tuple(found.instrument.provenance.get("rounding", {}).get("layers", ())),
    )


def _golden(checks: list[Check]) -> tuple[GoldenCheck, ...]:
    return tuple(
        GoldenCheck(
            ENGINE_TITLES[check.engine],
            check.max_error,
            check.seconds_of_audio,
            check.block_samples,
            check.passed if check.max_error is not None else None,
            check.note,
            check.golden_peak,
        )
        for check in checks
    )


def clips_of(evaluation: Evaluation, sample_rate_hz: int, *, whole: bool = False) -> list[Clip]:
    """Players of the report: each held-out sound, and what was made of it.

    Args:
        evaluation: sounds and resyntheses.
        sample_rate_hz: of all of them.
        whole: whether nothing was trimmed of what was kept.

    Returns:
        one clip a sound.
    """
    networks = {"dense": "its network"} if whole else {"dense": "before trimming", "trimmed": "after trimming"}
    rows = {"mean spectrum": "mean spectrum", **networks, "floor": "floor"}
    clips = []
    for number, name in enumerate(evaluation.names):
        versions = {"recording": evaluation.reference[number]}
        versions |= {label: evaluation.made[row][number] for row, label in rows.items() if row in evaluation.made}
        clips.append(Clip(name, versions, sample_rate_hz))
    return clips


def _corpus(found: Findings) -> CorpusFacts:
    return CorpusFacts(
        found.corpus.folder.resolve().name,
        found.corpus.fingerprint,
        len(found.corpus),
        found.corpus.seconds,
        tuple(sound.name for sound in found.held_out.sounds),
        found.held_out.split_note,
        tuple(f"{problem.name}: {problem.what}" for problem in found.corpus.problems),
    )


def _points(found: Findings, profiles: list[Profile]) -> tuple[TrimPoint, ...]:
    """The dense network and the rounds, the one that was kept among them."""
    points = []
    for number, (item, counted) in enumerate(zip(found.rounds, profiles, strict=True)):
        name = "dense" if number == 0 else "trimmed" if number == found.kept else item.name
        rate = item.model.sample_rate_hz / item.model.hop_samples
        points.append(
            TrimPoint(
                name=name,
                parameters=counted.parameters,
                network_macs_per_second=counted.part("model.network").cost.macs * rate,
                held_out_loss=item.progress.history[-1][2],
                distance=found.evaluation.distance.get(name),
                steps=item.progress.steps,
                devices=tuple(item.progress.devices),
                seconds=item.progress.seconds,
            )
        )
    return tuple(points)


def _engine(found: Findings, counted: Profile) -> EngineFacts:
    after, before = found.costs["trimmed"], found.costs["dense"]

    def share(cost: EngineCost) -> float | None:
        if not cost.host_real_time_factor or cost.host_network_real_time_factor is None:
            return None
        return cost.host_network_real_time_factor / cost.host_real_time_factor

    return EngineFacts(
        state_bytes=counted.state_bytes,
        source_bytes=sum(len(text.encode()) for text in found.instrument.source.files.values()),
        wasm_bytes=len(found.instrument.wasm),
        flash_bytes=after.flash_bytes,
        ram_bytes=after.ram_bytes,
        instructions_per_second=after.instructions_per_second,
        instructions_per_second_before=before.instructions_per_second,
        network_instructions_per_second=after.network_instructions_per_second,
        network_instructions_per_second_before=before.network_instructions_per_second,
        cycles_per_second_low=after.cycles_per_second_low,
        cycles_per_second_high=after.cycles_per_second_high,
        host_real_time_factor=after.host_real_time_factor,
        host_real_time_factor_before=before.host_real_time_factor,
        host_network_share=share(after),
        host_network_share_before=share(before),
        counted_for=found.board.cpu if after.instructions_per_second is not None else "",
        method=(
            "compiled for the processor, run in an emulator over moving controls, every executed block's instructions "
            "added up; the network alone by leaving synthesis out of the build"
            if after.instructions_per_second is not None
            else ""
        ),
    )


def _verdict(found: Findings, sample_rate_hz: int) -> VerdictFacts:
    verdict = found.costs["trimmed"].verdict(found.board, sample_rate_hz)
    remedies: tuple[str, ...] = ()
    if not verdict.fits:
        remedies = (
            "Start from a smaller size: --size tiny.",
            "Use a lower rate: --sample-rate-hz 16000 makes a third of the samples and of the partials.",
            "Choose a larger board: pochette list boards.",
        )
    return VerdictFacts(verdict.fits, verdict.reasons, verdict.notes, remedies)


def _playing(playing: Playing | None) -> PlayingFacts | None:
    if playing is None:
        return None
    return PlayingFacts(
        playing.pitch_accuracy,
        playing.median_pitch_error_cents,
        playing.median_loudness_error_db,
        playing.pitches,
        "Boersma's autocorrelation, which no training label comes from",
    )
