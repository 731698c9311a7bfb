"""What holds for every backbone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from protoanomalyncd.config import EmbeddingConfig, GuidanceConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.testing.tiny import ensure, refused
from protoanomalyncd.vit import Backbone, GuidedEncoder, restore_backbone

__all__ = ["BackboneContract"]


class BackboneContract:
    """Subclass it, and make your backbone by `make`."""

    side = 64
    """Side of the images, a multiple of the stride; one and a half times it must be one too."""

    def make(self) -> Backbone:
        """A new backbone."""
        raise NotImplementedError

    def restored(self, record: Mapping[str, Any]) -> Backbone:
        """The backbone of a saved model, without its weights, as the program builds it."""
        return restore_backbone(dict(record))

    def images(self, n: int = 3, side: int | None = None) -> Tensor:
        """Noise, uint8 (n, side, side, 3)."""
        side = side or self.side
        return torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8)

    def anomaly(self, n: int = 3) -> Tensor:
        """Random maps (n, side, side)."""
        return torch.rand(n, self.side, self.side)

    @property
    def backbone(self) -> Backbone:
        """The backbone that the tests share."""
        return self._made()[0]

    @property
    def encoder(self) -> GuidedEncoder:
        """The same, guided."""
        return self._made()[1]

    def _made(self) -> tuple[Backbone, GuidedEncoder]:
        cls = type(self)
        if cls not in _MADE:
            backbone = self.make()
            config = EmbeddingConfig(backbone.name, self.side)
            _MADE[cls] = backbone, GuidedEncoder(backbone, config).eval()
        return _MADE[cls]

    def test_it_says_what_it_is(self) -> None:
        backbone = self.backbone
        ensure(bool(backbone.name) and backbone.embed_dim > 0, "a name and a width")
        ensure(self.side % backbone.patch_size == 0, f"a stride that divides {self.side}")
        module = backbone.module()
        frozen = not module.training and not any(p.requires_grad for p in module.parameters())
        ensure(frozen, "a frozen network in evaluation mode")

    def test_preprocessing_takes_bytes(self) -> None:
        x = self.backbone.preprocess(self.images())
        ensure(x.shape == (3, 3, self.side, self.side) and x.dtype == torch.float32, "(B, 3, H, W)")

    def test_patch_descriptors_are_maps_finest_first(self) -> None:
        for side in (self.side, self.side * 3 // 2):
            maps = self.backbone.patch_descriptors(self.backbone.preprocess(self.images(2, side)))
            ensure(bool(maps), "at least one map")
            for layer in maps:
                ensure(layer.ndim == 4 and len(layer) == 2, "(B, D, h, w)")
                ensure(bool(torch.isfinite(layer).all()) and not layer.requires_grad, "finite")
            grids = [layer.shape[-2] * layer.shape[-1] for layer in maps]
            ensure(grids == sorted(grids, reverse=True), "the finest first")

    def test_tokens_fit_the_tail(self) -> None:
        backbone = self.backbone
        grid = (self.side // backbone.patch_size) ** 2
        x = backbone.preprocess(self.images())
        tokens = backbone.tokens(x, torch.rand(3, grid), GuidanceConfig())
        ensure(tokens.cls.shape == (3, backbone.embed_dim), "class tokens (B, C)")
        ensure(tokens.patches.shape[::2] == (3, backbone.embed_dim), "patches (B, P, C)")
        ensure(tokens.bias.shape == tokens.patches.shape[:2], "logits (B, P)")
        ensure(tokens.patches.shape[1] >= grid, "a token for each place of the grid")
        out = backbone.tail()(tokens.cls, tokens.patches, tokens.bias)
        ensure(out.shape == (3, backbone.embed_dim) and out.requires_grad, "a trainable tail")

    def test_embeddings_are_of_unit_length_and_repeatable(self) -> None:
        x, a = self.images(), self.anomaly()
        found = self.encoder.embed(x, a)
        ensure(found.dtype == torch.float32, "float32")
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
        ensure(torch.equal(found, self.encoder.embed(x, a)), "the same twice")

    def test_one_image_equals_a_batch_to_the_bit(self) -> None:
        x, a, encoder = self.images(), self.anomaly(), self.encoder
        alone = torch.cat([encoder.embed(x[i : i + 1], a[i : i + 1]) for i in range(3)])
        ensure(torch.equal(alone, encoder.embed(x, a)), "the same alone and in a batch")
        ensure(torch.equal(alone.flip(0), encoder.embed(x.flip(0), a.flip(0))), "in any order")

    def test_no_image_gives_no_embedding(self) -> None:
        found = self.encoder.embed(self.images(0), self.anomaly(0))
        ensure(found.shape == (0, self.encoder.embed_dim), "(0, C)")

    def test_guidance_matters(self) -> None:
        x, a = self.images(), torch.zeros(3, self.side, self.side)
        a[:, : self.side // 2, : self.side // 2] = 1
        guided, other = self.encoder.embed(x, a), self.encoder.embed(x, a.flip(1))
        ensure(bool((guided - other).abs().max() > 1e-4), "another embedding for another map")

    def test_record_and_state_restore_the_same_network(self) -> None:
        backbone, encoder = self.backbone, self.encoder
        other = self.restored(json.loads(json.dumps(backbone.record())))
        other.module().load_state_dict(backbone.module().state_dict())
        again = GuidedEncoder(other, encoder.config).eval()
        again.tail.load_state_dict(encoder.tail.state_dict())
        x, a = self.images(), self.anomaly()
        ensure(torch.equal(again.embed(x, a), encoder.embed(x, a)), "the same embeddings")
        for first, second in zip(
            backbone.patch_descriptors(backbone.preprocess(x)),
            other.patch_descriptors(other.preprocess(x)),
            strict=True,
        ):
            ensure(torch.equal(first, second), "the same descriptors")
        ensure(other.record() == backbone.record(), "the same record")

    def test_a_record_holds_no_place(self) -> None:
        text = json.dumps(self.backbone.record())
        ensure("/" not in text and "local-dir" not in text, "of a folder its own name at most")

    def test_a_window_that_is_no_multiple_of_the_stride_is_refused(self) -> None:
        config = EmbeddingConfig(self.backbone.name, self.side + 1)
        said = refused(lambda: GuidedEncoder(self.backbone, config), ConfigurationError)
        ensure("embedding.input_size: expected a multiple of" in said, "the setting named")


_MADE: dict[type, tuple[Backbone, GuidedEncoder]] = {}
