"""Verbs of those who play: render, play, verify. They work without torch, unless torch itself is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import FlagCreatePairsOff

from pochette.cli.console import Answer, Screen, folder_of, number, table, words
from pochette.cli.verb import InstrumentPath, Verb, command, heard, within
from pochette.engine.runner import Runner
from pochette.errors import InstrumentError, ToolError
from pochette.instrument import Instrument, load
from pochette.instrument.trust import built_here

VerifyEngine = Literal["c", "wasm", "aarch64", "armv7", "cortex-m4", "cortex-m7", "cortex-m33"]
RenderEngine = Literal["torch", "c", "wasm", "aarch64", "armv7", "cortex-m4", "cortex-m7", "cortex-m33"]
VOICES_LIMIT = 64
TAIL_LIMIT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Render(Verb):
    """Play a MIDI file into a wave file, on any engine: in the sandbox, natively, in an emulated board, in torch."""

    instrument: InstrumentPath
    """A .pochette file."""
    midi: Path
    """What is played: a standard MIDI file."""
    out: Path
    """The wave file to write, 16 bits, mono."""
    engine: RenderEngine = "wasm"
    """Where it is played; wasm is the sandbox, processors are emulated."""
    voices: int = 8
    """How many notes may sound at once."""
    tail_seconds: float = 2.0
    """How long to wait at most for the last notes to fall silent."""
    mono: FlagCreatePairsOff[bool] = False
    """One voice that slurs from note to note."""
    trust: FlagCreatePairsOff[bool] = False
    """Run the file's code natively although it was not built here; only for files whose maker you trust."""

    def run(self, screen: Screen) -> Answer:
        """Render."""
        from pochette.instrument.render import check_output, render

        within("--voices", self.voices, 1, VOICES_LIMIT)
        within("--tail-seconds", self.tail_seconds, 0, TAIL_LIMIT_S)
        check_output(self.out, self.instrument, self.midi)
        instrument = load(self.instrument)
        with screen.progress() as tell:
            report = render(
                instrument,
                self.midi,
                self.out,
                "c" if self.engine == "c" else "wasm",
                runner_factory=_factory(instrument, self.engine),
                voices=self.voices,
                tail_seconds=self.tail_seconds,
                progress=lambda share: tell("render", share, self.engine),
                trust=self.trust,
                mono=self.mono,
            )
        lines = [
            f"{folder_of(report.path)}: {report.seconds:.1f} s, {report.notes} notes, peak {report.peak:.2f}, "
            f"{number(report.real_time_factor)} s of work a second of audio on {self.engine}"
        ]
        if report.stolen_notes:
            lines.append(f"{report.stolen_notes} notes were cut short; give more --voices than {self.voices}.")
        if report.clipped_samples:
            lines.append(f"{report.clipped_samples} samples exceed full scale and were held there.")
        if report.left_out:
            lines.append(f"{report.left_out} notes of the percussion channel were left out.")
        return Answer(
            {**asdict(report), "path": str(report.path), "engine": self.engine},
            tuple(words(line) for line in lines),
            heard(self.instrument) or (command("verify", self.instrument),),
        )


def _factory(instrument: Instrument, engine: RenderEngine) -> Callable[[], Runner] | None:
    """What makes the voices of an engine that the instrument does not bring itself."""
    if engine in ("wasm", "c"):
        return None
    if engine == "torch":
        from pochette.lab.runs import model_of
        from pochette.models.model import TorchRunner

        model = model_of(instrument)
        return lambda: TorchRunner(model)
    from pochette.engine.verify import runner_for

    return lambda: runner_for(engine, instrument.source, instrument.wasm)


