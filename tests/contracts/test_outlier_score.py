"""What holds for every registered outlier score. A new one adds its oracle to `ORACLES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.discovery.outliers import OutlierScore, create_outlier_score, registered
from protoanomalyncd.errors import ConfigurationError, NotFittedError

Oracle = Callable[[Tensor, Tensor, Tensor], float]


def _cosine(z: Tensor, fitted: Tensor, prototypes: Tensor) -> float:
    return 1 - max(float(z @ mu) for mu in prototypes)


def _neighbour(z: Tensor, fitted: Tensor, prototypes: Tensor) -> float:
    similar = sorted((float(z @ other) for other in fitted), reverse=True)
    return 1 - similar[min(5, len(similar)) - 1]


ORACLES: Mapping[str, Oracle] = {"cosine": _cosine, "neighbour": _neighbour}


def unit(n: int, width: int = 16) -> Tensor:
    return F.normalize(torch.randn(n, width), dim=1)


@pytest.fixture(params=registered())
def score(request: pytest.FixtureRequest) -> OutlierScore:
    return create_outlier_score(request.param)


def test_every_registered_score_is_under_contract() -> None:
    assert sorted(ORACLES) == list(registered())


@pytest.mark.parametrize("n_fitted", [1, 3, 30])
def test_it_equals_its_oracle(score: OutlierScore, n_fitted: int) -> None:
    fitted, prototypes, queries = unit(n_fitted), unit(4), unit(7)
    score.fit(fitted, prototypes)
    expected = [ORACLES[score.name](z, fitted, prototypes) for z in queries]
    torch.testing.assert_close(score.score(queries), torch.tensor(expected), atol=1e-5, rtol=0)


def test_larger_is_more_outlying(score: OutlierScore) -> None:
    prototypes = torch.eye(16)[:3]
    near = F.normalize(prototypes.repeat(10, 1) + 0.05 * torch.randn(30, 16), dim=1)
    score.fit(near, prototypes)
    far = F.normalize(-prototypes.sum(dim=0, keepdim=True) + torch.eye(16)[7:8], dim=1)
    assert float(score.score(far)) > float(score.score(near).max())


def test_a_score_does_not_depend_on_the_other_queries(score: OutlierScore) -> None:
    score.fit(unit(20), unit(4))
    queries = unit(9)
    alone = torch.cat([score.score(z[None]) for z in queries])
    torch.testing.assert_close(alone, score.score(queries), atol=1e-6, rtol=0)


def test_state_restores_it_to_the_bit(score: OutlierScore) -> None:
    queries = unit(5)
    score.fit(unit(20), unit(4))
    other = create_outlier_score(score.name)
    other.load_state({k: v.clone() for k, v in score.state().items()})
    assert torch.equal(other.score(queries), score.score(queries))


def test_what_was_fitted_is_a_copy(score: OutlierScore) -> None:
    fitted, prototypes, queries = unit(20), unit(4), unit(5)
    score.fit(fitted, prototypes)
    before = score.score(queries)
    fitted.zero_()
    prototypes.zero_()
    assert torch.equal(before, score.score(queries))


def test_it_must_be_fitted_first(score: OutlierScore) -> None:
    assert score.state() == {}
    with pytest.raises(NotFittedError, match=f"outlier score '{score.name}': expected fit"):
        score.score(unit(1))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"outliers.score: expected one of cosine, .*'x'"):
        create_outlier_score("x")
