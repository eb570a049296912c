"""The command line: one command a file, thin: parse, call the library, print.

Exit codes: 0 done; 1 done, but some items failed or faults were found; 2 the user's mistake; 3 a fault of videre's own;
130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

DEBUG = "--debug"


def main() -> None:
    """Entry point of `videre`."""

    # what decoders complain of on damaged files is said once, with the file's name, by who reads it
    warnings.filterwarnings("ignore", module="PIL")

    def command() -> object:
        from videre.cli.app import app

        return app(prog_name="videre", standalone_mode=False)

    sys.exit(run(command))


def run(command: Callable[[], object]) -> int:
    """Run a command; every error is one line on stderr, a traceback only with --debug. Returns the exit code."""
    debug = DEBUG in sys.argv
    sys.argv = [a for a in sys.argv if a != DEBUG]
    import typer

    from videre.errors import VidereError

    usage_error: Any = typer.BadParameter.__mro__[1]  # of click, or of the copy of click that newer typers carry
    try:
        code = command()
        return code if isinstance(code, int) else 0
    except usage_error as error:
        if not error.format_message():  # no command was given, and the help has been printed
            return 2
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message() + hint, 2)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except VidereError as error:
        if debug:
            raise
        return _fail(str(error), 2)
    except OSError as error:
        if debug:
            raise
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except Exception as error:
        if debug:
            raise
        where = _own_file(error)
        if where:
            return _fail(f"an error in {where} ({type(error).__name__}: {error}); --debug shows all of it", 2)
        notes = "".join(f", {note}" for note in getattr(error, "__notes__", []))
        return _fail(f"a fault of videre itself ({type(error).__name__}: {error}{notes}); --debug shows where", 3)


def _own_file(error: BaseException) -> str:
    """File and line of the user's own module (see `--import`) in which an error happened; "" where none is concerned."""
    imported = getattr(sys.modules.get("videre.models"), "IMPORTED", ())
    files = {getattr(sys.modules.get(name), "__file__", None) for name in imported}
    found = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{found[-1].filename}, line {found[-1].lineno}" if found else ""


def _fail(message: str, code: int) -> int:
    """One line, whatever is in the message; and one for each fault where it lists several, indented."""
    print("videre:", "\n  ".join(" ".join(part.split()) for part in message.split("\n  ")), file=sys.stderr)
    return code
