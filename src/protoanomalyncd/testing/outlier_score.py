"""What holds for every outlier score."""

from __future__ import annotations

import json

import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.core.errors import NotFittedError
from protoanomalyncd.discovery.outliers import SCORES, OutlierScore, RegionFeatures
from protoanomalyncd.testing.tiny import ensure, refused

__all__ = ["N_CLASSES", "OutlierScoreContract", "features", "fitted", "unit"]

N_CLASSES = 3


def unit(n: int, width: int = 12) -> Tensor:
    """Random rows of unit length (n, width)."""
    return F.normalize(torch.randn(n, width), dim=1)


def features(n: int) -> RegionFeatures:
    """Random features of n regions."""
    return RegionFeatures(unit(n), unit(n, 20))


def fitted(n: int) -> tuple[RegionFeatures, Tensor, Tensor]:
    """N regions, their class ids, and the prototypes; the last class is empty, as may happen."""
    return features(n), torch.arange(n) % min(2, n), unit(N_CLASSES)


class OutlierScoreContract:
    """Subclass it, and make your score by `make`."""

    far_is_outlying = True
    """Whether the score grows with the distance, and not only between two classes."""

    def make(self) -> OutlierScore:
        """A new score, not fitted."""
        raise NotImplementedError

    def test_it_has_the_methods_and_its_name(self) -> None:
        ensure(isinstance(self.make(), OutlierScore), "every member of OutlierScore")

    def test_it_is_known_by_its_name(self) -> None:
        score = self.make()
        ensure(SCORES.get(score.name) is type(score), f"{score.name} registered, or offered")

    def test_a_single_fitted_region_is_enough(self) -> None:
        score = self.make()
        score.fit(*fitted(1))
        found = score.score(features(4))
        ensure(found.shape == (4,) and bool(torch.isfinite(found).all()), "finite scores (R,)")

    def test_larger_is_more_outlying(self) -> None:
        if not self.far_is_outlying:
            return
        torch.manual_seed(0)
        prototypes = torch.eye(12)[:N_CLASSES]
        class_ids = torch.arange(30) % N_CLASSES
        near, fresh = (
            F.normalize(prototypes[class_ids] + 0.1 * torch.randn(30, 12), dim=1) for _ in range(2)
        )
        score, far = self.make(), torch.eye(12)[7:8]
        score.fit(RegionFeatures(near, near), class_ids, prototypes)
        strange = float(score.score(RegionFeatures(far, far)))
        usual = float(score.score(RegionFeatures(fresh, fresh)).max())
        ensure(strange > usual, f"far away more than {usual}, the most near by")

    def test_a_score_does_not_depend_on_the_other_queries(self) -> None:
        score, queries = self.make(), features(9)
        score.fit(*fitted(20))
        alone = torch.cat([score.score(queries[i : i + 1]) for i in range(9)])
        torch.testing.assert_close(alone, score.score(queries), atol=1e-5, rtol=1e-5)

    def test_state_and_arguments_restore_it_to_the_bit(self) -> None:
        score, queries = self.make(), features(5)
        score.fit(*fitted(20))
        other = SCORES.restore(json.loads(json.dumps(SCORES.record(score))))
        other.load_state({k: v.clone() for k, v in score.state().items()})
        ensure(torch.equal(other.score(queries), score.score(queries)), "the same scores")

    def test_what_was_fitted_is_a_copy(self) -> None:
        score, known, queries = self.make(), fitted(20), features(5)
        score.fit(*known)
        before = score.score(queries)
        for tensor in (known[0].embeddings, known[0].frozen, known[1], known[2]):
            tensor.zero_()
        ensure(torch.equal(before, score.score(queries)), "scores that stay when inputs change")

    def test_a_new_fit_forgets_the_old_one(self) -> None:
        score, other, queries, known = self.make(), self.make(), features(5), fitted(20)
        score.fit(*fitted(9))
        score.fit(*known)
        other.fit(*known)
        ensure(torch.equal(other.score(queries), score.score(queries)), "the second fit alone")

    def test_it_must_be_fitted_first(self) -> None:
        score = self.make()
        ensure(score.state() == {}, "no state before fit")
        refused(lambda: score.score(features(1)), NotFittedError)
