"""Weights by whatever a user calls them: a file, a name of the wheel, an official checkpoint, published backbone weights."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

from videre.backbones import LIBRARIES, find_backbone
from videre.backbones.download import unpickle
from videre.backbones.weights import BACKBONE_WEIGHTS, PublishedWeights, fetch_backbone, recognise_weights
from videre.errors import WeightsError
from videre.models.base import Model
from videre.models.checkpoint import KEY, Checkpoint, read_checkpoint
from videre.models.classify.published import published_classifier
from videre.models.official import OFFICIAL, convert_official, fetch_official
from videre.tensors import PICKLES, read_tensors
from videre.zoo import zoo_cards, zoo_path


def find_weights(source: str | Path) -> Checkpoint | PublishedWeights:
    """What `source` names: a whole model, or a backbone's tensors with their card.

    A file comes first; then "timm:NAME" and "hf:NAME", which those libraries fetch; then the names that `videre models`
    lists. Official files are downloaded when they are asked for by name, and their hash is checked.

    Raises WeightsError: nothing of this name (the nearest ones are given), a damaged file, an unknown pickle; ConfigError:
    another library is absent, or does not have them.
    """
    path, name = Path(source), str(source)
    if path.is_file():  # a folder may well be called like a checkpoint of the zoo
        return _of_pickle(path) if path.suffix in PICKLES else _of_file(path)
    if name.partition(":")[0] in LIBRARIES:
        return find_backbone(name).published(name.partition(":")[2])
    officials, backbones = {o.name: o for o in OFFICIAL}, {b.name: b for b in BACKBONE_WEIGHTS if b.url}
    if name in officials:
        return Checkpoint.of(fetch_official(name), {"source": officials[name].url, "licence": officials[name].licence})
    if name in backbones:
        return backbones[name], fetch_backbone(backbones[name])
    if name in zoo_cards():
        return read_checkpoint(zoo_path(name))
    names = [*zoo_cards(), *officials, *backbones]
    called = {name.rpartition("/")[2]: name for name in names}  # people leave out who published it
    near = difflib.get_close_matches(name.rpartition("/")[2], called, 1)
    hint = f"; did you mean {called[near[0]]}?" if near else "."
    raise WeightsError(
        f"{name}: neither a file nor a checkpoint of the zoo, nor official weights{hint} There are: {', '.join(names)}"
    )


def load_model(source: str | Path) -> Model:
    """The model that `source` names; published weights of a backbone are the classifier of ImageNet's classes that they were
    trained as. Raises as `find_weights`."""
    found = find_weights(source)
    return found.build() if isinstance(found, Checkpoint) else published_classifier(*found)


def _of_file(path: Path) -> Checkpoint | PublishedWeights:
    tensors, header = read_tensors(path)
    return read_checkpoint(path) if KEY in header else (recognise_weights(path, tensors), tensors)


def _of_pickle(path: Path) -> Checkpoint | PublishedWeights:
    """A published file that was downloaded by hand, known by its hash."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    for official in OFFICIAL:
        if digest.startswith(official.sha256):
            return Checkpoint.of(convert_official(official, data), {"source": path.name, "licence": official.licence})
    for card in BACKBONE_WEIGHTS:
        if digest.startswith(card.sha256):
            return card, unpickle(data, card.sha256, path.name)
    raise WeightsError(
        f"{path}: pickles can run code when they are read, and this one (sha256 {digest[:12]}…) is none of the published "
        "files that videre knows; convert it to safetensors where you trust it"
    )
