"""Classifiers on features that stay as they are: the nearest neighbours, and one linear layer.

What they need to know beside the features (how many neighbours, how much regularisation) is found by cross-validation
on the training pictures.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

NEIGHBOURS = (1, 3, 5, 9, 15)
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse regularisations of logistic regression on standardised features, from strong to weak."""
FOLDS = 5
MOST = 2000
"""Pictures that a choice by cross-validation looks at; more would cost minutes and change nothing."""


Way = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From training features, their labels and queries to the queries' labels."""


@dataclasses.dataclass(frozen=True)
class Linear:
    """Logits of features: x @ weight.T + bias.

    Args:
        weight: float64 [K, D]. bias: [K]. strength: the inverse regularisation that was chosen.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Class of each row."""
        return (features @ self.weight.T + self.bias).argmax(1)


def fit_linear(features: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0) -> Linear:
    """Logistic regression (Donahue et al., DeCAF, 2013) on features [N, D] and labels [N], standardised inside.

    The strength is chosen by cross-validation where each class has at least two pictures, and 1 else.
    """
    mean, spread = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    spread = np.where(spread > 1e-6, spread, 1.0)
    rows = (features - mean) / spread
    scores = _cross_validate(rows, labels, seed, [partial(_predict, strength=strength) for strength in STRENGTHS])
    strength = STRENGTHS[int(np.argmax(scores))] if scores is not None else 1.0
    model = _logistic(rows, labels, strength)
    weight, bias = (
        np.zeros((classes, features.shape[1])),
        np.full(classes, -1e3),
    )  # a class that is not there is never said
    coefficients, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2 and len(coefficients) == 1:
        coefficients, intercept = (
            np.vstack([-coefficients, coefficients]) / 2,
            np.concatenate([-intercept, intercept]) / 2,
        )
    weight[model.classes_] = coefficients / spread
    bias[model.classes_] = intercept - (coefficients / spread) @ mean
    return Linear(weight, bias, strength)


def nearest_labels(
    features: np.ndarray, labels: np.ndarray, queries: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, str]:
    """The label that most of the nearest training pictures have, by L2 distance; and how it was looked for, in words.

    How many neighbours, and whether lengths are first made 1 (L2 order is then that of the cosine), is chosen by
    cross-validation. Of labels that are equally frequent the one of the nearer neighbours wins.
    """
    ways = [(k, unit) for unit in (False, True) for k in NEIGHBOURS if k <= max(1, len(features) // 2)]
    scores = _cross_validate(features, labels, seed, [partial(_vote, k=k, unit=unit) for k, unit in ways])
    k, unit = ways[int(np.argmax(scores))] if scores is not None else (1, False)
    words = f"{k} neighbour{'s' if k > 1 else ''}{', lengths made 1' if unit else ''}"
    return _vote(features, labels, queries, k, unit), words


def nearest(features: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and L2 distances of the `count` nearest rows of each query, [Q, count], the nearest first."""
    index, distance = [], []
    squares = (features.astype(np.float64) ** 2).sum(1)
    for query in queries.astype(np.float64):
        d = np.maximum(squares - 2 * features @ query + query @ query, 0)
        order = np.argsort(d, kind="stable")[:count]
        index.append(order)
        distance.append(np.sqrt(d[order]))
    return np.array(index), np.array(distance)


def _vote(features: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int, unit: bool) -> np.ndarray:
    if unit:
        features, queries = (
            x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (features, queries)
        )
    index, _ = nearest(features, queries, k)
    said = []
    for row in labels[index]:
        counts = np.bincount(row)
        tied = np.flatnonzero(counts == counts.max())
        said.append(next(label for label in row if label in tied))
    return np.array(said)


def _logistic(features: np.ndarray, labels: np.ndarray, strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=300).fit(features, labels)


def _predict(features: np.ndarray, labels: np.ndarray, queries: np.ndarray, strength: float) -> np.ndarray:
    return _logistic(features, labels, strength).predict(queries)


def _cross_validate(features: np.ndarray, labels: np.ndarray, seed: int, ways: Sequence[Way]) -> list[float] | None:
    """The share that each way gets right on held-out folds; None where a class has a single picture."""
    from sklearn.model_selection import StratifiedKFold

    folds = min(FOLDS, int(np.bincount(labels)[np.unique(labels)].min()))
    if folds < 2:
        return None
    if len(labels) > MOST:
        chosen = np.random.default_rng(seed).permutation(len(labels))[:MOST]
        features, labels = features[chosen], labels[chosen]
        folds = min(folds, max(2, int(np.bincount(labels)[np.unique(labels)].min())))
    right = np.zeros(len(ways))
    for train, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, labels):
        for n, way in enumerate(ways):
            right[n] += (way(features[train], labels[train], features[held]) == labels[held]).sum()
    return list(right / len(labels))
