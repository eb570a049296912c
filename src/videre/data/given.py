"""A data set whose scenes have, beside what is true, what is given of each picture: proposals, cameras, questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from videre.data.dataset import Dataset, OverSource
from videre.data.scene_lines import read_scenes
from videre.errors import DataError
from videre.predict.predictor import end_like
from videre.predict.proposals import FIELDS, Proposer, read_kept
from videre.structures import Scene

NAMED = 3
"""Pictures named in a message."""


def with_given(dataset: Dataset, given: Mapping[str, Scene], source: str) -> Dataset:
    """The set with what `given` says of each of its pictures, by name or the end of its path.

    Args:
        source: what messages call it.

    Raises:
        DataError: of some pictures it says nothing, or it is of pictures of another size.
    """
    ends: dict[str, list[str]] = {}
    for name in given:
        ends.setdefault(Path(name).name, []).append(name)
    found: dict[int, Scene] = {}
    missing, other = [], []
    for i in range(len(dataset)):
        name = dataset.name(i)
        scene = given.get(name) or given.get(end_like(name, ends.get(Path(name).name, [])))
        if scene is None:
            missing.append(name)
            continue
        size = dataset.size(i)
        if scene.size != size:
            other.append(f"{name} ({size[1]}x{size[0]}, there {scene.size[1]}x{scene.size[0]})")
        found[dataset.place(i)] = scene
    for names, what in ((missing, "says nothing of"), (other, "is of pictures of another size than")):
        if names:
            more = ", …" if len(names) > NAMED else ""
            raise DataError(
                f"{source} {what} {len(names)} of the {len(dataset)} pictures of {dataset.title}: "
                f"{', '.join(names[:NAMED])}{more}; write it anew from these pictures"
            )
    fields = frozenset.intersection(*(scene.present() for scene in found.values())) if found else frozenset()
    return dataset.over(_Given(dataset.source, found.__getitem__, fields), dataset.schema)


def with_proposals(
    dataset: Dataset, proposals: str, device: str = "auto", tick: Callable[[int], None] | None = None
) -> Dataset:
    """The set with proposals for every picture.

    Args:
        proposals: a file that `videre proposals` wrote, or a method, see `Proposer`, whose results are kept in the cache.
        tick: called with the number of pictures done.

    Raises:
        DataError: the file is of other pictures. ConfigError: there is no such method.
    """
    if proposals.endswith(".jsonl"):
        return with_given(dataset, dict(read_scenes(proposals, dataset.schema)), proposals)
    proposer, files = Proposer(proposals, device), dict[int, Path]()
    for done, i in enumerate(range(len(dataset)), start=1):
        try:
            picture = dataset.picture_as_is(i)
        except DataError:
            picture = None  # who uses the set says so
        if picture is not None:
            proposer(picture)
            files[dataset.place(i)] = proposer.file(picture)
        if tick is not None:
            tick(done)

    def find(place: int) -> Scene:
        if place not in files:
            raise DataError("the picture could not be read when proposals were found in it")
        return read_kept(files[place], dataset.source.size(place))

    return dataset.over(_Given(dataset.source, find, FIELDS), dataset.schema)


@dataclasses.dataclass
class _Given(OverSource):
    """Another source, what is given of its pictures beside their truth.

    Args:
        find: by the number in the source. given: the fields that it gives.
    """

    find: Callable[[int], Scene]
    given: Iterable[str]

    def __post_init__(self) -> None:
        self.fields = self.source.fields | frozenset(self.given)

    def scene(self, i: int) -> Scene:
        return self.source.scene(i).joined(self.find(i))
