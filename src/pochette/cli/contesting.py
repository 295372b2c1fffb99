"""Comparing whole techniques: what `pochette compare --methods` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pochette.cli.console import Answer, Screen, Tell, folder_of, part, table, words
from pochette.cli.verb import UsageError, check_folder, command

if TYPE_CHECKING:
    from pochette.corpus.folder import FolderCorpus
    from pochette.lab.contest import Contest, Row
    from pochette.lab.execute import Ran
    from pochette.lab.experiment import Experiment
    from pochette.lab.store import Store
    from pochette.train.loop import Training

PAGE, CSV, STORE, REFUSED = "techniques.html", "techniques.csv", "store", "refused.json"
ALL = "all"


@dataclass(frozen=True)
class Asked:
    """What a contest takes from the command line."""

    sounds: Path
    recipes: Mapping[str, Any]
    corpora: Mapping[str, FolderCorpus]
    methods: tuple[str, ...]
    keep: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    training: Training
    folder: Path
    anchor: bool
    """Whether to measure what tells how much skill was kept."""
    again: tuple[object, ...]
    """The command line that asks for the same again, but for its seeds."""
    device: str = "cpu"
    """What networks are trained on."""


def tell_damaged(store: Store, screen: Screen) -> None:
    """Have experiments whose records cannot be read done again, and say so before anything is done.

    Args:
        store: of results.
        screen: where to tell.

    Raises:
        RunError: a record is of a later version, or the disk cannot be written.
        RecipeError: a record is of another version.
    """
    damaged = store.set_aside_damaged()
    if damaged:
        several = len(damaged) > 1
        screen.say(
            f"{len(damaged)} record{'s' * several} cannot be read, and {'are' if several else 'is'} made again: "
            f"{folder_of(damaged[0])}{' and others' * several}."
        )


def names_of(methods_asked: tuple[str, ...]) -> tuple[str, ...]:
    """Names of techniques, "all" being every one.

    Args:
        methods_asked: as given.

    Returns:
        names.

    Raises:
        UnknownNameError: there is none of that name.
        UsageError: one is named twice.
    """
    from pochette.families import methods

    names = tuple(methods.names()) if methods_asked == (ALL,) else methods_asked
    for name in names:
        methods[name]
    if len(set(names)) < len(names):
        raise UsageError("--methods names something twice.", remedy="Name each technique once.")
    return names


def check(names: tuple[str, ...], keep: tuple[float, ...]) -> None:
    """Refuse shares that a technique cannot keep, before any sound is listened to.

    Args:
        names: of techniques.
        keep: shares.

    Raises:
        UsageError: there is such a share.
    """
    from pochette.lab.contest import able

    for share in keep:
        if not 0.0 < share < 1.0:
            raise UsageError(
                f"--keep names {share:g}; what is kept is above 0 and below 1.",
                remedy="Give shares such as --keep 0.25 0.0625.",
            )
    for name, reason in able(names, keep).items():
        raise UsageError(f"{name} cannot keep what --keep asks for: {reason}", remedy="Leave it out, or ask for 0.25.")


def contest(asked: Asked, crew: Any, screen: Screen, tell: Tell) -> Answer:
    """Compute what is missing of a contest, and write its page and its CSV.

    Args:
        asked: what is wanted.
        crew: who computes.
        screen: where to tell.
        tell: of progress.

    Returns:
        the answer of the verb.
    """
    from pochette.lab.contest import Contest, Entry, engines, likely_engines, rows_of, to_csv
    from pochette.lab.execute import run, steps_missing
    from pochette.lab.experiment import root_of
    from pochette.lab.store import Store
    from pochette.shells.bundle import write_file

    check_folder(asked.folder)
    entries = {
        name: Entry(recipe, asked.corpora[name].fingerprint, asked.steps, asked.training)
        for name, recipe in asked.recipes.items()
    }
    crossed = Contest(entries, asked.methods, asked.keep, asked.seeds)
    store, networks = Store(asked.folder / STORE), crossed.experiments()
    anchors = crossed.anchors() if asked.anchor else []
    tell_damaged(store, screen)
    missing = len(store.missing(networks))
    screen.say(f"{len(networks)} networks, {len(networks) - missing} of them in the store already.")

    def computed(wanted: list[Experiment], told: Tell) -> Ran:
        return run(
            wanted, store, lambda e: asked.corpora[root_of(e).model], crew,
            report=lambda share, line: told("compare", share, line), device=asked.device,
        )  # fmt: skip

    # Which engines there will be is known only when the networks are; what they take is guessed, so that one share
    # tells of both.
    whole = steps_missing([*anchors, *networks, *likely_engines(networks)], store)
    then = steps_missing([*anchors, *networks], store) / whole if whole else 0.0
    ran = computed([*anchors, *networks], part(tell, 0.0, then))
    worth_measuring = engines(store.results(networks))
    measured = computed([*worth_measuring], part(tell, then, 1.0))
    tell("compare", 1.0, f"{len(networks)} networks, {len(worth_measuring)} engines")
    results = store.results([*anchors, *networks, *worth_measuring])
    rows = rows_of(results)
    refused = _refused(asked.folder, {**ran.failed, **measured.failed}, {e for e in networks if store.has(e)})
    write_file(asked.folder / CSV, to_csv(rows).encode())
    write_file(asked.folder / PAGE, _page(asked, crossed, rows, store, refused).encode(errors="replace"))
    return _answer(asked, rows, refused, len(ran.done) + len(measured.done), len(ran.reused))


def _refused(folder: Path, failed: Mapping[Experiment, str], there: set[Experiment]) -> dict[str, dict[str, str]]:
    """Why something has no result, by model and technique, kept beside the store."""
    from pochette.lab.experiment import Engine, Reduced
    from pochette.shells.bundle import write_file

    found: dict[str, dict[str, str]] = {}
    for experiment, reason in failed.items():
        own = experiment.parent if isinstance(experiment, Engine) else experiment
        if isinstance(own, Reduced) and (own not in there or isinstance(experiment, Engine)):
            of = "engine of " if isinstance(experiment, Engine) else ""
            found.setdefault(own.parent.model, {})[f"{of}{own.method} to {own.options.keep:.4g}"] = reason
    write_file(folder / REFUSED, (json.dumps(found, indent=1) + "\n").encode())
    return found


def _page(asked: Asked, crossed: Contest, rows: list[Row], store: Store, refused: dict[str, dict[str, str]]) -> str:
    from pochette.lab.contest_report import Told, page
    from pochette.lab.networks import SPENT

    results = store.results(store.experiments()).values()
    corpus = next(iter(asked.corpora.values()))
    name = asked.sounds.resolve().name
    return page(
        rows,
        Told(
            title=name,
            sounds=f"Trained on {len(corpus)} sounds of the folder {name}, {corpus.seconds:.0f} s in all.",
            command=command(*asked.again, "--seeds", *asked.seeds),
            budgets={model: entry.steps for model, entry in crossed.entries.items()},
            machines=sorted({result.machine for result in results}),
            hours=sum(result.figures.get(SPENT, result.training_seconds) for result in results) / 3600.0,
            refused=refused,
            models=len(asked.recipes),
            methods=len(asked.methods),
            keeps=asked.keep,
            seeds=asked.seeds,
        ),
    )


def _answer(asked: Asked, rows: list[Row], refused: dict[str, dict[str, str]], computed: int, found: int) -> Answer:
    from pochette.lab.contest import points_of
    from pochette.lab.contest_words import SAVES, sentences

    points = points_of(rows)
    headings = ("model", "technique", "kept", "where", "error per dense", "skill kept", "numbers",
                "operations", "bytes", "seeds")  # fmt: skip
    lines = [
        (p.model, p.method, f"{p.keep:.1%}", SAVES[p.saves], p.multiplier.mean,
         "unknown" if p.skill is None else f"{p.skill.mean:.1%}", f"{p.weights.mean:.1%}",
         f"{p.operations.mean:.1%}", f"{p.stored_bytes.mean:.1%}", p.multiplier.seeds)
        for p in points
    ]  # fmt: skip
    said = [words(sentence) for sentence in sentences(rows)]
    said += [words(f"no result: {model}, {name}: {why}") for model, own in refused.items() for name, why in own.items()]
    said.append(words(f"page and CSV in {folder_of(asked.folder)}"))
    data = {
        "page": str(asked.folder / PAGE),
        "csv": str(asked.folder / CSV),
        "computed": computed,
        "found": found,
        "refused": refused,
        "points": points,
    }
    others = (seed for seed in range(10**9) if seed not in asked.seeds)
    more = (*asked.seeds, *(next(others) for _ in range(max(2, 3 - len(asked.seeds)))))
    return Answer(data, (table(headings, lines), *said), (command(*asked.again, "--seeds", *more),))
