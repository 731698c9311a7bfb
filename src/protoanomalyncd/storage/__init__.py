"""Files: names as constants, atomic writes, tensors as safetensors and the rest as JSON.

A file or folder appears under its name only when it is complete, and nothing is ever pickled.
`files`, `names` and `staged_folder` need no torch. Source: ours.

    >>> write_json(folder / MODEL_CONFIG, {"format": 1})          # doctest: +SKIP
    >>> write_tensors(folder / MODEL_WEIGHTS, state)               # doctest: +SKIP
"""
