"""Verbs of those who look at what was trained and take it elsewhere: profile, export."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from pochette.cli.console import Answer, Screen, Tell, folder_of, number, table, words
from pochette.cli.verb import (
    Restored,
    RunPath,
    UsageError,
    Verb,
    building,
    check_folder,
    check_run,
    command,
    heard,
    within,
)
from pochette.errors import RunError, UnknownNameError

if TYPE_CHECKING:
    from pochette.boards.board import Board
    from pochette.engine.packing import FloatArray
    from pochette.engine.source import EngineSource
    from pochette.instrument import Instrument
    from pochette.measure.energy import Energy
    from pochette.models.model import Model


PLAYED = "emulated, from the lowest note and the loudest on"
"""What an engine plays while its instructions are counted: the beginning of its golden sound."""
RATES_HZ = (4000, 384_000)
"""Least and greatest sample rate of an instrument."""


@dataclass(frozen=True, kw_only=True)
class Profile(Restored, Verb):
    """What a run, an instrument or an untrained model costs, layer by layer; with --board, whether that fits it."""

    target: Annotated[Positional[str], arg(metavar="TARGET")]
    """Folder of a run, a .pochette file, or the name of a model."""
    board: str = ""
    """Count instructions and bytes for this machine and give a verdict (pochette list boards)."""
    size: str = "small"
    """Declared size, if a model was named."""
    sample_rate_hz: int | None = None
    """Rate, if a model was named; the board's or the model's own by default."""
    power_meter: Path | None = None
    """CSV file of seconds and watts that a power meter wrote while the board played one voice: what it says of the
    energy is told in place of an estimate."""

    def run(self, screen: Screen) -> Answer:
        """Profile."""
        from pochette.families import boards
        from pochette.measure import profile_model

        within("--sample-rate-hz", self.sample_rate_hz, *RATES_HZ)
        self._check()
        board = boards[self.board] if self.board else None
        model, source, curve, what = self._find(board.sample_rate_hz if board else None)
        counted = profile_model(model)
        rows = [
            (
                layer.layer or "(synthesis)",
                layer.parameters,
                layer.cost.macs,
                layer.cost.pointwise,
                layer.cost.transcendental,
            )
            for layer in counted.layers
        ]
        headings = ("layer", "parameters", "MACs per frame", "pointwise", "transcendental")
        latency_ms = 1000 * model.latency_samples / model.sample_rate_hz
        totals: list[tuple[str, Any, str]] = [
            ("parameters", counted.parameters, "counted"),
            ("MACs per second of audio", counted.macs_per_second, "counted"),
            ("bytes of weights", counted.weight_bytes, "counted"),
            ("bytes of state", counted.state_bytes, "counted"),
            ("bytes of activations, at peak", counted.peak_activation_bytes, "counted"),
            ("latency, ms", latency_ms, "declared"),
            ("sample rate, Hz", model.sample_rate_hz, "declared"),
        ]
        data: dict[str, Any] = {
            "target": self.target,
            "what": what,
            "profile": counted.to_json(),
            "latency_ms": latency_ms,
            "sample_rate_hz": model.sample_rate_hz,
            "hop_samples": model.hop_samples,
            "board": None,
        }
        parts: list[Any] = [table(headings, rows, title=what)]
        if counted.unknown:
            parts.append(words(f"not counted: {', '.join(counted.unknown)}", "yellow"))
        verdict: list[str] = []
        if board is not None:
            with screen.progress() as tell:
                data["board"], counted_there, verdict = self._on_board(board, model, source, curve, tell)
            totals += counted_there
        parts.append(table(("total", "", "obtained"), ((name, number(value), how) for name, value, how in totals)))
        parts += [words(line) for line in verdict]
        following = command("profile", path if (path := Path(self.target)).exists() else self.target)
        following += " --board daisy-seed"
        if board is not None:
            following = self._following(board, bool(data["board"]["verdict"]["fits"]))
        return Answer(data, tuple(parts), (following,))

    def _on_board(
        self, board: Board, model: Model, source: EngineSource | None, curve: FloatArray, tell: Tell
    ) -> tuple[dict[str, Any], list[tuple[str, Any, str]], list[str]]:
        """What the engine costs on a board: as data, as lines of the totals, and whether it fits, in words."""
        from pochette.engine.export import export
        from pochette.lab.cost import count
        from pochette.lab.energy import energy_of
        from pochette.lab.fit import COUNTED_FRAMES

        curve = curve[:COUNTED_FRAMES]
        tell("export", 0.0, "writing the engine in C")
        source = source or export(model, "profile", precision=self.stored)
        cost = count(source, board, curve, tell)
        energy = energy_of(source, board, curve, cost.instructions_per_second, self.power_meter)
        answer = cost.verdict(board, model.sample_rate_hz)
        totals: list[tuple[str, Any, str]] = [
            ("instructions per second of audio", cost.instructions_per_second, PLAYED),
            ("of them in the network", cost.network_instructions_per_second, PLAYED),
            ("bytes of flash", cost.flash_bytes, cost.bytes_obtained),
            ("bytes of RAM", cost.ram_bytes, cost.bytes_obtained),
            ("energy per second of audio", None if energy is None else str(energy), _obtained(energy)),
        ]
        data = {"name": board.name, "cost": cost, "energy": energy, "verdict": dataclasses.asdict(answer)}
        head = f"{board.title}: it {'fits' if answer.fits else 'does NOT fit'}."
        return data, totals, [head, *answer.reasons, *answer.notes]

    def _check(self) -> None:
        """Refuse what concerns a board's engine where no board is named, and a meter's file that is none."""
        for option, given, what in (
            ("--power-meter", self.power_meter, "says what a board took"),
            ("--precision", self.precision, "says how a board's engine is stored; the network is counted in floats"),
        ):
            if given is not None and not self.board:
                raise UsageError(f"{option} {what}.", remedy="Name the board: --board daisy-seed.")
        if self.power_meter is not None:
            from pochette.measure.energy import of_meter

            of_meter(self.power_meter)  # before minutes of counting

    def _following(self, board: Board, fits: bool) -> str:
        """The next command: `fit` where a run's model is too much for the board, `make` otherwise."""
        if fits:
            return command("make", "SOUNDS", "--board", board.name)
        target = Path(self.target)
        return command("fit", target if (target / "run.json").exists() else "RUN", "--board", board.name)

    def _find(self, board_rate_hz: int | None) -> tuple[Model, Any, FloatArray, str]:
        """The model meant, its engine if it is generated already, what it is to play, and what it is in words."""
        from pochette.families import models
        from pochette.lab.build import USUAL, golden_curve
        from pochette.lab.runs import model_of, read_run, sized, trained_model

        path = Path(self.target)
        if path.is_file() or path.suffix == ".pochette":
            from pochette.instrument import load

            instrument = load(path)
            what, model = f"instrument {instrument.title}", model_of(instrument)
            if self.precision in (None, instrument.precision):
                return model, instrument.source, instrument.golden_controls, what
            return (
                model,
                None,
                instrument.golden_controls,
                f"{what}, its engine in {self.precision} instead of {instrument.precision}",
            )
        if path.is_dir():
            check_run(path)
            model, phase = trained_model(path)
            return model, None, golden_curve(model, read_run(path).ranges), f"run {folder_of(path)}, {phase}"
        try:
            recipe = models[self.target]
        except UnknownNameError as error:
            raise UnknownNameError(
                f"{self.target!r} is neither a file, nor a folder of a run, nor the name of a model.",
                remedy=error.remedy,
            ) from None
        rate = self.sample_rate_hz or board_rate_hz
        changes = {"sample_rate_hz": rate} if rate else {}
        with building(self.target, {"--sample-rate-hz": rate} if rate else {}):
            model = sized(recipe, self.size, **changes).build()
        return model, None, golden_curve(model, USUAL), f"{self.target} {self.size}, untrained"


