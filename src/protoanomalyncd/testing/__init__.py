"""Contracts that every component keeps, ours and yours: one suite of tests for each seam.

A suite is a class; a subclass says how to make the component, and pytest does the rest::

    from protoanomalyncd.testing import DetectorContract

    class TestMyDetector(DetectorContract):
        def make(self, backbone):
            return MyDetector(backbone, image_size=64)

`make` is called for each new instance and must make the same one each time. Data are small, seeded
and made here; pytest is needed for its fixture ``tmp_path`` alone and is not imported.
"""

from protoanomalyncd.testing.backbone import BackboneContract
from protoanomalyncd.testing.detector import DetectorContract
from protoanomalyncd.testing.localiser import LocaliserContract
from protoanomalyncd.testing.outlier_score import OutlierScoreContract
from protoanomalyncd.testing.tiny import TinyBackbone

__all__ = [
    "BackboneContract",
    "DetectorContract",
    "LocaliserContract",
    "OutlierScoreContract",
    "TinyBackbone",
]
