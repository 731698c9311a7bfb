"""Fourth room: embedding -> class.

Prototypes on the hypersphere, the targets that unlabelled regions learn from, and the losses, one
file each. Source: the paper (von Mises-Fisher prototypes), ProtoGCD, AnomalyNCD and SimGCD for the
terms, ours for their combination.

    >>> head = PrototypeHead(embed_dim=256, n_base=3, n_novel=6)
    >>> head.prototypes.shape
    torch.Size([9, 256])
"""

from protoanomalyncd.prototypes.head import PrototypeHead

__all__ = ["PrototypeHead"]
