"""Answers as OpenAPI shows them: one of each kind, about one small collection."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_VERSIONS = {"index_version": "20261125T031500Z-3fa9", "model_version": "art-1"}
_WORK = {
    "id": "aic-81557",
    "label": "1870s",
    "title": "Seascape",
    "artist": "Pierre-Auguste Renoir (French, 1841–1919)",
    "date": "1879",
    "thumbnail": "/v1/items/aic-81557/thumbnail",
    "greyscale": False,
    "metadata": {"medium": "Oil on canvas", "licence": "CC0-1.0"},
}
_NEIGHBOUR = {**_WORK, "rank": 1, "score": 0.714, "confidence": 0.59, "copy_of_query": False}
_NEIGHBOURS = {**_VERSIONS, "total": 81, "nothing_alike": False, "results": [_NEIGHBOUR]}
_PARTS = [
    {"name": "style", "width": 256, "weight": 0.6},
    {"name": "work", "width": 256, "weight": 0.4},
]
_PROBLEM = {
    "type": "/problems/unsupported-image",
    "title": "Unsupported image",
    "status": 415,
    "detail": "must be one of JPEG, PNG, WEBP, told by content; received no known picture format",
    "request_id": "5a8de05e2f6e4dd0a31b1a3b8a0c6a51",
}
_JOB: dict[str, Any] = {
    "id": "0b0f5c0c7f6c4f7e8f0a1d2c3b4a5968",
    "kind": "evaluation",
    "status": "running",
    "index_version": "20261125T031500Z-3fa9",
    "created": "2026-11-25T03:20:00+00:00",
    "finished": None,
    "progress": {"step": "looking at pictures", "done": 120, "total": 267},
    "result": None,
    "error": None,
}
_DONE = {"status": "done", "finished": "2026-11-25T03:24:10+00:00", "progress": None}
# What `GET` of a job of each kind answers.
_JOBS: dict[str, dict[str, Any]] = {
    "evaluation": _JOB,
    "rebuild": {
        **_JOB,
        "id": "5f2a9d0c1e7b4c3f8a6d2b1c0e9f8d7c",
        "kind": "rebuild",
        **_DONE,
        "result": {
            "release": "20261125T032001Z-9c02",
            "is_new": True,
            "dry_run": False,
            "published": True,
            "works": 268,
            "differences": {"added": 2, "changed": 0, "moved": 1, "described": 0, "removed": 1},
            "embedded": 2,
            "unusable": {"image-corrupt": 1},
            "left_out": {"hidden or system file": 1},
            "exact_copies": 0,
            "near_copies": 1,
            "seconds": {"reading": 0.4, "embedding": 0.3, "writing": 0.9},
            "images_a_second": 6.7,
            "verdict": {
                "release": "20261125T032001Z-9c02",
                "against": "20261125T031500Z-3fa9",
                "checks": [
                    {
                        "name": "works",
                        "rule": "at most 10% fewer works than in the release served",
                        "before": 267.0,
                        "after": 268.0,
                        "passed": True,
                        "note": "",
                    }
                ],
            },
        },
    },
    "takedown": {
        **_JOB,
        "id": "c3d1f0a29b8e4d7c9a5b6e4f3d2c1b0a",
        "kind": "takedown",
        **_DONE,
        "result": {
            "said": [
                "release 20261125T031500Z-3fa9 is replaced by 20261125T031500Z-3fa9-1, without "
                "the removed works"
            ]
        },
    },
}
_RELEASE = {
    "id": "20261125T031500Z-3fa9",
    "works": 267,
    "model": "art-1",
    "created": "2026-11-25T03:15:00+00:00",
    "published": True,
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "Neighbours": _NEIGHBOURS,
    "Batch": {**_VERSIONS, "answers": [_NEIGHBOURS, _PROBLEM]},
    "Embedding": {**_VERSIONS, "embedding": [0.0312, -0.0127, 0.0541], "parts": _PARTS},
    "Item": {**_VERSIONS, **_WORK},
    "Items": {**_VERSIONS, "total": 13, "results": [_WORK]},
    "Facets": {
        **_VERSIONS,
        "facets": [
            {"field": "class", "distinct": 8, "values": [{"value": "1870s", "works": 37}]},
            {
                "field": "date",
                "distinct": 9,
                "values": [{"value": "1870..1879", "works": 41}],
            },
            {
                "field": "medium",
                "distinct": 9,
                "values": [{"value": "Oil on canvas", "works": 151}],
            },
        ],
    },
    "Map": {
        **_VERSIONS,
        "total": 267,
        "places": [{"id": "aic-81557", "label": "1870s", "x": 0.31, "y": -0.62}],
    },
    "Collection": {
        **_VERSIONS,
        "works": 267,
        "created": "2026-11-25T03:15:00+00:00",
        "dimension": 512,
        "parts": _PARTS,
        "style": 0.6,
        "confidence": {
            "part": "style",
            "slope": 4.74,
            "intercept": -4.08,
            "error": 0.09,
            "threshold": 0.51,
            "false_positives": 0.08,
            "found": 0.08,
            "queries": 86,
        },
        "copies": {
            "part": "work",
            "cosine": 0.74,
            "missed": 0.05,
            "missed_by_change": {"crop": 0.06, "jpeg": 0.01, "blur": 0.08},
            "false_alarms": 0.005,
            "asked": 1600,
            "among": 826,
        },
    },
    "Ready": {**_VERSIONS, "status": "ready", "works": 267},
    "Job": _JOB,
    "JobList": {"total": 2, "jobs": list(_JOBS.values())},
    "Releases": {"releases": [_RELEASE]},
    "ProblemDocument": _PROBLEM,
}


# JSON holds no picture: a name stands for it.
_NOT_JSON = {"text/plain": "artkin_works 267.0\n", "image/jpeg": "seascape"}
_BEFORE = {**_VERSIONS, "index_version": "20261124T031500Z-7d10", "status": "ready", "works": 265}
_CHANGED = {**_VERSIONS, "index_version": "20261125T031500Z-3fa9+1"}
_ADDED = {
    **_WORK,
    "id": "seascape-2",
    "title": "Seascape, a study",
    "thumbnail": "/v1/items/seascape-2/thumbnail",
}
# Of calls whose answer is not the one that others of its kind have.
_OWN: dict[str, Any] = {
    "POST /v1/admin/items": {**_CHANGED, **_ADDED},
    "DELETE /v1/admin/items/{id}": {**_CHANGED, "status": "ready", "works": 266},
    "POST /v1/admin/rollback": _BEFORE,
    "GET /healthz": {"status": "alive"},
}


def add_examples(app: FastAPI) -> None:
    """Give each kind of answer, and each call, in the app's OpenAPI document its example."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            for name, example in EXAMPLES.items():
                if name in document["components"]["schemas"]:
                    document["components"]["schemas"][name]["examples"] = [example]
            for path, calls in document["paths"].items():
                for method, call in calls.items():
                    _show(method.upper(), path, call)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _show(method: str, path: str, call: dict[str, Any]) -> None:
    """Give a call's answer, and the id that it takes, an example."""
    kind = next((kind for kind in _JOBS if path.startswith(f"/v1/admin/{kind}s")), None)
    for parameter in call.get("parameters", []):
        if parameter["name"] == "id":
            added = f"{method} {path}" == "POST /v1/admin/items"
            of_work = _ADDED["id"] if added else _WORK["id"]
            parameter["example"] = _JOBS[kind]["id"] if kind else of_work
    for status, response in call["responses"].items():
        for type_, content in response.get("content", {}).items() if status[0] == "2" else ():
            if kind:
                job = _job(method, _JOBS[kind])
                event = f"event: {job['status']}\ndata: {json.dumps(job)}\n\n"
                content["example"] = event if type_ == "text/event-stream" else job
            else:
                named = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
                shown = _OWN.get(f"{method} {path}", EXAMPLES.get(named))
                content["example"] = _NOT_JSON.get(type_, shown)


def _job(method: str, job: dict[str, Any]) -> dict[str, Any]:
    """A job as it is answered when it is asked for, looked at, or cancelled."""
    nothing = {"progress": None, "result": None, "finished": None}
    if method == "POST":
        return {**job, **nothing, "status": "queued"}
    if method == "DELETE":
        return {**job, **nothing, "status": "cancelled", "finished": "2026-11-25T03:21:00+00:00"}
    return job
