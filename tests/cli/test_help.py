"""`--help` says of every option what happens without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from videre.cli.app import app

from .conftest import videre

SAYS = ("[default: ", "Instead of ")


def _options(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from _options(inner, (*path, name))
    for option in command.params:
        if option.param_type_name == "option" and path and not hasattr(command, "commands"):
            yield f"{' '.join(path)} {option.opts[0]}", option


OPTIONS = dict(_options(typer.main.get_command(app)))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_says_what_happens_without_it(name: str) -> None:
    option = OPTIONS[name]
    assert option.help, "says nothing"
    if option.is_flag or option.required:
        return
    shown = option.default not in (None, [], ()) and option.show_default
    assert shown or any(words in option.help for words in SAYS), option.help
    assert not (shown and SAYS[0] in option.help), "says it twice"


COMMANDS = sorted({name.rpartition(" ")[0] for name in OPTIONS})


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_said_is_printed(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    printed = " ".join(videre(*command.split(), "--help").out.split())
    for name, option in OPTIONS.items():
        if name.rpartition(" ")[0] == command and SAYS[0] in option.help:
            said = option.help[option.help.index(SAYS[0]) :]
            assert " ".join(said.split()).replace("`", "") in printed, name


def test_the_walk_sees_every_command() -> None:
    assert {"train", "predict", "evaluate", "data split", "data blocks", "bench", "export"} <= set(COMMANDS)
