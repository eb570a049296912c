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
    """The file of a checkpoint by its name; WeightsError with all names that can be loaded, the official ones too."""
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        from videre.models.official import OFFICIAL  # torch with it, which the cards alone do not need

        names = [*sorted(p.stem for p in FOLDER.glob("*.safetensors")), *(o.name for o in OFFICIAL)]
        called = {name.rpartition("/")[2]: name for name in names}  # people leave out who published it
        near = difflib.get_close_matches(name.rpartition("/")[2], called, 1)
        hint = f"; did you mean {called[near[0]]}?" if near else "."
        raise WeightsError(
            f"{name}: neither a file nor a checkpoint of the zoo, nor an official one{hint} "
            f"There are: {', '.join(names)}"
        )
    return path
