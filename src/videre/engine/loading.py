"""Loading ahead on threads, in order: the same items whatever the number of workers.

Threads, not processes: decoding (OpenCV, zlib) and serial Numba kernels let go of the interpreter, nothing is copied
between workers, and a forked worker beside Numba's parallel kernels would die.

Each of them computes alone. With a team of OpenMP threads of its own, it would raise their number above that of the
cores; GNU's library then puts every team to sleep between operators, that of the training too, and small operators
take less time than waking up. A detector on pictures of 128 pixels trained at half the speed.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from videre.errors import ConfigError, DataError, VidereError

S = TypeVar("S")
T = TypeVar("T")

AHEAD = 2
"""Items made ahead for each worker: enough to ride out one slow picture, few enough to bound the memory."""


class UnusableError(DataError):
    """Raised while an item is made, and says something of the whole set: no item is named in front of it."""


def load(
    order: Iterable[S], prepare: Callable[[S], T], workers: int, name: Callable[[S], str], ahead: int = AHEAD
) -> Generator[T, None, None]:
    """Give prepare(i) for every i of `order`, in that order, made ahead on `workers` threads.

    Args:
        order: numbers of items, or what they are made of; may be endless; it is read only as far as needed.
        prepare: makes item i. It runs on several threads at once, so that its random numbers must come from i (and the
            epoch), not from a shared generator; it must not call parallel Numba kernels.
        workers: 0 prepares in the calling thread. name: the picture of item i, for messages (`Dataset.where`).
        ahead: finished or running items per worker, at most.

    Raises:
        What `prepare` raised, with the picture's name added, when the turn of that item comes. Closing the iterator
        (or leaving the loop) drops what has not begun.
    """
    if workers < 0 or ahead < 1:
        raise ConfigError(f"workers must not be negative and ahead at least 1, found {workers} and {ahead}")
    return _alone(order, prepare, name) if workers == 0 else _on_threads(order, prepare, workers, name, ahead)


def _alone(order: Iterable[S], prepare: Callable[[S], T], name: Callable[[S], str]) -> Generator[T, None, None]:
    for i in order:
        yield _named(lambda i=i: prepare(i), i, name)  # type: ignore[misc]


def _on_threads(
    order: Iterable[S], prepare: Callable[[S], T], workers: int, name: Callable[[S], str], ahead: int
) -> Generator[T, None, None]:
    pool = _single_threaded_pool(workers)
    waiting: collections.deque[tuple[S, Future[T]]] = collections.deque()
    try:
        for i in order:
            waiting.append((i, pool.submit(prepare, i)))
            if len(waiting) >= workers * ahead:
                turn, future = waiting.popleft()
                yield _named(future.result, turn, name)
        while waiting:
            turn, future = waiting.popleft()
            yield _named(future.result, turn, name)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _single_threaded_pool(workers: int) -> ThreadPoolExecutor:
    """Threads in which torch uses no others."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="videre-load")
    started = threading.Barrier(workers + 1)
    threads = torch.get_num_threads()  # asked for before `begin` changes the process's number

    def begin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # the first call in a thread takes over the process's number: not after the one below
        started.wait()

    for _ in range(workers):
        pool.submit(begin)
    started.wait()
    torch.set_num_threads(threads)
    return pool


def _named(make: Callable[[], T], i: S, name: Callable[[S], str]) -> T:
    try:
        return make()
    except Exception as error:
        if isinstance(error, UnusableError) or name(i) in str(error):
            raise
        if isinstance(error, VidereError):
            raise type(error)(f"{name(i)}: {error}") from error
        error.add_note(f"while preparing {name(i)}")
        raise
