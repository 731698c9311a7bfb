"""Files: names as constants, atomic writes, tensors as safetensors and the rest as JSON.

A file appears under its name only when it is complete, and nothing is ever pickled. Source: ours.

    >>> write_json(folder / MODEL_CONFIG, {"format": 1})          # doctest: +SKIP
    >>> write_tensors(folder / MODEL_WEIGHTS, state)               # doctest: +SKIP
"""

from protoanomalyncd.persistence.files import (
    ensure_folder,
    read_json,
    read_tensors,
    replace_atomically,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
)

__all__ = [
    "ensure_folder",
    "read_json",
    "read_tensors",
    "replace_atomically",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_text",
]
