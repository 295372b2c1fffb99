"""The verbs of pochette: parses, calls, prints; no work of its own.

Light verbs (play, render, verify, list boards, doctor) never import torch, so every verb imports its work when it
runs. What can go wrong for a person ends in three lines and an exit code; only a defect of ours leaves a traceback, and
that in a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator
from io import StringIO
from itertools import pairwise
from typing import Annotated, Any, Union

import tyro

from pochette.cli.analysing import Analyse
from pochette.cli.comparing import Compare
from pochette.cli.console import Screen
from pochette.cli.exporting import Export, Profile
from pochette.cli.fields import with_fields
from pochette.cli.fitting import Fit
from pochette.cli.interruption import heeded
from pochette.cli.knowing import Doctor, List, Version
from pochette.cli.making import Demo, Listen, Make
from pochette.cli.playing import Play, Render, Verify
from pochette.cli.reducing import Reduce
from pochette.cli.training import Nothing, Train
from pochette.cli.usage import overheard, usage_error
from pochette.cli.verb import UsageError, Verb, quoted
from pochette.errors import PochetteError, ToolError
from pochette.recipe import did_you_mean

VERBS: dict[str, Any] = {
    "make": Make,
    "listen": Listen,
    "demo": Demo,
    "train": Train[Nothing, Nothing],
    "profile": Profile,
    "reduce": Reduce[Nothing],
    "fit": Fit,
    "compare": Compare,
    "analyse": Analyse,
    "export": Export,
    "render": Render,
    "play": Play,
    "verify": Verify,
    "list": List,
    "doctor": Doctor,
}
"""By name, in the order of the help."""

DESCRIPTION = """A folder of sounds in; a neural instrument small enough for a Raspberry Pi or a microcontroller out.

