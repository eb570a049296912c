"""videre doctor: what this machine has, and whether everything that videre needs works here."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Check this machine: versions, processor, devices, kernels (compiled now, so that later runs start at once)."""
    import importlib.metadata
    import platform
    import time

    import torch
    from rich.console import Console

    from videre.engine.device import choose_device
    from videre.ops.warmup import warm_up

    console = Console(highlight=False)
    for package in ("videre", "torch", "numpy", "numba", "opencv-python-headless", "hotcoco"):
        console.print(f"{package:24} {importlib.metadata.version(package)}")
    console.print(f"{'python':24} {platform.python_version()} on {platform.platform()}")
    capability = torch.backends.cpu.get_cpu_capability()
    console.print(f"{'processor':24} {capability}, {torch.get_num_threads()} threads")
    console.print(f"{'device':24} {choose_device('auto')}")
    for name, product in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        console.print(f"{name + ' matrix product':24} {_gigaflops(product):.0f} GFLOP/s")
    failed = 0
    for name, kernel in warm_up():
        began = time.perf_counter()
        try:
            kernel()
            console.print(f"{'kernel ' + name:24} ready ({time.perf_counter() - began:.1f} s)")
        except Exception as error:  # the doctor reports whatever is wrong
            failed += 1
            console.print(f"{'kernel ' + name:24} [red]fails: {error}[/]")
    if failed:
        raise typer.Exit(1)


def _gigaflops(dtype: object) -> float:
    import time

    import torch

    a = torch.ones(512, 512, dtype=dtype)  # type: ignore[call-overload]
    (a @ a).sum()
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < 0.1:
        a @ a
        rounds += 1
    return rounds * 2 * 512**3 / (time.perf_counter() - began) / 1e9
