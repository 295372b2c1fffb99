"""The verb of those who want to know: compare crosses models, criteria and seeds, and says what came out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import FlagCreatePairsOff

from pochette.cli.console import Answer, Screen, Tell, counting, folder_of, part, table, words
from pochette.cli.verb import Sounds, Trains, UsageError, Verb, building, check_folder, command, within
from pochette.errors import ReductionError

if TYPE_CHECKING:
    from pochette.corpus.folder import FolderCorpus
    from pochette.lab.compare import Comparison, Point
    from pochette.lab.execute import Ran
    from pochette.lab.experiment import Experiment
    from pochette.models.model import Model
    from pochette.train.loop import Training

PAGE, CSV, STORE = "comparison.html", "results.csv", "store"


@dataclass(frozen=True, kw_only=True)
class Compare(Trains, Verb):
    """Cross models with criteria along a path, or with whole techniques; one page with intervals, and a CSV.

    Every experiment is computed once and kept; stopped at any time, the same command goes on where it was, and a larger
    comparison takes over what a smaller one found.
    """

    sounds: Sounds
    """Folder of recordings."""
    models: tuple[str, ...] = ("ddsp",)
    """Which models (pochette list models)."""
    size: str = "small"
    """Declared size of the models."""
    sample_rate_hz: int | None = None
    """Of all models; their own by default."""
    methods: tuple[str, ...] = ()
    """Compare these techniques (pochette list methods; or all) instead of criteria, on --steps steps each."""
    keep: tuple[float, ...] = (0.25,)
    """Shares that every technique is to leave, where --methods are compared."""
    criteria: tuple[str, ...] = ("magnitude", "random")
    """What makes a unit worth keeping (pochette list criteria); random is the control of all others."""
    scopes: tuple[Literal["local", "global", "global_then_local"], ...] = ("local",)
    """Whether units are ranked within each layer or over all of them."""
    scalings: tuple[Literal["none", "maximum", "dimension", "operations", "bytes"], ...] = ("maximum",)
    """How units of different layers are ranked where the scope does: by score, or by worth per operation or byte."""
    removals: tuple[Literal["trim", "mask"], ...] = ("trim",)
    """Whether units are taken out, or held at zero, which saves nothing."""
    rewind: Literal["learning_rate", "weights", "init"] = "learning_rate"
    """Where survivors start again after a cut."""
    stops: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9, 0.95)
    """Shares removed, ascending; each stop starts from the one before."""
    of: Literal["weights", "operations"] = "weights"
    """What the stops are shares of: learnt numbers, or the multiply-accumulates that these take part in."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each a dense model and all its paths; there are intervals from three on."""
    controls: tuple[Literal["reinit", "scratch_epochs", "scratch_compute"], ...] = ()
    """Networks of each stop's size that owe nothing to the dense training, for the first criterion."""
    steps: int = 2000
    """Of dense training; where --methods are compared, of a whole run."""
    stop_steps: int = 600
    """Of training at each stop."""
    batch: int = 8
    """Excerpts a step."""
    excerpt_seconds: float = 0.5
    """Length of an excerpt."""
    learning_rate: float = 2e-3
    """Of Adam."""
    no_anchor: FlagCreatePairsOff[bool] = False
    """Leave out the error of the mean sound, which tells how much skill there was to lose."""
    time_on: tuple[str, ...] = ()
    """Tags of Dask workers that also take the time of every network: raspberry-pi."""
    workers: str = ""
    """A number of processes, or a Dask scheduler (tcp://HOST:8786); this process by default."""
    out: Path | None = None
    """Folder of page, CSV and store; runs/compare-SOUNDS by default."""

    resumes = True

    def run(self, screen: Screen) -> Answer:
        """Compare."""
        from pochette.cli.contesting import tell_damaged
        from pochette.lab.compare import points_of, rows_of, to_csv
        from pochette.lab.execute import describe, run
        from pochette.lab.experiment import root_of
        from pochette.lab.store import Store
        from pochette.lab.workers import workers_of
        from pochette.shells.bundle import write_file
        from pochette.train.device import device_of

        # Where workers of a cluster train, they know what is there.
        device_of(self.device, here="://" not in self.workers)
        if self.methods:
            return self._contest(screen)
        folder = self.out or Path("runs") / f"compare-{self.sounds.resolve().name}"
        check_folder(folder)
        recipes = self._recipes()
        self._check(recipes)
        with workers_of(self.workers) as crew, screen.progress() as tell:
            crew.check(set(self.time_on))
            corpora = self._listen(recipes, screen, tell)
            comparison = self._comparison(recipes, corpora)
            wanted = comparison.experiments()
            store = Store(folder / STORE)
            tell_damaged(store, screen)
            missing = len(store.missing(wanted))
            screen.say(f"{len(wanted)} experiments, {len(wanted) - missing} of them in the store already.")

            def sounds_of(experiment: Experiment) -> FolderCorpus:
                return corpora[root_of(experiment).model]

            ran = run(
                wanted,
                store,
                sounds_of,
                crew,
                report=lambda share, line: tell("compare", share, line),
                device=self.device,
            )
        results = store.results(wanted)
        rows = rows_of(results)
        points = points_of(rows)
        failed = {describe(experiment): reason for experiment, reason in ran.failed.items()}
        page = self._page(comparison, points, failed, corpora)
        write_file(folder / CSV, to_csv(rows).encode())
        write_file(folder / PAGE, page.encode(errors="replace"))
        return self._answer(folder, points, failed, ran, len(wanted))

    def _contest(self, screen: Screen) -> Answer:
        """Compare whole techniques."""
        from pochette.cli.contesting import Asked, check, contest, names_of
        from pochette.lab.workers import workers_of

        names, recipes = names_of(self.methods), self._recipes()
        check(names, self.keep)
        within("--steps", self.steps, 1, math.inf)
        for seed in self.seeds:
            within("--seeds", seed, 0, 2**31 - 1)
        folder = self.out or Path("runs") / f"compare-{self.sounds.resolve().name}"
        again: list[object] = ["compare", self.sounds, "--models", *self.models, "--size", self.size]
        again += ["--methods", *self.methods, "--keep", *self.keep, "--steps", self.steps, *self._optional()]
        again += ["--no-anchor"] if self.no_anchor else []
        with workers_of(self.workers) as crew, screen.progress() as tell:
            corpora = self._listen(recipes, screen, tell)
            asked = Asked(
                self.sounds, recipes, corpora, names, self.keep, self.seeds, self.steps, self._training(), folder,
                not self.no_anchor, tuple(again), self.device,
            )  # fmt: skip
            return contest(asked, crew, screen, tell)

    def _optional(self) -> list[object]:
        """Options that are said again where a comparison is to be made again."""
        given: list[object] = []
        if self.sample_rate_hz is not None:
            given += ["--sample-rate-hz", self.sample_rate_hz]
        for option in ("batch", "excerpt_seconds", "learning_rate"):
            given += [f"--{option.replace('_', '-')}", getattr(self, option)]
        given += ["--device", self.device] if self.device != "cpu" else []
        given += ["--workers", self.workers] if self.workers else []
        return given if self.out is None else [*given, "--out", self.out]

    def _recipes(self) -> dict[str, Any]:
        """The models' recipes, and a look at every name before anything is begun."""
        from pochette.families import criteria, models
        from pochette.lab.runs import sized

        for criterion in self.criteria:
            criteria[criterion]
        if len(set(self.models)) < len(self.models):
            raise UsageError("--models names something twice.", remedy="Name each model once.")
        rate = {} if self.sample_rate_hz is None else {"sample_rate_hz": self.sample_rate_hz}
        return {name: sized(models[name], self.size, **rate) for name in self.models}

    def _check(self, recipes: dict[str, Any]) -> None:
        """Refuse what cannot be, before any sound is listened to."""
        from pochette.families import criteria

        within("--steps", self.steps, 1, math.inf)
        within("--stop-steps", self.stop_steps, 1, math.inf)
        for stop in self.stops:
            if not 0 < stop < 1:
                raise UsageError(
                    f"--stops names {stop:g}; a stop is above 0 and below 1.",
                    remedy="Give shares to remove, such as --stops 0.5 0.8.",
                )
        if self.scalings != ("maximum",) and set(self.scopes) == {"local"}:
            raise UsageError(
                "--scalings make layers comparable, and --scopes only ranks within each.", remedy="Add --scopes global."
            )
        for seed in self.seeds:
            within("--seeds", seed, 0, 2**31 - 1)
        self._comparison(recipes, None).experiments()
        for name, recipe in recipes.items():
            with building(name, {"--size": self.size}):
                model = recipe.build()
            try:
                self._smallest(model, "random")
            except ReductionError as error:
                raise ReductionError(
                    f"{max(self.stops):.4g} of the {self.of} of {name} cannot be removed: {error.what}",
                    remedy="Leave out the last of --stops, or start from a larger --size.",
                ) from error
            for criterion in self.criteria:
                if hasattr(criteria[criterion], "falls_back"):
                    self._smallest(model, criterion)  # says now if the model has nothing that it looks at

    def _smallest(self, model: Model, criterion: str) -> None:
        """Cut a model that nobody trained to what the last stop leaves."""
        from pochette.lab.shrink import shrink, weights_of
        from pochette.reduce.choosing import Choice
        from pochette.reduce.trimming import structure_of

        share = 1.0 - max(self.stops)
        if self.of == "operations":
            shrink(model, None, Choice(criterion), macs=share * structure_of(model).matrix_macs())
        else:
            shrink(model, round(share * weights_of(model)), Choice(criterion))

    def _listen(self, recipes: dict[str, Any], screen: Screen, tell: Tell) -> dict[str, FolderCorpus]:
        """Each model's corpus, at its rate and hop; one for all that agree."""
        from pochette.corpus.folder import FolderCorpus
        from pochette.lab.judge import divide

        prepared: dict[tuple[int, int], FolderCorpus] = {}
        corpora: dict[str, FolderCorpus] = {}
        built = {name: recipe.build() for name, recipe in recipes.items()}
        keys = {name: (model.sample_rate_hz, model.hop_samples) for name, model in built.items()}
        each = 1.0 / len(set(keys.values()))
        for name, model in built.items():
            key = keys[name]
            if key not in prepared:
                done = len(prepared) * each
                listening = counting(part(tell, done, done + each), "listen")
                corpus = FolderCorpus.prepare(self.sounds, *key, progress=listening)
                divide(corpus, model)  # says now if there is too little to divide
                for problem in corpus.problems if not prepared else ():
                    screen.say(f"left out: {problem.name}: {problem.what} {problem.remedy}")
                prepared[key] = corpus
            corpora[name] = prepared[key]
        return corpora

    def _comparison(self, recipes: dict[str, Any], corpora: dict[str, FolderCorpus] | None) -> Comparison:
        """What is asked for; without sounds yet, only to see whether it makes sense."""
        from pochette.lab.compare import Comparison

        return Comparison(
            corpus="" if corpora is None else next(iter(corpora.values())).fingerprint,
            recipes=recipes,
            steps=self.steps,
            stop_steps=self.stop_steps,
            criteria=self.criteria,
            scopes=self.scopes,
            scalings=self.scalings,
            removals=self.removals,
            rewind=self.rewind,
            stops=self.stops,
            of=self.of,
            seeds=self.seeds,
            controls=self.controls,
            anchor=not self.no_anchor,
            machines=self.time_on,
            training=self._training(),
        )

    def _training(self) -> Training:
        from pochette.train.loop import Training

        return Training(
            batch=self.batch,
            excerpt_seconds=self.excerpt_seconds,
            learning_rate=self.learning_rate,
            evaluate_steps=max(1, min(50, self.stop_steps)),
            # A comparison gives all the same number of steps: nothing stops early because it seems to have settled.
            patience=10**6,
        )

    def _page(
        self, comparison: Comparison, points: list[Point], failed: dict[str, str], corpora: dict[str, FolderCorpus]
    ) -> str:
        from pochette.lab.compare_report import page
        from pochette.lab.judge import divide

        corpus = next(iter(corpora.values()))
        name = self.sounds.resolve().name
        apart = {model: divide(corpora[model], recipe.build()).test for model, recipe in comparison.recipes.items()}
        notes = dict.fromkeys(test.split_note for test in apart.values())
        sounds = (
            f"Trained on {len(corpus)} sounds of the folder {name}, {corpus.seconds:.0f} s in all "
            f"(fingerprint {corpus.fingerprint}); test sound {'; '.join(notes)}."
        )
        return page(comparison, points, failed, name, sounds, self._again(self.seeds))

    def _again(self, seeds: tuple[int, ...]) -> str:
        """The command that makes the comparison again, with these seeds."""
        given: list[object] = ["compare", self.sounds, "--models", *self.models, "--size", self.size]
        for option in ("criteria", "scopes", "scalings", "removals", "stops", "controls", "time_on"):
            if values := getattr(self, option):
                given += [f"--{option.replace('_', '-')}", *values]
        for option in ("rewind", "of", "steps", "stop_steps"):
            given += [f"--{option.replace('_', '-')}", getattr(self, option)]
        given += [*self._optional(), "--seeds", *seeds]
        if self.no_anchor:
            given += ["--no-anchor"]
        return command(*given)

    def _answer(self, folder: Path, points: list[Point], failed: dict[str, str], ran: Ran, wanted: int) -> Answer:
        headings = (
            "model",
            "network",
            "removed",
            "MACs per second",
            "bytes",
            "error per dense",
            "low",
            "high",
            "skill kept",
            "seeds",
        )
        rows = [
            (
                point.model,
                point.curve + (f" on {point.timed_on}" if point.timed_on else ""),
                f"{point.asked_removed:.1%} of MACs" if point.of == "operations" else f"{point.removed.mean:.1%}",
                point.macs_per_second.mean,
                round(point.weight_bytes.mean),
                point.multiplier.mean,
                point.multiplier.low,
                point.multiplier.high,
                "-" if point.skill is None else f"{point.skill.mean:.0%}",
                point.multiplier.seeds,
            )
            for point in points
        ]
        kinds = sorted({point.multiplier.kind for point in points})
        lines = [f"low and high: {', '.join(kinds)}; page and CSV in {folder_of(folder)}"] if kinds else []
        lines += [f"no result: {name}: {reason}" for name, reason in failed.items()]
        data = {
            "page": str(folder / PAGE),
            "csv": str(folder / CSV),
            "experiments": wanted,
            "computed": len(ran.done),
            "found": len(ran.reused),
            "failed": failed,
            "points": points,
        }
        others = (seed for seed in range(10**9) if seed not in self.seeds)
        more = (*self.seeds, *(next(others) for _ in range(max(2, 3 - len(self.seeds)))))
        # What failed is tried again; only then are more seeds worth their time.
        following = (self._again(self.seeds if failed else more),)
        return Answer(
            data, (table(headings, rows), *(words(line) for line in lines)), following, exit_code=1 if failed else 0
        )
