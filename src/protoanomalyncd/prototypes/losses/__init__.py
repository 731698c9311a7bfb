"""The terms of the objective: one pure function a file, each a scalar to minimise.

::

    L = (1 - lambda) [ cross_view + w_e entropy_loss + w_s separation_loss + info_nce ]
        + lambda [ cross_entropy + supervised_contrastive ]

The combination is *ours*; each term is read from a published method, named in its file. Losses
on classes take logits, that is cosines divided by the temperature; losses on embeddings and
prototypes take vectors of any length and divide them by it themselves. No function holds state
or moves tensors between devices, float32 and float64 both work, and a batch that has no sample
of the wanted kind costs 0 (and stays in the graph) where the references return nan or stop.

Example::

    logits = cosines / 0.1  # (n, K)
    loss = cross_view(q1, q2, *logits.chunk(2)) + 2.0 * entropy_loss(logits)

Letters in every docstring: n samples, K classes, d dimensions, v views.
"""

from protoanomalyncd.prototypes.losses.contrastive import info_nce
from protoanomalyncd.prototypes.losses.cross_entropy import cross_entropy
from protoanomalyncd.prototypes.losses.dapl import cross_view
from protoanomalyncd.prototypes.losses.entropy import entropy_loss
from protoanomalyncd.prototypes.losses.separation import separation_loss
from protoanomalyncd.prototypes.losses.supcon import supervised_contrastive

__all__ = [
    "cross_entropy",
    "cross_view",
    "entropy_loss",
    "info_nce",
    "separation_loss",
    "supervised_contrastive",
]
