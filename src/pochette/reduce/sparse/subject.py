"""A network whose single weights are scored, and the losses that scores may differentiate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pochette.errors import ReductionError
from pochette.models.model import Excerpt, Model
from pochette.models.unpaired import Unpaired
from pochette.reduce.said import said_of, says_classes
from pochette.reduce.sparse.weights import without_norms

Loss = Callable[[nn.Module], Tensor]
"""A network to a scalar that depends on its weights; of one batch."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network whose weights are plain, whatever norms they are learnt with.

    Args:
        network: a copy for this purpose.
        paths: the original's path of each weight that is scored to that in the copy.
        batches: losses of some batches; none if no data is given.
        seed: for what scores draw.
    """

    network: nn.Module
    paths: dict[str, str]
    batches: tuple[Loss, ...] = ()
    seed: int = 0
    outputs: tuple[Loss, ...] = ()
    """What the network says of each batch, where scores ask for it."""
    classes: bool = False
    """Whether that are logits, of classes along the last axis; else numbers that squared errors compare."""

    @classmethod
    def of(
        cls,
        module: nn.Module,
        batches: Iterable[Loss] = (),
        seed: int = 0,
        outputs: Iterable[Loss] = (),
        classes: bool = False,
    ) -> Subject:
        """A copy of a module, in evaluation mode.

        Args:
            module: left as it was.
            batches: see `Subject`.
            seed: see `Subject`.
            outputs: see `Subject`.
            classes: see `Subject`.

        Returns:
            the subject.

        Raises:
            ReductionError: it has no weights that could go.
        """
        network, paths = without_norms(module)
        return cls(network.eval(), paths, tuple(batches), seed, tuple(outputs), classes)

    @classmethod
    def heard(cls, model: Model, excerpts: Iterable[Excerpt], seed: int = 0) -> Subject:
        """A model with the losses of some excerpts, chance always the same.

        Args:
            model: left as it was.
            excerpts: batches of sound.
            seed: see `Subject`.

        Returns:
            the subject.
        """
        heard = list(excerpts)
        says = [] if isinstance(model, Unpaired) else [_said_on(excerpt) for excerpt in heard]
        return cls.of(model, [_loss_on(excerpt) for excerpt in heard], seed, says, says_classes(model))

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is scored, by the original's paths: the copy's own parameters, to differentiate by."""
        named = dict(self.network.named_parameters())
        return {path: named[plain] for path, plain in self.paths.items()}

    def tensors(self) -> dict[str, Tensor]:
        """The same without derivatives."""
        return {path: parameter.detach() for path, parameter in self.parameters().items()}

    def losses(self) -> Iterator[Tensor]:
        """The loss of one batch after another, each fresh, so that its derivatives can be taken.

        Yields:
            scalars.

        Raises:
            ReductionError: no data was given, or a loss does not depend on the weights.
        """
        if not self.batches:
            raise ReductionError(
                "This score looks at the loss, and no data was given.",
                remedy="Give some sound, or score by magnitude.",
            )
        for batch in self.batches:
            loss = batch(self.network)
            if loss.numel() != 1 or not loss.requires_grad:
                raise ReductionError(
                    "The loss is no single number that depends on the weights.",
                    remedy="Give a loss that returns a scalar tensor.",
                )
            yield loss


def _said_on(excerpt: Excerpt) -> Loss:
    def said(network: nn.Module) -> Tensor:
        assert isinstance(network, Model)
        return said_of(network, excerpt)

    return said


def _loss_on(excerpt: Excerpt) -> Loss:
    def loss(network: nn.Module) -> Tensor:
        assert isinstance(network, Model)
        return network.loss(excerpt, torch.Generator().manual_seed(0))

    return loss
