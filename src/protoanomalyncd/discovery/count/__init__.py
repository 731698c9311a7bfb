"""How many classes are there? The estimate behind ``n_novel_classes="auto"``, and its rivals.

Embeddings of the crops, from the network as it came, before anything is trained -> for every
candidate K a value of each criterion -> the K with the largest value. Images without a region count
as one class, "normal"; the criteria share out the regions.

    graph.py            eigengaps of a neighbourhood graph; their sum over scales is the default
    criteria.py         Ward partitions, silhouette, BIC of a von Mises-Fisher mixture
    prototype_score.py  S(K), our reading of the paper's prototype score
    estimate.py         all of them together -> `CountEstimate`

Source: "prototype score" is the paper's name; all forms here are *ours* or textbook, as each file
says.
"""

from protoanomalyncd.discovery.count.estimate import candidates, estimate_count
from protoanomalyncd.discovery.count.prototype_score import CountData

__all__ = ["CountData", "candidates", "estimate_count"]
