"""Whether the size in which a net sees the pictures suits what is on them."""

from __future__ import annotations

import numpy as np

from videre.data.stats import Stats
from videre.structures import Preprocess

TINY = 12.0
"""Pixels a side, as the net sees it, under which things are hard to find: a stride of 4 leaves three cells of them."""
GOOD = 16.0
"""What the smallest tenth is brought to."""
PLAIN = 48.0
"""Pixels a side from which on nothing is lost where pictures are not enlarged."""
ENLARGED = 1.6
"""Times the side, from which on that is said."""
STEP = 32


def propose_size(stats: Stats, preprocess: Preprocess) -> str:
    """A line that proposes another short side, "" where the present one will do.

    Args:
        stats: of the data, with the sides of things as `preprocess` makes them.
    """
    now = preprocess.short_side
    if preprocess.size is not None or now is None or not len(stats.sides):
        return ""
    scale = float(np.median(stats.resized_sides / np.maximum(stats.sides, 1e-6)))
    own = int(np.median([min(size) for size, count in stats.picture_sizes.items() for _ in range(count)]))
    smallest = float(np.quantile(stats.resized_sides, 0.1))
    if smallest < TINY and scale < 1.5:
        most = max(now, int(1.5 * own))
        wanted = min(most, STEP * round(now * GOOD / smallest / STEP))
        if wanted > now:
            return (
                f"a tenth of the things have sides under {smallest:.0f} pixels as the net sees them; -o short_side={wanted} "
                f"makes that {smallest * wanted / now:.0f}, for {(wanted / now) ** 2:.1f} times the time"
            )
    if scale > ENLARGED and smallest / scale > PLAIN / 2 and own < now:
        plain = STEP * max(1, round(own / STEP))
        return (
            f"pictures are enlarged {scale:.1f} times for the net; -o short_side={plain} sees them about as they are, in "
            f"{(plain / now) ** 2:.2f} of the time"
        )
    return ""
