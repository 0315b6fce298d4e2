"""The gate before a switch: is a release fit to take the place of the one that is served?

Each check has a rule, what was found before and after, and whether it passed. Evaluation is the
same as everywhere: the works of both releases ask each other, paired, so that works that come and
go do not count; each release is judged by the classes it has, so that a mixed-up column does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from index.evaluation import compare_releases, works_to_judge_by
from index.protocols import embeddings_of, labels_of
from index.release import Release
from index.space.artefact import new_file
from index.space.metrics import evaluate
from index.space.ranking import SEED

GATES = "gates"  # folder beside the releases: a verdict each, by its id
MARGIN = 0.02
MOST_FALL = 0.1
MOST_GONE = 0.5
LEAST_RECALL = 0.99
K = 5
_CANARY_COSINE = 0.9999
_ASKED = 200


class Check(BaseModel):
    """One question.

    Args:
        name: of the check.
        rule: what must hold.
        before, after: the two numbers; None where there is none.
        passed: whether it holds.
        note: more of it in words.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    rule: str
    before: float | None
    after: float | None
    passed: bool
    note: str = ""


class Verdict(BaseModel):
    """What the gate says of a release.

    Args:
        release: the candidate.
        against: the release that was served; None, there was none that could be read.
    """

    model_config = ConfigDict(extra="forbid")

    release: str
    against: str | None
    checks: list[Check]

    @property
    def failed(self) -> list[Check]:
        """Checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def reasons(self) -> str:
        """Why it was refused, in one line."""
        return "; ".join(
            f"{check.name}: {check.rule}; before {_shown(check.before)}, now {_shown(check.after)}"
            for check in self.failed
        )


def judge(release: Release, served: Release | None) -> Verdict:
    """Judge a release that has been opened, and so has its digests, counts, unit norms and own
    canaries verified.

    Args:
        served: what it is to replace.
    """
    checks = [_recall(release)]
    if served is not None:
        checks += [_count(release, served), _gone(release, served), _canaries(release, served)]
    checks.append(_precision(release, served))
    return Verdict(release=release.id, against=served.id if served else None, checks=checks)


def _count(release: Release, served: Release) -> Check:
    before, after = served.manifest.works, release.manifest.works
    return Check(
        name="works",
        rule=f"at most {MOST_FALL:.0%} fewer works than in the release served",
        before=before,
        after=after,
        passed=after >= (1 - MOST_FALL) * before,
    )


def _gone(release: Release, served: Release) -> Check:
    """However many works there are: of another collection, none of those before is left."""
    before, there = served.manifest.works, release.catalogue
    gone = sum(
        there.by_id(entry.id) is None and not there.by_sha256(entry.sha256)
        for entry in served.catalogue.entries()
    )
    return Check(
        name="works gone",
        rule=f"at most {MOST_GONE:.0%} of the works served are gone, by id and by file",
        before=before,
        after=gone,
        passed=gone <= MOST_GONE * before,
        note="is it the same collection?" if gone > MOST_GONE * before else "",
    )


def _recall(release: Release) -> Check:
    """Of the index against exact search, so that an approximate one may take its place."""
    works = len(release.vectors)
    rng = np.random.default_rng(SEED)
    rows = np.sort(rng.choice(works, min(_ASKED, works), replace=False))
    k = min(K, works)
    queries = release.vectors.get(rows)
    _, found = release.vectors.search(queries, k)
    best = np.full((len(rows), k), -2.0, np.float32)
    for start in range(0, works, 4096):
        block = release.vectors.get(np.arange(start, min(start + 4096, works)))
        best = np.sort(np.concatenate([best, queries @ block.T], axis=1), axis=1)[:, -k:]
    # By score and not by row: of equally near works any may be named.
    scores = np.stack(
        [release.vectors.get(some) @ query for some, query in zip(found, queries, strict=True)]
    )
    recall = float((scores >= best[:, :1] - 1e-5).mean())
    return Check(
        name="recall",
        rule=f"at least {LEAST_RECALL} of the {k} nearest works by exact search are found",
        before=None,
        after=recall,
        passed=recall >= LEAST_RECALL,
        note=f"{len(rows)} works asked",
    )


def _canaries(release: Release, served: Release) -> Check:
    """The works that answered the served release's canaries still have their vectors."""
    rule = f"works that answer canary pictures keep their vectors (cosine >= {_CANARY_COSINE})"
    if release.manifest.model_digest != served.manifest.model_digest:
        note = "another model, another space: nothing to compare"
        return Check(name="canaries", rule=rule, before=None, after=None, passed=True, note=note)
    cosines = []
    for id_ in {id_ for canary in served.manifest.canaries for id_ in canary.neighbours}:
        old, new = served.catalogue.by_id(id_), release.catalogue.by_id(id_)
        if old is not None and new is not None and old.sha256 == new.sha256:
            vectors = [
                one.vectors.get(np.asarray([entry.row], np.int64))[0]
                for one, entry in ((served, old), (release, new))
            ]
            cosines.append(float(vectors[0] @ vectors[1]))
    least = min(cosines, default=1.0)
    return Check(
        name="canaries",
        rule=rule,
        before=1.0,
        after=least,
        passed=least >= _CANARY_COSINE,
        note=f"{len(cosines)} works",
    )


def _precision(release: Release, served: Release | None) -> Check:
    rule = (
        f"Precision@{K} over the works of both is not lower by more than {MARGIN} with an interval "
        "(95 %) below 0"
    )
    name = f"precision_at_{K}"
    works, which = works_to_judge_by(release, served)
    if served is None:
        alone = evaluate(embeddings_of(release, works), labels_of(works), K) if works else None
        after = alone.precision if alone else None
        return Check(name=name, rule=rule, before=None, after=after, passed=True, note=which)
    found: dict[str, Any] = compare_releases(release, served, works, K, own_classes=True)
    if found.get("precision") is None:
        note = found["verdict"]
        return Check(name=name, rule=rule, before=None, after=None, passed=True, note=note)
    difference = found["difference"]
    worse = difference["value"] < -MARGIN and difference["high"] < 0
    return Check(
        name=name,
        rule=rule,
        before=found["precision_other"],
        after=found["precision"],
        passed=not worse,
        note=f"{found['queries']} {which}; {found['verdict']}",
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def gate_file(releases: Path, id_: str) -> Path:
    """Where the verdict on a release is kept."""
    return releases / GATES / f"{id_}.json"


def kept(releases: Path, id_: str) -> Verdict | None:
    """The verdict on a release; None, it was never judged, or what is kept cannot be read."""
    try:
        return Verdict.model_validate_json(gate_file(releases, id_).read_bytes())
    except (OSError, ValueError):
        return None


def keep(releases: Path, verdict: Verdict) -> Path:
    """Keep a verdict; where."""
    path = gate_file(releases, verdict.release)
    path.parent.mkdir(exist_ok=True)
    with new_file(path) as partial:
        partial.write_text(verdict.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path
