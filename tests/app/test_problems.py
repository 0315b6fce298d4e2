"""Faults of the service's own, and what OpenAPI promises."""

from __future__ import annotations

from urllib.parse import quote

import anyio
import httpx
from fastapi import FastAPI

from app import answers
from app.examples import EXAMPLES
from app.limits import Envelope
from app.problems import add_handlers
from index.outcome import Outcome
from tests.app.conftest import ADMIN, Service


def test_a_fault_is_a_problem_without_a_trace() -> None:
    app = FastAPI()
    add_handlers(app)

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("secret of the inside")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Envelope(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/fault")

    answer = anyio.run(ask)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/internal-error"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


def test_openapi_describes_calls_and_problems(service: Service) -> None:
    document = service.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/search",
        "/v1/search/batch",
        "/v1/search/examples",
        "/v1/embed",
        "/v1/collection",
        "/v1/facets",
        "/v1/items",
        "/v1/map",
        "/v1/items/{id}",
        "/v1/items/{id}/similar",
        "/v1/items/{id}/thumbnail",
        "/v1/admin/items",
        "/v1/admin/items/{id}",
        "/v1/admin/evaluations",
        "/v1/admin/rebuilds",
        "/v1/admin/jobs",
        "/v1/admin/evaluations/{id}",
        "/v1/admin/evaluations/{id}/events",
        "/v1/admin/rebuilds/{id}",
        "/v1/admin/rebuilds/{id}/events",
        "/v1/admin/takedowns",
        "/v1/admin/takedowns/{id}",
        "/v1/admin/takedowns/{id}/events",
        "/v1/admin/releases",
        "/v1/admin/reload",
        "/v1/admin/rollback",
        "/metrics",
        "/healthz",
        "/readyz",
    }
    for methods in document["paths"].values():
        for call in methods.values():
            refusals = [r for status, r in call["responses"].items() if status[0] not in "23"]
            assert len(refusals) >= 8
            assert {kind for r in refusals for kind in r["content"]} == {"application/problem+json"}
    body = document["paths"]["/v1/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "image/jpeg", "image/png", "image/webp"}


def test_every_kind_of_answer_has_an_example_that_is_one(service: Service) -> None:
    document = service.get("/openapi.json").json()
    shown = set()
    for methods in document["paths"].values():
        for call in methods.values():
            for status, response in call["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                if status.startswith("2") and "$ref" in schema:
                    shown.add(schema["$ref"].rsplit("/", 1)[1])
    assert shown == set(EXAMPLES) - {"ProblemDocument"}
    for name, example in EXAMPLES.items():
        kind = getattr(answers, name)
        assert kind.model_validate(example, extra="forbid").model_dump() == example, name
        if name in shown:
            assert document["components"]["schemas"][name]["examples"] == [example]


def test_every_body_is_shown_as_a_form_and_by_curl(service: Service) -> None:
    document = service.get("/openapi.json").json()
    calls = [call for methods in document["paths"].values() for call in methods.values()]
    bodies = [call["requestBody"]["content"] for call in calls if "requestBody" in call]
    assert len(bodies) == 5
    for body in bodies:
        for kind, content in body.items():
            (example,) = content["examples"].values()
            assert example["summary"].startswith("curl -")
            if kind == "multipart/form-data":
                fields = content["schema"]["properties"]
                assert set(example["value"]) == set(fields)
                assert all(f"-F {field}=@" in example["summary"] for field in fields)
            else:
                assert f"-H 'Content-Type: {kind}' --data-binary @" in example["summary"]


def calls_of(document: dict) -> list[tuple[str, str, dict]]:
    return [
        (method.upper(), path, call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]


def test_every_call_has_an_example_of_its_own_that_is_one(service: Service) -> None:
    document = service.get("/openapi.json").json()
    names = [call["operationId"] for _, _, call in calls_of(document)]
    assert len(set(names)) == len(names)
    for method, path, call in calls_of(document):
        ((_, answer),) = [one for one in call["responses"].items() if one[0][0] == "2"]
        ((type_, content),) = answer["content"].items()
        example = content["example"]
        if path == "/healthz":
            assert service.get(path).json() == example
        elif type_ == "application/json":
            kind = getattr(answers, content["schema"]["$ref"].rsplit("/", 1)[1])
            assert kind.model_validate(example, extra="forbid").model_dump() == example
        elif type_ == "text/event-stream":
            name, data = example.strip().split("\n")
            job = answers.Job.model_validate_json(data.removeprefix("data: "), extra="forbid")
            assert name == f"event: {job.status}"
        else:
            assert isinstance(example, str)
            assert example
        for job_kind in ("evaluation", "rebuild", "takedown"):
            if path.startswith(f"/v1/admin/{job_kind}s") and type_ == "application/json":
                assert example["kind"] == job_kind
                states = {"POST": ["queued"], "DELETE": ["cancelled"]}
                if job_kind == "rebuild" and method == "GET":
                    shown = Outcome.model_validate(example["result"], extra="forbid")
                    assert shown.model_dump() == example["result"]
                assert example["status"] in states.get(method, ["running", "done"]), (method, path)


def test_what_a_call_needs_is_shown_and_taken(service: Service, a_photo: bytes) -> None:
    """Asked as the document shows it, each call knows its parameters; the works are others'."""
    document = service.get("/openapi.json").json()
    asked = 0
    for method, path, call in calls_of(document):
        shown = {}
        for one in call.get("parameters", []):
            example = one.get("example") or next(iter(one["schema"].get("examples", [])), None)
            assert example or not one["required"], (method, path, one["name"])
            if example:
                shown[one["name"]] = example
        if "requestBody" in call and path.startswith("/v1/admin"):
            continue  # adds a work, as test_changes.py does
        where = path.replace("{id}", quote(shown.pop("id", ""), safe=""))
        field = "positive" if path.endswith("examples") else "image"
        files = {field: a_photo} if "requestBody" in call else None
        if method == "GET" or files:
            answer = service.http.request(
                method, service.url + where, params=shown, files=files, headers=ADMIN
            )
            wanted = (200, 404) if "{id}" in path else (200,)
            assert answer.status_code in wanted, (method, path, answer.text)
            asked += 1
    assert asked > 15


def test_every_call_refuses_unknown_and_repeated_parameters(service: Service, a_photo) -> None:
    id_ = service.search(a_photo).json()["results"][0]["id"]
    paths = service.get("/openapi.json").json()["paths"]
    del paths["/v1/admin/items"]  # parameters there are columns, any are taken
    for path, methods in paths.items():
        for method in methods:
            for query, said in (("limt=3", "limt: "), ("k=1&k=2", "k: must be given once")):
                url = f"{service.url}{path.format(id=id_)}?{query}"
                takes = path.startswith("/v1/search") or path == "/v1/embed"
                field = "positive" if path.endswith("examples") else "image"
                files = {field: a_photo} if takes else None
                answer = service.http.request(method, url, files=files, headers=ADMIN)
                assert answer.status_code == 422, (method, url, answer.text)
                assert answer.json()["type"] == "/problems/invalid-parameter"
                assert answer.json()["detail"].startswith(said)


def test_a_strange_host_header_is_harmless(service: Service) -> None:
    for host in ("[", "a b", "\xff", "x" * 5000):
        answer = service.get("/nowhere", headers={"Host": host.encode("latin-1")})
        assert answer.status_code in (400, 404)
    assert not any("Traceback" in line for line in service.log)
