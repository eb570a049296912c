"""Small checkpoints of our own, inside the wheel, each with a card beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videre.errors import WeightsError

FOLDER = Path(__file__).parent


def zoo_cards() -> dict[str, dict[str, Any]]:
    """The cards of all checkpoints in the wheel, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def zoo_path(name: str) -> Path:
    """The file of a checkpoint by its name; WeightsError with the names there are."""
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise WeightsError(f"{name}: no checkpoint of the zoo, which has {', '.join(zoo_cards())}")
    return path
