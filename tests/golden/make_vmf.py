"""Write vmf.json: von Mises-Fisher values in 40-digit arithmetic.

    .venv/bin/python tests/golden/make_vmf.py

Needs mpmath (a part of sympy, which PyTorch needs); the tests read only what is written here.
"""

from __future__ import annotations

import json
from pathlib import Path

import mpmath as mp

DIMENSIONS = (2, 3, 5, 16, 64, 65, 128, 192, 256, 384, 512, 1024, 4096)
KAPPAS = ("0.001", "0.1", "1", "10", "30", "100", "300", "1000", "3000", "10000", "100000")


def values(d: int, text: str) -> dict[str, object]:
    """log I_v, log C_d and A_d, rounded to 30 digits."""
    order, kappa = mp.mpf(d) / 2 - 1, mp.mpf(text)
    bessel = mp.besseli(order, kappa)
    log_bessel = mp.log(bessel)
    return {
        "d": d,
        "kappa": float(text),
        "log_bessel": mp.nstr(log_bessel, 30),
        "log_normaliser": mp.nstr(
            order * mp.log(kappa) - mp.mpf(d) / 2 * mp.log(2 * mp.pi) - log_bessel, 30
        ),
        "mean_length": mp.nstr(mp.besseli(order + 1, kappa) / bessel, 30),
    }


def main() -> None:
    """Compute every pair of dimension and kappa."""
    mp.mp.dps = 40
    content = {
        "origin": f"mpmath {mp.__version__}, besseli with mp.dps = 40; tests/golden/make_vmf.py",
        "cases": [values(d, kappa) for d in DIMENSIONS for kappa in KAPPAS],
    }
    lines = json.dumps(content, indent=1) + "\n"
    Path(__file__).with_name("vmf.json").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
