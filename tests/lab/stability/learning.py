"""Digits learnt by Adam from one network, in an order and under masks as told."""

from __future__ import annotations

import copy

import torch
from torch import nn

from pochette.reduce.sparse.held import Held
from pochette.reduce.sparse.weights import Masks, all_alive, weights_of
from tests.digits import BATCH, RATE, STEPS, digits


class Learning:
    """See `pochette.lab.stability.apart.Trains`.

    Args:
        start: left as it was.
        steps: of a training.
        keeps: steps before which the last training's network is kept, in `kept`.
    """

    def __init__(self, start: nn.Module, steps: int = STEPS, keeps: tuple[int, ...] = ()) -> None:
        self.start, self.steps, self.keeps = start, steps, keeps
        self.kept: dict[int, nn.Module] = {}

    def __call__(self, masks: Masks | None, order: int) -> nn.Module:
        module = copy.deepcopy(self.start)
        stepper = torch.optim.Adam(module.parameters(), RATE)
        Held(weights_of(module), masks or all_alive(weights_of(module))).attach(stepper)
        self.kept.clear()
        x, y = digits()["train"]
        generator = torch.Generator().manual_seed(1000 + order)
        for step in range(self.steps):
            if step in self.keeps:
                self.kept[step] = copy.deepcopy(module)
            rows = torch.randint(len(x), (BATCH,), generator=generator)
            stepper.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            stepper.step()
        return module
