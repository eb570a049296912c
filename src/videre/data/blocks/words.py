"""English about the blocks world: how solids stand to each other, and sentences that say so.

Relations are seen from the camera and measured on the floor, between the middles of two solids: x to the right, z away.

- left of, right of: |dx| > 1.2 |dz|, and the middles lie in that order in the picture too;
- in front of (nearer), behind: |dz| > 1.2 |dx|;
- on top of, under: one carries the other; such a pair has no other relation;
- near: less than 0.25 m of floor between the outlines.

Between the two cones lies a gap on purpose: a pair on the diagonal is left unsaid rather than said wrongly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videre.data.blocks.materials import COLOURS, MATERIALS, PLAIN, TEXTURES
from videre.data.blocks.solids import CUBE, SHAPES, SPHERE, TORUS
from videre.data.blocks.world import LYING, POSES, SIZES, UPRIGHT

LEFT, RIGHT, FRONT, BEHIND, ON, UNDER, NEAR = range(7)
PREDICATES = ("left of", "right of", "in front of", "behind", "on top of", "under", "near")
ATTRIBUTES = (*COLOURS, *MATERIALS, *TEXTURES, *SIZES, *POSES)
DOMINANT = 1.2
NEARBY = 0.25  # metres

_COLOURS = tuple(COLOURS)
_PLURAL = {"torus": "tori"}
_NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
)


@dataclass(frozen=True)
class Looks:
    """The words that belong to one solid, as indices of their lists."""

    shape: int
    colour: int
    material: int
    texture: int
    size: int
    pose: int

    def attributes(self) -> npt.NDArray[np.bool_]:
        """Return its columns of `ATTRIBUTES`, bool [A]."""
        own = (
            _COLOURS[self.colour],
            MATERIALS[self.material],
            TEXTURES[self.texture],
            SIZES[self.size],
            POSES[self.pose],
        )
        return np.array([name in own for name in ATTRIBUTES])

    def phrase(self, *, size: bool = True, texture: bool = True, colour: bool = True, material: bool = True) -> str:
        """Return its noun with the adjectives asked for: "large striped red rubber cube"."""
        words = [SIZES[self.size]] if size else []
        words += [TEXTURES[self.texture]] if texture and self.texture != PLAIN else []
        words += [_COLOURS[self.colour]] if colour else []
        words += [MATERIALS[self.material]] if material else []
        return " ".join([*words, SHAPES[self.shape]])


def article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def names(looks: Sequence[Looks]) -> list[str]:
    """Return for each solid the shortest phrase that names it alone: "cube", "red cube", "small red rubber cube"."""
    rungs: tuple[dict[str, bool], ...] = (
        dict(size=False, texture=False, colour=False, material=False),
        dict(size=False, texture=False, material=False),
        dict(texture=False, material=False),
        dict(size=False, texture=False),
        dict(texture=False),
        dict(),
    )
    found = []
    for one in looks:
        for rung in rungs:
            phrase = one.phrase(**rung)
            if sum(other.phrase(**rung) == phrase for other in looks) == 1:
                break
        found.append(phrase)
    return found


def relate(
    places: npt.NDArray[np.float64],
    columns: npt.NDArray[np.float64],
    apart: npt.NDArray[np.float64],
    support: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return all relations as rows (subject, predicate, object): int64 [R,3], by subject, then object.

    Args:
        places: [N,2] metres, each solid's middle on the floor: x to the camera's right, z away from it.
        columns: [N] the middles' x in the picture. apart: [N,N] metres of floor between outlines.
        support: [N] index of the solid underneath, -1 for the floor.
    """
    rows = []
    for a in range(len(places)):
        for b in range(len(places)):
            if a == b:
                continue
            if support[a] == b or support[b] == a:
                rows.append((a, ON if support[a] == b else UNDER, b))
                continue
            dx, dz = places[a] - places[b]
            if abs(dx) > DOMINANT * abs(dz):
                if dx * (columns[a] - columns[b]) > 0:
                    rows.append((a, LEFT if dx < 0 else RIGHT, b))
            elif abs(dz) > DOMINANT * abs(dx):
                rows.append((a, FRONT if dz < 0 else BEHIND, b))
            if apart[a, b] < NEARBY:
                rows.append((a, NEAR, b))
    return np.array(rows, np.int64).reshape(-1, 3)


