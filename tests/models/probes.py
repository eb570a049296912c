"""Five small systems, each of a shape that none of the library's own has: what the contract must carry.

Regions (proposals given, a descent and a fit), Captioner (words, beam search), Moments (clips to events), Graph (relations between
given boxes), Shapes (a camera given, ragged meshes). Each is one class, as a user would write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videre.layers.losses import mean_count
from videre.models import Descent, Fit, Model, Stage
from videre.ops.boxes import box_iou
from videre.structures import (
    Event,
    ImageBatch,
    Instances,
    Mesh,
    Preprocess,
    Ragged,
    Relations,
    Scene,
    Schema,
)


def net(width: int, stride: int = 8) -> nn.Sequential:
    """Pictures [B, 3, H, W] to maps [B, width, H / stride, W / stride]."""
    return nn.Sequential(nn.Conv2d(3, width, stride, stride), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU())


def read(maps: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """The map under the middle of each box, over all pictures [N, width]."""
    rows = []
    for one, box in zip(maps, boxes, strict=True):
        x, y = ((box[:, :2] + box[:, 2:]) / 16).long().unbind(1)
        rows.append(one[:, y.clamp(0, one.shape[1] - 1), x.clamp(0, one.shape[2] - 1)].T)
    return torch.cat(rows)


class Regions(Model):
    """Classes of given proposals: features trained by a softmax, then a support vector machine a class on them (R-CNN)."""

    takes = frozenset({"proposals"})
    needs = frozenset({"boxes", "instances.labels"})
    gives = frozenset({"boxes", "instances.labels", "scores"})

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None, *, width: int = 8) -> None:
        super().__init__(schema, preprocess)
        self.net, self.softmax = net(width), nn.Linear(width, len(schema.things) + 1)
        self.register_buffer("svm", torch.zeros(len(schema.things), width + 1))

    def forward(self, batch: ImageBatch) -> dict[str, Any]:
        boxes = [scene.proposals for scene in batch.given]
        features = F.pad(read(self.net(batch.image), boxes), (0, 1), value=1.0)
        return {"margins": Ragged.unchecked(features @ self.svm.T, offsets(boxes)), "features": features}

    def losses(self, batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        labels = torch.cat(self.labels(batch, targets))
        logits = self.softmax(self.forward(batch)["features"][:, :-1])
        return {"class": F.cross_entropy(logits, labels, reduction="sum") / mean_count(len(labels), logits)}

    def labels(self, batch: ImageBatch, targets: Sequence[Scene]) -> list[Tensor]:
        found = []
        for given, truth in zip(batch.given, targets, strict=True):
            iou = box_iou(given.proposals, truth.instances.boxes)
            label = torch.full((len(iou),), len(self.schema.things), dtype=torch.int64)
            if len(truth.instances):
                best, index = iou.max(1)
                label[best >= 0.5] = truth.instances.labels[index[best >= 0.5]]
            found.append(label)
        return found

    def stages(self) -> Sequence[Stage]:
        return (Descent("features", evaluates=False), Fit("svm", self.gather, self.solve, passes=2))

    def gather(self, state: dict[str, Tensor], batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        new = {"x": self.forward(batch)["features"], "y": torch.cat(self.labels(batch, targets))}
        return {name: torch.cat([state[name], value]) if name in state else value for name, value in new.items()}

    def solve(self, state: dict[str, Tensor]) -> bool:
        from sklearn.svm import LinearSVC

        for k in range(len(self.svm)):
            true = (state["y"] == k).numpy()
            if 0 < true.sum() < len(true):
                self.svm[k] = torch.from_numpy(LinearSVC(fit_intercept=False).fit(state["x"].numpy(), true).coef_[0])
        return True

    def postprocess(self, outputs: dict[str, Any], batch: ImageBatch) -> list[Scene]:
        scenes = []
        for i, margins in enumerate(outputs["margins"]):
            scores, labels = margins.sigmoid().max(1)
            boxes = batch.motion(i).inverse().boxes(batch.given[i].proposals)
            scenes.append(
                Scene(batch.originals[i], Instances(boxes=boxes.cpu(), labels=labels.cpu(), scores=scores.cpu()))
            )
        return scenes


class Captioner(Model):
    """A sentence for a picture, word by word, found by a beam search of width 2."""

    needs = frozenset({"captions"})
    gives = frozenset({"captions", "caption_scores"})

    def __init__(
        self, schema: Schema, preprocess: Preprocess | None = None, *, width: int = 8, beam: int = 2, longest: int = 6
    ) -> None:
        super().__init__(schema, preprocess)
        words = len(schema.tokenizer)
        self.net, self.embed, self.cell, self.out = (
            net(width),
            nn.Embedding(words, width),
            nn.GRUCell(width, width),
            nn.Linear(width, words),
        )
        self.beam, self.longest = beam, longest

    def forward(self, batch: ImageBatch) -> dict[str, Any]:
        return {"start": self.net(batch.image).mean((2, 3))}

    def target(self, truth: Scene) -> Tensor:
        return torch.tensor(self.schema.tokenizer.encode(truth.captions[0] if truth.captions else "", ends=True))

    def losses(self, batch: ImageBatch, targets: Sequence[Tensor]) -> dict[str, Tensor]:
        state, total, count = self.forward(batch)["start"], 0.0, 0
        words = nn.utils.rnn.pad_sequence(list(targets), batch_first=True)
        for before, after in zip(words.T[:-1], words.T[1:], strict=True):
            state = self.cell(self.embed(before), state)
            total, count = (
                total + F.cross_entropy(self.out(state), after, reduction="sum", ignore_index=0),
                count + int((after > 0).sum()),
            )
        return {"word": total / mean_count(count, state)}

    def decode(self, outputs: dict[str, Any], batch: ImageBatch) -> dict[str, Any]:
        tokenizer, found = self.schema.tokenizer, []
        for start in outputs["start"].float():
            beams = [(0.0, [tokenizer.begin], start)]
            for _ in range(self.longest):
                grown = [beam for beam in beams if beam[1][-1] == tokenizer.end]
                for score, words, state in (beam for beam in beams if beam[1][-1] != tokenizer.end):
                    state = self.cell(self.embed(torch.tensor([words[-1]])), state[None])[0].float()
                    for value, word in zip(
                        *self.out(state[None])[0].float().log_softmax(0).topk(self.beam), strict=True
                    ):
                        grown.append((score + float(value), [*words, int(word)], state))
                beams = sorted(grown, key=lambda beam: -beam[0])[: self.beam]
            found.append(beams[0])
        return {
            "words": [words for _, words, _ in found],
            "scores": torch.tensor([score for score, _, _ in found]).exp(),
        }

    def postprocess(self, outputs: dict[str, Any], batch: ImageBatch) -> list[Scene]:
        said = zip(batch.originals, outputs["words"], outputs["scores"], strict=True)
        return [Scene(size, captions=[self.schema.tokenizer.decode(w)], caption_scores=s[None]) for size, w, s in said]


class Moments(Model):
    """Of each frame of a clip whether something happens, and what; what is near in time is one event."""

    needs = frozenset({"events"})
    gives = frozenset({"events"})
    usual = Preprocess(short_side=32, long_side=None, divisor=8, frames=8)

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None, *, width: int = 8) -> None:
        super().__init__(schema, preprocess)
        self.net, self.out = net(width), nn.Conv1d(width, len(schema.events) + 1, 3, padding=1)

    def forward(self, batch: ImageBatch) -> dict[str, Any]:
        frames = self.net(batch.image.flatten(0, 1)).mean((2, 3)).unflatten(0, batch.image.shape[:2])  # (B, T, width)
        return {"logits": self.out(frames.transpose(1, 2))}  # (B, K + 1, T)

    def losses(self, batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        logits, none = self.forward(batch)["logits"], len(self.schema.events)
        true = torch.full((len(logits), logits.shape[2]), none)
        for row, (times, truth) in enumerate(zip(batch.times, targets, strict=True)):
            for event in truth.events or ():
                true[row, [event.start <= t <= event.end for t in times.tolist()]] = event.label
        return {"frame": F.cross_entropy(logits, true, reduction="sum") / mean_count(true.numel(), logits)}

    def postprocess(self, outputs: dict[str, Any], batch: ImageBatch) -> list[Scene]:
        scenes = []
        for size, logits, times in zip(batch.originals, outputs["logits"].float().cpu(), batch.times, strict=True):
            scores, labels = logits.softmax(0)[:-1].max(0)
            events = [
                Event(float(t), float(t), label=int(k), score=float(s))
                for t, k, s in zip(times, labels, scores, strict=True)
            ]
            scenes.append(Scene(size, events=events))
        return scenes


class Graph(Model):
    """Between every two of the given boxes a predicate."""

    takes = frozenset({"boxes", "instances.labels"})
    needs = frozenset({"relations"})
    gives = frozenset({"boxes", "instances.labels", "relations"})

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None, *, width: int = 8) -> None:
        super().__init__(schema, preprocess)
        self.net, self.classes = net(width), nn.Embedding(len(schema.things), width)
        self.out = nn.Linear(2 * width + 4, len(schema.predicates))

    def forward(self, batch: ImageBatch) -> dict[str, Any]:
        things, maps, rows = [scene.instances for scene in batch.given], self.net(batch.image), []
        for one, of in zip(maps, things, strict=True):
            x = read(one[None], [of.boxes]) + self.classes(of.labels)
            s, o = pairs(len(of), x.device)
            rows.append(torch.cat([x[s], x[o], (of.boxes[s] - of.boxes[o]) / 32], 1))
        return {"logits": Ragged.unchecked(self.out(torch.cat(rows)), offsets(rows))}

    def losses(self, batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        logits, total, count = self.forward(batch)["logits"], 0.0, 0
        for of, truth, given in zip(logits, targets, batch.given, strict=True):
            (s, _), n, r = pairs(len(given.instances), of.device), len(given.instances), truth.relations
            true = torch.zeros(len(s), of.shape[1])
            if len(r):
                true[r.subjects * (n - 1) + r.objects - (r.objects > r.subjects).long(), r.predicates] = 1
            total, count = total + F.binary_cross_entropy_with_logits(of, true, reduction="sum"), count + true.numel()
        return {"predicate": total / mean_count(count, logits.values)}

    def postprocess(self, outputs: dict[str, Any], batch: ImageBatch) -> list[Scene]:
        scenes = []
        for i, (logits, given) in enumerate(zip(outputs["logits"], batch.given, strict=True)):
            boxes = batch.motion(i).inverse().boxes(given.instances.boxes)
            (s, o), scores = pairs(len(boxes), boxes.device), logits.float().sigmoid()
            best, predicate = scores.max(1) if len(scores) else (torch.zeros(0), torch.zeros(0).long())
            relations = Relations(s.cpu(), predicate.cpu(), o.cpu(), best.cpu())
            scenes.append(
                Scene(
                    batch.originals[i],
                    Instances(boxes=boxes.cpu(), labels=given.instances.labels.cpu()),
                    relations=relations,
                )
            )
        return scenes


class Shapes(Model):
    """A tetrahedron for each picture, or two, moved by what is seen, at the depth that the given camera makes plausible."""

    takes = frozenset({"camera"})
    needs = frozenset({"meshes"})
    gives = frozenset({"meshes"})

    def __init__(self, schema: Schema, preprocess: Preprocess | None = None, *, width: int = 8) -> None:
        super().__init__(schema, preprocess)
        self.net, self.out = net(width), nn.Linear(width, 12)

    def forward(self, batch: ImageBatch) -> dict[str, Any]:
        moved = self.out(self.net(batch.image).mean((2, 3))).view(-1, 4, 3)
        focal = torch.stack([scene.camera.intrinsics[0, 0] for scene in batch.given])
        counts = [1 + i % 2 for i in range(len(batch))]
        vertices = [
            (m + m.new_tensor([0, 0, 1]) * f / 32).repeat(n, 1) for m, f, n in zip(moved, focal, counts, strict=True)
        ]
        return {"vertices": Ragged.of(vertices)}

    def losses(self, batch: ImageBatch, targets: Sequence[Scene]) -> dict[str, Tensor]:
        found, total = self.forward(batch)["vertices"], 0.0
        for vertices, truth in zip(found, targets, strict=True):
            meshes = truth.instances.meshes
            centre = torch.stack([mesh.vertices.mean(0) for mesh in meshes]).mean(0) if meshes else torch.zeros(3)
            total = total + (vertices.mean(0) - centre).square().sum() + 0.01 * (vertices.std(0) - 1).square().sum()
        return {"centre": total / mean_count(len(targets), found.values)}

    def postprocess(self, outputs: dict[str, Any], batch: ImageBatch) -> list[Scene]:
        faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
        meshes = [[Mesh(part, faces) for part in v.float().cpu().split(4)] for v in outputs["vertices"]]
        return [Scene(size, Instances(meshes=m)) for size, m in zip(batch.originals, meshes, strict=True)]


def offsets(rows: Sequence[Tensor]) -> Tensor:
    """Of rows one after the other."""
    return torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)


def pairs(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Subjects and objects of all ordered pairs of different things."""
    s, o = torch.meshgrid(torch.arange(count, device=device), torch.arange(count, device=device), indexing="ij")
    return s[s != o], o[s != o]
