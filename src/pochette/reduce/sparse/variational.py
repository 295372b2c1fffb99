"""Sparse variational dropout: every weight has a noise of its own, and those that drown in it may go.

Molchanov, Ashukha & Vetrov 2017. A weight is drawn from a normal law of mean theta and variance sigma^2, the logarithm
of which is learnt beside theta; alpha is sigma^2 / theta^2. The prior is uniform on a logarithmic scale, so that the
divergence from it asks for noise, and the loss for as little as it can bear.

Noise is drawn once a step for every weight, and is the same at all moments of all sounds of the step: for recurrent
layers it must be (Lobacheva et al. 2017), for others it is less efficient than noise of the outputs, which is not drawn
here as that would be the wrong law for filters: neighbouring outputs of one filter are noisy together.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pochette.reduce.sparse.weights import Weight
from pochette.train.checkpoint import pack_optimiser, unpack_optimiser
from pochette.train.loop import Trainer

K1, K2, K3 = 0.63576, 1.87320, 1.48695
"""Of the divergence's approximation (equation 14), off by 0.0084 at most."""
THRESHOLD = 3.0
"""Logarithm of alpha above which a weight is nothing but noise."""
FIRST_LOG_VARIANCE = -10.0
_LEAST = 1e-8


def log_alpha(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Logarithm of noise over signal, between -8 and 8, as in the published code."""
    return (log_variance - torch.log(mean.square() + _LEAST)).clamp(-8.0, 8.0)


def divergence(log_alphas: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the log-uniform prior, in nats up to a constant, of each weight.

    Args:
        log_alphas: any shape.

    Returns:
        the same shape, from 0 (all noise) up.
    """
    kept = K1 * torch.sigmoid(K2 + K3 * log_alphas) - 0.5 * torch.log1p(torch.exp(-log_alphas)) - K1
    return -kept


class Noise:
    """Weights that are noisy while a training takes its steps, and their variances, which learn.

    Args:
        weights: that are noisy; of weight-normed ones the directions are.
        examples: how many losses the training sound has: the divergence counts as one of so many.
        warm_up: share of the training over which the divergence comes to count.
        rate: learning rate of the variances.
        seed: of the noise.
    """

    name = "noise"

    def __init__(
        self, weights: Mapping[str, Weight], *, examples: float, warm_up: float = 0.2, rate: float = 1e-2, seed: int = 0
    ) -> None:
        self.parameters = {path: weight.parameter for path, weight in weights.items()}
        self.examples, self.warm_up, self.seed = examples, warm_up, seed
        self.log_variances = {
            path: nn.Parameter(torch.full_like(parameter, FIRST_LOG_VARIANCE))
            for path, parameter in self.parameters.items()
        }
        self.optimiser = torch.optim.Adam(self.log_variances.values(), rate)
        self._means: dict[str, Tensor] = {}
        self._draws: dict[str, Tensor] = {}
        self._weight = 0.0

    def log_alphas(self) -> dict[str, Tensor]:
        """Of every weight, without noise on it."""
        return {
            path: log_alpha(parameter.detach(), self.log_variances[path].detach())
            for path, parameter in self.parameters.items()
        }

    # -- a step --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def begin_step(self, step: int, used: float) -> None:
        """Draw the noise of a step.

        Args:
            step: number of the step.
            used: share of the training that is over.
        """
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        self._weight = min(1.0, used / self.warm_up) / self.examples
        for path, parameter in self.parameters.items():
            self._draws[path] = torch.randn(parameter.shape, generator=generator).to(parameter.device)
        self._add()

    @torch.no_grad()
    def end_step(self) -> None:
        """Take the noise away."""
        self._remove()
        self._draws.clear()

    def _add(self) -> None:
        for path, parameter in self.parameters.items():
            self._means[path] = parameter.detach().clone()
            parameter.add_(torch.exp(0.5 * self.log_variances[path]) * self._draws[path])

    def _remove(self) -> None:
        for path, parameter in self.parameters.items():
            parameter.copy_(self._means[path])

    def attach(self, optimiser: torch.optim.Optimizer) -> None:
        """Let an optimiser of the weights move means, and the variances with it.

        Args:
            optimiser: of all or some of the weights.
        """
        optimiser.register_step_pre_hook(self._before)
        optimiser.register_step_post_hook(self._after)

    def _before(self, *_: object) -> None:
        with torch.no_grad():
            self._remove()
        for path, parameter in self.parameters.items():
            variance = self.log_variances[path]
            if parameter.grad is None:
                variance.grad = None
                continue
            mean = parameter.detach().requires_grad_()
            cost = self._weight * divergence(log_alpha(mean, variance)).sum()
            by_mean, by_variance = torch.autograd.grad(cost, [mean, variance])
            through = parameter.grad * self._draws[path] * 0.5 * torch.exp(0.5 * variance.detach())
            variance.grad = through + by_variance
            parameter.grad = parameter.grad + by_mean
        self.optimiser.step()

    @torch.no_grad()
    def _after(self, *_: object) -> None:
        self._add()

    # -- a training ----------------------------------------------------------------------------------------------------

    def join(self, trainer: Trainer) -> None:
        """Go along with a training; see `pochette.train.loop.Companion`."""
        for optimiser in trainer.optimisers_of(self.parameters.values()):
            self.attach(optimiser)
        trainer.before_step.append(lambda t: self.begin_step(t.progress.steps, t.used))
        trainer.after_step.append(lambda t: self.end_step())

    def state(self) -> dict[str, Tensor]:
        """Variances and their moments; see `pochette.train.loop.Companion`."""
        packed = pack_optimiser(self.optimiser, list(self.log_variances))
        variances = {f"variance/{path}": value.detach() for path, value in self.log_variances.items()}
        return variances | {f"moments/{name}": value for name, value in packed.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; see `pochette.train.loop.Companion`."""
        nn.ParameterList(self.log_variances.values()).to(next(iter(self.parameters.values())).device)
        with torch.no_grad():
            for path, variance in self.log_variances.items():
                variance.copy_(state[f"variance/{path}"])
        moments = {name.removeprefix("moments/"): value for name, value in state.items() if name.startswith("moments/")}
        unpack_optimiser(self.optimiser, list(self.log_variances), moments)
