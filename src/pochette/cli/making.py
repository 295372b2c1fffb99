"""Verbs of those who make instruments: make, demo, listen."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pochette.cli.console import Answer, Screen, counting, folder_of, number, span, table, words
from pochette.cli.verb import Sounds, Stored, Trains, Verb, building, check_folder, command, heard, within
from pochette.errors import RunError

if TYPE_CHECKING:
    from pochette.lab.make import Made
    from pochette.lab.result import MakeResult


@dataclass(frozen=True, kw_only=True)
class Make(Stored, Trains, Verb):
    """The whole job: a folder of sounds in; a light, verified instrument with its web page and its report out.

    The network is trimmed in rounds, down to a twentieth; the smallest that sounds as well as the whole one is kept.
    Stopped at any time, the same command goes on where it was.
    """

    sounds: Sounds
    """Folder of recordings: wav, flac, ogg, mp3, of any rate."""
    board: str = "pi-4"
    """Machine the instrument is for; it decides rate and size (pochette list boards)."""
    model: str = "ddsp"
    """Which model plays (pochette list models)."""
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

    resumes = True

    def run(self, screen: Screen) -> Answer:
        """Make."""
        made = _make(self, screen)
        return _told(made, (*heard(made.instrument_path), command("verify", made.instrument_path)))


def _make(verb: Make, screen: Screen) -> Made:
    from pochette.families import boards, models
    from pochette.lab import make as lab
    from pochette.lab.runs import sized
    from pochette.train.device import device_of

    check_folder(verb.out)
    device_of(verb.device)
    recipe, board = models[verb.model], boards[verb.board]
    request = lab.Make(
        sounds=verb.sounds,
        board=verb.board,
        model=verb.model,
        size=verb.size,
        minutes=verb.minutes,
        out=verb.out,
        seed=verb.seed,
        steps=verb.steps,
        sample_rate_hz=verb.sample_rate_hz,
        precision=verb.precision,
        device=verb.device,
    )
    rate = verb.sample_rate_hz or board.sample_rate_hz
    with building(verb.model, {} if verb.sample_rate_hz is None else {"--sample-rate-hz": rate}):
        sized(recipe, verb.size, sample_rate_hz=rate).build()
    with screen.progress() as tell:
        made = lab.make(request, tell)
    for line in made.resumed:
        screen.say(f"found from before: {line}")
    return made


def _told(made: Made, following: tuple[str, ...]) -> Answer:
    """What was made, in a few lines; the report has the rest."""
    from pochette.lab.report.view import SCALES

    result = made.result
    rows: list[tuple[str, str]] = [
        ("instrument", folder_of(made.instrument_path)),
        ("page to play", folder_of(made.page)),
        ("report", folder_of(made.report)),
        ("C sources", folder_of(made.sources)),
    ]
    closed = result.gap_closed("trimmed")
    if closed is not None and result.ends is not None:
        scale = SCALES[result.ends]
        better = f"{closed:.0%} of the way from {scale.worst} to {scale.best}"
        rows.append(("quality", better if closed > 0 else f"no better than {scale.worst} yet: give it more --minutes"))
    if result.macs_ratio is not None:
        tried = "; what was made smaller still sounded worse" if result.smaller else ""
        rows.append(("network", f"{result.macs_ratio:.1%} of the multiply-accumulates it started with{tried}"))
    if result.precision != "float32":
        rows.append(("in fewer bits", _rounding(result)))
    if result.sound_seconds is not None:
        rows.append(("a sound lasts", f"{number(result.sound_seconds)} s, by the model's size and rate"))
    checked = [check for check in result.golden if check.passed is not None]
    rows.append(("verified", f"{sum(bool(check.passed) for check in checked)} of {len(checked)} engines agree"))
    verdict = "fits" if result.verdict.fits else "does NOT fit"
    rows.append((result.board_title, " ".join([verdict + ".", *result.verdict.reasons, *result.verdict.notes])))
    rows += [("remedy", remedy) for remedy in result.verdict.remedies]
    rows.append(("time", span(result.minutes * 60)))
    data = {
        "folder": str(made.folder),
        "instrument": str(made.instrument_path),
        "page": str(made.page),
        "report": str(made.report),
        "sources": str(made.sources),
        "resumed": list(made.resumed),
        "result": result.to_json(),
    }
    show = table(("", ""), rows)
    show.show_header = False
    return Answer(data, (show,), following, 0 if result.verified else 1)


def _rounding(result: MakeResult) -> str:
    """What storing matrices in fewer bits did, heard on sounds that were held out."""
    engine, network = result.distance("engine"), result.distance("trimmed")
    if engine is not None and engine == network:
        return f"{result.precision}: none of its matrices is large enough to gain, or to be heard"
    if engine is None or not network:
        return f"{result.precision}; what that changes was not measured"
    return (
        f"{result.precision}: its engine is {engine:.4g} from the held-out sounds, the network in floats {network:.4g} "
        f"({engine / network - 1:+.2%})"
    )


@dataclass(frozen=True, kw_only=True)
class Demo(Verb):
    """Try everything in a few minutes: an instrument made from sounds that are computed here, then its page opened."""

    kind: Literal["reed", "string", "plucked"] = "reed"
    """Which imagined instrument to learn: a reed pipe, a bowed string, a plucked string."""
    minutes: float = 3.0
    """Wall time for the whole job, about."""
    board: str = "browser"
    """Machine the instrument is for."""
    out: Path = Path("demo")
    """Folder for the results."""
    size: str = "small"
    """Declared size that training starts from."""
    seed: int = 0
    """Draws weights, excerpts, phases, and the held-out sounds."""
    steps: int | None = None
    """Bound training by optimiser steps instead of time."""
    sample_rate_hz: int = 24_000
    """Rate of the instrument; half of a browser's, so that few minutes make many steps."""
    open: bool = True
    """Open the page at the end, where there is a screen and a person."""

    resumes = True

    def run(self, screen: Screen) -> Answer:
        """Try."""
        from pochette.corpus.demo import demo_sounds

        check_folder(self.out)
        with screen.progress() as tell:
            computed = demo_sounds(self.kind, progress=counting(tell, "sounds"))
        # A copy beside the results: to be listened to, and the instrument is called as its folder is.
        sounds = self.out / self.kind
        try:
            shutil.copytree(computed, sounds, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise RunError(
                f"The demo's sounds cannot be written: {error}.", where=str(sounds), remedy="Choose another with --out."
            ) from error
        screen.say(f"sounds: {folder_of(sounds)}")
        verb = Make(
            sounds=sounds,
            board=self.board,
            size=self.size,
            minutes=self.minutes,
            out=self.out,
            seed=self.seed,
            steps=self.steps,
            sample_rate_hz=self.sample_rate_hz,
        )
        made = _make(verb, screen)
        opened = self.open and _can_open(os.environ, sys.platform, sys.stderr.isatty()) and _opened(made.page)
        here = "has been opened" if opened else f"is at {made.page.resolve().as_uri()}"
        screen.say(f"The page {here}: play it with the letters of the keyboard.")
        answer = _told(made, (*heard(made.instrument_path), "pochette make YOUR_SOUNDS --board pi-4"))
        return Answer({**answer.data, "sounds": str(sounds)}, answer.show, answer.next, answer.exit_code)


def _can_open(environment: Any, platform: str, terminal: bool) -> bool:
    """Whether a browser window would be seen by the one who asked."""
    if "CI" in environment or not terminal:
        return False
    return platform in ("win32", "darwin") or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def _opened(page: Path) -> bool:
    import webbrowser

    try:
        return webbrowser.open(page.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False


@dataclass(frozen=True, kw_only=True)
class Listen(Verb):
    """What is in a folder of sounds, what is wrong with it and how to mend it, how long training will take."""

    sounds: Sounds
    """Folder of recordings."""
    excerpt_seconds: float = 0.5
    """Length of a training excerpt; shorter sounds are pointed out."""
    model: str = ""
    """Model whose training is timed; the one that suits if empty."""
    size: str = "small"
    """Its declared size."""
    board: str = "pi-4"
    """Machine that decides the rate."""
    estimate: bool = True
    """Time a few steps of training."""

    def run(self, screen: Screen) -> Answer:
        """Listen."""
        from pochette.corpus.listen import listen
        from pochette.families import boards

        within("--excerpt-seconds", self.excerpt_seconds, 0.01, 60)
        _ = boards[self.board]
        with screen.progress() as tell:
            heard = listen(self.sounds, self.excerpt_seconds, counting(tell, "listen"))
        pitch = "-" if heard.pitch_range_midi is None else "MIDI {:.0f} to {:.0f}".format(*heard.pitch_range_midi)
        level = "-" if heard.loudness_range_db is None else "{:.0f} to {:.0f} dB".format(*heard.loudness_range_db)
        rows: list[tuple[str, str]] = [
            ("sounds", f"{heard.usable} of {heard.count} can be used, {span(heard.seconds)}"),
            ("rates", ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(heard.sample_rates_hz.items()))),
            ("channels", ", ".join(f"{count} with {n}" for n, count in sorted(heard.channels.items()))),
            ("pitch", f"{pitch}, {heard.voiced_share:.0%} voiced"),
            ("loudness", level),
        ]
        model = self.model or heard.suggestion
        estimate = self._pace(model, screen) if heard.usable and model and self.estimate else None
        if estimate:
            rows.append(("training", estimate["text"]))
        show = table(("", ""), rows, title=folder_of(self.sounds))
        show.show_header = False
        parts: list[Any] = [show]
        if heard.findings:
            found = [(item.name, item.kind, item.what, item.remedy) for item in heard.findings]
            parts.append(table(("file", "kind", "what", "remedy"), found))
        parts.append(words(heard.verdict))
        following = command("make", self.sounds, "--board", self.board, "--model", model) if heard.usable else ""
        return Answer(
            {**heard.to_json(), "training": estimate},
            tuple(parts),
            (following,) if following else ("pochette listen ANOTHER_FOLDER",),
            0 if heard.usable else 1,
        )

    def _pace(self, model: str, screen: Screen) -> dict[str, Any] | None:
        from pochette.errors import ToolError

        try:
            from pochette.lab.pace import seconds_per_step
        except ImportError:
            screen.say("Training cannot be timed without torch: pip install 'pochette[train]'.")
            return None
        try:
            pace, steps = seconds_per_step(model, self.size, self.board)
        except ToolError as error:
            screen.say(f"{error.what} {error.remedy}")
            return None
        return {
            "model": model,
            "size": self.size,
            "seconds_per_step": pace,
            "steps": steps,
            "seconds": pace * steps,
            "obtained": "measured: a few steps on this machine, now; the number of steps is from experience",
            "text": f"`{model}` {self.size} makes a step in {number(pace)} s here; the {steps} steps that are usual "
            f"take {span(pace * steps)} (--minutes stops it earlier)",
        }
