"""Text that can be read: no empty boxes in any script, whatever fonts the machine has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.ft2font import FT2Font

from videre.draw import text

NAMES = {
    "Latin": "Straße à côté",
    "Cyrillic": "пешеход",
    "Greek": "αυτοκίνητο",
    "Arabic": "سيارة",
    "Chinese": "行人和汽车",
    "Japanese": "信号機の前",
    "Korean": "보행자",
    "Devanagari": "गाड़ी",
    "Thai": "รถยนต์",
    "emoji": "🐈‍⬛ 🚗️",
    "mixed": "car 汽车 0.97",
}


@pytest.fixture(params=["as it is", "no other fonts"])
def fonts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no other fonts":
        monkeypatch.setattr(text, "_other_fonts", tuple)
    monkeypatch.setattr(text, "ROMANISED", {"": ""})  # not empty: nothing is said at the end of the tests
    text._drawn.cache_clear()
    yield
    text._drawn.cache_clear()


@pytest.mark.parametrize("script", NAMES)
def test_no_label_is_a_row_of_empty_boxes(script: str, fonts: None) -> None:
    for bold in (False, True):
        parts = text._parts(NAMES[script], 24, bold)
        assert "".join(letters for _, letters in parts)
        for part, letters in parts:
            box, known = part.getmask(text.NOWHERE), FT2Font(str(part.path)).get_charmap()
            assert not [letter for letter in letters if ord(letter) not in known]
            for letter in letters:
                drawn = part.getmask(letter)
                assert letter.isspace() or (drawn.size, bytes(drawn)) != (box.size, bytes(box)), letter


def test_letters_without_a_font_are_written_in_latin_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_other_fonts", tuple)
    monkeypatch.setattr(text, "ROMANISED", {"": ""})
    text._drawn.cache_clear()
    assert "".join(letters for _, letters in text._parts("车 5", 20, False)) == "Che 5"
    assert np.array_equal(text.text_coverage("车 5", 20), text.text_coverage("Che 5", 20))
    assert text.ROMANISED["车"] == "Che" and "车" in text.romanised()
    text._drawn.cache_clear()


def test_a_font_of_the_machine_is_taken_where_it_has_the_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copy(text._own(False), tmp_path / "other.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    there = text.has_letter
    monkeypatch.setattr(text, "_other_fonts", lambda: (str(tmp_path / "broken.ttf"), str(other)))
    monkeypatch.setattr(text, "has_letter", lambda path, letter: path != text._own(False) and there(path, letter))
    text._drawn.cache_clear()
    assert text._drawn("ж", False) == (str(other), "ж")
    own = [letters for _, letters in text._parts("a ж b", 20, False)]
    assert own == ["a ", "ж", " b"]
    assert np.array_equal(text.text_coverage("ж", 20), text.text_coverage("ж", 20))
    text._drawn.cache_clear()


def test_one_note_a_run_names_the_letters() -> None:
    code = (
        "from videre.draw import text\ntext._other_fonts = tuple\n"
        "for word in ('行人', '汽车', '行人'): text.text_coverage(word, 13); text.text_coverage(word, 20, True)"
    )
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and "has 行 人 汽 车: written in Latin letters" in lines[0]


def test_plain_words_open_no_other_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_other_fonts", lambda: pytest.fail("looked for"))
    text.text_coverage("пешеход über", 13)


def test_charts_keep_letters_that_their_font_lacks() -> None:
    import warnings

    from matplotlib.figure import Figure

    from videre.draw.curves import to_svg

    def chart(name: str) -> Figure:
        figure = Figure()
        axes = figure.subplots()
        axes.barh([0, 1], [1, 2])
        axes.set_yticks([0, 1], [name, "dog"])
        return figure

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn, plain = to_svg(chart("汽车")), to_svg(chart("cat"))
    assert "汽车" in drawn.partition("</defs>")[2] and "<text" in drawn
    assert "<text" not in plain  # outlines: the same everywhere