@dataclass(frozen=True, kw_only=True)
class Play(Verb):
    """Play live: MIDI keyboard or the terminal's letters in, sound card out; Ctrl-C ends."""

    instrument: InstrumentPath
    """A .pochette file."""
    voices: int = 4
    """How many notes sound at once."""
    mono: FlagCreatePairsOff[bool] = False
    """One voice that slurs from note to note."""
    engine: Literal["wasm", "c"] = "wasm"
    """wasm runs in a sandbox; c is native code, for files that were built here or with --trust."""
    trust: FlagCreatePairsOff[bool] = False
    """Run the file's code natively although it was not built here; only for files whose maker you trust."""
    midi_port: str = ""
    """Part of the name of the MIDI input; the first one if empty."""
    device: str = ""
    """Sound card, by number or part of its name; the system's choice if empty."""
    block_samples: int = 256
    """Samples that the sound card asks for at once; fewer answer sooner and need more speed."""
    seconds: float = float("inf")
    """Stop by itself after so long."""

    def run(self, screen: Screen) -> Answer:
        """Play."""
        from pochette.instrument.play import play

        within("--voices", self.voices, 1, VOICES_LIMIT)
        within("--block-samples", self.block_samples, 1, 1 << 16)
        within("--seconds", self.seconds, 0, float("inf"))
        live = play(
            load(self.instrument),
            engine=self.engine,
            trust=self.trust,
            voices=self.voices,
            mono=self.mono,
            midi_port=self.midi_port,
            device=(int(self.device) if self.device.isdecimal() else self.device) or None,
            block_samples=self.block_samples,
            tell=screen.say,
            seconds=self.seconds,
        )
        data = {"load": live.load, "peak_load": live.peak_load, "xruns": live.xruns}
        return Answer(data, (), (command("verify", self.instrument),))


@dataclass(frozen=True, kw_only=True)
class Verify(Verb):
    """Play the golden sound on engines of every kind, native, sandboxed and emulated; exit 1 if one disagrees."""

    instrument: InstrumentPath
    """A .pochette file."""
    engines: tuple[VerifyEngine, ...] = ()
    """Which to try, by default one of each kind and that of the board it is for; one that is named and cannot run
    fails."""
    trust: FlagCreatePairsOff[bool] = False
    """Run the file's code natively although it was not built here; only for files whose maker you trust."""

    def run(self, screen: Screen) -> Answer:
        """Verify."""
        from pochette.engine.verify import Check, verify

        instrument = load(self.instrument)
        engines = list(self.engines or _usual(instrument))
        trusted = self.trust or built_here(instrument.digest)
        checks: list[Check] = []
        with screen.progress() as tell:

            def told(check: Check) -> None:
                checks.append(check)
                tell("verify", len(checks) / len(engines), check.engine)

            for engine in engines:
                if engine == "c" and not trusted:
                    note = "It was not built on this machine; --trust runs its native code all the same."
                    told(Check(engine, False, None, 0.0, (), 0.0, note))
                    continue
                told(_checked(instrument, engine, verify))
        ran = [check for check in checks if check.max_error is not None]
        failed = [check for check in ran if not check.passed]
        missing = [check for check in checks if check.max_error is None]
        passed = bool(ran) and not failed and not (self.engines and missing)
        rows = [
            (
                check.engine,
                "could not run" if check.max_error is None else "agrees" if check.passed else "DISAGREES",
                check.max_error,
                check.golden_peak,
                check.seconds_of_audio if check.max_error is not None else None,
                check.note,
            )
            for check in checks
        ]
        verdict = f"{len(ran) - len(failed)} of {len(ran)} engines that ran here play the golden sound."
        if not ran:
            why = " ".join(f"{check.engine}: {check.note}" for check in missing)
            verdict = f"None of the engines asked for could run here, so nothing was compared. {why}"
        following = (command("render", self.instrument, "--midi", "SONG.mid", "--out", "SONG.wav"),)
        if not passed:
            following = (command("doctor"),)
        return Answer(
            {"passed": passed, "checks": [check.to_json() for check in checks]},
            (
                table(("engine", "answer", "largest error", "of a peak of", "seconds of audio", "note"), rows),
                words(verdict),
            ),
            following,
            0 if passed else 1,
        )


def _usual(instrument: Instrument) -> list[str]:
    """One engine of each kind, and that of the board it was made for."""
    from pochette.engine.verify import USUAL
    from pochette.families import boards

    own = boards[instrument.board].machine if instrument.board in boards.names() else None
    return [*USUAL, *([own] if own is not None and own not in USUAL else [])]


def _checked(instrument: Instrument, engine: str, verify: Any) -> Any:
    """One engine's answer; an engine that breaks down disagrees."""
    try:
        (check,) = verify(
            instrument.source, instrument.wasm, instrument.golden_controls, instrument.golden_audio, [engine]
        )
    except (InstrumentError, ToolError) as error:
        from pochette.engine.verify import Check

        return Check(engine, False, float("inf"), 0.0, (), 0.0, error.what)
    return check
