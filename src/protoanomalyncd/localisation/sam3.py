"""SAM 3: a text prompt gives masks, in one network.

Source: Segment Anything 3 (Meta, 2025), through transformers. *Ours*: the paper does not name it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray
from protoanomalyncd.localisation.loading import load_model, model_type
from protoanomalyncd.localisation.prompted import PromptedLocaliser
from protoanomalyncd.localisation.registry import register_localiser
from protoanomalyncd.localisation.shapes import ObjectRules, choose_objects

__all__ = ["SAM3"]

SCORE_THRESHOLD = 0.5
"""Threshold of an object in the examples of SAM 3's documentation."""

_EXAMPLES = "facebook/sam3"
_KINDS = ("sam3", "sam3_video")
"""The published files are those of the video model; the image model reads its part."""


@register_localiser("sam3")
class SAM3(PromptedLocaliser):
    """SAM 3; each name of the prompt is asked for by itself.

    Args:
        prompt: what the object is called, in English; several names are separated by full stops:
            "washer. gear".
        segmenter: SAM 3: ``local-dir:FOLDER``, or the name of a model on the hub, which downloads
            it.
        score_threshold: least score of an object; None = `SCORE_THRESHOLD`.
        max_objects: see `ObjectRules`, as for the five that follow.
        max_box_area: from which on a candidate is the background.
        min_area: least share of the image.
        largest_component: only the largest piece.
        fill_holes: holes belong to the object.
        margin: growth of the mask.
        device: where the network runs.
    """

    name: ClassVar[str] = "sam3"

    def __init__(
        self,
        prompt: str,
        segmenter: str,
        score_threshold: float | None = None,
        max_objects: int = 10,
        max_box_area: float = 0.95,
        min_area: float = 0.01,
        largest_component: bool = False,
        fill_holes: bool = True,
        margin: float = 0.01,
        device: str = "cpu",
    ) -> None:
        rules = ObjectRules(
            max_objects, max_box_area, min_area, largest_component, fill_holes, margin
        )
        threshold = SCORE_THRESHOLD if score_threshold is None else score_threshold
        super().__init__(prompt, threshold, rules, device)
        self._source = segmenter
        self._loaded: tuple[Any, Any] | None = None

    def arguments(self) -> dict[str, Any]:
        """All but the device. A local folder is saved by its name: `predict` needs it too."""
        return self._common_arguments() | {"segmenter": self._source}

    def _load(self) -> None:
        if self._loaded is not None:
            return
        setting = "localiser.segmenter"
        kind = model_type(setting, self._source, _EXAMPLES)
        if kind not in _KINDS:
            raise ConfigurationError(
                f"{setting}: expected a model such as {_EXAMPLES}, got {self._source!r}, a {kind!r}"
            )
        classes = ("Sam3Model", "Sam3Processor")
        self._loaded = load_model(setting, self._source, classes, self._device)

    def _masks(self, image: ImageArray) -> MaskArray:
        found = [self._ask(image, name) for name in self._names]
        masks = np.concatenate([masks for masks, _ in found])
        scores = np.concatenate([scores for _, scores in found])
        chosen = choose_objects(scores, masks.mean(axis=(1, 2), dtype=np.float32), self._rules)
        return np.asarray(masks[chosen])

    @torch.inference_mode()
    def _ask(self, image: ImageArray, name: str) -> tuple[MaskArray, FloatArray]:
        """Masks (n, H, W) and scores (n,) of what is called by one name."""
        assert self._loaded is not None  # noqa: S101 - `locate` has loaded it
        model, processor = self._loaded
        inputs = processor(images=image, text=name, return_tensors="pt").to(self._device)
        outputs = model(
            pixel_values=inputs["pixel_values"],
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
        )
        height, width = image.shape[:2]
        found = processor.post_process_instance_segmentation(
            outputs, threshold=self._score_threshold, target_sizes=[(height, width)]
        )[0]
        masks = found["masks"].cpu().numpy().reshape(-1, height, width).astype(np.bool_)
        return masks, found["scores"].cpu().numpy().astype(np.float32)
