"""SAM 3: a text prompt gives masks, in one network.

Source: Segment Anything 3 (Meta, 2025), through transformers. *Ours*: the paper does not name it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray
from protoanomalyncd.localisation.loading import load_model, model_type
from protoanomalyncd.localisation.prompted import PromptedLocaliser
from protoanomalyncd.localisation.registry import register_localiser
from protoanomalyncd.localisation.shapes import choose_objects

__all__ = ["SAM3"]

_EXAMPLES = "facebook/sam3"
_KINDS = ("sam3", "sam3_video")
"""The published files are those of the video model; the image model reads its part."""


@register_localiser("sam3")
@dataclass(kw_only=True, eq=False)
class SAM3(PromptedLocaliser):
    """SAM 3; each name of the prompt is asked for by itself.

    Args:
        segmenter: SAM 3: ``local-dir:FOLDER``, or the name of a model on the hub, which downloads
            it.
        **options: those of `PromptedLocaliser` and `ObjectRules`.
    """

    name: ClassVar[str] = "sam3"

    usual_threshold: ClassVar[float] = 0.5
    """As in the examples of SAM 3's documentation."""
    networks: ClassVar[tuple[str, ...]] = ("segmenter",)

    segmenter: str

    def _load(self) -> None:
        if self._loaded:
            return
        setting = "localiser.segmenter"
        kind = model_type(setting, self.segmenter, _EXAMPLES)
        if kind not in _KINDS:
            raise ConfigurationError(
                f"{setting}: expected a model such as {_EXAMPLES}, got {self.segmenter!r}, "
                f"a {kind!r}"
            )
        classes = ("Sam3Model", "Sam3Processor")
        self._loaded["segmenter"] = load_model(setting, self.segmenter, classes, self.device)

    def _masks(self, image: ImageArray) -> MaskArray:
        found = [self._ask(image, name) for name in self._names]
        masks = np.concatenate([masks for masks, _ in found])
        scores = np.concatenate([scores for _, scores in found])
        chosen = choose_objects(scores, masks.mean(axis=(1, 2), dtype=np.float32), self)
        return np.asarray(masks[chosen])

    @torch.inference_mode()
    def _ask(self, image: ImageArray, name: str) -> tuple[MaskArray, FloatArray]:
        """Masks (n, H, W) and scores (n,) of what is called by one name."""
        model, processor = self._loaded["segmenter"]
        inputs = processor(images=image, text=name, return_tensors="pt").to(self.device)
        outputs = model(
            pixel_values=inputs["pixel_values"],
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
        )
        height, width = image.shape[:2]
        found = processor.post_process_instance_segmentation(
            outputs, threshold=self._threshold, target_sizes=[(height, width)]
        )[0]
        masks = found["masks"].cpu().numpy().reshape(-1, height, width).astype(np.bool_)
        return masks, found["scores"].cpu().numpy().astype(np.float32)
