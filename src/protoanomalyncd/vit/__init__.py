"""Third room: crop -> embedding.

A backbone turns a crop into tokens; the anomaly map guides the class token (AMG-ViT, Region
Guidance Factor); the last block is trained. Source: the paper for the guidance of the class token
alone, AnomalyNCD for the hard mask, ours for the factor's formula and the hidden class key.

    >>> backbone = create_backbone("embedded")                   # doctest: +SKIP
    >>> encoder = GuidedEncoder(backbone, EmbeddingConfig())      # doctest: +SKIP
    >>> encoder.embed(crops)                                      # doctest: +SKIP
"""

from protoanomalyncd.vit.amg_vit import GuidedEncoder
from protoanomalyncd.vit.backbone import create_backbone, restore_backbone
from protoanomalyncd.vit.base import Backbone, Tokens

__all__ = ["Backbone", "GuidedEncoder", "Tokens", "create_backbone", "restore_backbone"]