Begin with `pochette demo`, or with `pochette listen SOUNDS` on your own recordings. `pochette VERB --help` explains a
verb.
"""

EXTRAS = {
    "torch": "train", "scipy": "train", "soundfile": "train", "soxr": "train", "safetensors": "train",
    "jinja2": "train", "matplotlib": "train", "sklearn": "train",
    "ziglang": "compile", "unicorn": "compile", "elftools": "compile", "capstone": "compile",
    "sounddevice": "play", "rtmidi": "play",
    "distributed": "cluster", "dask": "cluster", "gudhi": "topology",
}  # fmt: skip
"""Packages that the light player does without, and the extra that brings each."""

INTERRUPTED, DEFECT, CLOSED_PIPE = 130, 70, 141


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says.

    Args:
        arguments: without the program's name; the process's own by default.

    Returns:
        the exit code: 0 done, 1 not done, 2 not understood, 70 a defect of ours, 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    screen = Screen("--json" in given)
    verb: Verb | None = None
    said = StringIO()
    try:
        with overheard() if screen.as_json else contextlib.nullcontext(StringIO()) as said:
            verb = parse(given)
        # Whatever a library prints on its own must not spoil the one document.
        with contextlib.redirect_stdout(sys.stderr) if screen.as_json else contextlib.nullcontext(), _quiet(), heeded():
            answer = verb.run(screen)
        screen.answer(answer)
        return answer.exit_code
    except SystemExit as stop:  # tyro has said what it could not understand
        if stop.code and screen.as_json:
            screen.document({"error": usage_error(said.getvalue())})
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        screen.complain(_interruption(verb, given), "stopped")
        return INTERRUPTED
    except BrokenPipeError:
        # Who read us has gone; Python would complain once more when it flushes at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except Exception as error:
        known = explained(error)
        if known is not None:
            kind = type(known).__name__
            screen.complain({"kind": kind, "what": known.what, "where": known.where, "remedy": known.remedy})
            return known.exit_code
        screen.complain(_defect(error, given), "sorry")
        return DEFECT


def parse(arguments: list[str]) -> Verb:
    """The verb that a command line asks for.

    Args:
        arguments: without the program's name.

    Returns:
        the verb with its options.

    Raises:
        SystemExit: help was asked for, or something was not understood.
        UsageError: there is no such verb, or --out names nothing.
        UnknownNameError: the verb's options depend on a method or size that is unknown.
        ImportError: they depend on a package that is missing.
    """
    name = arguments[0] if arguments else ""
    if "--out=" in arguments or ("--out", "") in pairwise(arguments):  # as a path it would be this folder
        raise UsageError(
            "--out names nothing.", remedy="Name a folder or file, . for this folder, or leave --out away."
        )
    if name in VERBS:
        # One verb's parser is quick to build and says only what concerns it.
        kind, default = with_fields(name, arguments[1:]) if name in ("train", "reduce") else (VERBS[name], None)
        given = {} if default is None else {"default": default}
        # Help leaves out what was already given, such as MODEL; it is to show the whole line.
        rest = ["--help"] if {"--help", "-h"} & set(arguments) else arguments[1:]
        chosen: Verb = tyro.cli(kind, prog=f"pochette {name}", args=rest, **given)
        return chosen
    if name == "--version":
        return Version()
    if name and not name.startswith("-"):
        raise UsageError(
            f"There is no verb {name!r}.",
            remedy=f"{did_you_mean(name, VERBS)}Verbs: {', '.join(VERBS)}.",
        )
    members = tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in VERBS.items())
    choice: Any = Union[members]  # noqa: UP007
    verb: Verb = tyro.cli(choice, prog="pochette", description=DESCRIPTION, args=arguments)
    return verb


def explained(error: Exception) -> PochetteError | None:
    """What a person can do about an exception that is not one of ours.

    Args:
        error: any.

    Returns:
        itself if it is ours, an explanation of a missing package, a full disk, too little memory or a refused file;
        None for a defect.
    """
    if isinstance(error, PochetteError):
        return error
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
        if extra := EXTRAS.get(package):
            return ToolError(
                f"This needs the package `{package}`, which is not installed or does not load: {error}.",
                remedy=f"pip install 'pochette[{extra}]'",
            )
    if isinstance(error, MemoryError):
        return PochetteError(
            "There is not enough memory for this.",
            remedy="Close other programs, or make the work smaller (--size tiny, a lower --sample-rate-hz).",
        )
    if isinstance(error, OSError):
        where = str(error.filename or "")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return PochetteError(
                "The disk is full.", where=where, remedy="Free some space and give the same command again."
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT):
            return PochetteError(
                f"A file cannot be used: {error.strerror}.",
                where=where,
                remedy="Check the name and its permissions, or choose another folder with --out.",
            )
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings of libraries, which are for programmers, from a person's screen, unless they were asked for."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield


def _interruption(verb: Verb | None, arguments: list[str]) -> dict[str, str]:
    again = " ".join(map(quoted, ["pochette", *arguments]))
    if verb is not None and verb.resumes:
        what, remedy = f"Stopped; {verb.keeps}.", f"Go on with the same command: {again}"
    else:
        what, remedy = "Stopped; nothing was left half written.", f"Begin again with: {again}"
    return {"kind": "Interrupted", "what": what, "where": "", "remedy": remedy}


def _defect(error: Exception, arguments: list[str]) -> dict[str, str]:
    """An apology, with the traceback in a file."""
    from pochette.corpus.cache import cache_root

    where = "(it could not be written)"
    with contextlib.suppress(OSError):
        folder = cache_root() / "tracebacks"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{os.getpid()}.txt"
        text = "".join(traceback.format_exception(error))
        path.write_text(f"pochette {shlex.join(arguments)}\n\n{text}", encoding="utf-8", errors="backslashreplace")
        where = str(path)
    return {
        "kind": "Defect",
        "what": f"This is a defect of pochette, not of yours: {type(error).__name__}: {error}",
        "where": where,
        "remedy": "Please report it with the file named above. What was finished before is kept.",
    }
