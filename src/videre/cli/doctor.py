"""videre doctor: what this machine has, and whether everything that videre needs works here."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Check this machine: versions, processor, devices, kernels (compiled now, so that later runs start at once)."""
    import importlib.metadata
    import platform
    import time

    import torch

    from videre.data.blocks import render
    from videre.engine.device import choose_device
    from videre.engine.plan import Plan
    from videre.ops.warmup import warm_up

    for package in ("videre", "torch", "numpy", "numba", "opencv-python-headless", "hotcoco"):
        _row(package, importlib.metadata.version(package))
    _row("python", f"{platform.python_version()} on {platform.platform()}")
    _row("processor", f"{platform.machine()}, {_instructions()}; torch uses {torch.get_num_threads()} threads")
    _row("device", str(choose_device("auto")))
    for name, product in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        _row(f"{name} matrix product", f"{_gigaflops(product):.0f} GFLOP/s")
    plan = Plan.here()
    _row("number format", f"{plan.precision(choose_device('cpu'))} for predictions on the processor")
    _row("plan", f"{plan.layers} kinds of layers timed on this machine; {plan.path}")
    failed = 0
    for name, kernel in [*warm_up(), ("blocks world", lambda: render(0, 0))]:
        began = time.perf_counter()
        try:
            kernel()
            _row(f"kernel {name}", f"ready ({time.perf_counter() - began:.1f} s)")
        except Exception as error:  # the doctor reports whatever is wrong
            failed += 1
            _row(f"kernel {name}", f"FAILS: {type(error).__name__}: {error}")
    _row("kernel threads", _threads())
    _row("kernel cache", _cache())
    if failed:
        raise typer.Exit(1)


def _row(what: str, found: str) -> None:
    print(f"{what:24} {found}", flush=True)


def _instructions() -> str:
    """The widest vectors that torch uses here, and matrix units where the processor has them."""
    from pathlib import Path

    import torch

    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    extra = [name for name in ("avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if name in flags]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *extra])


def _threads() -> str:
    """Numba's threading layer; known once a parallel kernel has run."""
    import numba

    try:
        return f"{numba.threading_layer()}, up to {numba.get_num_threads()}"
    except ValueError:
        return "none started"


def _cache() -> str:
    """Where compiled kernels are kept."""
    from videre.ops import nms

    stats = getattr(nms._nms_kernel, "stats", None)
    return str(stats.cache_path) if stats is not None else "none: Numba is missing, the kernels are slow"


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
