"""The report of joints: a table and bars with intervals."""

from __future__ import annotations

import math

from videre.draw import curves
from videre.draw.page import Chart, Section, Table
from videre.evaluate.intervals import number
from videre.evaluate.pck import JointSection

JOINTS = (
    "Share of the labelled joints that were found near enough, with 95% intervals over persons, of the prediction nearest to "
    "each person. The mean pose, laid into everyone's own box, shows what could be known without looking."
)


def joint_sections(section: JointSection) -> list[Section]:
    """Everything that a page shows."""
    return [Section("Joints", [_joint_table(section), *_joint_bars(section)], JOINTS)]


def _joint_bars(section: JointSection) -> list[Chart]:
    charts = []
    for pose in section.poses:
        names = [name for name, value in pose.metrics.items() if not math.isnan(value)]
        sure = [pose.intervals.get(name) for name in names]
        lows, highs = ([getattr(i, end) for i in sure if i is not None] for end in ("low", "high"))
        bars = curves.interval_bars(names, [pose.metrics[name] for name in names], lows, highs, pose.measure.name)
        charts.append(Chart(bars, pose.measure.name))
    return charts


def _joint_table(section: JointSection) -> Table:
    rows = [
        [name, *(str(pose.intervals.get(name) or number(pose.metrics[name])) for pose in section.poses)]
        for name in section.poses[0].metrics
    ]
    rows.append(["the mean pose in each box", *(number(pose.baseline) for pose in section.poses)])
    return Table(
        ["joint", *(f"{pose.measure.name.split()[0]}, {len(pose.found):,} persons" for pose in section.poses)], rows
    )
