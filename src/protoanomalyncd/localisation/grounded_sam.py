"""Grounded SAM: a text prompt gives boxes, the boxes give masks.

Source: the paper names Grounded SAM (Ren et al., 2024: Grounding DINO, Liu et al., ECCV 2024, and
Segment Anything, Kirillov et al., ICCV 2023) and no more. The models are those of transformers;
which boxes are taken, and how their masks become one, is *ours* (`shapes`).
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
from protoanomalyncd.localisation.shapes import ObjectRules, choose_objects, clip_boxes

__all__ = ["GroundedSAM"]

SCORE_THRESHOLD = 0.35
"""Grounding DINO's own threshold of a box."""

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
class GroundedSAM(PromptedLocaliser):
    """Grounding DINO's boxes, SAM's or SAM 2's masks.

    Args:
        prompt: what the object is called, in English; several names are separated by full stops:
            "washer. gear".
        box_detector: Grounding DINO: ``local-dir:FOLDER``, or the name of a model on the hub,
            which downloads it.
        segmenter: SAM or SAM 2, as `box_detector`; its ``config.json`` says which.
        score_threshold: least score of a box; None = `SCORE_THRESHOLD`.
        max_objects: see `ObjectRules`, as for the five that follow.
        max_box_area: from which on a candidate is the background.
        min_area: least share of the image.
        largest_component: only the largest piece.
        fill_holes: holes belong to the object.
        margin: growth of the mask.
        device: where both networks run.
    """

    name: ClassVar[str] = "grounded_sam"

    def __init__(
        self,
        prompt: str,
        box_detector: str,
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
        self._detector_source, self._segmenter_source = box_detector, segmenter
        self._detector: tuple[Any, Any] | None = None
        self._segmenter: tuple[Any, Any] | None = None

    def arguments(self) -> dict[str, Any]:
        """All but the device. A local folder is saved by its name: `predict` needs it too."""
        return self._common_arguments() | {
            "box_detector": self._detector_source,
            "segmenter": self._segmenter_source,
        }

    def _load(self) -> None:
        if self._detector is None:
            self._detector = self._load_one("box_detector", self._detector_source, _DETECTORS)
        if self._segmenter is None:
            self._segmenter = self._load_one("segmenter", self._segmenter_source, _SEGMENTERS)

    def _load_one(self, role: str, source: str, examples: str) -> tuple[Any, Any]:
        setting = f"localiser.{role}"
        kind = model_type(setting, source, examples)
        if kind not in _CLASSES or ("dino" in kind) != (role == "box_detector"):
            raise ConfigurationError(
                f"{setting}: expected a model such as {examples}, got {source!r}, a {kind!r}"
            )
        return load_model(setting, source, _CLASSES[kind], self._device)

    def _masks(self, image: ImageArray) -> MaskArray:
        boxes = self._boxes(image)
        if not len(boxes):
            return np.zeros((0, *image.shape[:2]), np.bool_)
        return self._segment(image, boxes)

    @torch.inference_mode()
    def _boxes(self, image: ImageArray) -> FloatArray:
        """Boxes (n, 4) [px] of the objects, the surest first."""
        assert self._detector is not None  # noqa: S101 - `locate` has loaded it
        model, processor = self._detector
        inputs = processor(images=image, text=[list(self._names)], return_tensors="pt")
        outputs = model(**inputs.to(self._device))
        height, width = image.shape[:2]
        found = processor.post_process_grounded_object_detection(
            outputs,
            inputs["input_ids"],
            threshold=self._score_threshold,
            target_sizes=[(height, width)],
        )[0]
        boxes = clip_boxes(found["boxes"].cpu().numpy(), height, width)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        chosen = choose_objects(
            found["scores"].cpu().numpy(), areas / (height * width), self._rules
        )
        return boxes[chosen]

    @torch.inference_mode()
    def _segment(self, image: ImageArray, boxes: FloatArray) -> MaskArray:
        """Masks (n, H, W) of boxes (n, 4)."""
        assert self._segmenter is not None  # noqa: S101 - `locate` has loaded it
        model, processor = self._segmenter
        inputs = processor(images=image, input_boxes=[boxes.tolist()], return_tensors="pt")
        outputs = model(
            pixel_values=inputs["pixel_values"].to(self._device),
            input_boxes=inputs["input_boxes"].to(self._device, torch.float32),
            multimask_output=False,
        )
        sizes = [inputs["original_sizes"]]
        if "reshaped_input_sizes" in inputs:  # SAM pads to a square, SAM 2 squashes
            sizes.append(inputs["reshaped_input_sizes"])
        masks = processor.post_process_masks(outputs.pred_masks.cpu(), *sizes)[0]
        return np.asarray(masks.numpy().reshape(-1, *image.shape[:2]), np.bool_)
