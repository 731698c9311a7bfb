"""head.py: unit prototypes, cosines, the reserved places."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from protoanomalyncd.prototypes import PrototypeHead


def test_prototypes_are_of_unit_length_whatever_the_weights() -> None:
    head = PrototypeHead(8, 2, 3)
    with torch.no_grad():
        head.weight.mul_(torch.rand(5, 1) * 9 + 0.1)
    torch.testing.assert_close(head.prototypes.norm(dim=1), torch.ones(5))


def test_cosines_equal_a_loop() -> None:
    head, z = PrototypeHead(8, 2, 3), F.normalize(torch.randn(6, 8), dim=1)
    found = head(z)
    assert found.shape == (6, 5)
    for i in range(6):
        for k in range(5):
            expected = torch.cosine_similarity(z[i], head.weight[k], dim=0)
            torch.testing.assert_close(found[i, k], expected)


def test_projections_are_of_unit_length() -> None:
    found = PrototypeHead(8, 0, 2).project(torch.randn(6, 8))
    assert found.shape == (6, 256)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))


def test_the_first_novel_place_is_reserved_for_normal() -> None:
    assert PrototypeHead(8, 4, 3).normal_index == 4
    assert PrototypeHead(8, 0, 3).normal_index == 0


def test_prototypes_are_put_where_they_are_wanted() -> None:
    head, start = PrototypeHead(8, 1, 2), 5 * torch.randn(3, 8)
    head.set_prototypes(start)
    torch.testing.assert_close(head.prototypes, F.normalize(start, dim=1))
    assert head.weight.requires_grad


def test_only_novel_prototypes_are_reordered() -> None:
    head = PrototypeHead(8, 2, 3)
    before = head.weight.detach().clone()
    head.reorder_novel([2, 0, 1])
    assert torch.equal(head.weight.detach(), before[[0, 1, 4, 2, 3]])
