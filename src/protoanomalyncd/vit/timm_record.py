"""What the record of a timm network may say: saved models come from anywhere.

timm's own arguments can name files, folders and hubs to read from, so a record is checked before
timm sees it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import timm

from protoanomalyncd.vit.embedded import EMBEDDED

__all__ = ["refusal"]

_WORDS = {"act_layer", "aa_layer", "global_pool", "norm_layer", "pos_embed", "stem_type"}
"""Arguments that may be a plain word."""
_REFUSED = ("pretrained", "checkpoint", "cache")
"""How arguments begin by which timm reads weights."""
_LONGEST, _LARGEST = 8, 100_000


def refusal(record: Mapping[str, Any]) -> str | None:
    """Why a record is refused, in one line without its end; None: it builds a plain network.

    Args:
        record: ``kind``, ``name``, ``architecture``, ``arguments``, ``mean`` and ``std``.
    """
    kind, architecture = record.get("kind"), record.get("architecture")
    if kind not in ("vit", "cnn"):
        return f"expected the kind 'vit', 'cnn' or 'plugin', got {kind!r}"
    if not isinstance(record.get("name"), str):
        return f"expected a name, got {record.get('name')!r}"
    plain = isinstance(architecture, str) and architecture.replace(".", "_").isidentifier()
    if architecture != EMBEDDED and not (plain and timm.is_model(str(architecture))):
        return f"expected an architecture that timm knows by a plain name, got {architecture!r}"
    for name in ("mean", "std"):
        values = record.get(name, [1, 1, 1])
        positive = name == "mean" or (_is_list(values) and all(value > 0 for value in values))
        if not (_is_list(values) and len(values) == 3 and positive):
            return f"expected three finite numbers as {name}, got {values!r}"
    arguments = record.get("arguments", {})
    if not isinstance(arguments, Mapping):
        return f"expected arguments by name, got {arguments!r}"
    for name, value in arguments.items():
        if name.startswith(_REFUSED) or not _is_plain(name, value):
            return (
                f"expected arguments of numbers, yes and no, or short lists of them, got "
                f"{name}={value!r}"
            )
    return None


def _is_plain(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return name in _WORDS and (value.isidentifier() or not value)
    return value is None or _is_number(value) or _is_list(value)


def _is_list(value: Any) -> bool:
    return (
        isinstance(value, list | tuple) and len(value) <= _LONGEST and all(map(_is_number, value))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= _LARGEST
