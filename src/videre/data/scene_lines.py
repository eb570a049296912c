"""Scenes as JSON lines, a picture a line: predictions, what is given to a model, the `scenes` format.

{"picture": "a.png", "size": [480, 640], "proposals": [[…], …], …}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from videre.errors import DataError, ShapeError
from videre.files import read_text
from videre.structures import Scene, Schema


def scene_line(name: str, scene: Scene, schema: Schema) -> str:
    """One line, without its end."""
    return json.dumps({"picture": name, **scene.to_json(schema.names)})


def read_scenes(path: str | Path, schema: Schema | None = None) -> Iterator[tuple[str, Scene]]:
    """The scenes of a file, one after the other, each with its picture's name.

    Args:
        schema: whose classes the names in the file are; None: labels are numbers.

    Raises DataError naming the line and the field that cannot be read.
    """
    names = schema.names if schema is not None else {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error})") from error
        if not isinstance(data, dict) or not isinstance(data.get("picture"), str):
            raise DataError(f'{where}: a scene is {{"picture": NAME, "size": [HEIGHT, WIDTH], …}}, found {line[:60]}')
        try:
            yield data["picture"], Scene.from_json({k: v for k, v in data.items() if k != "picture"}, names)
        except (DataError, ShapeError) as error:
            raise DataError(f"{where} ({data['picture']}): {error}") from error
