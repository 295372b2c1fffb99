"""The ticket on handwritten digits: at 2 % of the weights it beats its shape drawn anew; that beats a random shape."""

from __future__ import annotations

import pytest
import torch

from pochette.lab.stability.apart import shuffled_masks
from pochette.reduce.sparse.weights import density
from tests.digits import network, ticket, trained


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_ticket_wins_and_accuracies_are_in_their_ranges(seed: int) -> None:
    """Test accuracies at 2.07 % of the weights.

    A reference experiment of three seeds found .965 to .977 for the dense network, .9647 for each ticket, which is
    within 2 points of it, .932 in the mean and .9471 at most for the mask on weights drawn anew, and .7754 and .8287
    for random masks. Of this recipe came out .986 for both dense networks, .956 and .950 for tickets, .914 to .944, and
    .725 to .811: the order is the same, the two upper ends of the controls hold; the dense network is better, and so
    the ticket 3.1 and 3.6 points below it, for which 4.5 are allowed. Processors round differently, and a digit is 0.28
    points: three more are allowed at the upper ends. With AVX-512 seed 0 has .953 and .947 drawn anew, and .711 and
    .683 for random masks, which are held to .65.
    """
    some_digits = 0.0084
    torch.set_num_threads(1)
    dense, masks = ticket(seed)
    assert density(masks) == pytest.approx(0.0207, abs=2e-4)
    won = trained(network(seed), masks, seed)
    drawn_anew = [trained(network(100 * seed + other), masks, seed) for other in (10, 11)]
    shuffled = [trained(network(seed), shuffled_masks(masks, other), seed) for other in (12, 13)]
    assert won > max(drawn_anew) and min(drawn_anew) > max(shuffled), (won, drawn_anew, shuffled)
    assert 0.965 <= dense <= 0.995 and dense - 0.045 <= won <= dense, (dense, won)
    assert min(drawn_anew) >= 0.90 and max(drawn_anew) <= 0.9471 + some_digits, drawn_anew
    assert min(shuffled) >= 0.65 and max(shuffled) <= 0.8287 + some_digits, shuffled
