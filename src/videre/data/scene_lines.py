"""Scenes as JSON lines, a picture a line: predictions, what is given to a model, the `scenes` format.

{"picture": "a.png", "size": [480, 640], "proposals": [[…], …], …}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from videre.data.faults import Faults
from videre.errors import DataError, ShapeError
from videre.files import read_text
from videre.structures import Scene, Schema


def scene_line(name: str, scene: Scene, schema: Schema) -> str:
    """One line, without its end."""
    return json.dumps({"picture": name, **scene.to_json(schema.names)})


def read_scenes(
    path: str | Path, schema: Schema | None = None, faults: Faults | None = None
) -> Iterator[tuple[str, Scene]]:
    """The scenes of a file, one after the other, each with its picture's name.

    Args:
        schema: whose classes the names in the file are; None: labels are numbers.
        faults: takes the lines that cannot be read, naming the field. None: the first raises DataError.
    """
    names = schema.names if schema is not None else {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where, picture = f"{path}, line {number}", "-"
        try:
            data = json.loads(line)
            if not isinstance(data, dict) or not isinstance(data.get("picture"), str):
                raise DataError(f'a scene is {{"picture": NAME, "size": [HEIGHT, WIDTH], …}}, found {line[:60]}')
            picture = data.pop("picture")
            scene = Scene.from_json(data, names)
        except (DataError, ShapeError, ValueError, RecursionError) as error:
            what = str(error) if isinstance(error, DataError | ShapeError) else f"not JSON ({error})"
            where += "" if picture == "-" else f" ({picture})"
            if faults is None:
                raise DataError(f"{where}: {what}") from error
            faults.add(where, what, picture)
        else:
            yield picture, scene
