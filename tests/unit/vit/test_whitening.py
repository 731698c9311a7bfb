"""vit/whitening.py: embeddings relative to those of normal places."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import silhouette_score

from protoanomalyncd.vit.whitening import FEWEST_NORMAL, NormalWhitening


def unit(n: int, width: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("normal", [unit(0, 6, 0), unit(FEWEST_NORMAL - 1, 6, 0), unit(1, 6, 0)])
def test_it_is_the_identity_until_there_is_something_to_learn(normal: torch.Tensor) -> None:
    z, whitening = unit(5, 6, 1), NormalWhitening(6, 0.3)
    torch.testing.assert_close(whitening(z), z)
    whitening.fit(normal)
    torch.testing.assert_close(whitening(z), z)


def test_embeddings_keep_unit_length_and_their_state_is_restored() -> None:
    whitening, other = NormalWhitening(6, 0.3), NormalWhitening(6, 0.3)
    whitening.fit(unit(50, 6, 2))
    z = unit(7, 6, 3)
    torch.testing.assert_close(whitening(z).norm(dim=1), torch.ones(7))
    other.load_state_dict(whitening.state_dict())
    assert torch.equal(other(z), whitening(z))
    assert not torch.allclose(whitening(z), z, atol=0.1)


def test_groups_that_the_ground_hides_come_out() -> None:
    """Two kinds differ a little in one direction; the ground varies much in two others."""
    generator = torch.Generator().manual_seed(4)

    def ground(n: int) -> torch.Tensor:
        z = 0.05 * torch.randn(n, 8, generator=generator)
        z[:, :2] += torch.randn(n, 2, generator=generator)
        z[:, 2] += 4
        return z

    kinds = torch.arange(80) % 2
    regions = ground(80)
    regions[:, 3] += torch.where(kinds == 0, 0.6, -0.6)
    z = F.normalize(regions, dim=-1)
    whitening = NormalWhitening(8, 0.05)
    whitening.fit(F.normalize(ground(200), dim=-1))
    before, after = (silhouette_score(v.numpy(), kinds.numpy()) for v in (z, whitening(z)))
    assert before < 0.2
    assert after > before + 0.3
