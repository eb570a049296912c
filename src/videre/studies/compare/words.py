"""The comparison in words: the table, what to take at which speed, and which of Huang's findings show."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

from videre.evaluate.intervals import number
from videre.studies.compare.row import Row, difference, front


def table(rows: Sequence[Row]) -> list[str]:
    """A line a row, those of the front marked."""
    best = {row.name for row in front(rows)}
    width = max(len(row.name) for row in rows)
    lines = [
        f"  {'':{width}} {'ms':>7}  {'AP':22} {'small':>6} {'medium':>6} {'large':>6}  {'AP50':>5} {'M par.':>7} {'MiB':>6} "
        f"{'minutes':>8} {'pictures':>9}"
    ]
    for row in rows:
        low, high = row.interval
        minutes, seen = (f"{row.minutes:.1f}", f"{row.pictures:,}") if row.pictures else ("—", "—")
        sizes = " ".join(f"{number(value):>6}" for value in (row.small, row.medium, row.large))
        memory = f"{row.memory / 2**20:.0f}" if row.memory else "—"
        lines.append(
            f"{'*' if row.name in best else ' '} {row.name:{width}} {1e3 * row.seconds:7.1f}  "
            f"{f'{number(row.ap)} [{number(low)}, {number(high)}]':22} {sizes}  {number(row.ap50):>5} "
            f"{row.parameters / 1e6:7.1f} {memory:>6} {minutes:>8} {seen:>9}"
        )
    return [*lines, "* the front: nothing faster is as accurate"]


def recommendation(rows: Sequence[Row]) -> list[str]:
    """What to take at which speed: a row of the front is named where it is better than the last named one for sure."""
    best = front(rows)
    taken = best[0]
    lines = [f"up to {_ms(taken)} take {taken.name}: AP {taken.ap:.3f}"]
    within: list[str] = []
    for row in best[1:]:
        gain = difference([(row, taken)])
        if not gain.is_sure:
            within.append(row.name)
            continue
        lines.append(
            f"up to {_ms(row)} take {row.name}: AP {row.ap:.3f}; {gain} for {row.seconds / taken.seconds:.1f} times the time"
        )
        taken = row
    if within:
        lines.append(f"within the interval of what is faster, so that the gain may be luck: {', '.join(within)}")
    alike = [row.name for row in rows if row is not taken and not difference([(taken, row)]).is_sure]
    if alike:
        lines.append(f"not to be told from {taken.name}, the best: {', '.join(alike)}")
    short = [row.name for row in best if row.minutes < max(r.minutes for r in rows if not math.isnan(r.minutes)) / 2]
    if short:
        lines.append(f"trained for less than half as long as the longest, and may gain: {', '.join(short)}")
    lines.append(
        "the best of many on the same pictures looks a little better than it is; judge what you take on others"
    )
    return lines


def takeaways(rows: Sequence[Row]) -> list[str]:
    """What Huang et al. found on COCO, asked of these rows: pairs that are alike in all but one thing, trained equally long."""
    whole = [row for row in rows if row.rung >= 0 and ", " not in row.name]
    same = lambda *names: lambda a, b: all(getattr(a, name) == getattr(b, name) for name in names)
    others = same("backbone", "side", "rung")
    stages = [(a, b) for a, b in _pairs(whole, others) if a.two_stage and not b.two_stage]
    lines = [_finding("two stages are more accurate than one", "slower", stages)]
    ssd = [(b, a) for a, b in _pairs(whole, others) if a.system == "ssd" and b.system != "ssd"]
    lines.append(_finding("the others are more accurate than ssd", "slower", ssd))
    sizes = [(a, b) for a, b in _pairs(whole, same("backbone", "system", "rung")) if a.side > b.side]
    lines.append(_finding("larger pictures help", "slower", sizes))
    deeper = [(a, b) for a, b in _pairs(whole, same("system", "side", "rung")) if a.parameters > b.parameters]
    lines.append(_finding("larger backbones help", "slower", deeper))
    fewer = [row for row in rows if ", " in row.name]
    full = {row.name: row for row in rows}
    few = [(full[name], row) for row in fewer if (name := row.name.partition(", ")[0]) in full]
    for whole_row, row in sorted(few, key=lambda pair: -pair[1].proposals):
        gain = difference([(row, whole_row)])
        lines.append(
            f"{row.proposals} proposals for {whole_row.proposals} ({whole_row.name}): AP {gain}, "
            f"{whole_row.seconds / row.seconds:.2f} times as fast"
        )
    return ["what Huang et al. (2017) found on COCO, here:", *(f"  {line}" for line in lines)]


def _pairs(rows: Sequence[Row], alike: Callable[[Row, Row], bool]) -> Iterable[tuple[Row, Row]]:
    return ((a, b) for a, b in itertools.permutations(rows, 2) if alike(a, b))


def _finding(says: str, price: str, pairs: Sequence[tuple[Row, Row]]) -> str:
    if not pairs:
        return f"{says}: not asked, no two rows differ in that alone"
    gain = difference(pairs)
    times = math.exp(sum(math.log(a.seconds / b.seconds) for a, b in pairs) / len(pairs))
    verdict = "undecided" if not gain.is_sure else "yes" if gain.value > 0 else "no, the contrary"
    cost = f"{times:.1f} times as slow" if times >= 1 else f"{1 / times:.1f} times as fast"
    count = f"{len(pairs)} pairs" if len(pairs) > 1 else "one pair"
    return f"{says}: {verdict}, AP {gain} in {count}; {cost}, where COCO's were {price}"


def _ms(row: Row) -> str:
    return f"{1e3 * row.seconds:.0f} ms" if row.seconds < 1 else f"{row.seconds:.1f} s"
