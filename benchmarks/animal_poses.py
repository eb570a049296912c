"""A square about every animal, for a net that says one pose a picture: COCO's format, the split as named.

    python benchmarks/animal_poses.py animal_keypoints_train.json crops --split train
    python benchmarks/animal_poses.py animal_keypoints_val.json crops --split val
    videre train movenet crops --from mobilenet_v2.safetensors --val none
    videre evaluate runs/movenet-crops/last.safetensors crops --split val

The squares are those of `benchmarks/movenet.py`. Other animals in a square are to be ignored; all are of one class, since such a net says none.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch

from movenet import square_around
from videre.data import Dataset, read, write
from videre.structures import Categories, Instances, Scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="train")
    args = parser.parse_args()
    data = read(args.data)
    squares = Squares(data)
    schema = dataclasses.replace(data.schema, things=Categories.of(["animal"]))
    write(Dataset(squares, schema, title=f"squares of {data.title}"), args.out, "coco", split=args.split)
    print(f"{args.out}: {len(squares)} squares of {len(data)} pictures")


class Squares:
    """Each animal with a labelled joint as a picture of its own."""

    def __init__(self, data: Dataset) -> None:
        self.data, self.fields = data, data.fields | {"ignore"}
        animals = [(i, data.scene(i).instances) for i in range(len(data))]
        self.places = [
            (i, n) for i, things in animals if things is not None for n in range(len(things)) if _is_judged(things, n)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def name(self, i: int) -> str:
        """That of its picture, and which animal of it."""
        picture, n = self.places[i]
        return f"{Path(self.data.name(picture)).stem}_{n}.png"

    def path(self, i: int) -> None:
        """None: squares are made."""

    def size(self, i: int) -> tuple[int, int]:
        """Height and width."""
        return self.scene(i).size

    def picture(self, i: int) -> np.ndarray:
        """The square."""
        return self._cut(i)[0]

    def scene(self, i: int) -> Scene:
        """Its animal, and the others, clipped and to be ignored."""
        crop, corner = self._cut(i)
        place, n = self.places[i]
        things = self.data.scene(place).instances
        height, width = crop.shape[:2]
        shift = torch.from_numpy(corner).float()
        boxes = (things.boxes - shift.repeat(2)).clamp(min=0).minimum(torch.tensor([width, height] * 2))
        inside = (boxes[:, 2:] - boxes[:, :2]).amin(1) >= 1
        inside[n] = True
        ignore = torch.ones(len(things), dtype=torch.bool)
        ignore[n] = False
        there = Instances(
            boxes=boxes,
            labels=torch.zeros_like(things.labels),
            keypoints=things.keypoints - shift,
            visibility=things.visibility * ~ignore[:, None],
            ignore=ignore,
        )
        return Scene((height, width), there[inside], meta={"path": self.name(i), "id": str(i)})

    def _cut(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        place, n = self.places[i]
        return square_around(self.data.picture(place), self.data.scene(place).instances.boxes[n].numpy())


def _is_judged(things: Instances, n: int) -> bool:
    return bool((things.visibility[n] > 0).any()) and not (things.ignore is not None and bool(things.ignore[n]))


if __name__ == "__main__":
    main()
