"""Loading ahead: in order, the same whatever the workers, bounded, errors with the picture's name."""

import itertools
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from videre import data
from videre.data.transforms import Compose, CropTo, HorizontalFlip, ScaleJitter, generator
from videre.engine.loading import load
from videre.errors import ConfigError, DataError
from videre.images.reading import write_picture

from .shared import real


@pytest.fixture
def small(tmp_path):
    for n in range(6):
        write_picture(tmp_path / f"{n}.png", np.full((4, 4, 3), n, np.uint8))
    return data.read(tmp_path)


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_items_come_in_order_however_long_each_takes(small, workers):
    def prepare(i: int) -> int:
        time.sleep(0.01 * (i % 3 == 0))
        return int(small.picture(i)[0, 0, 0])

    order = [5, 0, 3, 3, 1, 4, 2, 0]
    assert list(load(order, prepare, workers, small.where)) == order


def test_batches_do_not_depend_on_workers():
    dataset = data.read(real("bccd"), "val").subset(range(12))
    chain = Compose((HorizontalFlip(), ScaleJitter(), CropTo(64, 80)))

    def prepare(i: int) -> tuple[np.ndarray, list]:
        picture, scene = chain(*dataset[i], generator(1, 0, i), dataset.schema)
        return picture, scene.instances.boxes.tolist()

    runs = [list(load(range(12), prepare, workers, dataset.where)) for workers in (0, 1, 3)]
    for run in runs[1:]:
        assert all(np.array_equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(run, runs[0]))


def test_look_ahead_is_bounded_even_for_endless_orders(small):
    begun = []
    stream = load(itertools.cycle(range(6)), lambda i: begun.append(i) or i, 2, small.where, ahead=2)
    assert [next(stream) for _ in range(10)] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    time.sleep(0.05)
    assert len(begun) <= 10 + 2 * 2
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("videre-load")]


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_come_in_turn_with_the_name_of_the_picture(small, workers):
    def prepare(i: int) -> int:
        if i == 3:
            raise DataError("something is odd")
        return 10 // (i - 4)

    stream = load([0, 1, 3, 2], prepare, workers, small.where)
    assert [next(stream), next(stream)] == [-3, -4]
    with pytest.raises(DataError, match=r"3\.png: something is odd"):
        next(stream)
    with pytest.raises(ZeroDivisionError) as caught:
        list(load([4], prepare, workers, small.where))
    assert "4.png" in caught.value.__notes__[0]
    with pytest.raises(ConfigError):
        load([], prepare, -1, small.where)


def test_loading_threads_compute_alone_and_leave_the_others_their_threads() -> None:
    """Teams of OpenMP threads beyond the cores make every operator of a training wait."""
    before = torch.get_num_threads()
    inside = list(load(range(6), lambda _: torch.get_num_threads(), 2, str))
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(torch.get_num_threads).result()
    assert inside == [1] * 6
    assert torch.get_num_threads() == later == before


def test_a_process_that_loads_before_it_computes_keeps_its_threads() -> None:
    """torch decides on a thread's number when the thread first asks, which may be after the loading threads have."""
    code = "import torch; from videre.engine.loading import load; list(load(range(3), int, 2, str)); print(torch.get_num_threads())"
    plain = "import torch; print(torch.get_num_threads())"
    # both at once: they take their time to import torch
    both = [subprocess.Popen([sys.executable, "-c", c], stdout=subprocess.PIPE, text=True) for c in (code, plain)]
    loaded, untouched = (process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert int(loaded) == int(untouched)
