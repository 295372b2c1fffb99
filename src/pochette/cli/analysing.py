"""The verb of those who ask why a network works: analyse."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import FlagCreatePairsOff

from pochette.cli.console import Answer, Screen, Tell, counting, folder_of, number, part, table, words
from pochette.cli.verb import OptionalRunPath, UsageError, Verb, check_folder, check_run, command, within
from pochette.errors import RunError

if TYPE_CHECKING:
    from pochette.corpus.folder import FolderCorpus
    from pochette.lab.experiment import Experiment
    from pochette.lab.judge import Parts
    from pochette.lab.properties import Studied
    from pochette.lab.relations import Relation
    from pochette.lab.store import Store


EARLY_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Analyse(Verb):
    """Read the topology of a run's networks, dense and reduced, and the information in them; write a page.

    With `--stability` the dense network and the last reduced one are disturbed too: shaken, rounded, and trained on in
    two orders, to see whether chance decides where they end.

    With `--early-phase` the dense training is taken anew and watched, and what decides it is looked for: its largest
    weights are rewound, disturbed and trained, some thirty times.

    With `--relations` whole comparisons are read: which properties of their networks go with what reducing them cost,
    within models and kinds of reduction, corrected for how many are asked, and with size held fixed. With `--stability`
    as well, how a network takes being disturbed is among its properties.
    """

    run_folder: OptionalRunPath = None
    """Folder of a run, as train and reduce leave it."""
    stability: FlagCreatePairsOff[bool] = False
    """Disturb the networks too; needs the run's recordings (of comparisons, --sounds), and takes minutes: of
    comparisons about ten seconds a network. Stopped, the same command goes on with the next network."""
    stability_steps: int | None = None
    """Of training, for each of the two branches of a network; 100 by default of a run's, 15 of a comparison's."""
    early_phase: FlagCreatePairsOff[bool] = False
    """Watch and disturb the first steps of training too; needs the run's recordings, and takes thirty trainings.
    Stopped, the same command goes on with the next."""
    early_steps: int = EARLY_STEPS
    """Of each of these trainings."""
    relations: tuple[Path, ...] = ()
    """Folders of comparisons instead (what `pochette compare` wrote, or stores)."""
    sounds: Path | None = None
    """Recordings of those comparisons; properties that nobody has read yet are then read, and with --stability networks
    that nobody has disturbed yet are disturbed."""
    out: Path | None = None
    """Where the page and the JSON go; the (first) folder that is read by default."""

    @property
    def resumes(self) -> bool:
        """Disturbed networks, trainings of the early phase and properties read for a study are kept."""
        return self.stability or self.early_phase or bool(self.relations)

    @property
    def keeps(self) -> str:
        """What is kept is whole networks and trainings: where one takes minutes, a person should know."""
        if self.relations:
            return super().keeps
        return "what was disturbed or trained to its end is kept, and what was under way begins again"

    def run(self, screen: Screen) -> Answer:
        """Analyse."""
        check_folder(self.out)
        within("--stability-steps", self.stability_steps, 1, math.inf)
        within("--early-steps", self.early_steps, 2, 10**7)
        if (self.run_folder is None) == (not self.relations):
            raise UsageError(
                "Say one thing that is to be analysed: a run, or comparisons.",
                remedy="pochette analyse RUN, or pochette analyse --relations FOLDER.",
            )
        if self.early_phase and self.run_folder is None:
            raise UsageError("--early-phase is asked of a run.", remedy="pochette analyse RUN --early-phase.")
        if self.stability and self.relations and self.sounds is None:
            raise UsageError(
                "--stability trains the networks of comparisons on, which needs their recordings.",
                remedy="Give them: --sounds SOUNDS.",
            )
        if self.sounds is not None and not self.relations:
            raise UsageError(
                "--sounds is asked of comparisons; a run knows its own.", remedy="Leave it away, or use --relations."
            )
        if self.stability_steps is not None and not self.stability:
            raise UsageError("--stability-steps is asked of --stability.", remedy="pochette analyse RUN --stability.")
        if self.early_steps != EARLY_STEPS and not self.early_phase:
            raise UsageError("--early-steps is asked of --early-phase.", remedy="pochette analyse RUN --early-phase.")
        if self.relations:
            return study(self.relations, self.sounds, self.out or self.relations[0], screen, self._branch_steps())
        assert self.run_folder is not None
        return self._read(self.run_folder, screen)

    def _branch_steps(self) -> int | None:
        """Of the branches of comparisons' networks; None if they are not to be disturbed."""
        from pochette.lab.experiment import BRANCH_STEPS

        return (self.stability_steps or BRANCH_STEPS) if self.stability else None

    def _read(self, run_folder: Path, screen: Screen) -> Answer:
        check_run(run_folder)
        from pochette.lab.analyse import analysed, check_place, keep, kept, write
        from pochette.lab.analyse_report import page
        from pochette.lab.stability import early_of_run, of_run

        title, out = run_folder.resolve().name, self.out or run_folder
        check_place(out)
        with screen.progress() as tell:
            option = "--stability" if self.stability else "--early-phase"
            # Sounds that are gone are told before anything is computed.
            listens = self.stability or self.early_phase
            sounds = of_run.sounds_of(run_folder, option, counting(tell, "listen")) if listens else None
            before = kept(out)
            found = analysed(run_folder, told=tell)
            known = {
                name: told
                for name, told in before.get("stability", {}).items()
                if of_run.still_of(run_folder, name, told)
            }
            if known or self.stability:
                found["stability"] = known
            early = before.get("early_phase", {})
            if early_of_run.still_of(run_folder, early):
                found["early_phase"] = early
            if sounds is not None:
                keep(found, out)
                try:
                    self._disturb(run_folder, found, sounds, out, tell)
                finally:  # who stops sees what is done
                    write(found, page(found, title), out)
        html, data = write(found, page(found, title), out)
        reduced = sorted(path.parent for path in run_folder.glob("*/round-*.safetensors"))
        if not reduced:
            return _answer(found, html, data, command("reduce", run_folder))
        found["notes"].append("Networks that were reduced lie in folders of their own, and are analysed there.")
        return _answer(found, html, data, command("analyse", max(reduced, key=lambda path: path.stat().st_mtime)))

    def _disturb(self, run_folder: Path, found: dict[str, Any], sounds: Parts, out: Path, tell: Tell) -> None:
        """What takes training, kept network by network and training by training."""
        from pochette.lab.analyse import keep
        from pochette.lab.runs import last_phase
        from pochette.lab.stability.early_of_run import EarlyPhase
        from pochette.lab.stability.of_run import BRANCH_STEPS, Stabilities
        from pochette.lab.stages import rounds_of

        if self.stability:
            rounds = [*rounds_of(run_folder), last_phase(run_folder)]
            steps = self.stability_steps or BRANCH_STEPS
            asked = Stabilities(run_folder, tuple(dict.fromkeys((rounds[0], rounds[-1]))), steps)
            for name, told in asked.found(sounds, dict(found["stability"]), tell):
                found["stability"][name] = told
                keep(found, out)
            tell("stability", 1.0, f"{len(asked.rounds)} networks")
        if self.early_phase:
            phase = EarlyPhase(run_folder, self.early_steps)
            for early in phase.found(sounds, found.get("early_phase", {}), tell):
                found["early_phase"] = early
                keep(found, out)


