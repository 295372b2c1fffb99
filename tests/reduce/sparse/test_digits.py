"""The ticket on handwritten digits: at 2 % of the weights it beats its shape drawn anew; that beats a random shape."""

from __future__ import annotations

import pytest
import torch

from pochette.lab.stability.apart import shuffled_masks
from pochette.reduce.sparse.weights import density
from tests.digits import network, ticket, trained


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_ticket_wins(seed: int) -> None:
    torch.set_num_threads(1)
    dense, masks = ticket(seed)
    assert density(masks) == pytest.approx(0.0207, abs=2e-4)
    won = trained(network(seed), masks, seed)
    drawn_anew = [trained(network(100 * seed + other), masks, seed) for other in (10, 11)]
    shuffled = [trained(network(seed), shuffled_masks(masks, other), seed) for other in (12, 13)]
    assert won > max(drawn_anew) and min(drawn_anew) > max(shuffled), (won, drawn_anew, shuffled)
    assert dense > 0.94 and won > dense - 0.03
