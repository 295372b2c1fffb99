"""Trainings of a model that fork: one trunk up to a step, and branches from there that see the sounds in other orders.

A branch of the trunk's own seed is the trunk going on, to the bit. Weights, buffers and the optimiser's moments are the
same for all branches; the learning rate goes on where the trunk's was. What a seed draws is everything that is drawn in
training: which excerpts, their phases and their noise. Branches go on to the same step whether they have settled or
not, so that they can be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from pochette.corpus.folder import FolderCorpus
from pochette.errors import RecipeError
from pochette.lab.stability.apart import Trains
from pochette.models.model import Model
from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.weights import Masks, weights_of
from pochette.train.loop import Budget, Companion, Progress, Trainer, Training

NEVER = 10**6
"""Looks without gain, and steps between looks, that no training reaches."""


@dataclass(frozen=True, eq=False)
class Fork:
    """Where branches begin: all that a training has changed so far."""

    tensors: dict[str, Tensor]
    """As `Trainer.state` gives them."""
    steps: int
    """That were taken."""


@dataclass(frozen=True, eq=False)
class Course:
    """What a trunk and its branches have in common."""

    heard: FolderCorpus
    """What is trained on."""
    held_out: FolderCorpus
    training: Training
    """Its seed is the trunk's order."""
    steps: int
    """From the trunk's first step to the branches' last."""
    again: bool = False
    """The model was trained before; see `Model.turns`."""

    def trunk(self, model: Model, steps: int, companions: tuple[Companion, ...] = ()) -> Fork:
        """Train up to the fork.

        Args:
            model: trained in place.
            steps: before the fork; 0 forks at once.
            companions: go along.

        Returns:
            what branches begin with.

        Raises:
            RecipeError: the fork lies behind the end.
            RunError: the loss is no longer finite.
        """
        if not 0 <= steps <= self.steps:
            raise RecipeError(
                f"A training of {self.steps} steps cannot fork after {steps}.", remedy="Fork at its end or before."
            )
        trainer = self._trainer(model, self.training.seed)
        for companion in companions:
            trainer.accompany(companion)

        def stop(trainer: Trainer) -> None:
            if trainer.progress.steps == steps:
                trainer.progress.stopped = "forked"

        trainer.after_step.append(stop)
        if steps:
            trainer.fit()
        state = {name: t for name, t in trainer.state().items() if not name.startswith("companion/")}
        return Fork({name: tensor.detach().clone() for name, tensor in state.items()}, steps)

    def branch(
        self,
        model: Model,
        fork: Fork,
        order: int,
        masks: Masks | None = None,
        after_step: Callable[[Trainer], None] | None = None,
    ) -> Model:
        """Go on from a fork to the end.

        Args:
            model: of the trunk's recipe and shapes; left as it was.
            fork: where the branch begins.
            order: seed of what is drawn from there on.
            masks: where weights live, from the fork on; None for everywhere.
            after_step: called after every step.

        Returns:
            the model at the end, ready to play.

        Raises:
            RunError: the loss is no longer finite.
        """
        grown = copy.deepcopy(model)
        trainer = self._trainer(grown, order)
        trainer.restore(fork.tensors, Progress(steps=fork.steps))
        if masks is not None:
            trainer.accompany(Held(weights_of(grown), masks))
        if after_step is not None:
            trainer.after_step.append(after_step)
        if fork.steps < self.steps:
            trainer.fit()
        return grown.eval()

    def trains(self, model: Model, fork: Fork) -> Trains:
        """The branches of a fork, as `apart` asks for them.

        Args:
            model: see `branch`.
            fork: see `branch`.

        Returns:
            masks and order to the model at the end.
        """

        def train(masks: Masks | None, order: int) -> Model:
            return self.branch(model, fork, order, masks)

        return train

    def _trainer(self, model: Model, seed: int) -> Trainer:
        training = replace(self.training, seed=seed, evaluate_steps=NEVER, patience=NEVER)
        return Trainer(model, self.heard, self.held_out, training, Budget(steps=self.steps), again=self.again)
