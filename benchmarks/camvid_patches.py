"""Cut class folders out of camvid: `python benchmarks/camvid_patches.py camvid OUT`, for `videre transfer OUT`.

Patches of 64x64 pixels whose centre and at least 40% of whose pixels are of one class, shown without their
surroundings: mostly surfaces, where ImageNet has things. As many of each class as there are, up to a limit, and no class of fewer than ten; train and val
are camvid's own, so that no street is in both.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from videre.images.reading import read_ids, read_picture, write_picture

SIDE, LEAST, FEWEST = 64, 0.4, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=80, help="patches of each class, at most")
    parser.add_argument("--val", type=int, default=40)
    args = parser.parse_args()
    names = [
        c["name"] if isinstance(c, dict) else c
        for c in json.loads((args.camvid / "classes.json").read_text())["classes"]
    ]
    names = [name.lower() for name in names if name.lower() not in ("void", "unlabelled")]
    rng = np.random.default_rng(0)
    for split, most in (("train", args.train), ("val", args.val)):
        taken = dict.fromkeys(range(len(names)), 0)
        files = sorted((args.camvid / split).glob("*.jpg"))
        for n in rng.permutation(len(files)):
            picture, ids = read_picture(files[n]), read_ids(args.camvid / f"{split}annot" / f"{files[n].stem}.png")
            seen = set()  # one patch of a class and picture
            for _ in range(600):
                y, x = (int(rng.integers(0, side - SIDE + 1)) for side in ids.shape)
                label, patch = int(ids[y + SIDE // 2, x + SIDE // 2]), ids[y : y + SIDE, x : x + SIDE]
                if (
                    label < len(names)
                    and label not in seen
                    and taken[label] < most
                    and (patch == label).mean() >= LEAST
                ):
                    seen.add(label)
                    folder = args.out / split / names[label]
                    folder.mkdir(parents=True, exist_ok=True)
                    write_picture(folder / f"{files[n].stem}.png", picture[y : y + SIDE, x : x + SIDE])
                    taken[label] += 1
        if split == "train":
            known = [name for k, name in enumerate(names) if taken[k] >= FEWEST]
        for name in {f.name for f in (args.out / split).iterdir()} - set(known):
            shutil.rmtree(args.out / split / name)
        print(split, ", ".join(f"{names[k]} {count}" for k, count in taken.items()))


if __name__ == "__main__":
    main()
