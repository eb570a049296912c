"""The command line: one command a file, thin: parse, call the library, print."""

from __future__ import annotations

import os
import sys

DEBUG = "--debug"


def main() -> None:
    """Entry point. The user's mistakes are one line and exit code 2; a traceback only with --debug."""
    debug = DEBUG in sys.argv
    sys.argv = [a for a in sys.argv if a != DEBUG]
    from videre.cli.app import app
    from videre.errors import VidereError

    try:
        app()
    except VidereError as error:
        if debug:
            raise
        print(f"videre: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("videre: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if debug:
            raise
        print(f"videre: {error}", file=sys.stderr)
        sys.exit(2)
