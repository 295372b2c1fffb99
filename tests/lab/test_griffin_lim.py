"""Griffin and Lim's iteration: it never goes astray, and comes near where the answer is known."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from pochette.lab.griffin_lim import convergence_db, griffin_lim, inversions_db
from pochette.models.mcnn import Mcnn
from pochette.sound.inversion import Inversion

SPECTRAL = Inversion(256, 256, 64)


def tone() -> Tensor:
    t = torch.arange(6400) / 16000
    return 0.2 * sum((torch.sin(2 * math.pi * 220 * k * t) / k for k in range(1, 6)), torch.zeros(6400))[None]


def test_every_iteration_comes_no_further_away() -> None:
    wanted = SPECTRAL.spectra(tone()).abs()
    found = [convergence_db(griffin_lim(wanted, SPECTRAL, 6400, n), tone(), SPECTRAL) for n in range(30)]
    assert all(after <= before + 1e-4 for before, after in itertools.pairwise(found))
    assert found[-1] < found[0] - 6.0


def test_true_phases_give_the_sound_itself() -> None:
    spectrum = SPECTRAL.spectra(tone())
    again = torch.istft(spectrum, 256, 64, 256, SPECTRAL.window, length=6400)
    assert convergence_db(again, tone(), SPECTRAL) < -80.0
    assert abs(convergence_db(torch.zeros(1, 6400), tone(), SPECTRAL)) < 0.01


def test_a_network_stands_beside_it() -> None:
    found = inversions_db(Mcnn.sized("tiny").build().eval(), [{"audio": tone()}])
    assert found.keys() == {"network", "Griffin-Lim, 3 iterations", "Griffin-Lim, 50 iterations"}
    assert found["Griffin-Lim, 50 iterations"] < found["Griffin-Lim, 3 iterations"] < 0.0
