"""Ctrl-C and SIGTERM without harm: a step is never cut in the middle."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """While entered, the first Ctrl-C (or SIGTERM) is only noted in `asked`; a second one stops at once.

    Args:
        repeats: whether a second one counts; torchrun sends each of them twice.

    Attributes:
        signal: which of them it was.
    """

    def __init__(self, repeats: bool = True) -> None:
        self.asked = False
        self.signal = signal.SIGINT
        self._repeats = repeats
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for kind in (signal.SIGINT, signal.SIGTERM):
                self._before[kind] = signal.signal(kind, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and self._repeats:
            if number == signal.SIGTERM:
                raise SystemExit(128 + number)
            raise KeyboardInterrupt
        self.asked, self.signal = True, signal.Signals(number)
