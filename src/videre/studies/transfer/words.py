"""The recommendation of a transfer study, with its reasons in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from videre.studies.transfer.row import Row, at

ON_TOP = "linear, top layer"
AMOUNTS = ((50, "very few"), (500, "few"), (5000, "a fair number of"), (math.inf, "many"))
"""Pictures a class, below which they are called so. Borders used in practice, see docs/transfer.md."""


def recommendation(rows: Sequence[Row], classes: int) -> tuple[str, list[str]]:
    """The cheapest method that is within one standard error of the best on all the pictures, and why, in sentences."""
    shares = [at(rows, share) for share in sorted({row.share for row in rows})]
    last = shares[-1]
    best = max(last.values(), key=lambda row: row.accuracy)
    chosen = next(row for row in sorted(last.values(), key=lambda row: row.cost) if not behind(row, best))
    return chosen.method, _why(shares, chosen, classes)


def behind(row: Row, best: Row) -> bool:
    """Whether a way is worse than the best by more than one standard error of the difference."""
    return best.accuracy - row.accuracy > difference_error(row, best)


def difference_error(a: Row, b: Row) -> float:
    """Standard error of the difference of two accuracies on the same pictures, over pictures and seeds."""
    each = a.right.mean(0) - b.right.mean(0)
    seeds = sum(r.spread**2 / len(r.right) for r in (a, b) if len(r.right) > 1)
    return math.sqrt(float(each.var()) / len(each) + seeds)


def _why(shares: Sequence[dict[str, Row]], chosen: Row, classes: int) -> list[str]:
    rows, each = shares[-1], chosen.pictures / max(classes, 1)
    amount = next(word for most, word in AMOUNTS if each < most)
    lines = [
        f"{amount.capitalize()} pictures ({each:.0f} a class); {chosen.method}: {chosen.accuracy:.3f} ± "
        f"{1.96 * chosen.error:.3f} in {chosen.seconds:.0f} s."
    ]
    top = rows.get(ON_TOP)
    probes = [row for row in rows.values() if row.method.startswith("linear")]
    if len(probes) > 1 and top is not None:
        strongest = max(probes, key=lambda row: row.accuracy)
        gap = strongest.accuracy - top.accuracy
        stage = strongest.method.removeprefix("linear, ")
        if strongest is top:
            lines.append("Similar to what the weights were trained on: no earlier stage is better than the top layer.")
        elif not behind(top, strongest):
            lines.append(
                f"Features of {stage} do as well as those of the top layer ({_gain(top, strongest)}): the two cannot be told apart."
            )
        else:
            lines.append(
                f"Unlike what the weights were trained on: features of {stage} are "
                f"better than those of the top layer by {gap:.3f} ± {1.96 * difference_error(top, strongest):.3f}."
            )
    tuned = [row for name, row in rows.items() if name.startswith("fine-tune")]
    if tuned and not any(row is chosen for row in tuned):
        strongest = max(tuned, key=lambda row: row.accuracy)
        lines.append(f"Fine-tuning adds nothing that can be seen ({_gain(chosen, strongest)}).")
    elif top is not None and any(row is chosen for row in tuned):
        lines.append(f"Fine-tuning is better than a linear classifier ({_gain(top, chosen)}).")
    scratch = next((row for name, row in rows.items() if name.startswith("from scratch")), None)
    if scratch is not None and scratch is not chosen:
        lines.append(f"From scratch it is {_gain(chosen, scratch)}.")
    if len(shares) > 1:
        before = shares[-2].get(chosen.method)
        if before is not None:
            rise = chosen.accuracy - before.accuracy
            sure = 1.96 * math.hypot(before.error, chosen.error)
            more = (
                "more pictures of the same kind are likely to help"
                if rise > sure
                else "more pictures of the same kind would help little"
            )
            lines.append(
                f"From {before.pictures} to {chosen.pictures} pictures it rose by {rise:.3f} ± {sure:.3f}: {more}."
            )
    return lines


def _gain(a: Row, b: Row) -> str:
    """The accuracy of b over a, signed."""
    return f"{b.accuracy - a.accuracy:+.3f} ± {1.96 * difference_error(a, b):.3f}"
