"""Generated inspection images."""

from protoanomalyncd.datasets.generated.picture import (
    DEFECT_TYPES,
    PRODUCTS,
    defect_types_of,
    render,
)

__all__ = ["DEFECT_TYPES", "PRODUCTS", "defect_types_of", "render"]
