"""Pages: a title, facts, tables, charts and pictures in one HTML file that needs nothing else.

page = Page("Report", facts=[("data", "bccd val")], sections=[Section("Metrics", [Table(["AP"], [["0.59"]])])])
page.html()
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.resources
from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np

from videre.draw.canvas import to_rgb
from videre.draw.curves import to_svg


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text. note: below it. numbers: align all but the first column right. folded: shown on a click."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numbers: bool = True
    folded: str = ""
    kind: ClassVar[str] = "table"

    @property
    def wide(self) -> bool:
        """Whether it takes both columns of the page."""
        return bool(self.folded) or len(self.header) > 4


@dataclasses.dataclass(frozen=True)
class Chart:
    """A matplotlib figure with a title and a line on how to read it."""

    figure: Any
    title: str
    note: str = ""
    wide: bool = False
    kind: ClassVar[str] = "chart"

    @property
    def source(self) -> str:
        """The drawing as a data URI."""
        return "data:image/svg+xml;base64," + base64.b64encode(to_svg(self.figure).encode()).decode()


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pictures, as data URIs of `embed`, each with a caption."""

    pictures: Sequence[tuple[str, str]]
    title: str = ""
    note: str = ""
    kind: ClassVar[str] = "gallery"


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, a line under it, and what follows."""

    title: str
    blocks: Sequence[Table | Chart | Gallery]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Page:
    """A whole page. headline: few numbers that matter most, as (name, value, range); facts: name and value."""

    title: str
    sections: Sequence[Section] = ()
    facts: Sequence[tuple[str, str]] = ()
    headline: Sequence[tuple[str, str, str]] = ()
    subtitle: str = ""

    def html(self) -> str:
        """The file's text; every word is escaped."""
        import jinja2

        template = (importlib.resources.files("videre.draw") / "page.html").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(template).render(page=self)


def embed(picture: Any, most_bytes: int = 300_000, quality: int = 85) -> str:
    """A picture as a JPEG data URI of at most about `most_bytes`: first with less quality, then smaller."""
    pixels = to_rgb(picture)[:, :, ::-1]
    while True:
        for q in range(quality, 39, -15):
            data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, q])[1].tobytes()
            if len(data) * 4 / 3 <= most_bytes or max(pixels.shape) < 64:
                return "data:image/jpeg;base64," + base64.b64encode(data).decode()
        pixels = np.ascontiguousarray(cv2.resize(pixels, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA))