SHOWN = 5
"""Rounds that a terminal has room for."""


def _answer(found: dict[str, Any], html: Path, data: Path, following: str) -> Answer:
    """What was found, in tables with a column for each round, or for some of many, from the first to the last."""
    every = list(found["rounds"].items())
    few = min(len(every), SHOWN)
    rounds = dict(every[place * (len(every) - 1) // max(few - 1, 1)] for place in range(few))
    rows = [
        (key, name, *(number(every[key].get("numbers", {}).get(name)) for every in rounds.values()))
        for key in next(iter(rounds.values()))
        for name in dict.fromkeys(n for every in rounds.values() for n in every[key].get("numbers", {}))
    ]
    parts: list[Any] = [table(("analysis", "", *rounds), rows)]
    if disturbed := found.get("stability"):
        from pochette.lab.stability_report import barriers_in_words

        names = dict.fromkeys(name for told in disturbed.values() for name in told.get("figures", {}))
        shown = [(n, *(number(told.get("figures", {}).get(n)) for told in disturbed.values())) for n in names]
        parts.append(table(("stability", *disturbed), shown))
        parts += [words(f"{key}: {said}") for key, told in disturbed.items() for said in barriers_in_words(told)]
    if early := found.get("early_phase"):
        from pochette.lab.early_report import sentences

        parts += [words(said) for said in ([early["left_out"]] if "left_out" in early else sentences(early))]
    parts += [words(note) for note in found["notes"]]
    parts.append(words(f"{folder_of(html)}: the whole, layer by layer"))
    return Answer({**found, "page": str(html), "data": str(data)}, tuple(parts), (following,))


PAGE, DATA = "relations.html", "relations.json"


def study(
    folders: Sequence[Path], sounds: Path | None, out: Path, screen: Screen, branch_steps: int | None = None
) -> Answer:
    """Relate properties and outcomes of networks.

    Args:
        folders: of comparisons or their stores.
        sounds: to read missing properties with.
        out: where page and data go.
        screen: where to tell.
        branch_steps: of the branches of networks that are disturbed with the sounds; None, and none is.

    Returns:
        the answer of the verb.

    Raises:
        RunError: there is no comparison, or a record is damaged.
        SoundError: there are no such sounds.
    """
    from pochette.corpus.prepare import find_sounds
    from pochette.lab.properties import studied
    from pochette.lab.relations import relations
    from pochette.lab.relations_report import page, to_data
    from pochette.shells.bundle import write_file

    if sounds is not None:
        find_sounds(sounds)  # also where nothing is left to be read with them
    stores = [_store_of(folder) for folder in folders]
    failed: Mapping[Experiment, str] = {}
    with screen.progress() as tell:
        if sounds is not None:
            failed = _read_missing(stores, sounds, branch_steps, tell)
        found = studied(*stores, branch_steps=branch_steps)
        tell("relations", 0.5, f"{len(found.networks)} networks")
        seen = found.observations
        told = relations(seen)
    notes = _notes(found, failed)
    name = " and ".join(folder.resolve().name for folder in folders)
    write_file(out / PAGE, page(seen, told, name, notes).encode(errors="replace"))
    data = to_data(seen, told, notes)
    write_file(out / DATA, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())
    parts: list[Any] = [table(_RELATION, map(_row, told[:20])), *map(words, data["sentences"]), *map(words, notes)]
    parts.append(words(f"{folder_of(out / PAGE)}: all {len(told)}"))
    following = command("compare", sounds or "SOUNDS", "--methods", "all")
    if found.missing and sounds is None:
        following = command("analyse", "--relations", *folders, "--sounds", "SOUNDS")
    return Answer({**data, "page": str(out / PAGE), "data": str(out / DATA)}, tuple(parts), (following,))


_RELATION = (
    "property", "outcome", "rows", "correlation", "same sign in", "corrected p", "with size fixed", "corrected p ",
)  # fmt: skip


def _row(relation: Relation) -> tuple[object, ...]:
    """A relation in a terminal's table."""
    from pochette.lab.report.property_names import called, outcome_called

    partly = ("–", "") if math.isnan(relation.partial) else (
        f"{relation.partial:+.2f}", number(relation.partial_corrected)
    )  # fmt: skip
    return (
        called(relation.name),
        outcome_called(relation.outcome),
        relation.experiments,
        f"{relation.correlation:+.2f}",
        f"{relation.agreeing} of {relation.groups}",
        number(relation.corrected),
        *partly,
    )


def _store_of(folder: Path) -> Store:
    """The results that a folder of a comparison holds."""
    from pochette.lab.store import Store

    store = Store(folder / "store" if (folder / "store").is_dir() else folder)
    if not store.experiments():
        raise RunError(
            "There is no comparison here.",
            where=str(folder),
            remedy="Make one: pochette compare SOUNDS --methods all.",
        )
    return store


def _notes(found: Studied, failed: Mapping[Experiment, str]) -> list[str]:
    """What the study does not know, why, and what to do."""
    from pochette.lab.experiment import Disturbed

    notes = [note for note in (found.origin, found.of_stability) if note]
    missing = sum(item not in failed for item in found.missing)
    undisturbed = sum(item not in failed for item in found.undisturbed)
    if missing:
        notes.append(
            f"Of {missing} networks nobody has read the properties: give --sounds; where their weights were "
            "deleted, compare them again first."
        )
    if undisturbed:
        notes.append(
            f"{undisturbed} networks were not disturbed by branches of {found.branch_steps} steps: give "
            "--sounds and --stability; where their weights were deleted, compare them again first."
        )
    reasons = Counter(
        ("disturbed" if isinstance(experiment, Disturbed) else "read", why) for experiment, why in failed.items()
    )
    return notes + [
        f"Networks that could not be {what}: {count}. {why}" for (what, why), count in sorted(reasons.items())
    ]


def _read_missing(
    stores: Sequence[Store], sounds: Path, branch_steps: int | None, tell: Tell
) -> Mapping[Experiment, str]:
    """Read the networks whose weights are there, and disturb them if that is asked; what failed, and why."""
    from pochette.lab.execute import run
    from pochette.lab.experiment import root_of
    from pochette.lab.properties import studied
    from pochette.lab.workers import workers_of

    wanted: list[list[Experiment]] = []
    for store in stores:
        found = studied(store, branch_steps=branch_steps)
        asked = [*found.missing, *(found.undisturbed if branch_steps is not None else ())]
        wanted.append([item for item in asked if store.has_weights(item.parent)])
    failed: dict[Experiment, str] = {}
    total = sum(map(len, wanted))
    if not total:
        return failed
    corpora = _listen({_rate_and_hop(item) for items in wanted for item in items}, sounds, tell)

    def sounds_of(experiment: Experiment) -> FolderCorpus:
        return corpora[_rate_and_hop(experiment)]

    everything = (item for items in wanted for item in items)
    if any(root_of(item).corpus != sounds_of(item).fingerprint for item in everything):
        raise RunError(
            "The comparison was made with other sounds.",
            where=str(sounds),
            remedy="Give --sounds those it was made with.",
        )
    done = 0
    with workers_of("") as crew:
        for store, items in zip(stores, wanted, strict=True):
            told = part(tell, done / total, (done + len(items)) / total)
            done += len(items)

            def report(share: float, line: str, told: Tell = told) -> None:
                told("properties", share, line)

            failed |= run(items, store, sounds_of, crew, report=report).failed
    return failed


def _listen(keys: set[tuple[int, int]], sounds: Path, tell: Tell) -> dict[tuple[int, int], FolderCorpus]:
    """A folder of sounds at rates and hops."""
    from pochette.corpus.folder import FolderCorpus

    corpora: dict[tuple[int, int], FolderCorpus] = {}
    for done, key in enumerate(sorted(keys)):
        listening = counting(part(tell, done / len(keys), (done + 1) / len(keys)), "listen")
        corpora[key] = FolderCorpus.prepare(sounds, *key, progress=listening)
    return corpora


def _rate_and_hop(experiment: Experiment) -> tuple[int, int]:
    from pochette.lab.experiment import root_of

    model = root_of(experiment).recipe.build()
    return model.sample_rate_hz, model.hop_samples
