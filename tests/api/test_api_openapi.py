"""The OpenAPI document: it is valid, it names every route, and every operation answers as it says."""

from collections.abc import Iterator
from typing import Any

import pytest
from api_client import Answer, Client, Obedient, Started, event
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from sentinel.config.schema import Alerting

PAGES = {"/", "/docs", "/static/{name}"}
STRUCTURE = {
    "type": "object",
    "required": ["openapi", "info", "paths"],
    "properties": {
        "openapi": {"type": "string", "pattern": r"^3\.1\.\d+$"},
        "info": {"type": "object", "required": ["title", "version"], "properties": {"version": {"type": "string"}}},
        "servers": {"type": "array", "items": {"type": "object", "required": ["url"]}},
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": ["get", "post", "put", "delete", "patch", "head", "options", "trace"]},
                "additionalProperties": {"$ref": "#/$defs/operation"},
            },
        },
        "components": {"type": "object", "propertyNames": {"enum": ["schemas", "securitySchemes"]}},
    },
    "$defs": {
        "operation": {
            "type": "object",
            "required": ["operationId", "summary", "tags", "responses"],
            "properties": {
                "operationId": {"type": "string", "pattern": "^[A-Za-z0-9]+$"},
                "responses": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[1-5][0-9][0-9]$"},
                    "additionalProperties": {"type": "object", "required": ["description"], "properties": {"content": {"type": "object"}}},
                },
                "parameters": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "in", "schema"],
                        "properties": {"in": {"enum": ["query", "path", "header", "cookie"]}},
                        "if": {"properties": {"in": {"const": "path"}}},
                        "then": {"required": ["required"], "properties": {"required": {"const": True}}},
                    },
                },
                "requestBody": {"type": "object", "required": ["content"]},
                "security": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "array"}}},
            },
        }
    },
}


@pytest.fixture
async def document(client: Client) -> dict[str, Any]:
    """The document as a client gets it."""
    answer = await client.get("/api/v1/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    described: dict[str, Any] = answer.json
    return described


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def schemas(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema the document holds."""
    yield from document["components"]["schemas"].values()
    for _, _, operation in operations(document):
        yield from (parameter["schema"] for parameter in operation.get("parameters", ()))
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            yield from (content["schema"] for content in part.get("content", {}).values())


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of one schema of the document; references are those of the document."""
    registry = Registry().with_resource("urn:document", Resource(contents=document, specification=DRAFT202012))
    return Draft202012Validator(_absolute(schema), registry=registry)


def _absolute(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: f"urn:document{value}" if key == "$ref" else _absolute(value) for key, value in schema.items()}
    return [_absolute(entry) for entry in schema] if isinstance(schema, list) else schema


async def test_the_document_has_the_shape_of_openapi(document: dict[str, Any]) -> None:
    """OpenAPI 3.1: its structure, its schemas, unique operation ids, path parameters that stand in the path, references that resolve."""
    Draft202012Validator(STRUCTURE).validate(document)
    for schema in schemas(document):
        Draft202012Validator.check_schema(schema)
        list(validator(document, schema).iter_errors(None))  # raises when a reference leads nowhere
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for path, _, operation in operations(document):
        named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}


async def test_the_document_and_the_routes_are_the_same(client: Client, document: dict[str, Any]) -> None:
    """No route without documentation, no documentation without a route."""
    runner = client.daemon.server._runner
    assert runner is not None
    routes = {
        (route.resource.canonical, route.method.lower())
        for route in runner.app.router.routes()
        if route.resource is not None and route.method != "HEAD" and route.resource.canonical not in PAGES
    }
    assert routes == {(path, method) for path, method, _ in operations(document)}


BODIES: dict[str, Any] = {
    "/events": event(500),
    "/timeseries": {"by_series": True},
    "/feedback": {"verdict": "true_positive", "note": "it was"},
    "/accept": {"service": "chat", "model": "gpt"},
    "/markers": {"kind": "deploy", "text": "v2", "service": "chat"},
}
"""What each POST takes, by the end of its path."""


async def ask(client: Client, path: str, method: str, ids: dict[str, str]) -> Answer:
    """A request that should succeed; `ids` are of something that is there, by the path of its list."""
    path = path.replace("{id}", ids.get(path.partition("/{id}")[0], ""))
    if method == "post":
        (body,) = [body for end, body in BODIES.items() if path.endswith(end)]
        return await client.post(body, path)
    if method == "put":
        return await client.call("PUT", path, json={"level": "info"})
    return await client.get(path)


async def test_every_operation_answers_as_documented(start: Started) -> None:
    """Each succeeds with a documented status, and its body is what its schema says."""
    client = await start(alerting=Alerting(enabled=True, event_anomalies=True), prepare=Obedient())
    document = (await client.get("/api/v1/openapi.json")).json
    await client.send([*(event(i) for i in range(60)), event(61, latency_ms=50_000)])
    (found, *_) = (await client.get("/api/v1/anomalies/recent")).json["anomalies"]
    (told, *_) = (await client.get("/api/v1/alerts")).json["alerts"]
    ids = {"/api/v1/anomalies": found["id"], "/api/v1/alerts": told["alert_id"]}
    checked = 0
    # What is read may have to be written first.
    for path, method, operation in sorted(operations(document), key=lambda described: described[1] == "get"):
        answer = await ask(client, path, method, ids)
        described = operation["responses"][str(answer.status)]
        assert answer.status < 300, (path, answer.body)
        for kind, content in described.get("content", {}).items():
            assert answer.headers["Content-Type"].startswith(kind)
            validator(document, content["schema"]).validate(answer.json)
            checked += 1
    assert checked >= 15


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/telemetry?limit=0", 400),
        ("GET", "/api/v1/anomalies?severity=x", 400),
        ("GET", "/api/v1/anomalies/none", 404),
        ("POST", "/api/v1/anomalies/none/feedback", 400),
        ("POST", "/api/v1/markers", 400),
        ("GET", "/api/v1/baselines?x=1", 400),
        ("POST", "/api/v1/metrics/timeseries", 400),
        ("GET", "/api/v1/metrics/summary?hours=0", 400),
        ("POST", "/api/v1/events", 400),
    ],
)
async def test_errors_are_as_documented(client: Client, document: dict[str, Any], method: str, path: str, status: int) -> None:
    """The problem of each error is what the document says about it."""
    answer = await client.call(method, path, data=b"[1]")
    assert answer.status == status
    (template,) = [known for known in document["paths"] if known.replace("{id}", "none") == path.partition("?")[0]]
    content = document["paths"][template][method.lower()]["responses"][str(status)]["content"]
    validator(document, content["application/problem+json"]["schema"]).validate(answer.json)
