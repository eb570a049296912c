"""What serves every system knows none: no import, no name, no key of a configuration, no isinstance of one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import videre
from videre.models import MODELS

ROOT = Path(videre.__file__).parent
ROOMS = ("predict", "engine", "export", "evaluate", "train", "draw", "structures", "images", "layers", "ops")
FILES = sorted([*(file for room in ROOMS for file in (ROOT / room).rglob("*.py")), ROOT / "studies/features.py"])
SYSTEMS = ("classify", "detect", "propose", "segment", "pose")
CLASSES = {str(place).partition(":")[2] for place in MODELS.values()}


def sins(tree: ast.AST) -> list[str]:
    """What a file must not have, with its line."""
    found = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [
                f"{line}: imports {n}" for n in names if n.startswith(tuple(f"videre.models.{s}" for s in SYSTEMS))
            ]
        if isinstance(node, ast.Constant) and node.value in MODELS:
            found.append(f"{line}: {node.value!r}")
        if isinstance(node, ast.Name) and node.id in CLASSES:
            found.append(f"{line}: {node.id}")
        asked = isinstance(node, ast.Subscript) or (isinstance(node, ast.Attribute) and node.attr == "get")
        if asked and isinstance(node.value, ast.Attribute) and node.value.attr == "config":
            found.append(f"{line}: asks for a key of .config")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_system_by_name(file: Path) -> None:
    assert sins(ast.parse(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    (
        "from videre.models.detect.faster_rcnn import FasterRCNN",
        "import videre.models.segment.unet",
        "if isinstance(model, MaskRCNN): ...",
        "if name == 'mask-rcnn': ...",
        "model.config['hidden']",
        "model.config.get('multilabel')",
    ),
)
def test_it_would_be_found(line: str) -> None:
    assert sins(ast.parse(line)) != []
