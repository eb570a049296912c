"""What ends a training: the best weights are evaluated on validation data, what is chosen there is stored, the page written."""

from __future__ import annotations

from pathlib import Path

from videre.data.dataset import Dataset
from videre.evaluate.model import Counted, count_model
from videre.evaluate.page import write_run_page
from videre.evaluate.report import Report
from videre.models.base import Model
from videre.models.checkpoint import amend
from videre.predict.predictor import Predictor, load


class Validator:
    """What the loop asks to see how good the model is now, the processes of a training together. The model itself runs, so
    that a resumed run sees the same numbers to the bit.

    Attributes:
        best: what was counted of the best weights, so that the end needs no second pass.
    """

    def __init__(self, validation: Dataset, device: str = "auto") -> None:
        self.validation, self.device = validation, device
        self.best: Counted | None = None
        self._last: Counted | None = None

    def __call__(self, model: Model) -> dict[str, float]:
        model.reset_calibration()  # chosen anew in the end, whatever the run before has chosen
        self._last = count_model(Predictor(model, self.device, engine="plain"), self.validation, shared=True)
        return self._last.report(bootstrap=0).headline

    def keep(self) -> None:
        """What was counted last is of the best weights."""
        self.best = self._last


def finish(
    folder: Path,
    model: Model | None = None,
    validation: Dataset | None = None,
    device: str = "auto",
    page: bool = True,
    counted: Counted | None = None,
) -> Report | None:
    """Evaluate a run's best weights on the validation data, store in its checkpoints what is chosen there (thresholds of what
    is shown, the temperature of probabilities), and write report.html.

    Args:
        folder: of the run. model: that was trained; it gets the same choices. validation: None: only the page is written.
        counted: what the loop has counted of the best weights; None: they are evaluated.
    """
    report = None
    if validation is not None:
        # as the loop evaluated, so that the last numbers are those of the log
        predictor = load(folder / "best.safetensors", device, engine="plain")
        predictor.model.reset_calibration()  # chosen anew, whatever the run before a resume has chosen
        counted = counted or count_model(predictor, validation)
        report, changed = predictor.model.calibrate(counted.report())
        for name in ("best", "last"):
            amend(folder / f"{name}.safetensors", predictor.model.thresholds, changed)
        if model is not None:
            model.thresholds = dict(predictor.model.thresholds)
            model.load_state_dict(changed, strict=False)
    if page:
        write_run_page(folder, report, validation)
    return report
