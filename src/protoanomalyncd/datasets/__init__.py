"""Data sets: folders of images -> `Sample`s.

Reads the MVTec AD layout (Bergmann et al., CVPR 2019; also MVTec AD itself), plain folders, and
labelled base sets; turns the published folders of Magnetic Tile Defect, NEU-Seg, Real-IAD and
AeBAD into these layouts; and generates inspection images.

    images.py     a file -> RGB array, mask, content key
    map_files.py  a file -> anomaly map; which map belongs to which image
    folders.py    which files count
    layout.py     a folder -> `Dataset` or `LabelledSet`
    mtd.py, neu_seg.py, real_iad.py, aebad.py, preparers.py    published sets -> these layouts
    values.py, staging.py    reading published masks; writing a folder whole or not at all
    generated/    drawn products and defects

Example::

    data = load_dataset("DATA/mtd")
    base = take_per_class(load_labelled("DATA/neu"), 100, seed=0)
    image = read_image(data.unlabelled[0].path)
"""

from protoanomalyncd.datasets.aebad import prepare_aebad
from protoanomalyncd.datasets.generated import (
    DEFECT_TYPES,
    FURTHER_TYPES,
    PRODUCTS,
    defect_types_of,
    generate,
    generate_labelled,
    render,
)
from protoanomalyncd.datasets.images import content_key, read_image, read_mask
from protoanomalyncd.datasets.layout import (
    Dataset,
    LabelledSet,
    load_dataset,
    load_labelled,
    take_per_class,
)
from protoanomalyncd.datasets.map_files import match_maps, read_map, smooth_coarse
from protoanomalyncd.datasets.mtd import prepare_mtd
from protoanomalyncd.datasets.neu_seg import prepare_neu_seg
from protoanomalyncd.datasets.preparers import PREPARERS, prepare
from protoanomalyncd.datasets.real_iad import REAL_IAD_CODES, prepare_real_iad
from protoanomalyncd.datasets.staging import PrepareSummary

__all__ = [
    "DEFECT_TYPES",
    "FURTHER_TYPES",
    "PREPARERS",
    "PRODUCTS",
    "REAL_IAD_CODES",
    "Dataset",
    "LabelledSet",
    "PrepareSummary",
    "content_key",
    "defect_types_of",
    "generate",
    "generate_labelled",
    "load_dataset",
    "load_labelled",
    "match_maps",
    "prepare",
    "prepare_aebad",
    "prepare_mtd",
    "prepare_neu_seg",
    "prepare_real_iad",
    "read_image",
    "read_map",
    "read_mask",
    "render",
    "smooth_coarse",
    "take_per_class",
]
