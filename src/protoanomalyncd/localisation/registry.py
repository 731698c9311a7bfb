"""Localisers by name; building one loads no model yet."""

from __future__ import annotations

from protoanomalyncd.core.registry import Registry
from protoanomalyncd.localisation.base import ObjectLocaliser

__all__ = ["LOCALISERS", "create_localiser", "register_localiser", "registered_localisers"]

LOCALISERS: Registry[ObjectLocaliser] = Registry(
    "localiser",
    "protoanomalyncd.localisers",
    ObjectLocaliser,
    expected={
        "prompt": "what the object is called, or a YAML file of prompts in localiser.prompts",
        "box_detector": "local-dir:FOLDER or a model such as IDEA-Research/grounding-dino-tiny",
        "segmenter": "local-dir:FOLDER or a model such as facebook/sam-vit-base",
    },
)
register_localiser = LOCALISERS.register
registered_localisers = LOCALISERS.names
create_localiser = LOCALISERS.create