@dataclass(frozen=True, kw_only=True)
class Export(Restored, Verb):
    """Turn a run into an instrument and wrap it for a world: a web page, or a folder of C."""

    source: RunPath
    """Folder of a run, or a .pochette file."""
    shell: str = "web"
    """What it is wrapped in (pochette list shells)."""
    board: str = ""
    """The machine it is for; noted in the instrument."""
    out: Path | None = None
    """Where it goes; the run's own folder, or that of the file, by default."""
    title: str = ""
    """Name of the instrument for people; the sounds' folder by default."""

    def run(self, screen: Screen) -> Answer:
        """Export."""
        from pochette.families import boards, shells
        from pochette.instrument import load

        check_folder(self.out)
        shell = shells[self.shell]
        if self.board:
            _ = boards[self.board]
        if self.source.is_file() or self.source.suffix == ".pochette":
            path, instrument = self.source, load(self.source)
            out = self.out or self.source.parent
            if self.precision not in (None, instrument.precision):
                raise UsageError(
                    f"This instrument's engine was built with --precision {instrument.precision}.",
                    where=str(path),
                    remedy=f"Export its run instead: pochette export RUN --precision {self.precision}.",
                )
        else:
            check_run(self.source)
            out = self.out or self.source
            path, instrument = self._build(out, screen)
        written = shell(instrument, out)
        rounding = instrument.provenance.get("rounding")
        parts: list[Any] = [
            words(f"{folder_of(path)}: the instrument"),
            words(f"{folder_of(Path(written))}: {self.shell}"),
        ]
        if isinstance(rounding, dict):
            parts.insert(0, words(f"{instrument.precision}: {_rounding(rounding)}"))
            parts.insert(0, table(_MATRIX, _matrices(rounding)))
        data = {"instrument": str(path), "shell": self.shell, "written": str(written)}
        return Answer(
            {**data, "precision": instrument.precision, "rounding": rounding},
            tuple(parts),
            (command("verify", path), *heard(path)),
        )

    def _build(self, out: Path, screen: Screen) -> tuple[Path, Instrument]:
        from pochette.engine.export import identifier
        from pochette.instrument import remember_built_here
        from pochette.lab.build import build_instrument
        from pochette.lab.heard import with_held_out
        from pochette.lab.runs import read_run, trained_model

        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"The output folder cannot be made: {error.strerror or error}.",
                where=str(out),
                remedy="Choose another with --out.",
            ) from error
        run = read_run(self.source)
        model, phase = trained_model(self.source)
        name = Path(run.corpus).name
        screen.say(f"generating the engine of {folder_of(self.source)}, {phase}...")
        instrument = build_instrument(
            model,
            identifier(self.title or name),
            run.ranges,
            title=self.title or name.replace("-", " ").replace("_", " ").strip().title(),
            board=self.board,
            provenance={
                "corpus": run.fingerprint,
                "sounds": run.sounds,
                "seconds": run.seconds,
                "seed": run.seed,
                "reduction": run.reduction or {},
            },
            precision=self.stored,
        )
        if self.stored != "float32":
            instrument = with_held_out(instrument, model, run)
        path = out / f"{instrument.name}.pochette"
        instrument.save(path)
        remember_built_here(path)
        return path, instrument


def _obtained(energy: Energy | None) -> str:
    return "nothing measures or estimates it here" if energy is None else energy.obtained


_MATRIX = ("matrix", "stored as", "its signal to rounding, dB", "that of what is made with it, dB", "why in floats")


def _matrices(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A row for each matrix of an engine of fewer bits; nothing where an older file does not tell."""
    return [
        (line["weight"], line["precision"], line["weight_snr_db"], line["output_snr_db"], line["reason"])
        for line in found.get("layers", [])
    ]


def _rounding(found: dict[str, Any]) -> str:
    """What fewer bits did to the sound, in words."""
    if found.get("matrices") == 0:
        return "none of its matrices is large enough to gain by fewer bits; all are floats."
    golden = f"{number(found.get('golden_snr_db'))} dB of signal to rounding on the golden sound"
    engine, network = found.get("held_out_engine"), found.get("held_out_network")
    if not isinstance(engine, float) or not isinstance(network, float):
        return f"{golden}; the run's sounds are not where they were, so nothing was measured on held-out ones."
    return (
        f"{golden}; the engine is {engine:.4g} from the held-out sounds, the network in floats {network:.4g} "
        f"({engine / network - 1:+.2%})."
    )
