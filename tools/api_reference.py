"""HTML reference of the library, from its docstrings: ``python tools/api_reference.py FOLDER``.

Nothing is fetched. A warning of the writer is an error: a name that is offered and does not exist,
an annotation that cannot be read.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

LAZY = ("protoanomalyncd", "protoanomalyncd.deployment")
"""Packages whose names are imported when they are asked for, which the writer does not do."""


def main(folder: Path) -> int:
    """Write ``index.html`` and a page a module."""
    warnings.filterwarnings("error", module=r"pdoc\b.*")
    for name in LAZY:
        package = importlib.import_module(name)
        vars(package).update({one: getattr(package, one) for one in package.__all__})
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("protoanomalyncd", output_directory=folder)
    print(folder / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
