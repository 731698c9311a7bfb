"""What users import."""

from __future__ import annotations

import protoanomalyncd


def test_everything_public_is_there() -> None:
    for name in protoanomalyncd.__all__:
        assert getattr(protoanomalyncd, name) is not None


def test_errors_have_a_public_name() -> None:
    from protoanomalyncd.errors import ImageError  # type: ignore[import-not-found]

    from protoanomalyncd.core.errors import ImageError as StandingHere

    assert ImageError is StandingHere
