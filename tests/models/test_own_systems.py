"""A system of a user's own: by module and class, or registered under a name; saved, loaded, and never imported unasked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from videre.errors import ConfigError
from videre.models import MODELS, Model, find_model, import_system, model_name, register
from videre.models.base import arguments
from videre.models.checkpoint import read_checkpoint, save_checkpoint
from videre.predict import Predictor, load
from videre.structures import Categories, ImageBatch, Preprocess, Scene, Schema

SCHEMA = Schema(pictures=Categories.of(["dark", "bright"]))


class Brightness(Model):
    """Dark or bright."""

    needs = frozenset({"labels"})
    gives = frozenset({"labels", "label_scores"})

    def __init__(
        self, schema: Schema, preprocess: Preprocess | None = None, *, width: int = 2, sure: float = 1.0
    ) -> None:
        super().__init__(schema, preprocess)
        width += 2  # what was given is the configuration, not what became of it
        self.net = nn.Linear(3, width)

    def forward(self, batch: ImageBatch) -> dict[str, Tensor]:
        return {"logits": self.net(batch.image.mean((2, 3)))[:, :2]}

    def postprocess(self, outputs: dict[str, Tensor], batch: ImageBatch) -> list[Scene]:
        shares = outputs["logits"].softmax(1).cpu()
        return [
            Scene(size, labels=[0, 1], label_scores=share) for size, share in zip(batch.originals, shares, strict=True)
        ]


def test_the_keyword_arguments_are_the_configuration() -> None:
    model = Brightness(SCHEMA, width=6)
    assert model.config == {"width": 6, "sure": 1.0} and model.net.out_features == 8
    again = type(model)(SCHEMA, **model.config)
    assert again.config == model.config and set(arguments(Brightness)) == {"width", "sure"}


def test_a_class_that_is_on_no_table_is_saved_and_loaded(tmp_path: Path) -> None:
    model, file = Brightness(SCHEMA), tmp_path / "m.safetensors"
    save_checkpoint(model, file)
    assert read_checkpoint(file).model == model_name(model) == f"{__name__}:Brightness"
    picture = torch.rand(3, 40, 50)
    said, again = (
        p.predict(picture, threshold=0) for p in (Predictor(model, engine="plain"), load(file, engine="plain"))
    )
    assert torch.equal(said.label_scores, again.label_scores)


def test_a_registered_class_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videre.models.MODELS", dict(MODELS))
    register("brightness", Brightness)
    register("brightness", Brightness)  # twice is once
    assert find_model("brightness") is Brightness and model_name(Brightness(SCHEMA)) == "brightness"
    with pytest.raises(ConfigError, match="there is a system 'faster-rcnn' already"):
        register("faster-rcnn", Brightness)


def test_a_module_that_a_file_names_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs.py").write_text("from videre.models import Model\n\nclass Theirs(Model): ...\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="theirs:Theirs is not one of videre's systems; import theirs first"):
        find_model("theirs:Theirs")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_system("theirs")
    try:
        assert find_model("theirs:Theirs").__name__ == "Theirs"
        with pytest.raises(ConfigError, match="there is no Model of that name in theirs"):
            find_model("theirs:Others")
    finally:
        del sys.modules["theirs"]
    with pytest.raises(ConfigError, match="not_there: cannot be imported"):
        import_system("not_there")


@pytest.mark.parametrize("names", ["takes", "accepts", "needs", "gives"])
def test_a_field_that_no_scene_has_is_found_when_the_class_is_made(names: str) -> None:
    with pytest.raises(ConfigError, match=rf"Wrong\.{names}: no scene has a field 'boxs'; did you mean boxes"):
        type("Wrong", (Model,), {names: frozenset({"boxs"})})


def test_a_part_may_not_be_called_as_what_every_model_has() -> None:
    class Hidden(Brightness):
        def __init__(self, schema: Schema) -> None:
            super().__init__(schema)
            self.decode = nn.Linear(2, 2)

    with pytest.raises(ConfigError, match=r"Hidden\.decode: every Model has a decode of its own"):
        Hidden(SCHEMA)
