"""What the object is called: a prompt, or a YAML file with one for each product.

::

    washer: washer
    pcb: [circuit board, green board]      # several names
    leather: null                          # a texture: everything is object
    default: object                        # what is not listed
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["names_of", "prompt_for", "read_prompts"]

DEFAULT = "default"


def names_of(prompt: str) -> tuple[str, ...]:
    """Names in a prompt, in lower case; full stops, commas and line ends separate them.

    Raises:
        ConfigurationError: there is no name in it.
    """
    parts = (" ".join(part.lower().split()) for part in re.split(r"[.,;\n]", prompt))
    names = tuple(dict.fromkeys(part for part in parts if part))
    if not names:
        raise ConfigurationError(
            f"localiser.prompt: expected a name of the object, such as 'washer', got {prompt!r}"
        )
    return names


def prompt_for(prompts: dict[str, str | None], product: str, path: Path) -> str | None:
    """The prompt of a product; None = a texture.

    Raises:
        ConfigurationError: the product is not listed, nor is there a default.
    """
    for name in (product, DEFAULT):
        if name in prompts:
            return prompts[name]
    raise ConfigurationError(
        f"{path}: expected a prompt for the product {product!r}, got {', '.join(sorted(prompts))}; "
        f"add it, or a line '{DEFAULT}: object', or name another by localiser.product"
    )


def read_prompts(path: Path) -> dict[str, str | None]:
    """Read a YAML file: product -> prompt, several names joined by full stops; None = a texture.

    Raises:
        ConfigurationError: the file is missing, no YAML, or does not map names to texts.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigurationError(
            f"localiser.prompts: expected a YAML file of prompts at {path}, got: {reason}"
        ) from error
    if not isinstance(values, dict) or not values:
        raise ConfigurationError(
            f"{path}: expected lines such as 'washer: metal washer', got {type(values).__name__}"
        )
    return {str(product): _prompt(path, product, value) for product, value in values.items()}


def _prompt(path: Path, product: Any, value: Any) -> str | None:
    if value is None:
        return None
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ConfigurationError(
            f"{path}: {product}: expected a text, a list of texts, or null, got {value!r}"
        )
    return ". ".join(texts)
