"""The only room with optimisers: views, stored tokens, the loop, checkpoints.

Crops are augmented in V views, the frozen blocks' tokens of each view are computed once and kept on
disk, and the tail and the prototypes are trained on them. Source: AnomalyNCD for views and
schedule, ours for the stored tokens and the k-means start.

    >>> cache = fill_token_cache(folder, crops, encoder, TrainingConfig(), seed=0)  # doctest: +SKIP
    >>> Trainer(encoder, head, cache, Samples.of(crops), ...).run(folder)  # doctest: +SKIP
"""

from protoanomalyncd.regions.crop_set import CropSet
from protoanomalyncd.training.loop import Trainer, embed_cache
from protoanomalyncd.training.samples import Samples
from protoanomalyncd.training.token_cache import TokenCache, fill_token_cache

__all__ = ["CropSet", "Samples", "TokenCache", "Trainer", "embed_cache", "fill_token_cache"]
