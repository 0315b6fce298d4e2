"""Faults of the service's own, and what OpenAPI promises."""

from __future__ import annotations

import anyio
import httpx
from fastapi import FastAPI

from app import answers
from app.examples import EXAMPLES
from app.limits import Envelope
from app.problems import add_handlers
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


def test_evaluations_and_rebuilds_are_shown_apart(service: Service) -> None:
    paths = service.get("/openapi.json").json()["paths"]
    names = [call["operationId"] for methods in paths.values() for call in methods.values()]
    assert len(set(names)) == len(names)
    for kind in ("evaluation", "rebuild"):
        folder = f"/v1/admin/{kind}s"
        calls = (
            paths[folder]["post"]["responses"]["202"],
            paths[f"{folder}/{{id}}"]["get"]["responses"]["200"],
            paths[f"{folder}/{{id}}"]["delete"]["responses"]["200"],
        )
        for answer in calls:
            example = answer["content"]["application/json"]["example"]
            job = answers.Job.model_validate(example, extra="forbid")
            assert job.kind == kind
        events = paths[f"{folder}/{{id}}/events"]["get"]["responses"]["200"]["content"]
        name, data = events["text/event-stream"]["example"].strip().split("\n")
        assert answers.Job.model_validate_json(data.removeprefix("data: ")) == job
        assert name == f"event: {job.status}"


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
