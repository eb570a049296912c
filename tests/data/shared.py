"""Where the small real data sets lie, beside the repository; tests that need them are skipped without."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2].parent / "shared" / "data"


def real(name: str) -> Path:
    """The folder of a real data set; skips the test, saying so, where it is absent."""
    if not (ROOT / name).exists():
        pytest.skip(f"the data set {name} is not in {ROOT}")
    return ROOT / name
