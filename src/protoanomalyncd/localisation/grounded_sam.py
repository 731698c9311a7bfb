"""Grounded SAM: a text prompt gives boxes, the boxes give masks.

Source: the paper names Grounded SAM (Ren et al., 2024: Grounding DINO, Liu et al., ECCV 2024, and
Segment Anything, Kirillov et al., ICCV 2023) and no more. The models are those of transformers;
which boxes are taken, and how their masks become one, is *ours* (`shapes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray
from protoanomalyncd.localisation.loading import load_model, model_type
from protoanomalyncd.localisation.prompted import PromptedLocaliser
from protoanomalyncd.localisation.registry import register_localiser
from protoanomalyncd.localisation.shapes import choose_objects, clip_boxes

__all__ = ["GroundedSAM"]

_DETECTORS = "IDEA-Research/grounding-dino-tiny"
_SEGMENTERS = "facebook/sam-vit-base or facebook/sam2.1-hiera-tiny"
_CLASSES = {
    "grounding-dino": ("GroundingDinoForObjectDetection", "GroundingDinoProcessor"),
    "mm-grounding-dino": ("MMGroundingDinoForObjectDetection", "GroundingDinoProcessor"),
    "sam": ("SamModel", "SamProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    # The published SAM 2 files are those of its video model; the image model reads its part.
    "sam2_video": ("Sam2Model", "Sam2Processor"),
}


@register_localiser("grounded_sam")
@dataclass(kw_only=True, eq=False)
class GroundedSAM(PromptedLocaliser):
    """Grounding DINO's boxes, SAM's or SAM 2's masks.

    Args:
        box_detector: Grounding DINO: ``local-dir:FOLDER``, or the name of a model on the hub,
            which downloads it.
        segmenter: SAM or SAM 2, as `box_detector`; its ``config.json`` says which.
        **options: those of `PromptedLocaliser` and `ObjectRules`.
    """

    name: ClassVar[str] = "grounded_sam"

    usual_threshold: ClassVar[float] = 0.35
    """Grounding DINO's own threshold of a box."""
    networks: ClassVar[tuple[str, ...]] = ("box_detector", "segmenter")

    box_detector: str
    segmenter: str

    def _load(self) -> None:
        for role, examples in (("box_detector", _DETECTORS), ("segmenter", _SEGMENTERS)):
            if role not in self._loaded:
                self._loaded[role] = self._load_one(role, getattr(self, role), examples)

    def _load_one(self, role: str, source: str, examples: str) -> tuple[Any, Any]:
        setting = f"localiser.{role}"
        kind = model_type(setting, source, examples)
        if kind not in _CLASSES or ("dino" in kind) != (role == "box_detector"):
            raise ConfigurationError(
                f"{setting}: expected a model such as {examples}, got {source!r}, a {kind!r}"
            )
        return load_model(setting, source, _CLASSES[kind], self.device)

    def _masks(self, image: ImageArray) -> MaskArray:
        boxes = self._boxes(image)
        if not len(boxes):
            return np.zeros((0, *image.shape[:2]), np.bool_)
        return self._segment(image, boxes)

    @torch.inference_mode()
    def _boxes(self, image: ImageArray) -> FloatArray:
        """Boxes (n, 4) [px] of the objects, the surest first."""
        model, processor = self._loaded["box_detector"]
        inputs = processor(images=image, text=[list(self._names)], return_tensors="pt")
        outputs = model(**inputs.to(self.device))
        height, width = image.shape[:2]
        found = processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            threshold=self._threshold,
            target_sizes=[(height, width)],
        )[0]
        boxes = clip_boxes(found["boxes"].cpu().numpy(), height, width)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        chosen = choose_objects(found["scores"].cpu().numpy(), areas / (height * width), self)
        return boxes[chosen]

    @torch.inference_mode()
    def _segment(self, image: ImageArray, boxes: FloatArray) -> MaskArray:
        """Masks (n, H, W) of boxes (n, 4)."""
        model, processor = self._loaded["segmenter"]
        inputs = processor(images=image, input_boxes=[boxes.tolist()], return_tensors="pt")
        outputs = model(
            pixel_values=inputs["pixel_values"].to(self.device),
            input_boxes=inputs["input_boxes"].to(self.device, torch.float32),
            multimask_output=False,
        )
        sizes = [inputs["original_sizes"]]
        if "reshaped_input_sizes" in inputs:  # SAM pads to a square, SAM 2 squashes
            sizes.append(inputs["reshaped_input_sizes"])
        masks = processor.post_process_masks(outputs.pred_masks.cpu(), *sizes)[0]
        return np.asarray(masks.numpy().reshape(-1, *image.shape[:2]), np.bool_)