def region_captions(looks: Sequence[Looks], relations: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """Return one sentence about each solid: what it is, how it lies, what it carries or stands on."""
    short = names(looks)
    sentences = []
    for i, one in enumerate(looks):
        sentence = article(one.phrase())
        if one.pose == LYING and one.shape != TORUS:
            sentence += " lying on its side"
        elif one.pose == UPRIGHT and one.shape == TORUS:
            sentence += " standing on its rim"
        for _, predicate, other in relations[(relations[:, 0] == i) & np.isin(relations[:, 1], (ON, UNDER))]:
            sentence += f" {PREDICATES[predicate]} the {short[other]}"
        sentences.append(sentence)
    return tuple(sentences)


def picture_captions(
    looks: Sequence[Looks], relations: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[str, ...]:
    """Return three true sentences about the whole picture: what is there, and two about how it stands."""
    sentences = [_inventory(looks)]
    full, short = [one.phrase() for one in looks], names(looks)
    stacked = relations[relations[:, 1] == ON]
    for turn in range(2):
        pool = stacked if turn == 0 and len(stacked) else relations
        if not len(pool):
            one = int(rng.integers(len(looks)))
            sentences.append(
                f"there is {article(full[one])} {_verb(looks[one])} on the floor"
                if turn
                else f"a picture of {article(full[one])}"
            )
            continue
        a, predicate, b = (int(v) for v in pool[rng.integers(len(pool))])
        how = "next to" if predicate == NEAR else PREDICATES[predicate]
        sentences.append(
            (
                f"{article(full[a])} {how} {article(full[b])}",
                f"the {short[a]} is {how} the {short[b]}",
                f"{article(full[a])} is {_verb(looks[a])} {how} the {short[b]}",
                f"there is {article(looks[a].phrase(size=False))} {how} {article(looks[b].phrase(size=False))}",
            )[int(rng.integers(4))]
        )
    return tuple(sentences)


def questions(looks: Sequence[Looks], rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return four questions about the picture and their answers, each one word."""
    short = names(looks)
    shape, one = int(rng.integers(len(SHAPES))), int(rng.integers(len(looks)))
    other = int(rng.integers(len(looks)))
    plural = _PLURAL.get(SHAPES[shape], SHAPES[shape] + "s")
    colour = _COLOURS[int(rng.integers(len(_COLOURS)))]
    # the name must not give the answer away
    bare = looks[one].phrase(colour=False)
    unique = sum(x.phrase(colour=False) == bare for x in looks) == 1
    which = f"what colour is the {bare}?" if unique else f"what shape is the {_thing(looks[one])}?"
    alone = unique or sum(_thing(x) == _thing(looks[one]) for x in looks) == 1
    asked = [
        (f"how many {plural} are there?", _NUMBERS[sum(x.shape == shape for x in looks)]),
        (f"is there anything {colour}?", "yes" if any(_COLOURS[x.colour] == colour for x in looks) else "no"),
        (f"is the {short[other]} large?", "yes" if looks[other].size else "no"),
    ]
    if alone:
        asked.append((which, _COLOURS[looks[one].colour] if unique else SHAPES[looks[one].shape]))
    return tuple(q for q, _ in asked), tuple(a for _, a in asked)


def _thing(one: Looks) -> str:
    return " ".join([*one.phrase().split()[:-1], "thing"])


def _verb(one: Looks) -> str:
    if one.pose == LYING:
        return "lying"
    return "sitting" if one.shape in (CUBE, SPHERE) else "standing"


def _inventory(looks: Sequence[Looks]) -> str:
    """Count the shapes: "four solids: two cubes, a red cone and a small blue sphere"."""
    parts = []
    for shape, name in enumerate(SHAPES):
        members = [one for one in looks if one.shape == shape]
        if len(members) == 1:
            parts.append(article(members[0].phrase(size=False, texture=False, material=False)))
        elif members:
            parts.append(f"{_NUMBERS[len(members)]} {_PLURAL.get(name, name + 's')}")
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return listed if len(looks) == 1 else f"{_NUMBERS[len(looks)]} solids: {listed}"
