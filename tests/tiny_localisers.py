"""Tiny random-weight checkpoints of Grounding DINO, SAM, SAM 2 and SAM 3.

They are written by transformers' own `save_pretrained` and read by the real `from_pretrained`, so
that the localisers are tested through the code that users run, offline and in a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

SIDE = 64
"""Side to which the tiny networks resize images [px]."""


@dataclass(frozen=True)
class Checkpoints:
    """Model folders as a user would have them.

    Args:
        detector: Grounding DINO.
        sam: SAM.
        sam2: SAM 2.
        sam3: SAM 3.
    """

    detector: Path
    sam: Path
    sam2: Path
    sam3: Path


def make_checkpoints(folder: Path) -> Checkpoints:
    """All four."""
    return Checkpoints(
        grounding_dino_folder(folder / "grounding_dino"),
        sam_folder(folder / "sam"),
        sam2_folder(folder / "sam2"),
        sam3_folder(folder / "sam3"),
    )


def grounding_dino_folder(folder: Path, seed: int = 0) -> Path:
    """A Grounding DINO with 6 queries.

    The model hard-codes the ids of BERT's [CLS], [SEP], "." and "?" to tell prompts apart: the tiny
    vocabulary puts them at the same places.
    """
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    words = [f"[unused{i}]" for i in range(1040)]
    words[0] = "[PAD]"
    words[100:104] = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words[200:204] = ["washer", "gear", "metal", "object"]
    words[1012], words[1029] = ".", "?"
    vocabulary = {word: number for number, word in enumerate(words)}
    torch.manual_seed(seed)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        ),
        num_queries=6,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        d_model=32,
        disable_custom_kernels=True,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 2 * SIDE, "longest_edge": 4 * SIDE})
    GroundingDinoProcessor(images, BertTokenizer(vocab=vocabulary)).save_pretrained(folder)
    return folder


def sam_folder(folder: Path, seed: int = 0) -> Path:
    """A SAM of one block."""
    from transformers import (
        SamConfig,
        SamImageProcessor,
        SamMaskDecoderConfig,
        SamModel,
        SamProcessor,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    torch.manual_seed(seed)
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=16,
            output_channels=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=SIDE,
            patch_size=16,
            mlp_dim=16,
            window_size=2,
            global_attn_indexes=[0],
            num_pos_feats=8,
            initializer_range=0.2,
        ).to_dict(),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=16, image_size=SIDE, patch_size=16, mask_input_channels=4
        ).to_dict(),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=16,
            mlp_dim=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            iou_head_hidden_dim=16,
        ).to_dict(),
    )
    SamModel(config).save_pretrained(folder)
    processor = SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}
    )
    SamProcessor(processor).save_pretrained(folder)
    return folder


def sam2_folder(folder: Path, seed: int = 0) -> Path:
    """A SAM 2 of four blocks."""
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2ImageProcessor,
        Sam2MaskDecoderConfig,
        Sam2Model,
        Sam2Processor,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    torch.manual_seed(seed)
    side = 2 * SIDE
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(
            hidden_size=8,
            image_size=[side, side],
            blocks_per_stage=[1, 1, 2, 1],
            embed_dim_per_stage=[8, 16, 32, 64],
            num_attention_heads_per_stage=[1, 1, 1, 1],
            window_size_per_stage=[4, 4, 4, 4],
            global_attention_blocks=[3],
        ),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
        fpn_hidden_size=16,
    )
    prompt = Sam2PromptEncoderConfig(hidden_size=16, image_size=side, mask_input_channels=4)
    decoder = Sam2MaskDecoderConfig(
        hidden_size=16,
        mlp_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        iou_head_hidden_dim=16,
    )
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    Sam2Model(config).save_pretrained(folder)
    size = {"height": side, "width": side}
    Sam2Processor(Sam2ImageProcessor(size=size)).save_pretrained(folder)
    return folder


def sam3_folder(folder: Path, seed: int = 0) -> Path:
    """A SAM 3 with 5 queries, and CLIP's kind of tokenizer with a few words."""
    from transformers import (
        CLIPTokenizer,
        Sam3Config,
        Sam3ImageProcessor,
        Sam3Model,
        Sam3Processor,
    )

    torch.manual_seed(seed)
    side, width = 112, 32
    small = {"hidden_size": width, "num_attention_heads": 4, "intermediate_size": 32}
    config = Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                **small,
                "num_hidden_layers": 1,
                "image_size": side,
                "pretrain_image_size": side,
                "patch_size": 14,
                "window_size": 4,
                "global_attn_indexes": [0],
            },
            "fpn_hidden_size": width,
            "scale_factors": [2.0, 1.0],
            "backbone_feature_sizes": [[16, 16], [8, 8]],
        },
        text_config={
            "model_type": "clip_text_model",
            **small,
            "vocab_size": 64,
            "projection_dim": width,
            "num_hidden_layers": 1,
            "max_position_embeddings": 32,
            "eos_token_id": 63,
        },
        geometry_encoder_config={**small, "num_layers": 1},
        detr_encoder_config={**small, "num_layers": 1},
        detr_decoder_config={**small, "num_layers": 1, "num_queries": 5},
        mask_decoder_config={"hidden_size": width, "num_upsampling_stages": 2},
    )
    Sam3Model(config).save_pretrained(folder)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: number for number, word in enumerate(words)}
    vocabulary |= {"<|startoftext|>": 62, "<|endoftext|>": 63}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[])
    size = {"height": side, "width": side}
    Sam3Processor(Sam3ImageProcessor(size=size), tokenizer).save_pretrained(folder)
    return folder
