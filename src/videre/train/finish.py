"""What ends a training: the best weights are evaluated on validation data, what is chosen there is stored, the page written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from videre.data.dataset import Dataset
from videre.evaluate.model import evaluate_model
from videre.evaluate.page import write_run_page
from videre.evaluate.report import Report
from videre.models.base import Model
from videre.models.checkpoint import amend
from videre.predict.predictor import Predictor, load


def evaluator(validation: Dataset, device: str = "auto") -> Callable[[Model], dict[str, float]]:
    """What the loop asks to see how good the model is now, the processes of a training together. The model itself runs, so
    that a resumed run sees the same numbers to the bit."""

    def measure(model: Model) -> dict[str, float]:
        predictor = Predictor(model, device, engine="plain")
        return evaluate_model(predictor, validation, bootstrap=0, shared=True).headline

    return measure


def finish(
    folder: Path, model: Model | None = None, validation: Dataset | None = None, device: str = "auto", page: bool = True
) -> Report | None:
    """Evaluate a run's best weights on the validation data, store in its checkpoints what is chosen there (thresholds of what
    is shown, the temperature of probabilities), and write report.html.

    Args:
        folder: of the run. model: that was trained; it gets the same choices. validation: None: only the page is written.
    """
    report = None
    if validation is not None:
        # as the loop evaluated, so that the last numbers are those of the log
        predictor = load(folder / "best.safetensors", device, engine="plain")
        predictor.model.reset_calibration()  # chosen anew, whatever the run before a resume has chosen
        report, changed = predictor.model.calibrate(evaluate_model(predictor, validation))
        for name in ("best", "last"):
            amend(folder / f"{name}.safetensors", predictor.model.thresholds, changed)
        if model is not None:
            model.thresholds = dict(predictor.model.thresholds)
            model.load_state_dict(changed, strict=False)
    if page:
        write_run_page(folder, report, validation)
    return report
