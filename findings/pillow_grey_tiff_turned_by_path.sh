#!/usr/bin/env bash
# Pillow 13.0.0: an uncompressed grey TIFF (8 or 16 bit, as inspection cameras write them) whose Orientation is a
# quarter turn (5 to 8) decodes right from an open file, and wrong from a path: there it is memory-mapped with rows of the
# turned width, so that the pixels are scrambled and the shape is the wrong one. Colour and compressed files are right
# both ways. No error, no warning. What to do: open the file yourself and give Pillow the file object.
#
# Output seen:
#   8 bit, Orientation 6: from a file (4, 6) right, from the path (6, 4) wrong
#   16 bit, Orientation 8: from a file (4, 6) right, from the path (6, 4) wrong
#   8 bit, Orientation 3: from a file (6, 4) right, from the path (6, 4) right
#   8 bit, deflated, Orientation 6: from a file (4, 6) right, from the path (4, 6) right
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.3.5
cd "$folder"
venv/bin/python - <<'PY'
import numpy as np
from PIL import Image

ORIENTATION = 274
TURNED = {3: 2, 6: -1, 8: 1}  # quarter turns, anticlockwise


def look(dtype: type, turn: int, **options: str) -> tuple[bool, bool]:
    stored = np.arange(24, dtype=dtype).reshape(6, 4)
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    Image.fromarray(stored).save("grey.tif", exif=exif, **options)
    upright = np.rot90(stored, TURNED[turn])
    with open("grey.tif", "rb") as file:
        by_file = np.asarray(Image.open(file))
    by_path = np.asarray(Image.open("grey.tif"))
    right = [a.shape == upright.shape and bool((a == upright).all()) for a in (by_file, by_path)]
    what = f"{stored.itemsize * 8} bit{', deflated' if options else ''}, Orientation {turn}"
    words = ["right" if ok else "wrong" for ok in right]
    print(f"{what}: from a file {by_file.shape} {words[0]}, from the path {by_path.shape} {words[1]}")
    return right[0], right[1]


assert look(np.uint8, 6) == (True, False)
assert look(np.uint16, 8) == (True, False)
assert look(np.uint8, 3) == (True, True)
assert look(np.uint8, 6, compression="tiff_deflate") == (True, True)
PY
