"""Small checkpoints of our own, inside the wheel, each with a card beside it."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from videre.errors import WeightsError

FOLDER = Path(__file__).parent


def zoo_cards() -> dict[str, dict[str, Any]]:
    """The cards of all checkpoints in the wheel, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def zoo_path(name: str) -> Path:
    """The file of a checkpoint by its name; WeightsError with the names that exist."""
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        names = sorted(p.stem for p in FOLDER.glob("*.safetensors"))
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise WeightsError(
            f"{name}: neither a file nor a checkpoint of the zoo{hint} The zoo has: {', '.join(names) or 'none yet'}"
        )
    return path
