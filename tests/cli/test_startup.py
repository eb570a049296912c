"""`import videre` and `videre --help` are light, and the public names mean the same whatever was imported before."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

import videre

HEAVY = "print([m for m in ('torch', 'numba', 'cv2', 'numpy', 'matplotlib') if m in sys.modules])"


@pytest.mark.parametrize(
    "code",
    [
        "import videre; dir(videre); videre.__version__",
        "import contextlib, io; sys.argv = ['videre', '--help']; from videre.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()",
        "import contextlib, io; sys.argv = ['videre', 'train', '--help']; from videre.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()",
    ],
    ids=["import", "help", "train help"],
)
def test_light_start(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}\n{HEAVY}"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_every_public_name_is_there_and_stays_what_it_is() -> None:
    """A function called as a module would turn into that module at the first import of it."""
    before = {name: getattr(videre, name) for name in videre.__all__}
    for module in ("data.blocks", "draw.scene", "predict.predictor", "evaluate.page", "models.official", "train.loop"):
        importlib.import_module(f"videre.{module}")
    assert {name: getattr(videre, name) for name in videre.__all__} == before
    modules = {name for name, value in before.items() if isinstance(value, types.ModuleType)}
    assert modules == {"data", "draw", "engine", "evaluate", "export", "models", "predict", "structures", "train"}
    assert videre.train.train is videre.train.loop.train and videre.load is videre.predict.load
    assert set(videre.__all__) <= set(dir(videre))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        videre.trian  # noqa: B018


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "videre", "nonsense"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "videre: No such command 'nonsense'. (see videre --help)\n")
