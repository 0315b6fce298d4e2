"""The test works as a phase left them: their vectors, what the classifier said, what they find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.space.ranking import nearest, sample
from training.dataset import Dataset
from training.state import reading

K = 5
ERRORS = 30
NEIGHBOURS = 20
PAIRS = 30
_SEED = 0


@dataclass(frozen=True)
class WorksTested:
    """Args:
    phase: 0 for the untrained features.
    names, labels: of the test works.
    rows: their rows in the data set, int64 (works,).
    embeddings: float32 (works, dimension), unit norm.
    predicted: classes by the classifier, or None of the untrained features.
    """

    phase: int
    names: list[str]
    labels: list[str]
    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    predicted: list[str] | None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Asked:
    """A work and its nearest others.

    Args:
        query: number of the work among the test works.
        answers: numbers of the nearest, nearest first.
        cosines: theirs.
        wrong: whether each is of another class.
    """

    query: int
    answers: list[int]
    cosines: list[float]
    wrong: list[bool]

    @property
    def confidence(self) -> float:
        """How much the wrong answers are like the query: the sum of their cosines."""
        return sum(c for c, wrong in zip(self.cosines, self.wrong, strict=True) if wrong)


def load_tested(folder: Path, phase: int, dataset: Dataset) -> WorksTested:
    """What training saved of the test works after a phase.

    Raises:
        ArtefactError: the file is missing, damaged, or of other works than the run's.
    """
    path = folder / f"phase{phase}_test.npz"
    places = {name: row for row, name in enumerate(dataset.names)}
    with reading(path), np.load(path, allow_pickle=False) as arrays:
        names, labels = arrays["names"].tolist(), arrays["labels"].tolist()
        embeddings = arrays["embeddings"].astype(np.float32)
        predicted = arrays["predicted"].tolist() if "predicted" in arrays else None
        lengths = {len(names), len(labels), len(embeddings), len(predicted or names)}
        if embeddings.ndim != 2 or len(lengths) != 1 or not np.isfinite(embeddings).all():
            raise ValueError("its arrays disagree")
        rows = np.array([places[name] for name in names], np.int64)
    return WorksTested(phase, names, labels, rows, embeddings, predicted)


def ask(tested: WorksTested) -> list[Asked]:
    """Every test work, or a sample of very many, asks for the others."""
    works = len(tested)
    queries = sample(works, works)
    labels = np.array(tested.labels)
    found = nearest(tested.embeddings, K, queries)
    cosines = np.einsum("qd,qkd->qk", tested.embeddings[queries], tested.embeddings[found])
    wrong = labels[found] != labels[queries, None]
    return [
        Asked(int(query), *(row.tolist() for row in rows))
        for query, *rows in zip(queries, found, cosines, wrong, strict=True)
    ]


def most_confident_errors(asked: list[Asked]) -> list[Asked]:
    """Queries with wrong answers, those first whose wrong answers are most like them."""
    return sorted((a for a in asked if any(a.wrong)), key=lambda a: -a.confidence)[:ERRORS]


def drawn(asked: list[Asked], tested: WorksTested) -> list[Asked]:
    """Queries drawn at random by a fixed seed, as many of each class as there is room for."""
    order = np.random.default_rng(_SEED).permutation(len(asked))
    turns: dict[str, int] = {}
    ranked: list[tuple[int, str, Asked]] = []
    for place in order:
        label = tested.labels[asked[place].query]
        turns[label] = turns.get(label, 0) + 1
        ranked.append((turns[label], label, asked[place]))
    chosen = sorted(ranked, key=lambda item: item[:2])[:NEIGHBOURS]
    return [item[2] for item in sorted(chosen, key=lambda item: (item[1], item[0]))]


def confusion(tested: WorksTested, classes: list[str]) -> NDArray[np.int64] | None:
    """Works by class (rows) and by the class the classifier gave them (columns)."""
    if tested.predicted is None:
        return None
    codes = {name: code for code, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    for label, predicted in zip(tested.labels, tested.predicted, strict=True):
        if label in codes and predicted in codes:
            matrix[codes[label], codes[predicted]] += 1
    return matrix


def most_confused(matrix: NDArray[np.int64], classes: list[str]) -> list[tuple[str, str, int]]:
    """Pairs (class, class given instead, works), most first."""
    found = [
        (classes[row], classes[column], int(matrix[row, column]))
        for row, column in zip(*np.nonzero(matrix), strict=True)
        if row != column
    ]
    return sorted(found, key=lambda pair: (-pair[2], pair[:2]))[:PAIRS]
