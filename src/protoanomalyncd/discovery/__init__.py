"""Classes of regions and images.

Assignment, merging of regions into images, rejection of outliers, and the metrics of the protocol.
Source: AnomalyNCD for the merging and the protocol; the rest is named in its file. Each part is
imported from its own module: the metrics need no torch, and nothing here imports it for them.

    classifier.py    features -> classes of regions
    merge_regions.py, normality.py, outliers/, count/
    metrics.py       found ids against true classes
"""
